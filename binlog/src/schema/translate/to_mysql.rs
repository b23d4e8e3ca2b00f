//! From MariaDB's words to MySQL's.

use super::{Notes, columns, rewritten};
use crate::schema::create_table::{CreateTable, Item, ItemKind, KeyKind};
use crate::schema::sql::{Token, TokenKind, joined, tokens};

/// Types that MySQL does not have.
const FOREIGN_TYPES: [&str; 5] = ["UUID", "INET4", "INET6", "XMLTYPE", "ROW"];

/// Types whose default must be an expression there.
const LONG_TYPES: [&str; 8] = [
    "TINYTEXT",
    "TEXT",
    "MEDIUMTEXT",
    "LONGTEXT",
    "TINYBLOB",
    "BLOB",
    "MEDIUMBLOB",
    "LONGBLOB",
];

/// Functions that may stand as a default without parentheses.
const BARE_FUNCTIONS: [&str; 4] = ["CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP"];

/// Table options that MySQL does not have, and that say nothing about the rows.
const FOREIGN_OPTIONS: [&str; 7] = [
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PAGE_CHECKSUM",
    "TRANSACTIONAL",
    "ENCRYPTED",
    "ENCRYPTION_KEY_ID",
    "SEQUENCE",
];

/// An InnoDB index of MySQL takes 3072 bytes of a row, four of which are a letter.
const INDEXED_LETTERS_MAX: u64 = 768;

pub(super) fn table(table: &CreateTable, notes: &mut Notes<'_>) -> CreateTable {
    refuse_foreign(table, notes);
    refuse_hashes(table, notes);
    refuse_default_partition(table, notes);
    let mut translated = rewritten(table, |item| Some(self::item(item, notes)));
    translated.options = options(&table.options, notes);
    translated
}

fn refuse_foreign(table: &CreateTable, notes: &mut Notes<'_>) {
    for (name, text) in columns(table) {
        let all = tokens(text);
        let type_word = all.iter().filter(|token| token.is_meaning()).nth(1);
        for foreign in FOREIGN_TYPES {
            if type_word.is_some_and(|token| token.is_word(foreign)) {
                notes.refused(format!(
                    "column {name} has type {foreign}, which MySQL does not have; make it a text \
                     or binary column"
                ));
            }
        }
    }
    let whole = table.statement();
    let all = tokens(&whole);
    let words: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    for pair in words.windows(2) {
        let [one, two] = pair else { continue };
        if one.is_word("SYSTEM") && two.is_word("VERSIONING") {
            notes.refused("MySQL has no system versioning; DROP SYSTEM VERSIONING first");
        }
        if one.is_word("PERIOD") && two.is_word("FOR") {
            notes.refused("MySQL has no periods; drop the period first");
        }
    }
}

/// A unique index over a column that is too long for one is made of hashes, by MariaDB alone.
fn refuse_hashes(table: &CreateTable, notes: &mut Notes<'_>) {
    let long: Vec<&str> = columns(table)
        .filter(|(_, text)| is_too_long(text))
        .map(|(name, _)| name)
        .collect();
    for item in &table.items {
        let ItemKind::Key {
            name,
            kind: KeyKind::Unique,
            ..
        } = &item.kind
        else {
            continue;
        };
        let all = tokens(&item.text);
        let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
        let open = meaning.iter().position(|token| token.is_symbol("("));
        let parts = meaning.get(open.unwrap_or(0)..).unwrap_or_default();
        let found = parts.windows(2).find_map(|pair| match pair {
            [column, next] if !next.is_symbol("(") => column
                .name()
                .filter(|column| long.contains(&column.as_str())),
            _other => None,
        });
        if let Some(column) = found {
            notes.refused(format!(
                "index {name} is unique over column {column}, which is too long for an index of \
                 MySQL; make it unique over a generated column, such as SHA2({column}, 256)"
            ));
        }
    }
}

/// Whether no index of MySQL takes the whole column.
fn is_too_long(text: &str) -> bool {
    let all = tokens(text);
    let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    match meaning.as_slice() {
        [_, kind, ..] if LONG_TYPES.iter().any(|long| kind.is_word(long)) => true,
        [_, kind, open, length, ..]
            if (kind.is_word("VARCHAR") || kind.is_word("VARBINARY")) && open.is_symbol("(") =>
        {
            let length: u64 = length.text.parse().unwrap_or(0);
            let letters = if kind.is_word("VARCHAR") { 1 } else { 4 };
            length > INDEXED_LETTERS_MAX * letters
        }
        _other => false,
    }
}

/// `PARTITION p DEFAULT` takes what no other partition does.
fn refuse_default_partition(table: &CreateTable, notes: &mut Notes<'_>) {
    let all = tokens(&table.options);
    let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let is_there = meaning.windows(3).any(|three| match three {
        [partition, _, default] => partition.is_word("PARTITION") && default.is_word("DEFAULT"),
        _other => false,
    });
    if is_there {
        notes.refused(
            "it has a DEFAULT partition, which MySQL does not have; name the values of each \
             partition",
        );
    }
}

fn item(item: &Item, notes: &mut Notes<'_>) -> String {
    match &item.kind {
        ItemKind::Column(name) => column(&pressed(name, &item.text, notes)),
        ItemKind::Key { name, kind, .. } => {
            let first = tokens(&item.text);
            if *kind == KeyKind::Special && first.first().is_some_and(|one| one.is_word("VECTOR")) {
                notes.refused(format!(
                    "index {name} is over vectors, which MySQL does not index; DROP INDEX first"
                ));
            }
            key(&item.text)
        }
        ItemKind::Check => check(&item.text),
        ItemKind::PrimaryKey | ItemKind::ForeignKey(_) => item.text.clone(),
        ItemKind::Other => {
            notes.refused("a part of its definition has no counterpart in MySQL");
            item.text.clone()
        }
    }
}

/// How MariaDB keeps the values of a column is no part of them.
fn pressed(name: &str, text: &str, notes: &mut Notes<'_>) -> String {
    let mut all = tokens(text);
    let Some(begin) = all
        .iter()
        .position(|token| token.kind == TokenKind::VersionOpen && token.text.starts_with("/*M!"))
    else {
        return text.to_owned();
    };
    let length = all
        .iter()
        .skip(begin)
        .position(|token| token.kind == TokenKind::VersionClose);
    let Some(length) = length else {
        return text.to_owned();
    };
    notes.changed(format!(
        "column {name} is COMPRESSED, which MySQL does not have; it is kept as it is there"
    ));
    all.drain(begin..=begin + length);
    joined(&all)
}

/// Defaults that are expressions get their parentheses.
fn column(text: &str) -> String {
    let all = tokens(text);
    let type_word = all.iter().filter(|token| token.is_meaning()).nth(1);
    let is_long = LONG_TYPES
        .iter()
        .any(|long| type_word.is_some_and(|token| token.is_word(long)));
    let Some(default) = all.iter().position(|token| token.is_word("DEFAULT")) else {
        return text.to_owned();
    };
    let value = all
        .iter()
        .enumerate()
        .skip(default + 1)
        .find(|(_, token)| token.is_meaning());
    let Some((begin, value)) = value else {
        return text.to_owned();
    };
    let is_call = all.get(begin + 1).is_some_and(|token| token.is_symbol("("));
    let is_bare = BARE_FUNCTIONS.iter().any(|name| value.is_word(name));
    let end = if value.kind == TokenKind::Word && is_call && !is_bare {
        closing(&all, begin + 1)
    } else if is_long && value.kind == TokenKind::Text {
        begin + 1
    } else {
        return text.to_owned();
    };
    let part = |range: std::ops::Range<usize>| joined(all.get(range).unwrap_or_default());
    format!(
        "{}({}){}",
        part(0..begin),
        part(begin..end),
        part(end..all.len())
    )
}

/// The place after the parenthesis that closes the one at `open`.
fn closing(all: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in all.iter().enumerate().skip(open) {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    all.len()
}

/// What MariaDB calls IGNORED is INVISIBLE.
fn key(text: &str) -> String {
    tokens(text)
        .iter()
        .map(|token| {
            if token.is_word("IGNORED") {
                "INVISIBLE"
            } else {
                token.text
            }
        })
        .collect()
}

/// The names that MariaDB gives to checks are unique in a table only, in MySQL in a database.
fn check(text: &str) -> String {
    let all = tokens(text);
    let begins = all.first().is_some_and(|token| token.is_word("CONSTRAINT"));
    let name = all.iter().find_map(Token::name);
    let is_made_up = name
        .as_deref()
        .and_then(|name| name.strip_prefix("CONSTRAINT_"))
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let check = all.iter().position(|token| token.is_word("CHECK"));
    match check {
        Some(check) if begins && is_made_up => joined(all.get(check..).unwrap_or_default()),
        Some(_) | None => text.to_owned(),
    }
}

/// The options without those that MySQL does not have.
fn options(text: &str, notes: &mut Notes<'_>) -> String {
    let all = tokens(text);
    let mut written = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(token) = all.get(at) {
        let word = token.name().unwrap_or_else(|| token.text.to_owned());
        let is_foreign = matches!(token.kind, TokenKind::Word | TokenKind::Name)
            && FOREIGN_OPTIONS.contains(&word.to_ascii_uppercase().as_str());
        let value = all
            .iter()
            .enumerate()
            .skip(at + 1)
            .filter(|(_, token)| token.is_meaning())
            .take(2)
            .collect::<Vec<_>>();
        match value.as_slice() {
            [(_, equals), (end, _)] if is_foreign && equals.is_symbol("=") => {
                notes.changed(format!("table option {word} has no counterpart in MySQL"));
                at = end + 1;
            }
            _other => {
                written.push_str(token.text);
                at += 1;
            }
        }
    }
    written
}

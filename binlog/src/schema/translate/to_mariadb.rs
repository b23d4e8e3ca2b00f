//! From MySQL's words to MariaDB's.

use super::{Notes, rewritten};
use crate::schema::create_table::{CreateTable, Item, ItemKind};
use crate::schema::sql::{Token, TokenKind, joined, tokens};

pub(super) fn table(table: &CreateTable, notes: &mut Notes<'_>) -> CreateTable {
    let mut translated = rewritten(table, |item| {
        self::item(item, notes).map(|text| plain_literals(&text))
    });
    translated.options = options(&table.options, notes);
    translated
}

fn item(item: &Item, notes: &mut Notes<'_>) -> Option<String> {
    match &item.kind {
        ItemKind::Column(name) => Some(column(name, &item.text, notes)),
        ItemKind::Key { name, .. } => {
            refuse_expressions(name, &item.text, notes);
            refuse_parser(name, &item.text, notes);
            Some(key(&item.text))
        }
        ItemKind::Check => check(&item.text, notes),
        ItemKind::PrimaryKey | ItemKind::ForeignKey(_) => Some(item.text.clone()),
        ItemKind::Other => {
            notes.refused("a part of its definition has no counterpart in MariaDB");
            Some(item.text.clone())
        }
    }
}

/// The comments that MySQL executes, each as its version and its words.
///
/// MariaDB leaves those of MySQL 5.7 and later out.
fn opened<'a>(all: &[Token<'a>], mut inside: impl FnMut(&[Token<'a>]) -> String) -> String {
    let mut written = String::new();
    let mut at = 0;
    while let Some(token) = all.get(at) {
        if token.kind == TokenKind::VersionOpen {
            let length = all
                .iter()
                .skip(at)
                .position(|token| token.kind == TokenKind::VersionClose)
                .unwrap_or(all.len() - at);
            let words = all.get(at + 1..at + length).unwrap_or_default();
            written.push_str(&inside(words));
            at += length + 1;
        } else {
            written.push_str(token.text);
            at += 1;
        }
    }
    written
}

fn begins(words: &[Token<'_>], word: &str) -> bool {
    let first = words.iter().find(|token| token.is_meaning());
    first.is_some_and(|token| token.is_word(word))
}

fn column(name: &str, text: &str, notes: &mut Notes<'_>) -> String {
    let written = opened(&tokens(text), |words| {
        if begins(words, "SRID") {
            notes.changed(format!(
                "column {name} takes geometries of any SRID in MariaDB, which cannot restrict it"
            ));
            String::new()
        } else if begins(words, "INVISIBLE") {
            "INVISIBLE".to_owned()
        } else {
            // Where and how it is stored.
            String::new()
        }
    });
    not_null_of_generated(name, &without_srid(&written), notes)
}

/// MariaDB takes no `NOT NULL` behind a generated column; what is generated stays the same.
fn not_null_of_generated(name: &str, text: &str, notes: &mut Notes<'_>) -> String {
    let all = tokens(text);
    if !all.iter().any(|token| token.is_word("GENERATED")) {
        return text.to_owned();
    }
    let mut depth = 0_i32;
    let mut outer: Vec<usize> = Vec::new();
    for (at, token) in all.iter().enumerate() {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth -= 1;
        } else if depth == 0 && token.is_meaning() {
            outer.push(at);
        }
    }
    let words = |at: usize, word: &str| all.get(at).is_some_and(|token| token.is_word(word));
    let found = outer.windows(2).find_map(|pair| match pair {
        [not, null] if words(*not, "NOT") && words(*null, "NULL") => Some((*not, *null)),
        _other => None,
    });
    let Some((not, null)) = found else {
        return text.to_owned();
    };
    notes.changed(format!(
        "column {name} is generated and NOT NULL; MariaDB takes it without NOT NULL alone"
    ));
    format!(
        "{}{}",
        joined(all.get(..not).unwrap_or_default()).trim_end(),
        joined(all.get(null + 1..).unwrap_or_default())
    )
}

/// Literals without the introducer that MySQL puts before each: MariaDB writes letters beyond ASCII
/// behind one as `\xC3` when it keeps the expression, and then reads that as letters.
fn plain_literals(text: &str) -> String {
    let all = tokens(text);
    let is_utf8 = |token: &Token<'_>| {
        ["_utf8mb4", "_utf8mb3", "_utf8"]
            .iter()
            .any(|name| token.is_word(name))
    };
    let kept = all.iter().enumerate().filter(|(at, token)| {
        let next = all.get(at + 1);
        !(is_utf8(token) && next.is_some_and(|next| next.kind == TokenKind::Text))
    });
    kept.map(|(_, token)| token.text).collect()
}

/// `SRID n` outside a comment, which is how some versions write it.
fn without_srid(text: &str) -> String {
    let all = tokens(text);
    let at = all.iter().enumerate().skip(1).find(|(at, token)| {
        token.is_word("SRID")
            && all
                .iter()
                .skip(at + 1)
                .find(|token| token.is_meaning())
                .is_some_and(|token| token.text.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let Some((at, _)) = at else {
        return text.to_owned();
    };
    let number = all.iter().skip(at + 1).position(Token::is_meaning);
    let end = at + 1 + number.map_or(0, |number| number + 1);
    format!(
        "{}{}",
        joined(all.get(..at).unwrap_or_default()),
        joined(all.get(end..).unwrap_or_default())
    )
}

/// An index over an expression has a parenthesis where a column's name would be.
fn refuse_expressions(name: &str, text: &str, notes: &mut Notes<'_>) {
    let all = tokens(text);
    let mut depth = 0_i32;
    let mut before_part = false;
    for token in all.iter().filter(|token| token.is_meaning()) {
        if token.is_symbol("(") {
            if depth == 1 && before_part {
                notes.refused(format!(
                    "index {name} is over an expression, which MariaDB does not have; index a \
                     generated column instead"
                ));
                return;
            }
            depth += 1;
            before_part = depth == 1;
        } else if token.is_symbol(")") {
            depth -= 1;
        } else {
            before_part = depth == 1 && token.is_symbol(",");
        }
    }
}

/// MariaDB has none of MySQL's parsers of words.
fn refuse_parser(name: &str, text: &str, notes: &mut Notes<'_>) {
    let all = tokens(text);
    let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let parser = meaning.windows(3).find_map(|three| match three {
        [with, parser, name] if with.is_word("WITH") && parser.is_word("PARSER") => Some(*name),
        _other => None,
    });
    if let Some(parser) = parser {
        notes.refused(format!(
            "index {name} uses the parser {}, which MariaDB does not have; make it again without",
            parser.text
        ));
    }
}

/// What MySQL calls INVISIBLE is IGNORED.
fn key(text: &str) -> String {
    let written = opened(&tokens(text), |words| {
        if begins(words, "INVISIBLE") {
            "IGNORED".to_owned()
        } else {
            // A parser of words is needed; MariaDB would say that it has none.
            joined(words)
        }
    });
    written.trim_end().to_owned()
}

/// A check that is not enforced is left out: MariaDB would enforce it.
fn check(text: &str, notes: &mut Notes<'_>) -> Option<String> {
    let all = tokens(text);
    let words: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let is_soft = words.windows(2).any(|pair| match pair {
        [one, two] => one.is_word("NOT") && two.is_word("ENFORCED"),
        _other => false,
    });
    if is_soft {
        notes.changed(format!(
            "check {} is not enforced; MariaDB enforces every check, so it is left out",
            all.iter().find_map(Token::name).unwrap_or_default()
        ));
        return None;
    }
    Some(text.to_owned())
}

/// Options in comments of MySQL 5.7 and later are left out by MariaDB; those of partitions stay.
fn options(text: &str, notes: &mut Notes<'_>) -> String {
    let mut kept = text.to_owned();
    for (word, instead) in [
        (
            "ENCRYPTION",
            "ENCRYPTION is not carried; MariaDB encrypts by its own settings",
        ),
        (
            "COMPRESSION",
            "COMPRESSION is not carried; what MariaDB has instead is PAGE_COMPRESSED",
        ),
    ] {
        if let Some(without) = without_option(&kept, word) {
            notes.changed(instead);
            kept = without;
        }
    }
    kept
}

/// The options without one that is a word and a text; `None` if it is not there.
fn without_option(text: &str, word: &str) -> Option<String> {
    let all = tokens(text);
    let at = all.iter().position(|token| token.is_word(word))?;
    let after = all.get(at + 1..).unwrap_or_default();
    let value = after.iter().position(|token| token.kind == TokenKind::Text);
    let rest = value.and_then(|value| after.get(value + 1..));
    Some(format!(
        "{}{}",
        joined(all.get(..at).unwrap_or_default()),
        joined(rest.unwrap_or_default())
    ))
}

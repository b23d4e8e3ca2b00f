//! A statement in a form that may be shown to everybody: without the values in it.

use super::parse::{Kind, Parsed};
use super::words::{DoubleQuotes, Word, located_words};

/// Letters of an outline.
const LETTERS_MAX: usize = 300;

/// A longer number may be a value of the application's, and no length or place.
const DIGITS_MAX: usize = 5;

/// The statement without its comments and values; `None` of a statement about accounts.
pub(super) fn outline(sql: &str, parsed: &Parsed, double_quotes: DoubleQuotes) -> Option<String> {
    match parsed.kind {
        Kind::Account => return None,
        Kind::Table(_)
        | Kind::Object
        | Kind::Event(_)
        | Kind::Database
        | Kind::Nothing
        | Kind::Other => {}
    }
    let mut outline = String::new();
    let mut end = 0;
    for (word, place) in located_words(sql, double_quotes) {
        // A body in quotes of its own.
        if matches!(&word, Word::Plain(word) if word.starts_with('$')) {
            outline.push_str(" ..");
            break;
        }
        if place.start > end && !outline.is_empty() {
            outline.push(' ');
        }
        end = place.end;
        match &word {
            Word::Text => outline.push_str("'..'"),
            Word::Plain(word) if is_value(word) => outline.push_str(".."),
            Word::Plain(_) | Word::Quoted(_) | Word::Sign(_) => {
                outline.push_str(sql.get(place).unwrap_or_default());
            }
        }
        if let Some((cut, _)) = outline.char_indices().nth(LETTERS_MAX) {
            outline.truncate(cut);
            outline.push_str(" ..");
            break;
        }
    }
    Some(outline)
}

fn is_value(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit()) && word.len() > DIGITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::ddl::parse::parse;

    fn of(sql: &str) -> Option<String> {
        let quotes = DoubleQuotes::Text;
        outline(sql, &parse(sql, "d", quotes), quotes)
    }

    #[test]
    fn values_and_comments_are_left_out() {
        assert_eq!(
            of("RENAME  TABLE `a b` TO\n c /* why */ , d.e to f").unwrap(),
            "RENAME TABLE `a b` TO c , d.e to f"
        );
        assert_eq!(
            of("ALTER TABLE t ADD c VARCHAR(20) DEFAULT 'it''s', ADD d BIGINT DEFAULT 123456, ADD e INT DEFAULT 0xabcdef")
                .unwrap(),
            "ALTER TABLE t ADD c VARCHAR(20) DEFAULT '..', ADD d BIGINT DEFAULT .., ADD e INT DEFAULT .."
        );
        assert_eq!(
            of("CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ return 'x' $$").unwrap(),
            "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS .."
        );
        assert_eq!(of("CREATE USER u IDENTIFIED BY 'p'"), None);
    }

    #[test]
    fn it_is_short() {
        let sql = format!("ALTER TABLE t COMMENT 'x', ADD é{} INT", "é".repeat(1000));
        assert_eq!(of(&sql).unwrap().chars().count(), LETTERS_MAX + 3);
    }
}

//! The `sql_mode` of stored programs.

use super::Notes;
use crate::schema::definitions::Program;
use crate::schema::sql::tokens;
use crate::version::ServerVersion;

/// Modes that say nothing about a program that exists.
const WITHOUT_MEANING: [&str; 5] = [
    "NO_AUTO_CREATE_USER",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "IGNORE_BAD_TABLE_OPTIONS",
];

/// Modes that only MariaDB has.
const OF_MARIADB: [&str; 5] = [
    "EMPTY_STRING_IS_NULL",
    "SIMULTANEOUS_ASSIGNMENT",
    "TIME_ROUND_FRACTIONAL",
    "ORACLE",
    "MSSQL",
];

/// Modes that only MySQL has.
const OF_MYSQL: [&str; 1] = ["TIME_TRUNCATE_FRACTIONAL"];

/// Old modes that are short for others, which are in the list too.
const SHORT_NAMES: [&str; 5] = ["DB2", "MAXDB", "MYSQL323", "MYSQL40", "POSTGRESQL"];

/// Whether a function is one over the rows of a group, written in SQL (MariaDB).
pub(super) fn is_aggregate(program: &Program) -> bool {
    program.kind == "function"
        && tokens(&program.statement)
            .iter()
            .take_while(|token| !token.is_word("FUNCTION"))
            .any(|token| token.is_word("AGGREGATE"))
}

/// What only newer versions of MySQL have.
pub(super) fn of_new_mysql(program: &Program) -> Option<&'static str> {
    let all = tokens(&program.statement);
    let words: Vec<_> = all.iter().filter(|token| token.is_meaning()).collect();
    words.windows(2).find_map(|pair| match pair {
        [one, two] if one.is_word("DUALITY") && two.is_word("VIEW") => Some("duality view"),
        [one, two] if one.is_word("LANGUAGE") && two.is_word("JAVASCRIPT") => {
            Some("program in JavaScript")
        }
        _other => None,
    })
}

/// The modes as the target knows them.
pub(super) fn sql_mode(
    mode: &str,
    from: ServerVersion,
    to: ServerVersion,
    notes: &mut Notes<'_>,
) -> String {
    let is_new_mysql = to.is_mysql_at_least(8, 0, 0);
    let kept: Vec<&str> = mode
        .split(',')
        .filter(|word| {
            let word = word.to_ascii_uppercase();
            let is_other = from.flavour != to.flavour || is_new_mysql;
            if !is_other {
                return true;
            }
            let foreign = if to.is_mysql() {
                from.is_mariadb() && OF_MARIADB.contains(&word.as_str())
            } else {
                OF_MYSQL.contains(&word.as_str())
            };
            if foreign {
                notes.refused(format!(
                    "it was made with sql_mode {word}, which the target does not have; make it \
                     again without"
                ));
            }
            let gone = WITHOUT_MEANING.contains(&word.as_str())
                || is_new_mysql && SHORT_NAMES.contains(&word.as_str());
            !gone && !foreign
        })
        .collect();
    kept.join(",")
}

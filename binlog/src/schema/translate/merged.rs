//! The tables of a `MERGE` table, which are named without their database when it is the same.

use crate::name::quote_identifier;
use crate::schema::sql::{Token, TokenKind, tokens};

/// A table's options with the names in `UNION=(..)` in full, since the table is made without a
/// default database.
pub(super) fn in_full(options: &str, database: &str) -> String {
    let all = tokens(options);
    let Some(union) = all.iter().position(|token| token.is_word("UNION")) else {
        return options.to_owned();
    };
    let mut written = String::with_capacity(options.len());
    let mut is_inside = false;
    let mut before: Option<Token<'_>> = None;
    for (at, token) in all.iter().enumerate() {
        if at > union && token.is_symbol(")") {
            is_inside = false;
        }
        let next = all.iter().skip(at + 1).find(|next| next.is_meaning());
        let begins = before.is_some_and(|one| one.is_symbol("(") || one.is_symbol(","));
        let is_bare = !next.is_some_and(|next| next.is_symbol("."));
        if is_inside && begins && is_bare && token.kind == TokenKind::Name {
            written.push_str(&quote_identifier(database));
            written.push('.');
        }
        written.push_str(token.text);
        // Only the first parenthesis behind the word.
        let follows = before.is_some_and(|one| one.is_symbol("=") || one.is_word("UNION"));
        if at > union && token.is_symbol("(") && follows {
            is_inside = true;
        }
        if token.is_meaning() {
            before = Some(*token);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_database_get_it() {
        assert_eq!(
            in_full(
                " ENGINE=MRG_MyISAM COMMENT='UNION=(`x`)' UNION=(`a`,`other`.`b`, `c`) \
                 INSERT_METHOD=LAST",
                "s`p"
            ),
            " ENGINE=MRG_MyISAM COMMENT='UNION=(`x`)' UNION=(`s``p`.`a`,`other`.`b`, `s``p`.`c`) \
             INSERT_METHOD=LAST"
        );
        let none = " ENGINE=InnoDB\n/*!50100 PARTITION BY HASH (`union`) */";
        assert_eq!(in_full(none, "s"), none);
    }
}

//! Where a server keeps the rows of a table: that is the server's own, and no part of them.

use super::Notes;
use crate::schema::sql::{Token, TokenKind, tokens};

/// Tablespaces that every server has.
const EVERYWHERE: [&str; 3] = ["innodb_system", "innodb_file_per_table", "innodb_temporary"];

/// A table's options and partitions without the names of tablespaces and directories; each file is
/// then where the target keeps its files.
pub(super) fn without(options: &str, notes: &mut Notes<'_>) -> String {
    let all = tokens(options);
    let mut written = String::with_capacity(options.len());
    let mut at = 0;
    while let Some(token) = all.get(at) {
        match place(&all, at) {
            Some((end, what)) => {
                notes.changed(format!(
                    "{what} is a place of the source alone; it is kept where the target keeps its \
                     tables"
                ));
                at = end;
            }
            None => {
                written.push_str(token.text);
                at += 1;
            }
        }
    }
    written
}

/// The end of a clause that begins here and names a place, and what it is.
fn place(all: &[Token<'_>], at: usize) -> Option<(usize, String)> {
    let first = all.get(at)?;
    let mut rest = all.iter().enumerate().skip(at + 1);
    let mut next = || rest.find(|(_, token)| token.is_meaning());
    let (what, kind) = if first.is_word("TABLESPACE") {
        ("TABLESPACE".to_owned(), TokenKind::Name)
    } else if first.is_word("DATA") || first.is_word("INDEX") {
        let (_, directory) = next()?;
        if !directory.is_word("DIRECTORY") {
            return None;
        }
        let what = format!("{} DIRECTORY", first.text.to_ascii_uppercase());
        (what, TokenKind::Text)
    } else {
        return None;
    };
    let (mut end, mut value) = next()?;
    if value.is_symbol("=") {
        (end, value) = next()?;
    }
    if value.kind != kind {
        return None;
    }
    let name = value.name().unwrap_or_default();
    if EVERYWHERE.contains(&name.as_str()) {
        return None;
    }
    Some((end + 1, format!("{what} {}", value.text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_left_out_and_nothing_else() {
        let mut found = Vec::new();
        let mut notes = Notes {
            object: "table s.t",
            found: &mut found,
        };
        let options = " /*!50100 TABLESPACE `room` */ ENGINE=InnoDB DATA DIRECTORY='/x/' \
                       COMMENT='TABLESPACE `x`'\n/*!50100 PARTITION BY HASH (`tablespace`)\n\
                       (PARTITION p0 DATA DIRECTORY = '/y' ENGINE = InnoDB,\n \
                       PARTITION p1 TABLESPACE = `innodb_system` ENGINE = InnoDB) */";
        assert_eq!(
            without(options, &mut notes),
            " /*!50100  */ ENGINE=InnoDB  COMMENT='TABLESPACE `x`'\n/*!50100 PARTITION BY HASH \
             (`tablespace`)\n(PARTITION p0  ENGINE = InnoDB,\n PARTITION p1 TABLESPACE = \
             `innodb_system` ENGINE = InnoDB) */"
        );
        assert_eq!(found.len(), 3, "{found:?}");
    }
}

//! Which statement took tables away.

use super::Statement;
use super::parse::{Form, Kind, Verb};
use crate::apply::events::Ddl;
use crate::name::QualifiedName;
use crate::position::Position;

/// Tables that are gone, and what the log tells of them so far.
#[derive(Debug)]
pub(crate) struct Search {
    tables: Vec<(QualifiedName, Option<String>)>,
}

/// What a statement does to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    TakesAway,
    Gives,
    Nothing,
}

impl Search {
    pub(crate) fn new(tables: Vec<QualifiedName>) -> Self {
        let tables = tables.into_iter().map(|table| (table, None));
        Self {
            tables: tables.collect(),
        }
    }

    /// Looks at a statement of the log, which is the `nth` of its transaction.
    pub(crate) fn see(&mut self, ddl: Ddl, committed: &Position, nth: u32) {
        let statement = Statement::new(ddl, committed, nth);
        for (table, by) in &mut self.tables {
            match statement.does_to(table) {
                // A second one finds nothing to take away (`IF EXISTS`).
                Does::TakesAway => {
                    by.get_or_insert_with(|| statement.told());
                }
                Does::Gives => *by = None,
                Does::Nothing => {}
            }
        }
    }

    /// The statement that took the table away, with its place, if it was seen.
    pub(crate) fn by(&self, table: &QualifiedName) -> Option<&str> {
        let found = self.tables.iter().find(|(known, _)| known == table);
        found.and_then(|(_table, by)| by.as_deref())
    }
}

impl Statement {
    fn does_to(&self, table: &QualifiedName) -> Does {
        let objects = &self.parsed.objects;
        // Servers may not tell letters apart by their case.
        let is_same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let is_table = |object: &QualifiedName| {
            is_same(&object.schema, &table.schema) && is_same(&object.name, &table.name)
        };
        let place = objects.iter().rposition(is_table);
        match (self.parsed.kind, place) {
            (Kind::Table(Verb::Drop), Some(_)) => Does::TakesAway,
            // Old and new names follow each other.
            (Kind::Table(Verb::Rename), Some(place)) if place % 2 == 0 => Does::TakesAway,
            (Kind::Table(Verb::Alter), Some(0)) if objects.len() > 1 => Does::TakesAway,
            (Kind::Table(Verb::Create | Verb::Rename), Some(_)) => Does::Gives,
            (Kind::Table(Verb::Alter), Some(place)) if place > 0 => Does::Gives,
            (Kind::Database, _) => {
                let of_table = |object: &QualifiedName| is_same(&object.schema, &table.schema);
                if self.parsed.form == Form::Drops && objects.iter().any(of_table) {
                    Does::TakesAway
                } else {
                    Does::Nothing
                }
            }
            (
                Kind::Table(_)
                | Kind::Object
                | Kind::Event(_)
                | Kind::Account
                | Kind::Nothing
                | Kind::Other,
                _,
            ) => Does::Nothing,
        }
    }

    /// What it is and where, for messages.
    fn told(&self) -> String {
        format!(
            "{} behind {}{}",
            self.parsed.shown,
            self.place,
            self.outlined()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{BinlogFile, Gtids};

    /// What is found of `d.t` behind these statements.
    fn found(statements: &[&str]) -> Option<String> {
        let table = QualifiedName::new("d", "t");
        let mut search = Search::new(vec![table.clone()]);
        for (place, sql) in (100..).zip(statements) {
            let ddl = Ddl {
                schema: "d".to_owned(),
                sql: (*sql).to_owned(),
                ..Ddl::default()
            };
            let position = Position::new(BinlogFile::new("b.000001", place), Gtids::None);
            search.see(ddl, &position, 1);
        }
        search.by(&table).map(ToOwned::to_owned)
    }

    #[test]
    fn the_statement_that_took_a_table_away_is_found() {
        let told = found(&[
            "ALTER TABLE t ADD a INT",
            "RENAME TABLE t TO x",
            "DROP TABLE IF EXISTS t",
        ]);
        assert_eq!(
            told.unwrap(),
            "RENAME TABLE d.t behind b.000001:101#1 [RENAME TABLE t TO x]"
        );
        for sql in [
            "DROP TABLE a, t",
            "ALTER TABLE t RENAME TO y, ADD z INT",
            "RENAME TABLE a TO b, T TO c",
            "DROP DATABASE d",
        ] {
            assert!(
                found(&[sql])
                    .unwrap()
                    .contains(&format!("b.000001:100#1 [{sql}]"))
            );
        }
    }

    #[test]
    fn what_is_given_again_was_not_taken_away() {
        assert_eq!(found(&["DROP TABLE t", "CREATE TABLE t (id INT)"]), None);
        assert_eq!(found(&["RENAME TABLE t TO x, y TO t"]), None);
        assert_eq!(found(&["DROP TABLE t", "ALTER TABLE x RENAME t"]), None);
        assert_eq!(found(&["DROP TABLE other.t", "ALTER TABLE t DROP c"]), None);
    }
}

//! A table's definition, as `SHOW CREATE TABLE` writes it, in parts.
//!
//! Rows are loaded into a table that has as few indexes as it can live with; the others, and all
//! foreign keys, are added afterwards. Nothing is understood beyond what that needs: every part
//! keeps the server's own words.

use super::sql::{Token, TokenKind, joined, tokens};
use crate::name::QualifiedName;

/// A table's definition in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTable {
    /// The table.
    pub name: QualifiedName,
    /// Columns, indexes and constraints in order.
    pub items: Vec<Item>,
    /// What follows the closing parenthesis: options and partitions.
    pub options: String,
}

/// One part between the parentheses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its text, without the comma.
    pub text: String,
}

/// What a part of a table's definition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A column.
    Column(String),
    /// The primary key.
    PrimaryKey,
    /// An index.
    Key {
        /// Its name.
        name: String,
        /// What kind of index.
        kind: KeyKind,
        /// The column of its first part; `None` for an expression.
        first_column: Option<String>,
    },
    /// A foreign key.
    ForeignKey(String),
    /// A check.
    Check,
    /// Anything else, for instance `PERIOD FOR SYSTEM_TIME`.
    Other,
}

/// What kind of index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// One that may hold a value twice.
    Plain,
    /// One that may not.
    Unique,
    /// `FULLTEXT`, `SPATIAL` or `VECTOR`: the servers build one of them at a time.
    Special,
}

/// The text was not a table's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the definition of table {0} has a form that pointsman does not know")]
pub struct UnknownForm(pub QualifiedName);

/// How a table is made: first what its rows need, then the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stages {
    /// The `CREATE TABLE` before the rows.
    pub create: String,
    /// Names of the indexes that are added after the rows, with their clauses; each inner list is
    /// one statement.
    pub indexes: Vec<Vec<(String, String)>>,
    /// Foreign keys that are added last, with their clauses.
    pub foreign_keys: Vec<(String, String)>,
}

/// Whether indexes are built after the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// All that can be.
    AfterRows,
    /// With the table: for small ones, where one statement more costs more than it saves.
    WithTable,
}

impl CreateTable {
    /// Takes the text of `SHOW CREATE TABLE` apart.
    ///
    /// # Errors
    /// It has another form.
    pub fn parse(name: QualifiedName, text: &str) -> Result<Self, UnknownForm> {
        let all = tokens(text);
        let Some(open) = all.iter().position(|token| token.is_symbol("(")) else {
            return Err(UnknownForm(name));
        };
        let mut items = Vec::new();
        let mut depth = 0_u32;
        let mut begin = open + 1;
        for (at, token) in all.iter().enumerate().skip(open) {
            let ends_item = depth == 1 && (token.is_symbol(",") || token.is_symbol(")"));
            if ends_item {
                let part = all.get(begin..at).unwrap_or_default();
                match Item::of(part) {
                    Some(item) => items.push(item),
                    None => return Err(UnknownForm(name)),
                }
                begin = at + 1;
            }
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth -= 1;
                if depth == 0 {
                    let options = joined(all.get(at + 1..).unwrap_or_default());
                    return Ok(Self {
                        name,
                        items,
                        options,
                    });
                }
            }
        }
        Err(UnknownForm(name))
    }

    /// The whole definition as one statement.
    #[must_use]
    pub fn statement(&self) -> String {
        self.statement_of(self.items.iter())
    }

    fn statement_of<'a>(&self, items: impl Iterator<Item = &'a Item>) -> String {
        let texts: Vec<&str> = items.map(|item| item.text.as_str()).collect();
        format!(
            "CREATE TABLE {} (\n  {}\n){}",
            self.name.quoted(),
            texts.join(",\n  "),
            self.options
        )
    }

    /// How the table is made.
    #[must_use]
    pub fn stages(&self, when: Indexes) -> Stages {
        let has_primary = self
            .items
            .iter()
            .any(|item| item.kind == ItemKind::PrimaryKey);
        let counted = self.counted_column();
        let mut now = Vec::new();
        let mut together = Vec::new();
        let mut indexes = Vec::new();
        let mut foreign_keys = Vec::new();
        for item in &self.items {
            match &item.kind {
                ItemKind::ForeignKey(name) => {
                    foreign_keys.push((name.clone(), format!("ADD {}", item.text)));
                }
                ItemKind::Key {
                    name,
                    kind,
                    first_column,
                } if when == Indexes::AfterRows => {
                    // Without a primary key a unique index is where the rows are kept; and the
                    // server refuses a counted column that no index begins with.
                    let needed = (*kind == KeyKind::Unique && !has_primary)
                        || (counted.is_some() && *first_column == counted);
                    let clause = (name.clone(), format!("ADD {}", item.text));
                    if needed {
                        now.push(item);
                    } else if *kind == KeyKind::Special {
                        indexes.push(vec![clause]);
                    } else {
                        together.push(clause);
                    }
                }
                ItemKind::Key { .. }
                | ItemKind::Column(_)
                | ItemKind::PrimaryKey
                | ItemKind::Check
                | ItemKind::Other => now.push(item),
            }
        }
        if !together.is_empty() {
            indexes.insert(0, together);
        }
        Stages {
            create: self.statement_of(now.into_iter()),
            indexes,
            foreign_keys,
        }
    }

    /// The AUTO_INCREMENT column.
    fn counted_column(&self) -> Option<String> {
        self.items.iter().find_map(|item| match &item.kind {
            ItemKind::Column(name) => tokens(&item.text)
                .iter()
                .any(|token| token.is_word("AUTO_INCREMENT"))
                .then(|| name.clone()),
            ItemKind::PrimaryKey
            | ItemKind::Key { .. }
            | ItemKind::ForeignKey(_)
            | ItemKind::Check
            | ItemKind::Other => None,
        })
    }
}

impl Item {
    fn of(part: &[Token<'_>]) -> Option<Self> {
        let text = joined(part).trim().to_owned();
        let meaning: Vec<&Token<'_>> = part.iter().filter(|token| token.is_meaning()).collect();
        let first = meaning.first()?;
        let kind = if let Some(name) = first.name() {
            ItemKind::Column(name)
        } else if first.is_word("PRIMARY") {
            ItemKind::PrimaryKey
        } else if first.is_word("UNIQUE") {
            key(&meaning, KeyKind::Unique)?
        } else if first.is_word("KEY") || first.is_word("INDEX") {
            key(&meaning, KeyKind::Plain)?
        } else if ["FULLTEXT", "SPATIAL", "VECTOR"]
            .iter()
            .any(|word| first.is_word(word))
        {
            key(&meaning, KeyKind::Special)?
        } else if first.is_word("CONSTRAINT") {
            constraint(&meaning)
        } else if first.is_word("CHECK") {
            ItemKind::Check
        } else if first.is_word("FOREIGN") {
            // The server gives every foreign key a name.
            return None;
        } else {
            ItemKind::Other
        };
        Some(Self { kind, text })
    }

    /// An item of the same kind with another text.
    #[must_use]
    pub fn with_text(&self, text: impl Into<String>) -> Self {
        Self {
            kind: self.kind.clone(),
            text: text.into(),
        }
    }
}

fn key(meaning: &[&Token<'_>], kind: KeyKind) -> Option<ItemKind> {
    let name = meaning.iter().find_map(|token| token.name())?;
    let open = meaning.iter().position(|token| token.is_symbol("("))?;
    let first_column = meaning.get(open + 1).and_then(|token| token.name());
    Some(ItemKind::Key {
        name,
        kind,
        first_column,
    })
}

fn constraint(meaning: &[&Token<'_>]) -> ItemKind {
    let name = meaning.get(1).and_then(|token| token.name());
    let is = |word: &str| meaning.iter().take(3).any(|token| token.is_word(word));
    match name {
        Some(name) if is("FOREIGN") => ItemKind::ForeignKey(name),
        Some(_) | None if is("CHECK") => ItemKind::Check,
        Some(_) | None => ItemKind::Other,
    }
}

/// One `ALTER TABLE` with these clauses.
#[must_use]
pub fn alter(table: &QualifiedName, clauses: &[(String, String)]) -> String {
    let clauses: Vec<&str> = clauses.iter().map(|(_, clause)| clause.as_str()).collect();
    format!("ALTER TABLE {} {}", table.quoted(), clauses.join(", "))
}

impl CreateTable {
    /// The whole definition but for the counter, which changes with every insert.
    #[must_use]
    pub fn canonical(&self) -> String {
        let items: Vec<&str> = self.items.iter().map(|item| item.text.trim()).collect();
        format!("({}){}", items.join(","), without_counter(&self.options))
    }
}

/// A table's options without `AUTO_INCREMENT=n`, which changes with every insert.
#[must_use]
pub fn without_counter(options: &str) -> String {
    let all = tokens(options);
    let counter = all.iter().position(|token| token.is_word("AUTO_INCREMENT"));
    let Some(counter) = counter else {
        return options.to_owned();
    };
    // The word, an equals sign, the number; partitions come later and have no such word.
    let after = all.get(counter + 1..).unwrap_or_default();
    let number = after.iter().position(|token| token.kind == TokenKind::Word);
    let rest = number
        .and_then(|at| after.get(at + 1..))
        .unwrap_or_default();
    let before = all.get(..counter).unwrap_or_default();
    format!("{}{}", joined(before).trim_end(), joined(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::quote_identifier;

    const ORDERS: &str = "CREATE TABLE `or``ders` (
  `id` bigint NOT NULL AUTO_INCREMENT,
  `state` enum('a,b','c)','it''s') DEFAULT 'a,b' COMMENT 'x, KEY (`y`)',
  `total` decimal(10,2) GENERATED ALWAYS AS ((`a` * (1 + `b`))) STORED,
  `p` point NOT NULL /*!80003 SRID 4326 */,
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`state`,`total`),
  KEY `plain` (`total`) /*!80000 INVISIBLE */,
  KEY `functional` ((lower(`state`))),
  FULLTEXT KEY `words` (`state`),
  SPATIAL KEY `sp` (`p`),
  CONSTRAINT `fk,1` FOREIGN KEY (`state`) REFERENCES `other` (`s`) ON DELETE CASCADE,
  CONSTRAINT `positive` CHECK ((`total` > 0)) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4 COMMENT='a) b'
/*!50100 PARTITION BY RANGE (`id`)
(PARTITION p0 VALUES LESS THAN (10) ENGINE = InnoDB) */";

    fn orders() -> CreateTable {
        CreateTable::parse(QualifiedName::new("shop", "or`ders"), ORDERS).unwrap()
    }

    #[test]
    fn every_part_is_found_and_none_is_changed() {
        let table = orders();
        assert_eq!(table.items.len(), 12);
        let texts: Vec<&str> = table.items.iter().map(|item| item.text.as_str()).collect();
        let written = table.statement();
        assert!(written.starts_with("CREATE TABLE `shop`.`or``ders` (\n  `id` bigint"));
        let inner = texts.join(",\n  ");
        assert!(ORDERS.contains(&inner));
        assert!(written.ends_with("ENGINE = InnoDB) */"));
        assert!(without_counter(&table.options).starts_with(" ENGINE=InnoDB DEFAULT CHARSET"));
    }

    #[test]
    fn indexes_and_foreign_keys_come_later_but_what_rows_need_stays() {
        let stages = orders().stages(Indexes::AfterRows);
        assert!(!stages.create.contains("functional"));
        assert!(!stages.create.contains("fk,1"));
        assert!(stages.create.contains("positive"));
        let names: Vec<Vec<&str>> = stages
            .indexes
            .iter()
            .map(|statement| statement.iter().map(|(name, _)| name.as_str()).collect())
            .collect();
        assert_eq!(
            names,
            [vec!["u", "plain", "functional"], vec!["words"], vec!["sp"]]
        );
        assert_eq!(
            alter(&orders().name, &stages.foreign_keys),
            "ALTER TABLE `shop`.`or``ders` ADD CONSTRAINT `fk,1` FOREIGN KEY (`state`) REFERENCES \
             `other` (`s`) ON DELETE CASCADE"
        );
    }

    #[test]
    fn a_small_table_is_made_at_once_but_for_its_foreign_keys() {
        let stages = orders().stages(Indexes::WithTable);
        assert!(stages.create.contains("functional"));
        assert!(stages.indexes.is_empty());
        assert_eq!(stages.foreign_keys.len(), 1);
    }

    #[test]
    fn a_table_keeps_the_index_of_its_counted_column_and_its_only_key() {
        let text = "CREATE TABLE `t` (\n  `n` int NOT NULL AUTO_INCREMENT,\n  `u` int NOT NULL,\n  \
                    UNIQUE KEY `u` (`u`),\n  KEY `n` (`n`),\n  KEY `x` (`u`,`n`)\n) ENGINE=InnoDB";
        let table = CreateTable::parse(QualifiedName::new("s", "t"), text).unwrap();
        let stages = table.stages(Indexes::AfterRows);
        assert!(stages.create.contains("UNIQUE KEY `u`"));
        assert!(stages.create.contains("KEY `n`"));
        assert!(!stages.create.contains("KEY `x`"));
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        let name = || QualifiedName::new("s", "t");
        for text in ["", "CREATE TABLE `t`", "CREATE TABLE `t` (`a` int", "x ()"] {
            assert!(CreateTable::parse(name(), text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn odd_names_and_comments_never_move_a_border(
            names in proptest::collection::vec("[a-z`'(),\\\\ ]{1,8}", 1..5),
            comment in "[a-z`'(),\\\\ ]{0,12}",
        ) {
            let columns: Vec<String> = names
                .iter()
                .map(|name| format!(
                    "{} int COMMENT {}",
                    quote_identifier(name),
                    crate::name::quote_literal(&comment)
                ))
                .collect();
            let text = format!("CREATE TABLE `t` (\n  {}\n) ENGINE=InnoDB", columns.join(",\n  "));
            let table = CreateTable::parse(QualifiedName::new("s", "t"), &text).unwrap();
            prop_assert_eq!(table.items.len(), names.len());
            for (item, (name, text)) in table.items.iter().zip(names.iter().zip(&columns)) {
                prop_assert_eq!(&item.kind, &ItemKind::Column(name.clone()));
                prop_assert_eq!(&item.text, text);
            }
        }
    }
}

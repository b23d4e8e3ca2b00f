//! The statements that apply changes: one text for each table and shape.
//!
//! Values come as `text[]` parameters, one array for each column, and are cast to the column's own
//! type (never `unnest` of the type's array, which would flatten a column that is an array itself).
//! In every statement the target's table is `t`, the values are `v`; value columns are named by
//! their place: `k0` is the first key column, `c0` the stream's first column.
//!
//! Rows of a table without key, and values that may have changed under a unique index, are compared
//! as text: not every type has an equality (`json`, `point`, `xml`), and that of some types finds
//! different values equal (`numeric`). `concat` calls the type's output function, like the stream.

use std::fmt::Write;

use super::target_table::{KeyColumn, Reading, TargetColumn, TargetIdentity, TargetTable, Writing};

/// Which columns of a row image hold values (or NULL), by the stream's column order.
pub(super) type Presence = Box<[bool]>;

/// A kind of statement on one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// Which of these updates change a column that makes them a delete and an insert.
    FindMoving(Presence),
    /// Which of these keys the target does not have.
    FindMissing,
    /// Delete by key.
    Delete,
    /// Delete whole rows, so and so many times each.
    DeleteRows,
    /// Delete by key and insert with other values, keeping those that the stream left out.
    Move,
    /// Update in place by key.
    Update(Presence),
    /// Insert rows.
    Insert,
    /// Insert rows by COPY.
    Copy,
}

impl Shape {
    /// The statement's text and its number of `text[]` parameters.
    pub(super) fn sql(&self, table: &TargetTable) -> (String, usize) {
        match self {
            Self::FindMoving(presence) => find_moving(table, presence),
            Self::FindMissing => find_missing(table),
            Self::Delete => delete(table),
            Self::DeleteRows => delete_rows(table),
            Self::Move => move_rows(table),
            Self::Update(presence) => update(table, presence),
            Self::Insert => insert(table),
            Self::Copy => (copy(table), 0),
        }
    }
}

/// The columns that an update of this presence sets.
pub(super) fn set_columns(table: &TargetTable, presence: &[bool]) -> Vec<usize> {
    let plain = |column: &usize| matches!(table.columns[*column].writing, Writing::Plain);
    let present = (0..table.columns.len())
        .filter(|&column| presence[column])
        .filter(plain);
    let mut set: Vec<_> = present
        .clone()
        .filter(|&column| !table.in_key(column))
        .collect();
    if set.is_empty() {
        // All columns are key columns: the row is rewritten as it is, so that its absence is seen.
        set.extend(present.take(1));
    }
    set
}

/// The columns of which [`Shape::FindMoving`] compares the values.
pub(super) fn compared_columns(table: &TargetTable, presence: &[bool]) -> Vec<usize> {
    table
        .moving
        .iter()
        .copied()
        .filter(|&column| presence[column])
        .collect()
}

/// The columns that tell whole rows apart.
pub(super) fn whole_row_columns(table: &TargetTable) -> Vec<usize> {
    table.inserted().collect()
}

fn find_moving(table: &TargetTable, presence: &[bool]) -> (String, usize) {
    let compared = compared_columns(table, presence);
    let mut values = Values::keys(table);
    for &column in &compared {
        values.add(format!("c{column}"), None);
    }
    let changed: Vec<_> = compared
        .iter()
        .map(|&column| {
            format!(
                "{} IS DISTINCT FROM v.c{column}",
                as_text("t", &table.columns[column])
            )
        })
        .collect();
    let sql = format!(
        "SELECT v.ord FROM {} v JOIN ONLY {} AS t ON {} WHERE {}",
        values.select_ordered(),
        table.name.quoted(),
        key_equality(table),
        changed.join(" OR "),
    );
    (sql, values.len())
}

fn find_missing(table: &TargetTable) -> (String, usize) {
    let values = Values::keys(table);
    let sql = format!(
        "SELECT v.ord FROM {} v LEFT JOIN ONLY {} AS t ON {} WHERE t.ctid IS NULL \
         ORDER BY v.ord LIMIT 1",
        values.select_ordered(),
        table.name.quoted(),
        key_equality(table),
    );
    (sql, values.len())
}

fn delete(table: &TargetTable) -> (String, usize) {
    let name = table.name.quoted();
    if let [key] = key_columns(table) {
        let column = &table.columns[key.column];
        if !column.array && matches!(column.reading, Reading::Cast) {
            let sql = format!(
                "DELETE FROM ONLY {name} AS t WHERE t.{} {} ANY ($1::text[]::{}[])",
                column.sql(),
                key.equality,
                column.type_sql,
            );
            return (sql, 1);
        }
    }
    let values = Values::keys(table);
    let sql = format!(
        "DELETE FROM ONLY {name} AS t USING {} v WHERE {}",
        values.select(),
        key_equality(table),
    );
    (sql, values.len())
}

fn delete_rows(table: &TargetTable) -> (String, usize) {
    let columns = whole_row_columns(table);
    let mut values = Values::default();
    values.add("times".to_owned(), None);
    for &column in &columns {
        values.add(format!("c{column}"), None);
    }
    // One text a column that tells NULL from every value, so that rows can be joined by hash.
    let same: Vec<_> = columns
        .iter()
        .map(|&column| {
            format!(
                "coalesce('v' || {}, 'n') = coalesce('v' || v.c{column}, 'n')",
                as_text("s", &table.columns[column]),
            )
        })
        .collect();
    let name = table.name.quoted();
    let sql = format!(
        "DELETE FROM ONLY {name} AS t WHERE t.ctid = ANY (ARRAY(SELECT x.id FROM (\
         SELECT s.ctid AS id, v.times::int8 AS times, \
         pg_catalog.row_number() OVER (PARTITION BY v.ord) AS n \
         FROM {} v JOIN ONLY {name} AS s ON {}) x WHERE x.n <= x.times))",
        values.select_ordered(),
        same.join(" AND "),
    );
    (sql, values.len())
}

fn move_rows(table: &TargetTable) -> (String, usize) {
    let inserted: Vec<_> = table.inserted().collect();
    let mut values = Values::default();
    values.add("mask".to_owned(), None);
    for (place, key) in key_columns(table).iter().enumerate() {
        values.add(format!("k{place}"), Some(&table.columns[key.column]));
    }
    for &column in &inserted {
        values.add(format!("c{column}"), None);
    }
    let mut returned = String::from("v.ord, v.mask");
    let mut chosen = Vec::new();
    for &column in &inserted {
        let target = &table.columns[column];
        let given = target.read_sql(&format!("z.c{column}"));
        write_infallibly(&mut returned, format_args!(", v.c{column}"));
        if target.toastable {
            let name = target.sql();
            write_infallibly(&mut returned, format_args!(", t.{name} AS o{column}"));
            // A cast outside of the CASE could refuse the NULL that stands for a left-out value.
            chosen.push(format!(
                "CASE WHEN pg_catalog.substr(z.mask, {}, 1) = 'u' THEN z.o{column} ELSE {given} END",
                column + 1,
            ));
        } else {
            chosen.push(given);
        }
    }
    let sql = format!(
        "WITH v AS MATERIALIZED (SELECT * FROM {} v), \
         d AS (DELETE FROM ONLY {name} AS t USING v WHERE {} RETURNING {returned}) \
         INSERT INTO {name} ({}){} SELECT {} FROM (SELECT * FROM d ORDER BY d.ord) z",
        values.select_ordered(),
        key_equality(table),
        column_list(table, &inserted),
        overriding(table),
        chosen.join(", "),
        name = table.name.quoted(),
    );
    (sql, values.len())
}

fn update(table: &TargetTable, presence: &[bool]) -> (String, usize) {
    let set = set_columns(table, presence);
    let mut values = Values::keys(table);
    let mut assignments = Vec::new();
    for &column in &set {
        values.add(format!("c{column}"), Some(&table.columns[column]));
        assignments.push(format!("{} = v.c{column}", table.columns[column].sql()));
    }
    let sql = format!(
        "UPDATE ONLY {} AS t SET {} FROM {} v WHERE {}",
        table.name.quoted(),
        assignments.join(", "),
        values.select(),
        key_equality(table),
    );
    (sql, values.len())
}

fn insert(table: &TargetTable) -> (String, usize) {
    let inserted: Vec<_> = table.inserted().collect();
    let mut values = Values::default();
    for &column in &inserted {
        values.add(format!("c{column}"), Some(&table.columns[column]));
    }
    let sql = format!(
        "INSERT INTO {} ({}){} SELECT * FROM {} v",
        table.name.quoted(),
        column_list(table, &inserted),
        overriding(table),
        values.select(),
    );
    (sql, values.len())
}

fn copy(table: &TargetTable) -> String {
    let inserted: Vec<_> = table.inserted().collect();
    format!(
        "COPY {} ({}) FROM STDIN",
        table.name.quoted(),
        column_list(table, &inserted)
    )
}

/// The `text[]` parameters of a statement and what is made of them.
#[derive(Default)]
struct Values {
    names: Vec<String>,
    selected: Vec<String>,
}

impl Values {
    /// The key columns, cast to their types.
    fn keys(table: &TargetTable) -> Self {
        let mut values = Self::default();
        for (place, key) in key_columns(table).iter().enumerate() {
            values.add(format!("k{place}"), Some(&table.columns[key.column]));
        }
        values
    }

    /// Adds an array, cast to the type of `column`, or left as text.
    fn add(&mut self, name: String, column: Option<&TargetColumn>) {
        let text = format!("u.{name}");
        self.selected.push(match column {
            Some(column) => format!("{} AS {name}", column.read_sql(&text)),
            None => text,
        });
        self.names.push(name);
    }

    fn len(&self) -> usize {
        self.names.len()
    }

    fn select(&self) -> String {
        format!(
            "(SELECT {} FROM unnest({}) AS u({}))",
            self.selected.join(", "),
            self.parameters(),
            self.names.join(", "),
        )
    }

    fn select_ordered(&self) -> String {
        format!(
            "(SELECT {}, u.ord FROM unnest({}) WITH ORDINALITY AS u({}, ord))",
            self.selected.join(", "),
            self.parameters(),
            self.names.join(", "),
        )
    }

    fn parameters(&self) -> String {
        let parameters: Vec<_> = (1..=self.names.len())
            .map(|place| format!("${place}::text[]"))
            .collect();
        parameters.join(", ")
    }
}

fn key_columns(table: &TargetTable) -> &[KeyColumn] {
    match &table.identity {
        TargetIdentity::Key(key) => key,
        TargetIdentity::WholeRow => &[],
    }
}

/// The condition that `t` is the row of the key in `v`, by the index's own equality.
fn key_equality(table: &TargetTable) -> String {
    let equal: Vec<_> = key_columns(table)
        .iter()
        .enumerate()
        .map(|(place, key)| {
            format!(
                "t.{} {} v.k{place}",
                table.columns[key.column].sql(),
                key.equality
            )
        })
        .collect();
    equal.join(" AND ")
}

/// A column's value as the stream would write it; NULL is NULL.
fn as_text(alias: &str, column: &TargetColumn) -> String {
    // IS NULL is true of a composite whose fields are all NULL; IS NOT DISTINCT FROM NULL is not.
    let name = column.sql();
    format!(
        "(CASE WHEN {alias}.{name} IS DISTINCT FROM NULL \
         THEN pg_catalog.concat({alias}.{name}) END) COLLATE pg_catalog.\"C\""
    )
}

fn column_list(table: &TargetTable, columns: &[usize]) -> String {
    let names: Vec<_> = columns
        .iter()
        .map(|&column| table.columns[column].sql())
        .collect();
    names.join(", ")
}

fn overriding(table: &TargetTable) -> &'static str {
    let identity = table
        .columns
        .iter()
        .any(|column| matches!(column.writing, Writing::InsertOnly));
    if identity {
        " OVERRIDING SYSTEM VALUE"
    } else {
        ""
    }
}

fn write_infallibly(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("invariant: writing to a String cannot fail");
}

#[cfg(test)]
mod tests;

//! What is read: the tables that can be compared, and the pieces that each side's are read in.

use std::collections::HashMap;

use router::Side;
use router::verify::{TableReport, buckets_for};

use super::cannot_compare;
use super::error::VerifyError;
use super::render::{self, Encoding};
use super::session::Readers;
use crate::name::{QualifiedName, some_of};
use crate::schema::catalog::{Catalog, Choice, Column, Persistence, Table, TableKind};

/// Pages of one piece, of 8 KiB as a rule: what is read in one statement, and throttled.
const PIECE_PAGES: u32 = 16_384;

/// The first version that reads a range of pages without looking at the others.
const HAS_TID_RANGES: u32 = 14;

/// Rows that a page has at least, for tables that were never analyzed.
const ROWS_ON_A_PAGE: u64 = 20;

/// A table that is compared.
pub(super) struct Work {
    pub(super) name: QualifiedName,
    /// The row's hash, in SQL.
    pub(super) row_hash: String,
    /// The bucket, in SQL.
    pub(super) bucket: String,
    /// What names a row, in SQL.
    pub(super) row_name: String,
    pub(super) has_key: bool,
}

/// A piece of one side of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which table.
    pub(super) work: usize,
    /// From which page on.
    pub(super) from: Option<u32>,
    /// Before which page.
    pub(super) to: Option<u32>,
    /// About how many bytes that is.
    pub(super) bytes: u64,
}

/// Everything that is read.
pub(super) struct Plan {
    pub(super) works: Vec<Work>,
    pub(super) source: Vec<Piece>,
    pub(super) target: Vec<Piece>,
    incomparable: Vec<TableReport>,
}

impl Plan {
    /// Plans the comparison; also says what is left out.
    ///
    /// # Errors
    /// When a server fails.
    pub(super) async fn new(
        readers: &Readers,
        source: &Catalog,
        target: &Catalog,
    ) -> Result<(Self, Vec<String>), VerifyError> {
        let ground = ground(readers).await?;
        let mut plan = Self {
            works: Vec::new(),
            source: Vec::new(),
            target: Vec::new(),
            incomparable: Vec::new(),
        };
        let there: HashMap<&QualifiedName, &Table> = target
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        let mut moved: Vec<&Table> = source.moved_tables().collect();
        // The largest first: the last ones to be read are then small.
        moved.sort_by_key(|table| std::cmp::Reverse(table.bytes));
        for table in moved {
            let compared = there
                .get(&table.name)
                .ok_or_else(|| "the target has no such table".to_owned())
                .and_then(|other| comparable(table, other).map(|()| *other));
            match (compared, &ground) {
                (Ok(other), Ok(encoding)) => {
                    let work = plan.works.len();
                    plan.works.push(Work::new(table, *encoding));
                    let (here, there) = (source.major_version, target.major_version);
                    plan.source.extend(pieces(work, table, here));
                    plan.target.extend(pieces(work, other, there));
                }
                (Err(why), _) => plan.incomparable.push(cannot_compare(&table.name, why)),
                (Ok(_), Err(why)) => {
                    let report = cannot_compare(&table.name, why.clone());
                    plan.incomparable.push(report);
                }
            }
        }
        Ok((plan, left_out(source)))
    }

    /// The tables that cannot be compared.
    pub(super) fn take_incomparable(&mut self) -> Vec<TableReport> {
        std::mem::take(&mut self.incomparable)
    }

    /// Bytes of both sides.
    pub(super) fn bytes(&self) -> u64 {
        let pieces = self.source.iter().chain(&self.target);
        pieces.map(|piece| piece.bytes).sum()
    }
}

impl Work {
    fn new(table: &Table, encoding: Encoding) -> Self {
        let columns = table.key.iter().flat_map(|key| &key.columns);
        let key: Vec<&Column> = columns
            .filter_map(|name| table.columns.iter().find(|column| &column.name == name))
            .collect();
        let row_hash = render::row_hash(&table.columns, encoding);
        let placed_by = match key.is_empty() {
            true => row_hash.clone(),
            false => render::key_hash(&key, encoding),
        };
        let guessed = u64::from(table.pages) * ROWS_ON_A_PAGE;
        let buckets = buckets_for(table.rows_estimate.max(guessed));
        Self {
            name: table.name.clone(),
            bucket: format!("(({placed_by}) & {})::integer", buckets - 1),
            row_hash,
            row_name: render::row_name(&key),
            has_key: !key.is_empty(),
        }
    }
}

/// How texts are hashed; or why nothing can be compared.
async fn ground(readers: &Readers) -> Result<Result<Encoding, String>, VerifyError> {
    let sql = format!(
        "SELECT ({}), pg_catalog.current_setting('server_encoding')",
        render::CANARY
    );
    let mut said = Vec::new();
    for side in [Side::Source, Side::Target] {
        let rows = readers.reader(side).query(&sql, &[]).await;
        let doing = "trying its hash functions";
        let rows = rows.map_err(|unread| unread.fatal(side, doing))?;
        let Some(row) = rows.first() else {
            return Ok(Err(format!("the {side} does not try its hash functions")));
        };
        let text = |column| row.try_get::<_, String>(column);
        let failed = || VerifyError::sql(side, doing);
        said.push((text(0).map_err(failed())?, text(1).map_err(failed())?));
    }
    let same_hashes = said.iter().all(|(hashes, _)| *hashes == said[0].0);
    let utf8 = said.iter().all(|(_, encoding)| encoding == "UTF8");
    Ok(match (same_hashes, utf8) {
        (false, _) => Err(
            "the servers' hash functions give different values (machines of another byte order?)"
                .to_owned(),
        ),
        (true, true) => Ok(Encoding::Same),
        (true, false) => Ok(Encoding::Converted),
    })
}

/// Whether rows of the two have the same columns.
fn comparable(here: &Table, there: &Table) -> Result<(), String> {
    let mut differing = Vec::new();
    for column in &here.columns {
        match there.columns.iter().find(|other| other.name == column.name) {
            None => differing.push(format!("column {} is missing", column.name)),
            Some(other) if other.type_name != column.type_name => differing.push(format!(
                "column {} is {} on the source and {} on the target",
                column.name, column.type_name, other.type_name
            )),
            Some(_) => {}
        }
    }
    for column in &there.columns {
        if !here.columns.iter().any(|other| other.name == column.name) {
            differing.push(format!("column {} is only on the target", column.name));
        }
    }
    match there.kind {
        TableKind::Ordinary => {}
        TableKind::Partitioned => differing.push("it is partitioned on the target".to_owned()),
    }
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!("its definition differs: {}", some_of(&differing))),
    }
}

fn pieces(work: usize, table: &Table, major_version: u32) -> Vec<Piece> {
    let whole = Piece {
        work,
        from: None,
        to: None,
        bytes: table.bytes,
    };
    if major_version < HAS_TID_RANGES || table.pages <= PIECE_PAGES {
        return vec![whole];
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    let count = table.pages.div_ceil(PIECE_PAGES);
    let bytes = table.bytes / u64::from(count);
    while from < table.pages {
        let to = from.saturating_add(PIECE_PAGES);
        pieces.push(Piece {
            work,
            from: Some(from),
            // The last one has what was added since the size was asked.
            to: (to < table.pages).then_some(to),
            bytes,
        });
        from = to;
    }
    pieces
}

/// What is not moved, and so not compared.
fn left_out(source: &Catalog) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |what: &str, names: Vec<&QualifiedName>| {
        if !names.is_empty() {
            said.push(format!("{what}: {}", some_of(&names)));
        }
    };
    let rows = || {
        source
            .tables
            .iter()
            .filter(|table| table.kind == TableKind::Ordinary && table.extension.is_none())
    };
    let names = |chosen: &dyn Fn(&Table) -> bool| -> Vec<&QualifiedName> {
        rows()
            .filter(|table| chosen(table))
            .map(|table| &table.name)
            .collect()
    };
    say(
        "excluded by copy.tables",
        names(&|table| table.choice == Choice::Excluded),
    );
    say(
        "unlogged tables, which are not moved",
        names(&|table| {
            table.choice == Choice::Chosen && table.persistence == Persistence::Unlogged
        }),
    );
    let views = source.materialized_views.iter().map(|view| &view.name);
    say("contents of materialized views", views.collect());
    if source.large_objects > 0 {
        said.push(format!("{} large objects", source.large_objects));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::catalog::{ColumnOrigin, Nullability, ReplicaIdentity};

    fn table(pages: u32, columns: &[(&str, &str)]) -> Table {
        let columns = columns.iter().map(|(name, type_name)| Column {
            name: (*name).to_owned(),
            type_name: (*type_name).to_owned(),
            nullability: Nullability::Nullable,
            origin: ColumnOrigin::Stored,
        });
        Table {
            oid: 1,
            name: QualifiedName::new("public", "a"),
            kind: TableKind::Ordinary,
            persistence: Persistence::Permanent,
            columns: columns.collect(),
            key: None,
            identity: ReplicaIdentity::Full,
            parents: Vec::new(),
            extension: None,
            choice: Choice::Chosen,
            pages,
            bytes: u64::from(pages) * 8192,
            rows_estimate: 0,
        }
    }

    #[test]
    fn the_pieces_of_a_table_leave_nothing_out_and_the_last_one_is_open() {
        let pieces = pieces(0, &table(PIECE_PAGES * 2 + 1, &[]), 14);
        let ranges: Vec<_> = pieces.iter().map(|piece| (piece.from, piece.to)).collect();
        assert_eq!(
            ranges,
            [
                (Some(0), Some(PIECE_PAGES)),
                (Some(PIECE_PAGES), Some(PIECE_PAGES * 2)),
                (Some(PIECE_PAGES * 2), None),
            ]
        );
    }

    #[test]
    fn small_tables_and_old_servers_read_in_one_piece() {
        for (pages, version) in [(PIECE_PAGES, 18), (PIECE_PAGES * 9, 13)] {
            assert_eq!(pieces(0, &table(pages, &[]), version).len(), 1);
        }
    }

    #[test]
    fn tables_of_other_columns_cannot_be_compared() {
        let here = table(1, &[("id", "bigint"), ("n", "integer")]);
        assert_eq!(comparable(&here, &here), Ok(()));
        let there = table(1, &[("n", "bigint"), ("more", "text")]);
        let why = comparable(&here, &there).unwrap_err();
        for part in [
            "column id is missing",
            "column n is integer on the source and bigint on the target",
            "column more is only on the target",
        ] {
            assert!(why.contains(part), "{why}");
        }
    }
}

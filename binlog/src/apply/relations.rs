//! The tables that the stream has described, and what the target has for each.
//!
//! A table is looked up on the target when its first change is to be applied, and again after each
//! definition statement and whenever the stream describes it differently.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{ApplyError, Doing, TableError};
use super::events::{SourceColumn, TableMap};
use super::field::{FieldType, Framing};
use super::target_table::{ForeignKeyToUs, Method, TargetTable, read_cascades};
use crate::name::QualifiedName;
use crate::position::Position;
use crate::schema::bookkeeping;
use crate::wire::SqlConn;

/// Position of each table's copy: changes of transactions that committed before it are in the copy.
pub type Watermarks = HashMap<(String, String), Position>;

/// The described tables, by the source's number.
pub(super) struct Relations<'w> {
    watermarks: &'w Watermarks,
    method: Method,
    known: HashMap<u64, Known>,
    cascades: Option<Vec<ForeignKeyToUs>>,
    next_id: u64,
}

/// What to do with a change of a table.
pub(super) enum Destination {
    /// Apply it to this table.
    Apply(Arc<TargetTable>),
    /// It is in the table's copy already.
    InCopy(Arc<TargetTable>),
    /// It is a marker of ours; the token is in this column, if it is there.
    Marker(Option<Token>),
    /// The transaction is one of an applier of ours.
    Applied,
    /// A table of ours whose changes mean nothing here.
    Nothing,
}

/// Where a marker's token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) column: usize,
    pub(super) framing: Framing,
}

struct Known {
    map: Arc<TableMap>,
    /// Kept here, since every change asks for it.
    watermark: Option<Position>,
    state: State,
}

enum State {
    /// Described; no change was applied yet.
    Described,
    /// Found on the target.
    Found(Arc<TargetTable>),
    /// The source dropped it while it was to be copied; nothing refers to it.
    Gone,
    /// Our own marker table.
    Marker(Option<Token>),
    /// Our own progress table.
    Progress,
    /// Another table of ours.
    Own,
}

impl<'w> Relations<'w> {
    pub(super) fn new(watermarks: &'w Watermarks, method: Method) -> Self {
        Self {
            watermarks,
            method,
            known: HashMap::new(),
            cascades: None,
            next_id: 1,
        }
    }

    /// Takes the stream's description of a table.
    pub(super) fn describe(&mut self, id: u64, map: Arc<TableMap>) {
        if self.known.get(&id).is_some_and(|known| known.map == map) {
            return;
        }
        let state = if map.schema != bookkeeping::SCHEMA {
            State::Described
        } else {
            match map.table.as_str() {
                "marker" => State::Marker(token(&map)),
                "progress" => State::Progress,
                _other => State::Own,
            }
        };
        let place = (map.schema.clone(), map.table.clone());
        let watermark = self.watermarks.get(&place).cloned();
        let known = Known {
            map,
            watermark,
            state,
        };
        self.known.insert(id, known);
    }

    /// Forgets what the target has: a definition statement was applied.
    pub(super) fn forget(&mut self) {
        self.cascades = None;
        for known in self.known.values_mut() {
            if let State::Found(_) = known.state {
                known.state = State::Described;
            }
        }
    }

    /// What to do with a change of the table `id` in a transaction that ended at `committed`.
    pub(super) async fn destination(
        &mut self,
        conn: &SqlConn,
        id: u64,
        committed: &Position,
    ) -> Result<Destination, ApplyError> {
        let Some(known) = self.known.get(&id) else {
            return Err(TableError::Undescribed { id }.into());
        };
        let in_copy = (known.watermark.as_ref()).is_some_and(|watermark| committed <= watermark);
        let table = match &known.state {
            State::Found(table) => Arc::clone(table),
            State::Marker(token) => return Ok(Destination::Marker(*token)),
            State::Progress => return Ok(Destination::Applied),
            State::Own => return Ok(Destination::Nothing),
            State::Gone if in_copy => return Ok(Destination::Nothing),
            State::Described | State::Gone => {
                let map = Arc::clone(&known.map);
                match self.find(conn, id, &map).await {
                    Err(ApplyError::Table(TableError::Unknown { .. })) if in_copy => {
                        if let Some(known) = self.known.get_mut(&id) {
                            known.state = State::Gone;
                        }
                        return Ok(Destination::Nothing);
                    }
                    found => found?,
                }
            }
        };
        if in_copy {
            Ok(Destination::InCopy(table))
        } else {
            Ok(Destination::Apply(table))
        }
    }

    /// Whether a transaction that ended at `committed` is in the copy of this table.
    pub(super) fn is_in_copy(&self, table: &QualifiedName, committed: &Position) -> bool {
        let place = (table.schema.clone(), table.name.clone());
        let watermark = self.watermarks.get(&place);
        watermark.is_some_and(|watermark| committed <= watermark)
    }

    async fn find(
        &mut self,
        conn: &SqlConn,
        id: u64,
        map: &TableMap,
    ) -> Result<Arc<TargetTable>, ApplyError> {
        if self.cascades.is_none() {
            let read = read_cascades(conn).await;
            let keys = read.map_err(|source| ApplyError::Server {
                doing: Doing::ForeignKeys,
                source,
            })?;
            self.cascades = Some(keys);
        }
        let cascades = self.cascades.as_deref().unwrap_or_default();
        let name = QualifiedName::new(map.schema.as_str(), map.table.as_str());
        let source = map
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| SourceColumn::of(&name, place, column))
            .collect::<Result<Vec<_>, _>>()?;
        let read =
            TargetTable::read(conn, &name, &source, cascades, self.method, self.next_id).await;
        let table = Arc::new(read?);
        self.next_id += 1;
        if let Some(known) = self.known.get_mut(&id) {
            known.state = State::Found(Arc::clone(&table));
        }
        Ok(table)
    }
}

/// The second column of the marker table.
fn token(map: &TableMap) -> Option<Token> {
    let column = map.columns.get(1)?;
    let field = FieldType::decode(column.code, &column.metadata).ok()?;
    Some(Token {
        column: 1,
        framing: field.framing(),
    })
}

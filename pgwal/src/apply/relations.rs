//! The tables that the stream has announced, and what the target has for each.
//!
//! A table is looked up on the target when its first change is to be applied, not when it is
//! announced: until then the source may do with it what it likes. From then on its columns must
//! stay as they are.

use std::collections::HashMap;
use std::sync::Arc;

use router::Lsn;
use tokio_postgres::Client;

use super::error::{ApplyError, TableError};
use super::events::{Relation, RelationColumn};
use super::target_table::TargetTable;
use crate::name::QualifiedName;
use crate::schema::bookkeeping;

/// Position of each table's copy: changes of transactions that committed before it are in the copy.
pub type Watermarks = HashMap<(String, String), Lsn>;

/// The announced tables, by the source's OID.
pub(super) struct Relations<'w> {
    watermarks: &'w Watermarks,
    known: HashMap<u32, Known>,
    next_id: u64,
}

/// What to do with a change of a table.
pub(super) enum Destination {
    /// Apply it to this table.
    Apply(Arc<TargetTable>),
    /// It is in the table's copy already.
    InCopy,
    /// It is a marker of ours; the token is in this column, if it is there.
    Marker(Option<usize>),
}

struct Known {
    watermark: Lsn,
    state: State,
}

enum State {
    /// Announced; no change was applied yet.
    Announced(Arc<Relation>),
    /// Found on the target.
    Found {
        relation: Arc<Relation>,
        table: Arc<TargetTable>,
    },
    /// Announced differently after it was found.
    Reannounced {
        first: Arc<Relation>,
        latest: Arc<Relation>,
    },
    /// Our own marker table.
    Marker { token: Option<usize> },
}

impl<'w> Relations<'w> {
    pub(super) fn new(watermarks: &'w Watermarks) -> Self {
        Self {
            watermarks,
            known: HashMap::new(),
            next_id: 0,
        }
    }

    /// Takes the stream's announcement of a table.
    pub(super) fn announce(&mut self, relation: Arc<Relation>) {
        if relation.schema == bookkeeping::SCHEMA && relation.name == bookkeeping::MARKER_TABLE {
            let token = relation
                .columns
                .iter()
                .position(|column| column.name == "token");
            let state = State::Marker { token };
            self.known.insert(
                relation.oid,
                Known {
                    watermark: Lsn::INVALID,
                    state,
                },
            );
            return;
        }
        let place = (relation.schema.clone(), relation.name.clone());
        let watermark = self.watermarks.get(&place).copied().unwrap_or_default();
        let oid = relation.oid;
        let state = match self.known.remove(&oid).map(|known| known.state) {
            None | Some(State::Announced(_) | State::Marker { .. }) => State::Announced(relation),
            Some(State::Found {
                relation: first,
                table,
            }) => {
                if first == relation {
                    State::Found {
                        relation: first,
                        table,
                    }
                } else {
                    State::Reannounced {
                        first,
                        latest: relation,
                    }
                }
            }
            Some(State::Reannounced { first, latest: _ }) => State::Reannounced {
                first,
                latest: relation,
            },
        };
        self.known.insert(oid, Known { watermark, state });
    }

    /// What to do with a change of the relation `oid` in a transaction that committed at
    /// `commit_lsn`.
    ///
    /// A copy's watermark is its slot's consistent point: the snapshot has exactly the transactions
    /// whose commit record starts before it. So a change is skipped when `commit_lsn < watermark`;
    /// one at the watermark is the first that the copy does not have.
    pub(super) async fn destination(
        &mut self,
        client: &Client,
        oid: u32,
        commit_lsn: Lsn,
    ) -> Result<Destination, ApplyError> {
        let Some(known) = self.known.get_mut(&oid) else {
            return Err(TableError::Undescribed { oid }.into());
        };
        if commit_lsn < known.watermark {
            return Ok(Destination::InCopy);
        }
        let relation = match &known.state {
            State::Found { table, .. } => return Ok(Destination::Apply(Arc::clone(table))),
            State::Marker { token } => return Ok(Destination::Marker(*token)),
            State::Announced(relation) => Arc::clone(relation),
            State::Reannounced { first, latest } => {
                same_columns(first, latest)?;
                Arc::clone(latest)
            }
        };
        let table = Arc::new(TargetTable::read(client, &relation, self.next_id).await?);
        self.next_id += 1;
        known.state = State::Found {
            relation,
            table: Arc::clone(&table),
        };
        Ok(Destination::Apply(table))
    }
}

/// A table may get another replica identity while it streams, but no other columns.
fn same_columns(first: &Relation, latest: &Relation) -> Result<(), TableError> {
    let table = QualifiedName::new(&latest.schema, &latest.name);
    if (&first.schema, &first.name) != (&latest.schema, &latest.name) {
        return Err(TableError::Unknown { table });
    }
    let has =
        |relation: &Relation, name: &str| relation.columns.iter().any(|column| column.name == name);
    if let Some(new) = latest
        .columns
        .iter()
        .find(|column| !has(first, &column.name))
    {
        return Err(TableError::NewColumn {
            table,
            column: new.name.clone(),
        });
    }
    if let Some(gone) = first
        .columns
        .iter()
        .find(|column| !has(latest, &column.name))
    {
        return Err(TableError::GoneColumn {
            table,
            column: gone.name.clone(),
        });
    }
    let definition =
        |column: &RelationColumn| (column.name.clone(), column.type_oid, column.type_modifier);
    let mut pairs = first.columns.iter().zip(&latest.columns);
    match pairs.find(|(first, latest)| definition(first) != definition(latest)) {
        Some((_, changed)) => Err(TableError::Changed {
            table,
            column: changed.name.clone(),
        }),
        None => Ok(()),
    }
}

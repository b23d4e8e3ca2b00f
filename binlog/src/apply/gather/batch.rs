//! Row changes gathered for one step, netted table by table.

use std::collections::HashMap;
use std::sync::Arc;

use router::Change;
use router::net::{NetChange, NetError, NetTable};
use router::window::Volume;

use crate::apply::compose::ForeignKeys;
use crate::apply::error::ApplyError;
use crate::apply::step::TableChange;
use crate::apply::target_table::TargetTable;

/// The net changes of some tables.
#[derive(Debug, Default)]
pub(super) struct Batch {
    tables: Vec<Gathered>,
    places: HashMap<u64, usize>,
    volume: Volume,
}

#[derive(Debug)]
struct Gathered {
    table: Arc<TargetTable>,
    net: NetTable,
}

impl Batch {
    /// Adds a change of the source's table `id`; gives its bytes.
    pub(super) fn push(
        &mut self,
        id: u64,
        table: &Arc<TargetTable>,
        change: Change,
    ) -> Result<u64, ApplyError> {
        let bytes = u64::try_from(memory_bytes(&change)).unwrap_or(u64::MAX);
        let place = *self.places.entry(id).or_insert_with(|| {
            let net = NetTable::new(table.net_shape());
            self.tables.push(Gathered {
                table: Arc::clone(table),
                net,
            });
            self.tables.len() - 1
        });
        let gathered = &mut self.tables[place];
        gathered
            .net
            .push(change)
            .map_err(|error| contradiction(table, error))?;
        self.volume.rows += 1;
        self.volume.bytes += bytes;
        Ok(bytes)
    }

    /// Whether changes of this table were gathered under another description of its table.
    pub(super) fn has_other_shape(&self, id: u64, table: &TargetTable) -> bool {
        self.places
            .get(&id)
            .is_some_and(|&place| self.tables[place].table.id != table.id)
    }

    /// How much was added since it was taken last.
    pub(super) fn volume(&self) -> Volume {
        self.volume
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Vec<TableChange> {
        self.places.clear();
        self.volume = Volume::default();
        let tables = std::mem::take(&mut self.tables).into_iter();
        tables
            .map(|Gathered { table, mut net }| TableChange {
                table,
                change: net.take(),
                foreign_keys: ForeignKeys::Off,
            })
            .filter(|part| !part.change.is_empty())
            .collect()
    }
}

fn contradiction(table: &TargetTable, error: NetError) -> ApplyError {
    ApplyError::History {
        table: table.name.clone(),
        key: error.key().and_then(|key| table.readable(key)),
        error,
    }
}

/// One change by itself.
pub(super) fn alone(
    table: &Arc<TargetTable>,
    change: Change,
    foreign_keys: ForeignKeys,
) -> Result<TableChange, ApplyError> {
    let change = match change {
        // Its other columns have their defaults; a net change knows only whole rows.
        Change::Insert { row } => NetChange {
            inserts: vec![row],
            ..NetChange::default()
        },
        Change::Update { .. } | Change::Delete { .. } => {
            let mut net = NetTable::new(table.net_shape());
            net.push(change)
                .map_err(|error| contradiction(table, error))?;
            net.take()
        }
    };
    Ok(TableChange {
        table: Arc::clone(table),
        change,
        foreign_keys,
    })
}

pub(super) fn memory_bytes(change: &Change) -> usize {
    match change {
        Change::Insert { row } => row.memory_bytes(),
        Change::Update { old, row } => {
            row.memory_bytes() + old.as_ref().map_or(0, |old| old.row().memory_bytes())
        }
        Change::Delete { old } => old.row().memory_bytes(),
    }
}

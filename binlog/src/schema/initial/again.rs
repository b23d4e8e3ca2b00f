//! A snapshot with the definitions that belong to it, and what a newer one means for the tables
//! that are not copied yet.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use router::Side;

use super::super::catalog::Catalog;
use super::super::deferred::is_referred_to;
use super::super::definitions::Definitions;
use super::super::error::SchemaError;
use super::super::structure::{self, Made, Remaking};
use super::records::Record;
use super::steps::Ground;
use super::{InitialCopy, InitialError, InitialStep};
use crate::copy::snapshot::{self, SnapshotOptions};
use crate::copy::{self, Identities, Numbers, Snapshot};
use crate::name::QualifiedName;
use crate::wire::SqlConn;

/// How often a snapshot is taken again because the application changes its definitions meanwhile.
const UNSETTLED_MAX: u32 = 5;

/// Definitions are asked for by one connection more for so many tables, up to so many connections.
const TABLES_A_CONNECTION: usize = 50;
const CONNECTIONS_MAX: usize = 8;

/// A snapshot and what was seen of the source around it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) snapshot: Snapshot,
    pub(super) definitions: Definitions,
    /// What tells tables from others; none where definitions stand still.
    pub(super) identities: Option<Arc<Identities>>,
}

impl InitialCopy {
    /// A snapshot and the definitions that held when it was taken.
    pub(super) async fn settled_snapshot(
        &self,
        ground: &mut Ground<'_>,
    ) -> Result<Seen, InitialError> {
        self.enter(InitialStep::Snapshot);
        let shown = self.showing(&ground.catalog).await?;
        let shown: Vec<&SqlConn> = shown.iter().chain([ground.source]).collect();
        let locks = ground.source.version().is_mysql_at_least(8, 0, 0);
        for attempt in 0..UNSETTLED_MAX {
            // Where definitions can be locked, one look under the lock is enough.
            let before = if attempt == 0 && locks {
                None
            } else {
                Definitions::read(&shown, &ground.catalog).await.ok()
            };
            let numbers = Numbers::read(ground.source).await?;
            let snapshot = self.new_snapshot(&ground.catalog).await?;
            ground.catalog = self.look(ground.source).await?;
            let definitions = Definitions::read(&shown, &ground.catalog).await?;
            // A counter goes on with every insert; it is no definition.
            let stood_still = before.is_some_and(|before| before.is_same(&definitions));
            if stood_still || snapshot.holds_definitions().await {
                self.tell_of(&snapshot);
                let identities = match snapshot.definitions {
                    snapshot::Definitions::Locked => None,
                    snapshot::Definitions::Free => {
                        Some(Arc::new(Identities::new(&definitions, numbers)))
                    }
                };
                return Ok(Seen {
                    snapshot,
                    definitions,
                    identities,
                });
            }
            tracing::info!("definitions may have changed around the snapshot; taking another");
        }
        Err(InitialError::Unsettled)
    }

    /// Further connections that ask for definitions, where there are many.
    async fn showing(&self, catalog: &Catalog) -> Result<Vec<SqlConn>, SchemaError> {
        let worth = catalog.tables.len() / TABLES_A_CONNECTION;
        let count = worth.min(self.options.workers).min(CONNECTIONS_MAX);
        try_join_all((1..count).map(|_| self.connect(Side::Source))).await
    }

    async fn new_snapshot(&self, catalog: &Catalog) -> Result<Snapshot, InitialError> {
        let options = SnapshotOptions {
            readers: self.options.workers.max(1),
            patience: self.options.patience,
            tables: catalog
                .moved_tables()
                .map(|table| table.name.clone())
                .collect(),
            program_name: self.options.program_name(),
        };
        Ok(Snapshot::take(&self.source, &options).await?)
    }

    /// Says how a snapshot was taken.
    fn tell_of(&self, snapshot: &Snapshot) {
        self.warn(format!("the snapshot was taken {}", snapshot.method));
        if snapshot.definitions == snapshot::Definitions::Locked {
            self.warn(
                "while rows are copied, definition and account statements on the source wait \
                 (LOCK INSTANCE FOR BACKUP)"
                    .to_owned(),
            );
        }
    }

    /// Makes the tables that are not copied yet as they are under a newer snapshot.
    pub(super) async fn remake(
        &self,
        ground: &Ground<'_>,
        seen: &Seen,
    ) -> Result<(), InitialError> {
        let made = Made::read(ground.target).await?;
        let remaking = match remaking(ground, seen, &made).await? {
            Remade::As(remaking) => remaking,
            Remade::Unclear(gone) => {
                let start = Record::read(ground.target).await?.start();
                let from = start.map(|start| start.position);
                let until = seen.snapshot.start();
                let gone = self.find_vanished(gone, from, until).await;
                return Err(InitialError::Drift(gone));
            }
        };
        if remaking.changed.is_empty() && remaking.dropped.is_empty() {
            return Ok(());
        }
        let Some(watermark) = seen.snapshot.start() else {
            return Err(copy::CopyError::SnapshotLost.into());
        };
        for table in &remaking.changed {
            self.warn(format!(
                "table {} was altered on the source before it was copied; it was made again",
                table.name
            ));
        }
        let makers = self.makers(1).await?;
        let warnings = structure::remake(
            ground.target,
            &makers,
            &remaking,
            &watermark,
            &ground.catalog,
            &ground.translation,
        )
        .await?;
        for warning in warnings {
            self.warn(warning);
        }
        Ok(())
    }
}

/// What there is to do with tables that differ.
enum Remade<'a> {
    As(Remaking<'a>),
    /// Nobody can tell, since these are gone.
    Unclear(Vec<QualifiedName>),
}

/// What differs from when the tables were made.
///
/// New tables come through the stream, like everything that is done to tables that are copied. But
/// when a table is gone too that was not copied, a new one may be that under another name; then
/// nobody can tell which statements of the stream are about it.
async fn remaking<'a>(
    ground: &Ground<'_>,
    seen: &'a Seen,
    made: &Made,
) -> Result<Remade<'a>, InitialError> {
    let copied: HashSet<QualifiedName> = copy::copied_tables(ground.target)
        .await?
        .into_iter()
        .map(|table| table.name)
        .collect();
    let moved: HashSet<&QualifiedName> = ground
        .catalog
        .moved_tables()
        .map(|table| &table.name)
        .collect();
    let mut remaking = Remaking::default();
    for table in made.names().filter(|table| !copied.contains(table)) {
        if !moved.contains(table) {
            remaking.dropped.push(table.clone());
        }
    }
    let is_new = |table: &QualifiedName| !made.contains(table) && !copied.contains(table);
    if !remaking.dropped.is_empty() {
        let may_be_new_name = moved.iter().any(|table| is_new(table));
        // Whose rows did its cascades change?
        if may_be_new_name || is_referred_to(ground.target, &remaking.dropped).await? {
            return Ok(Remade::Unclear(remaking.dropped));
        }
    }
    for table in &seen.definitions.tables {
        // One that was begun by an earlier version has no record of what was made.
        let is_made = made.contains(&table.name) || made.is_empty();
        let is_left = is_made && !copied.contains(&table.name);
        if is_left && moved.contains(&table.name) && !made.is_of(table) {
            remaking.changed.push(table);
        }
    }
    Ok(Remade::As(remaking))
}

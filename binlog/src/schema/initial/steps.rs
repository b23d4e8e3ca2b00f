//! The steps themselves.

use router::Side;
use router::failpoint::{self, Point};

use super::super::catalog::Catalog;
use super::super::deferred::{self, Stage};
use super::super::error::SchemaError;
use super::super::identity::ServerIdentity;
use super::super::setup::{migration_id, prepare_source, prepare_target};
use super::super::structure::{self, Made, Makers};
use super::super::translate::Translation;
use super::super::{settle, users};
use super::again::Seen;
use super::records::{Phase, Record, record_position, record_step, record_streaming};
use super::{InitialCopy, InitialDone, InitialError, InitialStep};
use crate::copy::{self, CopyOptions, Remedy};
use crate::name::some_of;
use crate::version::Flavour;
use crate::wire::SqlConn;

/// How many snapshots one run takes before it gives up: each has copied at least what it began.
const SNAPSHOTS_MAX: u32 = 20;

/// The two control connections and what was found through them.
pub(super) struct Ground<'a> {
    pub(super) source: &'a SqlConn,
    pub(super) target: &'a SqlConn,
    pub(super) catalog: Catalog,
    pub(super) translation: Translation,
}

impl InitialCopy {
    /// Does everything that is not done yet.
    ///
    /// # Cancel safety
    /// Dropping it leaves both servers in a state that a later call goes on from.
    ///
    /// # Errors
    /// See [`InitialError::may_pass`] for what to do.
    pub async fn run(&self) -> Result<InitialDone, InitialError> {
        self.enter(InitialStep::Looking);
        let source = self.connect(Side::Source).await?;
        let target = self.connect(Side::Target).await?;
        let catalog = self.look(&source).await?;
        if self.is_streaming(&source, &target).await? {
            self.enter(InitialStep::Done);
            return self.outcome(&target, catalog).await;
        }
        let mut ground = Ground {
            source: &source,
            target: &target,
            translation: Translation::between(&source, &target).await?,
            catalog,
        };
        self.refuse_unfit(&ground.catalog)?;
        ground.translation.refuse(&ground.catalog)?;
        let record = self.prepare(&ground).await?;
        Box::pin(self.copy(&mut ground, &record)).await?;
        record_streaming(&target).await?;
        self.enter(InitialStep::Done);
        self.outcome(&target, ground.catalog).await
    }

    pub(super) async fn look(&self, source: &SqlConn) -> Result<Catalog, SchemaError> {
        let (scope, filter) = (self.scope(), &self.options.filter);
        Catalog::read(source, Side::Source, &scope, filter).await
    }

    /// Whether all of this was done before; then nothing is needed but the records.
    async fn is_streaming(&self, source: &SqlConn, target: &SqlConn) -> Result<bool, InitialError> {
        let id = migration_id(target, Side::Target).await?;
        if id.as_ref() != Some(&self.options.id) {
            return Ok(false);
        }
        let record = Record::read(target).await?;
        record.refuse_other_source(&ServerIdentity::read(source, Side::Source).await?)?;
        Ok(record.phase == Phase::Streaming)
    }

    async fn outcome(
        &self,
        target: &SqlConn,
        catalog: Catalog,
    ) -> Result<InitialDone, InitialError> {
        let record = Record::read(target).await?;
        let copied = copy::copied_tables(target).await?;
        let Some(start) = record.start() else {
            return Err(SchemaError::Unreadable {
                side: Side::Target,
                what: "where the stream starts".to_owned(),
            }
            .into());
        };
        Ok(InitialDone {
            start,
            watermarks: copied
                .into_iter()
                .map(|table| ((table.name.schema, table.name.name), table.watermark))
                .collect(),
            catalog,
        })
    }

    fn refuse_unfit(&self, catalog: &Catalog) -> Result<(), SchemaError> {
        if catalog.databases.is_empty() {
            let named = self.source.database.clone();
            let database = named.unwrap_or_else(|| "of a user".to_owned());
            return Err(SchemaError::NoDatabase { database });
        }
        let unsafe_engines: Vec<String> = catalog
            .unsafe_engines()
            .iter()
            .map(|table| format!("{} ({})", table.name, table.engine))
            .collect();
        if !unsafe_engines.is_empty() {
            let tables = some_of(&unsafe_engines);
            return Err(SchemaError::UnsafeEngine { tables });
        }
        if let Some(key) = catalog.foreign_keys_to_excluded().first() {
            return Err(SchemaError::ForeignKeyToExcluded {
                constraint: key.name.clone(),
                table: key.table.clone(),
                excluded: key.references.clone(),
            });
        }
        Ok(())
    }

    /// Our databases on both servers.
    async fn prepare(&self, ground: &Ground<'_>) -> Result<Record, InitialError> {
        let identity = ServerIdentity::read(ground.source, Side::Source).await?;
        self.enter(InitialStep::Target);
        prepare_target(ground.target, &self.options.id, &identity.to_string()).await?;
        failpoint::reach(Point::TargetPrepared).await;
        let record = Record::read(ground.target).await?;
        record.refuse_other_source(&identity)?;
        structure::claim(ground.target, &ground.catalog.databases).await?;
        self.enter(InitialStep::Source);
        prepare_source(ground.source, &self.options.id).await?;
        failpoint::reach(Point::SourcePrepared).await;
        Ok(record)
    }

    async fn copy(&self, ground: &mut Ground<'_>, record: &Record) -> Result<(), InitialError> {
        let mut snapshot = None;
        if record.is_done(InitialStep::Structure) {
            self.start.send_replace(record.start());
        } else {
            snapshot = Some(self.structure(ground).await?);
        }
        if !record.is_done(InitialStep::Rows) {
            Box::pin(self.rows_step(ground, snapshot.take())).await?;
        }
        drop(snapshot);
        let ground = &*ground;
        for (step, stages) in [
            (InitialStep::Indexes, &[Stage::Indexes][..]),
            (InitialStep::ForeignKeys, &[Stage::ForeignKeys][..]),
            (InitialStep::Triggers, &[Stage::Triggers, Stage::Events][..]),
        ] {
            if !record.is_done(step) {
                self.enter(step);
                for stage in stages {
                    self.run_stage(ground, *stage).await?;
                }
                record_step(ground.target, step).await?;
            }
        }
        if !record.is_done(InitialStep::Analyze) {
            self.enter(InitialStep::Analyze);
            settle::analyze(ground.target, &ground.catalog).await?;
            record_step(ground.target, InitialStep::Analyze).await?;
        }
        if !record.is_done(InitialStep::Grants) {
            self.enter(InitialStep::Grants);
            for warning in users::copy_grants(ground.source, ground.target).await? {
                self.warn(warning);
            }
            record_step(ground.target, InitialStep::Grants).await?;
        }
        Ok(())
    }

    async fn run_stage(&self, ground: &Ground<'_>, stage: Stage) -> Result<(), SchemaError> {
        let workers = match stage {
            Stage::Indexes | Stage::ForeignKeys => self.options.workers,
            // Their order counts.
            Stage::Routines | Stage::Views | Stage::Triggers | Stage::Events => 1,
        };
        deferred::run_stage(
            &self.target,
            ground.target,
            stage,
            workers,
            &self.options.program_name(),
            &self.restored,
        )
        .await
    }

    /// The snapshot, the start of the stream, and the structure as it is at that moment.
    async fn structure(&self, ground: &mut Ground<'_>) -> Result<Seen, InitialError> {
        let seen = self.settled_snapshot(ground).await?;
        self.enter(InitialStep::Structure);
        let makers = self.makers(seen.definitions.tables.len()).await?;
        structure::empty(ground.target).await?;
        let Some(position) = seen.snapshot.start() else {
            return Err(copy::CopyError::SnapshotLost.into());
        };
        record_position(ground.target, &position).await?;
        let start = Record::read(ground.target).await?.start();
        self.start.send_replace(start);
        self.enter(InitialStep::Roles);
        for warning in users::copy_users(ground.source, ground.target).await? {
            self.warn(warning);
        }
        failpoint::reach(Point::RolesMade).await;
        self.enter(InitialStep::Structure);
        let warnings = structure::make(
            ground.target,
            &makers,
            &ground.catalog,
            &seen.definitions,
            &ground.translation,
            &self.restored,
        )
        .await?;
        for warning in warnings {
            self.warn(warning);
        }
        self.run_stage(ground, Stage::Routines).await?;
        self.views(ground).await?;
        record_step(ground.target, InitialStep::Structure).await?;
        Ok(seen)
    }

    pub(super) async fn makers(&self, tables: usize) -> Result<Makers, SchemaError> {
        let name = self.options.program_name();
        Makers::open(&self.target, &name, self.options.workers, tables).await
    }

    /// A view that the source itself cannot read any more is left out, and said.
    async fn views(&self, ground: &Ground<'_>) -> Result<(), InitialError> {
        let name = self.options.program_name();
        let refused = deferred::run_views(&self.target, ground.target, &name).await?;
        for failed in refused {
            let view = &failed.deferred.name;
            let query = format!("SELECT 1 FROM {} LIMIT 0", view.quoted());
            if ground.source.query(&query).await.is_ok() {
                let what = format!("making view {view}");
                return Err(SchemaError::sql(Side::Target, what)(failed.error).into());
            }
            self.warn(format!(
                "view {view} is broken on the source too (it names what does not exist); it was \
                 not carried"
            ));
        }
        Ok(())
    }

    /// The rows, under as many snapshots as it takes.
    async fn rows_step(
        &self,
        ground: &mut Ground<'_>,
        mut first: Option<Seen>,
    ) -> Result<(), InitialError> {
        self.enter(InitialStep::Rows);
        let options = CopyOptions {
            workers: self.options.workers,
            bytes_per_second: self.options.bytes_per_second,
            range_bytes: self.options.range_bytes,
            program_name: self.options.program_name(),
            loading: copy::loading_of(ground.target).await?,
            documents: copy::documents_of(ground.source, ground.target),
            ..CopyOptions::default()
        };
        if options.loading == copy::Loading::Insert {
            self.warn(
                "the target does not allow LOAD DATA LOCAL (local_infile is off), so rows are \
                 inserted, which is slower"
                    .to_owned(),
            );
        }
        self.warn_of_documents(ground, options.documents);
        for _ in 0..SNAPSHOTS_MAX {
            let seen = match first.take() {
                Some(seen) => seen,
                None => {
                    let seen = self.settled_snapshot(ground).await?;
                    self.remake(ground, &seen).await?;
                    self.enter(InitialStep::Rows);
                    seen
                }
            };
            let made = Made::read(ground.target).await?;
            let tables = ground.catalog.moved_tables();
            let tables = tables.filter(|table| made.contains(&table.name));
            let tables: Vec<_> = tables.cloned().collect();
            let options = CopyOptions {
                identities: seen.identities,
                ..options.clone()
            };
            let current = seen.snapshot;
            match copy::run(&self.target, &tables, current, &options, &self.rows).await {
                Ok(()) => return Ok(record_step(ground.target, InitialStep::Rows).await?),
                Err(error) if error.remedy() == Remedy::NewSnapshot => {
                    tracing::warn!(%error, "going on under a new snapshot");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(copy::CopyError::SnapshotLost.into())
    }

    /// Says what happens to documents whose values' types the source does not tell.
    fn warn_of_documents(&self, ground: &Ground<'_>, documents: copy::Documents) {
        let flavour = (
            ground.source.version().flavour,
            ground.target.version().flavour,
        );
        if documents == copy::Documents::Typed || flavour != (Flavour::MySql, Flavour::MySql) {
            return;
        }
        let has_documents = ground.catalog.moved_tables().any(|table| {
            let mut columns = table.carried_columns();
            columns.any(|column| column.data_type == "json")
        });
        if has_documents {
            self.warn(
                "the source is too old to tell the types of the values in JSON documents \
                 (MySQL 8.0.4 is needed), so documents travel as text: a DECIMAL in one becomes a \
                 DOUBLE, dates and bytes become strings"
                    .to_owned(),
            );
        }
    }
}

//! The steps themselves.

use router::Side;
use router::failpoint::{self, Point};
use tokio_postgres::Client;

use super::super::bookkeeping::object_name;
use super::super::catalog::{Catalog, ExtensionRows, Table};
use super::super::cleanup::{self, CleanupReport};
use super::super::dump::{Archive, DumpTools, RestoreOptions, Section, SystemPrivileges};
use super::super::error::SchemaError;
use super::super::roles::{RoleSet, copy_roles};
use super::super::settle;
use super::super::setup::{
    SourceOptions, TargetOptions, migration_id, prepare_source, prepare_target, refuse_unfit,
    save_identities, source_identity,
};
use super::records::{Phase, Record, record_point, record_step, record_streaming};
use super::{InitialCopy, InitialDone, InitialError, InitialStep, post_data, pre_data};
use crate::copy::{self, CopyOptions, CopySnapshot, Remedy};
use crate::stream::slot::{self, CreatedSlot, SlotFacts};

/// How many snapshots one run takes before it gives up: each has copied at least what it began.
const SNAPSHOTS_MAX: u32 = 20;

/// How often the slot is made again because the application changes its schema meanwhile.
const SLOTS_MAX: u32 = 5;

/// The two control connections and what was found through them.
struct Ground<'a> {
    source: &'a Client,
    target: &'a Client,
    catalog: Catalog,
    tools: DumpTools,
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
        for (side, client) in [(Side::Source, &source), (Side::Target, &target)] {
            end_earlier_run(client, side, &self.options.application_name()).await?;
        }
        let catalog = Catalog::read(&source, Side::Source, &self.options.filter).await?;
        self.warn_of(&catalog);
        if self.is_streaming(&source, &target).await? {
            self.enter(InitialStep::Done);
            return self.outcome(&target, catalog).await;
        }
        let target_major = major_of(&target).await?;
        let dir = self.options.pg_dump_dir.as_deref();
        let tools = DumpTools::find(dir, catalog.major_version, target_major).await?;
        let mut ground = Ground {
            source: &source,
            target: &target,
            catalog,
            tools,
        };
        let record = self.prepare(&ground).await?;
        if let Err(error) = Box::pin(self.copy(&mut ground, &record)).await {
            if matches!(error, InitialError::Dump(_)) {
                still_there(&ground).await?;
            }
            return Err(error);
        }
        record_streaming(&target).await?;
        self.enter(InitialStep::Done);
        self.outcome(&target, ground.catalog).await
    }

    /// Whether all of this was done before; then nothing is needed but the records.
    async fn is_streaming(&self, source: &Client, target: &Client) -> Result<bool, InitialError> {
        let id = migration_id(target, Side::Target).await?;
        if id.as_ref() != Some(&self.options.id) {
            return Ok(false);
        }
        let record = Record::read(target).await?;
        record.refuse_other_source(&source_identity(source).await?)?;
        Ok(record.phase == Phase::Streaming)
    }

    async fn outcome(
        &self,
        target: &Client,
        catalog: Catalog,
    ) -> Result<InitialDone, InitialError> {
        let record = Record::read(target).await?;
        let copied = copy::copied_tables(target).await?;
        let slot = object_name(&self.options.id);
        let Some(start) = record.start(&slot) else {
            return Err(SchemaError::SlotGone { slot }.into());
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

    fn warn_of(&self, catalog: &Catalog) {
        for table in &catalog.tables {
            let Some(member) = &table.extension else {
                continue;
            };
            if member.rows == ExtensionRows::Configuration {
                self.warn(format!(
                    "table {} belongs to extension {}, which keeps configuration in it; its rows \
                     are not moved: compare them by hand",
                    table.name, member.extension
                ));
            }
        }
    }

    /// Both servers ready, up to the publication.
    async fn prepare(&self, ground: &Ground<'_>) -> Result<Record, InitialError> {
        self.enter(InitialStep::Target);
        refuse_unfit(&ground.catalog, self.options.keyless)?;
        let identity = source_identity(ground.source).await?;
        let options = TargetOptions {
            id: self.options.id.clone(),
            source: identity.clone(),
            schemas: ground.catalog.schemas.clone(),
            extensions: ground.catalog.extensions.clone(),
        };
        prepare_target(ground.target, &options).await?;
        failpoint::reach(Point::TargetPrepared).await;
        let record = Record::read(ground.target).await?;
        record.refuse_other_source(&identity)?;
        if record.is_done(InitialStep::Structure) {
            // Before anything that is new is published.
            self.refuse_drift(ground).await?;
        }
        self.publish(ground).await?;
        failpoint::reach(Point::SourcePrepared).await;
        Ok(record)
    }

    async fn publish(&self, ground: &Ground<'_>) -> Result<(), InitialError> {
        self.enter(InitialStep::Source);
        let options = SourceOptions {
            id: self.options.id.clone(),
            keyless: self.options.keyless,
            patience: self.options.patience,
        };
        let setup = prepare_source(ground.source, &ground.catalog, &options).await?;
        Ok(save_identities(ground.target, &setup.identities).await?)
    }

    async fn copy(&self, ground: &mut Ground<'_>, record: &Record) -> Result<(), InitialError> {
        let mut snapshot = self.slot(ground, record).await?;
        let ground = &*ground;
        let start = Record::read(ground.target)
            .await?
            .start(&object_name(&self.options.id));
        self.start.send_replace(start);
        if !record.is_done(InitialStep::Roles) {
            self.roles(ground).await?;
        }
        let mut archive = None;
        if !record.is_done(InitialStep::Structure) {
            archive = Some(self.structure(ground, &mut snapshot).await?);
        }
        if !record.is_done(InitialStep::Rows) {
            self.rows_step(ground, snapshot.take()).await?;
        }
        drop(snapshot);
        if !record.is_done(InitialStep::Indexes) {
            self.indexes(ground, archive).await?;
        }
        if !record.is_done(InitialStep::Vacuum) {
            self.enter(InitialStep::Vacuum);
            let name = self.options.application_name();
            let workers = self.options.workers;
            settle::vacuum(&self.target, &ground.catalog, workers, &name).await?;
            record_step(ground.target, InitialStep::Vacuum).await?;
        }
        if !record.is_done(InitialStep::Views) {
            self.enter(InitialStep::Views);
            settle::refresh_views(ground.target, &ground.catalog.materialized_views).await?;
            record_step(ground.target, InitialStep::Views).await?;
        }
        if !record.is_done(InitialStep::Sequences) {
            self.enter(InitialStep::Sequences);
            settle::set_sequences(ground.source, ground.target, &ground.catalog).await?;
            record_step(ground.target, InitialStep::Sequences).await?;
        }
        Ok(())
    }

    /// The permanent slot; its snapshot only if it was made just now.
    ///
    /// What the application created after we looked and before the snapshot would be in the dump
    /// and not in the publication: then it is published and the slot made again.
    async fn slot(
        &self,
        ground: &mut Ground<'_>,
        record: &Record,
    ) -> Result<Option<CreatedSlot>, InitialError> {
        self.enter(InitialStep::Slot);
        let name = object_name(&self.options.id);
        if record.consistent_point.is_some() {
            return match SlotFacts::read(ground.source, &name).await? {
                Some(_) => Ok(None),
                None => Err(SchemaError::SlotGone { slot: name }.into()),
            };
        }
        let mut drift = Vec::new();
        for _ in 0..SLOTS_MAX {
            // One of a run that ended before it was recorded.
            slot::drop_slot(ground.source, &name).await?;
            let taken = slot::create(&self.source, &name, self.options.slot_timeout).await?;
            tracing::info!(slot = name, point = %taken.consistent_point, "made the slot");
            failpoint::reach(Point::SlotMade).await;
            let now = Catalog::read(ground.source, Side::Source, &self.options.filter).await?;
            drift = ground.catalog.drift(&now);
            if drift.is_empty() {
                record_point(ground.target, taken.consistent_point).await?;
                return Ok(Some(taken));
            }
            drop(taken);
            ground.catalog = now;
            self.publish(ground).await?;
        }
        Err(InitialError::Drift(drift))
    }

    /// A snapshot for the tables that are left, of a slot that lives as long as it.
    async fn new_snapshot(&self, ground: &Ground<'_>) -> Result<CreatedSlot, InitialError> {
        let name = format!("{}_copy", object_name(&self.options.id));
        // A run that was cut while its slot waited leaves a walsender that waits on.
        slot::drop_slot(ground.source, &name).await?;
        let timeout = self.options.slot_timeout;
        let taken = slot::create_temporary(&self.source, &name, timeout).await?;
        tracing::info!(slot = name, point = %taken.consistent_point, "took another snapshot");
        Ok(taken)
    }

    async fn roles(&self, ground: &Ground<'_>) -> Result<(), InitialError> {
        self.enter(InitialStep::Roles);
        let source = RoleSet::read(ground.source, Side::Source).await?;
        let report = copy_roles(&source, ground.target, self.options.verifiers).await?;
        for warning in report.warnings {
            self.warn(warning);
        }
        record_step(ground.target, InitialStep::Roles).await?;
        Ok(())
    }

    /// Tables, types and functions, into a target that is emptied of what an earlier run left.
    async fn structure(
        &self,
        ground: &Ground<'_>,
        snapshot: &mut Option<CreatedSlot>,
    ) -> Result<Archive, InitialError> {
        self.enter(InitialStep::Structure);
        let mut report = CleanupReport::default();
        cleanup::empty_target(ground.target, &mut report).await;
        if let Some(left) = report.left.first() {
            still_there(ground).await?;
            let objects = left.clone();
            return Err(SchemaError::TargetNotEmpty { objects }.into());
        }
        let snapshot = snapshot
            .as_ref()
            .map(|snapshot| snapshot.snapshot_name.as_str());
        let archive = self.dump(ground, snapshot).await?;
        let mut options = self.restore_options(Section::PreData);
        options.system_privileges = pre_data::system_privileges(ground.target).await?;
        let skip = pre_data::not_ours_to_make(ground.source, ground.target).await?;
        archive
            .restore(&self.target, &options, &skip, &self.restore)
            .await?;
        record_step(ground.target, InitialStep::Structure).await?;
        Ok(archive)
    }

    async fn dump(
        &self,
        ground: &Ground<'_>,
        snapshot: Option<&str>,
    ) -> Result<Archive, InitialError> {
        let name = self.options.application_name();
        Ok(Archive::dump(ground.tools.clone(), &self.source, snapshot, &name).await?)
    }

    fn restore_options(&self, section: Section) -> RestoreOptions {
        let jobs = match section {
            Section::PreData => 1,
            Section::PostData => self.options.workers.max(1),
        };
        RestoreOptions {
            section,
            jobs,
            system_privileges: SystemPrivileges::Restore,
            application_name: self.options.application_name(),
        }
    }

    /// The rows, under as many snapshots as it takes.
    async fn rows_step(
        &self,
        ground: &Ground<'_>,
        mut snapshot: Option<CreatedSlot>,
    ) -> Result<(), InitialError> {
        self.enter(InitialStep::Rows);
        let tables: Vec<Table> = ground.catalog.moved_tables().cloned().collect();
        for _ in 0..SNAPSHOTS_MAX {
            let current = match snapshot.take() {
                Some(snapshot) => snapshot,
                None => self.new_snapshot(ground).await?,
            };
            let copied = self.copy_rows(ground, &tables, &current).await;
            match copied {
                Ok(()) => return Ok(record_step(ground.target, InitialStep::Rows).await?),
                Err(error) if error.remedy() == Remedy::NewSnapshot => {
                    tracing::warn!(%error, "going on under a new snapshot");
                }
                Err(error @ copy::CopyError::Refused { .. }) => {
                    // A dropped table or column is told as what it is.
                    self.refuse_drift(ground).await?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(copy::CopyError::SnapshotLost.into())
    }

    async fn copy_rows(
        &self,
        ground: &Ground<'_>,
        tables: &[Table],
        snapshot: &CreatedSlot,
    ) -> Result<(), copy::CopyError> {
        let options = CopyOptions {
            workers: self.options.workers,
            bytes_per_second: self.options.bytes_per_second,
            range_bytes: self.options.range_bytes,
            application_name: self.options.application_name(),
            ..CopyOptions::default()
        };
        let snapshot = CopySnapshot {
            name: snapshot.snapshot_name.clone(),
            consistent_point: snapshot.consistent_point,
            source_major: ground.catalog.major_version,
        };
        copy::run(
            &self.source,
            &self.target,
            tables,
            &snapshot,
            &options,
            &self.rows,
        )
        .await
    }

    /// Indexes, constraints and triggers; those of an earlier run are left alone.
    async fn indexes(
        &self,
        ground: &Ground<'_>,
        archive: Option<Archive>,
    ) -> Result<(), InitialError> {
        self.restore.expect(0);
        self.enter(InitialStep::Indexes);
        self.refuse_drift(ground).await?;
        let archive = match archive {
            Some(archive) => archive,
            None => self.dump(ground, None).await?,
        };
        let skip = post_data::restored_before(ground.source, ground.target, &archive).await?;
        let options = self.restore_options(Section::PostData);
        archive
            .restore(&self.target, &options, &skip, &self.restore)
            .await?;
        record_step(ground.target, InitialStep::Indexes).await?;
        Ok(())
    }

    /// The target has the schema of the first run; a source that went on since cannot be followed.
    async fn refuse_drift(&self, ground: &Ground<'_>) -> Result<(), InitialError> {
        let filter = &self.options.filter;
        let now = Catalog::read(ground.source, Side::Source, filter).await?;
        let mut copied = Catalog::read(ground.target, Side::Target, filter).await?;
        // The target may have schemas of its own.
        copied
            .tables
            .retain(|table| now.schemas.contains(&table.name.schema));
        let mut drift = copied.drift(&now);
        for since in ground.catalog.drift(&now) {
            if !drift.contains(&since) {
                drift.push(since);
            }
        }
        if drift.is_empty() {
            Ok(())
        } else {
            Err(InitialError::Drift(drift))
        }
    }
}

/// The programs that carry the structure do not say in a way that can be relied on why they failed.
/// If a server went away meanwhile, that is it, and may pass.
async fn still_there(ground: &Ground<'_>) -> Result<(), SchemaError> {
    for (side, client) in [(Side::Source, ground.source), (Side::Target, ground.target)] {
        let answered = client.batch_execute("SELECT 1").await;
        answered.map_err(SchemaError::sql(side, "carrying the structure"))?;
    }
    Ok(())
}

/// Ends what an earlier run left at work: a server finishes a long statement without its client.
async fn end_earlier_run(client: &Client, side: Side, name: &str) -> Result<(), SchemaError> {
    let query = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
                 FROM pg_catalog.pg_stat_activity a
                 WHERE a.datname = pg_catalog.current_database() AND a.application_name = $1
                   AND a.pid <> pg_catalog.pg_backend_pid()";
    let ended = client.query_one(query, &[&name]).await;
    let ended = ended.map_err(SchemaError::sql(side, "ending what an earlier run left"))?;
    let count: i64 = ended.get(0);
    if count > 0 {
        tracing::info!(%side, count, "ended connections of an earlier run");
    }
    Ok(())
}

async fn major_of(target: &Client) -> Result<u32, SchemaError> {
    let query = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000";
    let row = target.query_one(query, &[]).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "asking for its version"))?;
    u32::try_from(row.get::<_, i32>(0)).map_err(|_negative| SchemaError::Unreadable {
        side: Side::Target,
        what: "its version".to_owned(),
    })
}

//! MySQL's initial copy.

use std::sync::Arc;

use binlog::copy::CopyProgress;
use binlog::schema::catalog::TableFilter;
use binlog::schema::initial::{self, InitialDone, InitialError, InitialOptions, StreamStart};
use binlog::schema::patience::LockPatience;
use binlog::wire::Endpoint;

use crate::config::Config;
use crate::engine::InitialCopy;
use crate::engine::interruption::{BEGIN_AGAIN, Interruption, MEND};
use crate::status::TableStatus;

/// The copy of one migration.
pub(crate) struct Copy {
    id: String,
    inner: initial::InitialCopy,
}

/// Where the stream of a migration starts.
#[derive(Clone)]
pub(crate) struct Start {
    /// The migration's id.
    pub id: String,
    /// The place.
    pub stream: StreamStart,
}

/// What the stream of a migration goes on from.
pub(crate) struct Copied {
    pub(super) start: Start,
    pub(super) done: InitialDone,
}

impl Copy {
    pub(super) fn new(config: &Config, source: Endpoint, target: Endpoint, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            inner: initial::InitialCopy::new(source, target, options(config, id)),
        }
    }

    fn start(&self, stream: StreamStart) -> Start {
        Start {
            id: self.id.clone(),
            stream,
        }
    }
}

impl InitialCopy for Copy {
    type Start = Start;
    type Copied = Copied;

    async fn run(&self) -> Result<Copied, Interruption> {
        let done = self.inner.run().await.map_err(|error| of_copy(&error))?;
        Ok(Copied {
            start: self.start(done.start.clone()),
            done,
        })
    }

    async fn stream_start(&self) -> Start {
        self.start(self.inner.stream_start().await)
    }

    fn start_of(copied: &Copied) -> &Start {
        &copied.start
    }

    fn step(&self) -> String {
        self.inner.step_text()
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }

    fn progress(&self) -> Box<dyn Fn() -> Vec<TableStatus> + Send + Sync> {
        let progress = Arc::clone(self.inner.rows());
        Box::new(move || tables(&progress))
    }
}

fn tables(progress: &CopyProgress) -> Vec<TableStatus> {
    let tables = progress.tables().into_iter();
    let status = tables.map(|table| TableStatus {
        name: table.name.to_string(),
        rows: table.rows,
        bytes: table.bytes,
        bytes_expected: table.bytes_expected,
        done: table.done,
    });
    status.collect()
}

fn options(config: &Config, id: &str) -> InitialOptions {
    let copy = &config.copy;
    InitialOptions {
        filter: filter(config),
        patience: LockPatience {
            lock_timeout: copy.lock_timeout.0,
            ..LockPatience::default()
        },
        workers: copy.workers,
        bytes_per_second: copy.bandwidth_limit.map(|limit| limit.0),
        folder: config.spool.dir.clone(),
        ..InitialOptions::new(id)
    }
}

/// Whose rows are moved.
pub(super) fn filter(config: &Config) -> TableFilter {
    let tables = &config.copy.tables;
    TableFilter::new(tables.include.clone(), tables.exclude.clone())
}

fn of_copy(error: &InitialError) -> Interruption {
    let hint = match error {
        InitialError::Drift(_) => BEGIN_AGAIN,
        InitialError::Schema(_) | InitialError::Copy(_) | InitialError::Unsettled => MEND,
    };
    Interruption::of(error.may_pass(), "the copy stopped", error, hint)
}

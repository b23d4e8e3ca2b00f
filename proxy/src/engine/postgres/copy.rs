//! PostgreSQL's initial copy, with what is looked up for the sessions when it is complete.

use std::sync::Arc;

use pgwal::check;
use pgwal::copy::CopyProgress;
use pgwal::schema::catalog::TableFilter;
use pgwal::schema::initial::{self, InitialDone, InitialError, InitialOptions, StreamStart};
use pgwal::schema::patience::LockPatience;
use pgwal::schema::setup::KeylessPolicy;
use pgwal::session::Relay;
use pgwal::wire::Endpoint;
use router::words;
use tracing::warn;

use crate::config::{Config, KeylessTables};
use crate::engine::InitialCopy;
use crate::engine::interruption::{BEGIN_AGAIN, Interruption, MEND};
use crate::status::TableStatus;

/// The copy of one migration.
pub(crate) struct Copy {
    inner: initial::InitialCopy,
    source: Endpoint,
    config: Arc<Config>,
    relay: Arc<Relay>,
}

impl Copy {
    pub(super) fn new(
        config: &Arc<Config>,
        relay: &Arc<Relay>,
        source: Endpoint,
        target: Endpoint,
        id: &str,
    ) -> Self {
        Self {
            inner: initial::InitialCopy::new(source.clone(), target, options(config, id)),
            source,
            config: Arc::clone(config),
            relay: Arc::clone(relay),
        }
    }

    /// Names of the application's own settings, which no server lists for a session.
    async fn find_custom_settings(&self) {
        let Ok(client) = self.source.connect_sql("pointsman control").await else {
            return;
        };
        match check::custom_settings(&client).await {
            Ok(found) => {
                let configured = self.config.sessions.custom_settings.iter().cloned();
                self.relay
                    .set_custom_settings(found.into_iter().chain(configured));
            }
            Err(error) => warn!(error = %words(&error), "cannot look for custom settings"),
        }
    }
}

impl InitialCopy for Copy {
    type Start = StreamStart;
    type Copied = InitialDone;

    async fn run(&self) -> Result<InitialDone, Interruption> {
        let copied = self.inner.run().await.map_err(|error| of_copy(&error))?;
        self.find_custom_settings().await;
        Ok(copied)
    }

    async fn stream_start(&self) -> StreamStart {
        self.inner.stream_start().await
    }

    fn start_of(copied: &InitialDone) -> &StreamStart {
        &copied.start
    }

    fn step(&self) -> String {
        self.inner.step().as_str().to_owned()
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
        keyless: match copy.keyless_tables {
            KeylessTables::Full => KeylessPolicy::Full,
            KeylessTables::Refuse => KeylessPolicy::Refuse,
        },
        patience: LockPatience {
            lock_timeout: copy.lock_timeout.0,
            ..LockPatience::default()
        },
        pg_dump_dir: copy.pg_dump_dir.clone(),
        workers: copy.workers,
        bytes_per_second: copy.bandwidth_limit.map(|limit| limit.0),
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
        InitialError::Schema(_)
        | InitialError::Dump(_)
        | InitialError::Copy(_)
        | InitialError::Snapshot(_) => MEND,
    };
    Interruption::of(error.may_pass(), "the copy stopped", error, hint)
}

//! The applier's session on the target: its settings, its replication origin, its prepared
//! statements and the progress row.
//!
//! # Crash behaviour
//!
//! The progress row is written in the transaction of the window it tells of, and only where it
//! still has the position that this session read: a second applier, or a backend of ours that we
//! lost and that is still at work, can never commit the same window. It is read under a row lock,
//! so that a commit in flight of a lost backend is waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use router::Lsn;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::ApplyOptions;
use super::error::{ApplyError, Doing, ServerFailure};
use super::sql::Shape;
use super::target_table::TargetTable;
use crate::name::quote_literal;
use crate::wire::{Endpoint, SqlConn};

/// Prepared statements kept on the session; beyond it all are given up and made again as needed.
const STATEMENTS_MAX: usize = 2_000;

/// How often a replication origin that is still held is tried, and the time between.
const ORIGIN_ATTEMPTS_MAX: u32 = 100;
const ORIGIN_RETRY: Duration = Duration::from_millis(100);

/// Settings on top of those of every control connection.
///
/// A generic plan finds rows by the key's index whatever the length of the arrays; sequential scans
/// are off since a table may be nearly empty when its statement is planned and not when it runs
/// (where no index helps, the planner scans all the same).
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
    SET jit = off; SET row_security = off";

/// After this time plans are made anew, with the sizes that the tables have by then.
const PLANS_AGE_MAX: Duration = Duration::from_secs(1);

/// Whether commits carry the migration's replication origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginState {
    /// They do.
    Set,
    /// The target does not permit it, or has no room for one more: a reverse stream cannot tell our
    /// changes from others by it.
    Unavailable {
        /// What the server said.
        failure: ServerFailure,
    },
}

/// One open session on the target.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Arc<SqlConn>,
    pub(super) origin: OriginState,
    /// Everything that committed on the source before this is applied.
    pub(super) progress: Lsn,
    statements: HashMap<(u64, Shape), Statement>,
    end: EndStatements,
    planned_at: Instant,
}

/// The statements that end a window.
#[derive(Debug)]
struct EndStatements {
    progress: Statement,
    origin: Option<Statement>,
}

impl Session {
    /// Opens the session and reads the progress; `options.start` is the progress if there is none
    /// of that epoch yet.
    pub(super) async fn open(
        target: &Endpoint,
        options: &ApplyOptions,
    ) -> Result<Self, ApplyError> {
        let origin_name = options.origin_name.as_str();
        let application_name = format!("{origin_name} apply");
        let client = target
            .connect_sql(&application_name)
            .await
            .map_err(ApplyError::Connect)?;
        set(&client).await?;
        let origin = set_up_origin(&client, origin_name, &application_name).await?;
        let progress = read_progress(&client, options).await?;
        let end = EndStatements::prepare(&client, &origin)
            .await
            .map_err(opening)?;
        Ok(Self {
            client: Arc::new(client),
            origin,
            progress,
            statements: HashMap::new(),
            end,
            planned_at: Instant::now(),
        })
    }

    /// Makes sure that the statement of this shape is prepared.
    pub(super) async fn prepare(
        &mut self,
        table: &TargetTable,
        shape: Shape,
    ) -> Result<Statement, ApplyError> {
        let key = (table.id, shape);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        let (sql, parameters) = key.1.sql(table);
        let types = vec![Type::TEXT_ARRAY; parameters];
        let statement = self
            .client
            .prepare_typed(&sql, &types)
            .await
            .map_err(|error| ApplyError::Server {
                doing: Doing::Change(table.name.clone()),
                failure: ServerFailure::of(&error),
            })?;
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }

    /// Whether the plans of the prepared statements should be given up now.
    pub(super) fn plans_are_stale(&mut self) -> bool {
        let stale = self.planned_at.elapsed() >= PLANS_AGE_MAX;
        if stale {
            self.planned_at = Instant::now();
        }
        stale
    }

    /// The statement that moves the progress row; its parameters are the new position, the commit
    /// time in microseconds since 2000, and the position that must be there.
    pub(super) fn progress_statement(&self) -> &Statement {
        &self.end.progress
    }

    /// The statement that gives the commit its origin's position and time, if there is an origin.
    pub(super) fn origin_statement(&self) -> Option<&Statement> {
        self.end.origin.as_ref()
    }
}

impl EndStatements {
    async fn prepare(client: &Client, origin: &OriginState) -> Result<Self, tokio_postgres::Error> {
        let time = "'2000-01-01 00:00:00+00'::timestamptz + $2::int8 * interval '1 microsecond'";
        let progress = client
            .prepare(&format!(
                "UPDATE pointsman.progress SET end_lsn = $1::text::pg_lsn, \
                 commit_time = coalesce({time}, commit_time) \
                 WHERE lane = 0 AND end_lsn = $3::text::pg_lsn"
            ))
            .await?;
        let origin = match origin {
            OriginState::Set => Some(
                client
                    .prepare(&format!(
                        "SELECT pg_catalog.pg_replication_origin_xact_setup(\
                         $1::text::pg_lsn, coalesce({time}, pg_catalog.now()))"
                    ))
                    .await?,
            ),
            OriginState::Unavailable { .. } => None,
        };
        Ok(Self { progress, origin })
    }
}

async fn set(client: &Client) -> Result<(), ApplyError> {
    if let Err(error) = client
        .batch_execute("SET session_replication_role = replica")
        .await
    {
        return Err(ApplyError::ReplicationRole {
            failure: ServerFailure::of(&error),
        });
    }
    client.batch_execute(SETTINGS).await.map_err(opening)
}

/// Makes the session's commits carry the origin, if the server permits it.
async fn set_up_origin(
    client: &Client,
    origin_name: &str,
    application_name: &str,
) -> Result<OriginState, ApplyError> {
    let name = quote_literal(origin_name);
    let create = format!(
        "SELECT pg_catalog.pg_replication_origin_create({name}) \
         WHERE pg_catalog.pg_replication_origin_oid({name}) IS NULL"
    );
    let set_up = format!("SELECT pg_catalog.pg_replication_origin_session_setup({name})");
    let mut attempts = 0;
    loop {
        let result = async {
            client.batch_execute(&create).await?;
            client.batch_execute(&set_up).await
        }
        .await;
        let Err(error) = result else {
            return Ok(OriginState::Set);
        };
        let failure = ServerFailure::of(&error);
        if failure.is(&SqlState::INSUFFICIENT_PRIVILEGE)
            || failure.is(&SqlState::CONFIGURATION_LIMIT_EXCEEDED)
        {
            tracing::warn!(%failure, "the target gives no replication origin; going on without");
            return Ok(OriginState::Unavailable { failure });
        }
        attempts += 1;
        if !failure.is(&SqlState::OBJECT_IN_USE) || attempts >= ORIGIN_ATTEMPTS_MAX {
            return Err(ApplyError::Server {
                doing: Doing::Opening,
                failure,
            });
        }
        end_lost_backends(client, application_name).await?;
        tokio::time::sleep(ORIGIN_RETRY).await;
    }
}

/// Ends backends of this migration's applier that outlived their connection: they hold the origin.
async fn end_lost_backends(client: &Client, application_name: &str) -> Result<(), ApplyError> {
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
         WHERE application_name = {} AND datname = pg_catalog.current_database() \
         AND usename = CURRENT_USER AND pid <> pg_catalog.pg_backend_pid()",
        quote_literal(application_name),
    );
    client.batch_execute(&sql).await.map_err(opening)
}

async fn read_progress(client: &Client, options: &ApplyOptions) -> Result<Lsn, ApplyError> {
    let failed = |error: tokio_postgres::Error| ApplyError::Server {
        doing: Doing::Progress,
        failure: ServerFailure::of(&error),
    };
    client
        .execute(
            "INSERT INTO pointsman.progress AS p (lane, end_lsn, epoch) \
             VALUES (0, $1::text::pg_lsn, $2) ON CONFLICT (lane) DO UPDATE SET \
             end_lsn = excluded.end_lsn, epoch = excluded.epoch, commit_time = NULL \
             WHERE p.epoch < excluded.epoch",
            &[&options.start.to_string(), &options.epoch.0.cast_signed()],
        )
        .await
        .map_err(failed)?;
    let row = client
        .query_one(
            "SELECT end_lsn::text, epoch FROM pointsman.progress WHERE lane = 0 FOR UPDATE",
            &[],
        )
        .await
        .map_err(failed)?;
    let epoch: i64 = row.try_get(1).map_err(failed)?;
    if epoch.cast_unsigned() != options.epoch.0 {
        return Err(ApplyError::LaterEpoch {
            epoch: options.epoch.0,
            found: epoch.cast_unsigned(),
        });
    }
    let text: &str = row.try_get(0).map_err(failed)?;
    text.parse()
        .map_err(|_not_a_position| ApplyError::ProgressMalformed)
}

fn opening(error: tokio_postgres::Error) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Opening,
        failure: ServerFailure::of(&error),
    }
}

//! The applier's sessions on the target: their settings, and the progress row.
//!
//! One session applies, a second one looks at the catalogue, so that looking never stands in the
//! transaction of a window.
//!
//! # Crash behaviour
//!
//! The progress row is written in the transaction of the window it tells of, and only where it
//! still has the position that this session read: a second applier, or a session of ours that we
//! lost and that is still at work, can never commit the same window. It is read under a row lock,
//! so that a commit in flight of a lost session is waited for.

use std::sync::Arc;

use super::compose::Events;
use super::error::{ApplyError, Doing};
use super::step::WindowEnd;
use super::target_table::Method;
use crate::name::quote_literal;
use crate::position::Position;
use crate::version::Flavour;
use crate::wire::{Endpoint, SqlConn, SqlError};

/// Settings on top of those of every connection of ours, on every server.
///
/// `READ COMMITTED` spares gap locks. Foreign keys are for the source to check; unique indexes are
/// checked here too. Nothing may be cut or rounded in silence where rows are written by SQL, and
/// what a source holds may be stored, whatever its mode would refuse today.
const SETTINGS: [&str; 2] = [
    "SET SESSION foreign_key_checks = 0, SESSION unique_checks = 1",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
];

/// The mode of these sessions, and the one for what no strict server takes.
pub(super) const STRICT_MODE: &str =
    "NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";
pub(super) const NOT_STRICT_MODE: &str =
    "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// What MariaDB has: annotations would write every `BINLOG` text into its log again. It needs a
/// privilege of its own, and spares no more than room.
const NO_ANNOTATIONS: &str = "SET SESSION binlog_annotate_row_events = 0";

/// What MariaDB has: a source may hold what its constraints were not asked about.
const NO_CONSTRAINTS: &str = "SET SESSION check_constraint_checks = 0";

/// Access denied; also in the form for a missing privilege.
const DENIED: [u16; 4] = [1045, 1142, 1227, 1290];

/// The open sessions on the target.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: Arc<SqlConn>,
    /// For looking at the catalogue.
    pub(super) lookup: Arc<SqlConn>,
    pub(super) method: Method,
    /// The largest packet that the target takes, in bytes.
    pub(super) packet_max: usize,
    /// Everything that committed on the source up to this is applied.
    pub(super) progress: Position,
}

impl Session {
    /// Opens the sessions and reads the progress; `start` is the progress if there is none yet.
    pub(super) async fn open(
        target: &Endpoint,
        program_name: &str,
        start: &Position,
    ) -> Result<Self, ApplyError> {
        let conn = Box::pin(target.connect_sql(program_name))
            .await
            .map_err(ApplyError::Connect)?;
        let lookup = Box::pin(target.connect_sql(program_name))
            .await
            .map_err(ApplyError::Connect)?;
        set(&conn).await?;
        let method = start_row_events(&conn).await?;
        if method == Method::RowEvents {
            be_strict(&conn).await?;
        } else {
            tracing::warn!("the target does not permit BINLOG; changes are applied by SQL");
        }
        let packet_max = read_packet_max(&conn).await?;
        let progress = read_progress(&conn, start).await?;
        Ok(Self {
            conn: Arc::new(conn),
            lookup: Arc::new(lookup),
            method,
            packet_max,
            progress,
        })
    }

    /// Moves the progress row, if it still is where this session left it.
    pub(super) async fn move_progress(&self, end: &WindowEnd) -> Result<(), ApplyError> {
        let time = end
            .commit_time_us
            .map_or_else(|| "commit_time".to_owned(), |time| time.to_string());
        let sql = format!(
            "UPDATE pointsman.progress SET position = {}, commit_time = {time}, \
             windows = windows + 1 WHERE lane = 0 AND position = {}",
            quote_literal(&end.position.to_string()),
            quote_literal(&self.progress.to_string()),
        );
        self.changed_progress(&sql).await
    }

    /// Writes into the progress row that a window is being applied: the first change of each of our
    /// transactions is one of this row, so that a reader of the target's log knows them.
    pub(super) async fn open_window(&self) -> Result<(), ApplyError> {
        let sql = format!(
            "UPDATE pointsman.progress SET windows = windows + 1 WHERE lane = 0 AND position = {}",
            quote_literal(&self.progress.to_string()),
        );
        self.changed_progress(&sql).await
    }

    async fn changed_progress(&self, sql: &str) -> Result<(), ApplyError> {
        let done = self.conn.execute(sql).await.map_err(window)?;
        if done.affected_rows == 1 {
            Ok(())
        } else {
            Err(ApplyError::ProgressMoved {
                expected: self.progress.to_string(),
            })
        }
    }
}

fn is_denied(error: &SqlError) -> bool {
    error.code().is_some_and(|code| DENIED.contains(&code))
}

fn window(source: SqlError) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Window,
        source,
    }
}

fn opening(source: SqlError) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Opening,
        source,
    }
}

async fn set(conn: &SqlConn) -> Result<(), ApplyError> {
    for setting in SETTINGS {
        conn.execute(setting).await.map_err(opening)?;
    }
    let mode = format!("SET SESSION sql_mode = '{STRICT_MODE}'");
    conn.execute(&mode).await.map_err(opening)?;
    match conn.version().flavour {
        Flavour::MySql => {}
        Flavour::MariaDb => {
            conn.execute(NO_CONSTRAINTS).await.map_err(opening)?;
            match conn.execute(NO_ANNOTATIONS).await {
                Ok(_) => {}
                Err(error) if is_denied(&error) => {
                    tracing::warn!("the target's log will hold every change twice: {error}");
                }
                Err(error) => return Err(opening(error)),
            }
        }
    }
    Ok(())
}

/// Sends the format description, after which the session takes row events; on MySQL the next
/// transactions must then get their GTIDs as usual again.
async fn start_row_events(conn: &SqlConn) -> Result<Method, ApplyError> {
    let mut events = Events::default();
    events.format_description();
    let described = conn.execute(&events.statement()).await;
    let started = match (described, conn.version().flavour) {
        (Ok(_), Flavour::MySql) => conn.execute("SET SESSION gtid_next = 'AUTOMATIC'").await,
        (described, Flavour::MySql | Flavour::MariaDb) => described,
    };
    match started {
        Ok(_) => Ok(Method::RowEvents),
        Err(error) if is_denied(&error) => Ok(Method::Sql),
        Err(error) => Err(opening(error)),
    }
}

/// Makes sure that missing rows and duplicates are errors.
async fn be_strict(conn: &SqlConn) -> Result<(), ApplyError> {
    let version = conn.version();
    if version.is_mysql_at_least(5, 7, 1) {
        // Only `BINLOG` statements heed it.
        conn.execute("SET SESSION rbr_exec_mode = 'STRICT'")
            .await
            .map_err(opening)?;
        return Ok(());
    }
    let rows = conn
        .query("SELECT @@GLOBAL.slave_exec_mode")
        .await
        .map_err(opening)?;
    match rows.first().and_then(|row| row.text(0)) {
        Some("STRICT") | None => Ok(()),
        Some(mode) => Err(ApplyError::Lenient {
            mode: mode.to_owned(),
        }),
    }
}

/// The largest packet that the server takes from this session, in bytes.
pub(super) async fn read_packet_max(conn: &SqlConn) -> Result<usize, ApplyError> {
    let rows = conn
        .query("SELECT @@SESSION.max_allowed_packet")
        .await
        .map_err(opening)?;
    let bytes = rows.first().and_then(|row| row.parse(0).ok());
    // Every server takes so much.
    Ok(bytes.unwrap_or(1 << 20))
}

async fn read_progress(conn: &SqlConn, start: &Position) -> Result<Position, ApplyError> {
    let failed = |source| ApplyError::Server {
        doing: Doing::Progress,
        source,
    };
    let start = quote_literal(&start.to_string());
    conn.execute(&format!(
        "INSERT IGNORE INTO pointsman.progress (lane, position) VALUES (0, {start})"
    ))
    .await
    .map_err(failed)?;
    let rows = conn
        .query("SELECT position FROM pointsman.progress WHERE lane = 0 FOR UPDATE")
        .await
        .map_err(failed)?;
    rows.first()
        .and_then(|row| row.text(0))
        .and_then(|text| text.parse().ok())
        .ok_or(ApplyError::ProgressMalformed)
}

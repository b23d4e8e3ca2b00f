//! The replication slot: made with a snapshot, looked at, dropped.
//!
//! A new slot waits for every transaction that was writing when it was made, in any database of
//! the cluster, prepared ones too. The wait is bounded by `lock_timeout` on the walsender
//! (`statement_timeout` does not work there), and whoever is in the way is named.

mod blockers;
mod facts;
mod resume;

use std::time::Duration;

use router::Lsn;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

pub(crate) use blockers::list;
pub use blockers::{Blocker, old_writers};
pub use facts::{SlotFacts, WalStatus};
pub use resume::{Resume, ResumeError, resume_check};

use super::copy_both::{ReplicationConn, Rows, text};
use super::error::StreamError;
use crate::name::quote_identifier;
use crate::wire::{ConnectError, Endpoint, ServerError};
use blockers::Watch;

/// How often the blocking transactions are looked up while a slot is being made.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// How long a drop waits for the slot's last reader to go by itself.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a drop takes at most.
const DROP_TIMEOUT: Duration = Duration::from_secs(15);

/// A slot that was just made.
#[derive(Debug)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// Everything committed before is in the snapshot, everything after comes in the stream.
    pub consistent_point: Lsn,
    /// For `SET TRANSACTION SNAPSHOT`; valid while `conn` is open and runs nothing else.
    pub snapshot_name: String,
    /// Keeps the snapshot; a temporary slot lives as long as it.
    pub conn: ReplicationConn,
}

/// Why a slot cannot be made, looked at or dropped.
#[derive(Debug, Error)]
pub enum SlotError {
    /// The source cannot be reached or refuses.
    #[error("cannot connect to make replication slot \"{slot}\"")]
    Connect {
        /// The slot.
        slot: String,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// Older writing transactions did not end in time.
    #[error(
        "replication slot \"{slot}\" on {endpoint} could not be made within {timeout:?}, since it \
         must wait for every transaction that was already writing{}; end them, or try again later",
        blockers::list(blockers)
    )]
    Blocked {
        /// The source.
        endpoint: String,
        /// The slot.
        slot: String,
        /// The bound on the wait.
        timeout: Duration,
        /// Who was in the way, as far as it could be seen.
        blockers: Vec<Blocker>,
    },
    /// `max_replication_slots` is reached.
    #[error(
        "all replication slots of {endpoint} are in use; raise max_replication_slots (needs a \
         restart) or drop one that nobody needs"
    )]
    NoFreeSlot {
        /// The source.
        endpoint: String,
    },
    /// `wal_level` is not `logical`.
    #[error(
        "{endpoint} runs with a wal_level below logical; set wal_level = logical and restart it"
    )]
    WalLevel {
        /// The source.
        endpoint: String,
        /// The server's error.
        #[source]
        source: Box<ServerError>,
    },
    /// A slot of this name exists.
    #[error("replication slot \"{slot}\" exists on {endpoint} already")]
    Exists {
        /// The source.
        endpoint: String,
        /// The slot.
        slot: String,
    },
    /// The user may not replicate.
    #[error("the user at {endpoint} may not replicate; give it the REPLICATION attribute")]
    Privilege {
        /// The source.
        endpoint: String,
        /// The server's error.
        #[source]
        source: Box<ServerError>,
    },
    /// Somebody reads from the slot and does not go.
    #[error("replication slot \"{slot}\" cannot be dropped, since it is in use")]
    Busy {
        /// The slot.
        slot: String,
    },
    /// A query failed.
    #[error("cannot {doing} replication slot \"{slot}\"")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// The slot.
        slot: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server answered what makes no sense.
    #[error("the server gave {what} for replication slot \"{slot}\"")]
    Answer {
        /// The slot.
        slot: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// Anything else on the replication connection.
    #[error("cannot make replication slot \"{slot}\"")]
    Stream {
        /// The slot.
        slot: String,
        /// Why.
        #[source]
        source: Box<StreamError>,
    },
}

/// How long a slot lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Permanent,
    Temporary,
}

/// Makes a permanent slot and exports the snapshot it begins with.
///
/// # Cancel safety
/// Dropped while it waits, the server goes on until `lock_timeout`; the slot may then exist.
///
/// # Errors
/// The wait was longer than `lock_timeout`, or the server refuses.
pub async fn create(
    endpoint: &Endpoint,
    name: &str,
    lock_timeout: Duration,
) -> Result<CreatedSlot, SlotError> {
    create_slot(endpoint, name, lock_timeout, Lifetime::Permanent).await
}

/// Makes a slot that ends with its connection, for the snapshot alone.
///
/// # Cancel safety
/// Dropped while it waits, the server goes on until `lock_timeout`.
///
/// # Errors
/// The wait was longer than `lock_timeout`, or the server refuses.
pub async fn create_temporary(
    endpoint: &Endpoint,
    name: &str,
    lock_timeout: Duration,
) -> Result<CreatedSlot, SlotError> {
    create_slot(endpoint, name, lock_timeout, Lifetime::Temporary).await
}

/// Drops the slot, if there is one; says whether there was. A walsender that still reads from it
/// is given a moment, then ended: the slot's name is ours alone.
///
/// # Errors
/// The server refuses, or the slot stays in use.
pub async fn drop_slot(client: &Client, name: &str) -> Result<bool, SlotError> {
    let failed = |source| SlotError::Query {
        doing: "drop",
        slot: name.to_owned(),
        source,
    };
    let begun = Instant::now();
    loop {
        let dropped = client
            .query(
                "SELECT pg_catalog.pg_drop_replication_slot(slot_name) \
                 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text::name",
                &[&name],
            )
            .await;
        match dropped {
            Ok(rows) => return Ok(!rows.is_empty()),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(false),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {}
            Err(error) => return Err(failed(error)),
        }
        if begun.elapsed() > DROP_TIMEOUT {
            return Err(SlotError::Busy {
                slot: name.to_owned(),
            });
        }
        if begun.elapsed() > DROP_PATIENCE {
            client
                .query(
                    "SELECT pg_catalog.pg_terminate_backend(active_pid) \
                     FROM pg_catalog.pg_replication_slots \
                     WHERE slot_name = $1::text::name AND active_pid IS NOT NULL",
                    &[&name],
                )
                .await
                .map_err(failed)?;
        }
        sleep(WATCH_INTERVAL).await;
    }
}

async fn create_slot(
    endpoint: &Endpoint,
    name: &str,
    lock_timeout: Duration,
    lifetime: Lifetime,
) -> Result<CreatedSlot, SlotError> {
    let stream_failed = |error| stream_error(endpoint, name, lock_timeout, error);
    let conn = ReplicationConn::open(endpoint, "pointsman slot").await;
    let mut conn = conn.map_err(stream_failed)?;
    let timeout_ms = lock_timeout.as_millis().max(1);
    let major = conn.server_major().ok_or_else(|| SlotError::Answer {
        slot: name.to_owned(),
        what: "no server version",
    })?;
    let set = format!("SET lock_timeout = {timeout_ms}");
    conn.query("set lock_timeout", &set)
        .await
        .map_err(stream_failed)?;

    let command = create_command(name, lifetime, major);
    let mut watch = Watch::open(endpoint, conn.backend_pid()).await;
    let rows = make(&mut conn, &command, &mut watch, lock_timeout).await;
    let rows = rows.map_err(|error| stream_failed(error).with_blockers(watch))?;
    let row = rows.first().map(Vec::as_slice);
    let created = row.and_then(|row| {
        let consistent_point = text(row.get(1)?)?.parse().ok()?;
        Some((consistent_point, text(row.get(2)?)?.to_owned()))
    });
    let Some((consistent_point, snapshot_name)) = created else {
        return Err(SlotError::Answer {
            slot: name.to_owned(),
            what: "no position and snapshot",
        });
    };
    Ok(CreatedSlot {
        name: name.to_owned(),
        consistent_point,
        snapshot_name,
        conn,
    })
}

/// Runs the command; looks meanwhile for what it waits for.
async fn make(
    conn: &mut ReplicationConn,
    command: &str,
    watch: &mut Watch,
    lock_timeout: Duration,
) -> Result<Rows, StreamError> {
    // Each of the older transactions is waited for by itself, so the whole may take longer.
    let deadline = Instant::now() + lock_timeout.saturating_mul(4) + Duration::from_secs(5);
    let mut creation = std::pin::pin!(conn.query("make a replication slot", command));
    loop {
        tokio::select! {
            rows = &mut creation => return rows,
            () = sleep(WATCH_INTERVAL) => {
                watch.look().await;
                if Instant::now() > deadline {
                    watch.terminate().await;
                }
            }
        }
    }
}

fn create_command(name: &str, lifetime: Lifetime, server_major: u32) -> String {
    let name = quote_identifier(name);
    let temporary = match lifetime {
        Lifetime::Permanent => "",
        Lifetime::Temporary => " TEMPORARY",
    };
    let export = if server_major >= 15 {
        "(SNAPSHOT 'export')"
    } else {
        "EXPORT_SNAPSHOT"
    };
    format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL pgoutput {export}")
}

fn stream_error(
    endpoint: &Endpoint,
    slot: &str,
    timeout: Duration,
    error: StreamError,
) -> SlotError {
    let (slot, endpoint) = (slot.to_owned(), endpoint.to_string());
    match error {
        StreamError::Connect(source) => match source.server() {
            // insufficient_privilege
            Some(error) if error.sqlstate == "42501" => {
                let source = Box::new(error.clone());
                SlotError::Privilege { endpoint, source }
            }
            Some(_) | None => SlotError::Connect { slot, source },
        },
        StreamError::Server { source, .. } => match source.sqlstate.as_str() {
            // lock_not_available; admin_shutdown when we ended it ourselves
            "55P03" | "57P01" => SlotError::Blocked {
                endpoint,
                slot,
                timeout,
                blockers: Vec::new(),
            },
            // configuration_limit_exceeded
            "53400" => SlotError::NoFreeSlot { endpoint },
            // object_not_in_prerequisite_state
            "55000" if source.message.contains("wal_level") => {
                SlotError::WalLevel { endpoint, source }
            }
            // duplicate_object
            "42710" => SlotError::Exists { endpoint, slot },
            // insufficient_privilege
            "42501" => SlotError::Privilege { endpoint, source },
            _other => {
                let doing = "make a replication slot";
                let source = Box::new(StreamError::Server {
                    endpoint,
                    doing,
                    source,
                });
                SlotError::Stream { slot, source }
            }
        },
        other => SlotError::Stream {
            slot,
            source: Box::new(other),
        },
    }
}

impl SlotError {
    fn with_blockers(mut self, watch: Watch) -> Self {
        if let Self::Blocked { blockers, .. } = &mut self {
            *blockers = watch.into_seen();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_follows_the_server() {
        assert_eq!(
            create_command("s", Lifetime::Permanent, 14),
            "CREATE_REPLICATION_SLOT \"s\" LOGICAL pgoutput EXPORT_SNAPSHOT"
        );
        assert_eq!(
            create_command("s", Lifetime::Temporary, 15),
            "CREATE_REPLICATION_SLOT \"s\" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')"
        );
    }
}

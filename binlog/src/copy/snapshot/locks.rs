//! Taking the snapshots at one moment.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use router::Side;
use tokio::time::{Instant, timeout};

use super::{
    Definitions, Reader, Snapshot, SnapshotMethod, SnapshotOptions, place, prepare_reader,
};
use crate::schema::error::SchemaError;
use crate::wire::{Endpoint, SqlConn, SqlError};

/// How long the snapshots may take while the lock is held; then it is given back.
const HOLD_MAX: Duration = Duration::from_secs(3);

/// How often a busy MariaDB is asked for equal snapshots without a lock.
const EQUAL_ATTEMPTS: u32 = 3;

/// Access denied, in its three forms.
const DENIED: [u16; 4] = [1044, 1045, 1142, 1227];

/// The connections that take a snapshot.
pub(super) struct Taker<'a> {
    source: &'a Endpoint,
    options: &'a SnapshotOptions,
    /// Locks, and asks for the position.
    control: SqlConn,
    /// Takes a waiting lock request back.
    watch: SqlConn,
    readers: Vec<SqlConn>,
}

/// What one attempt came to.
enum Attempt {
    /// All readers have their snapshots.
    Taken(Vec<Reader>, SnapshotMethod),
    /// Not allowed to us.
    Denied,
    /// Something stood in the way.
    Busy(String),
}

/// A way to keep writers out for a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Global,
    Tables,
}

impl<'a> Taker<'a> {
    pub(super) async fn connect(
        source: &'a Endpoint,
        options: &'a SnapshotOptions,
    ) -> Result<Self, SchemaError> {
        let name = &options.program_name;
        let (control, watch) = (
            prepare_reader(source, name).await?,
            prepare_reader(source, name).await?,
        );
        let readers = (0..options.readers.max(1)).map(|_| prepare_reader(source, name));
        Ok(Self {
            source,
            options,
            control,
            watch,
            readers: try_join_all(readers).await?,
        })
    }

    pub(super) async fn take(mut self) -> Result<Snapshot, SchemaError> {
        let keeper = self.lock_definitions().await?;
        let (readers, method) = self.find_way().await?;
        for reader in &readers {
            let marked = reader.client.execute("SAVEPOINT pointsman").await;
            marked.map_err(SchemaError::sql(Side::Source, "marking a snapshot's begin"))?;
        }
        let definitions = match &keeper {
            Some(_) => Definitions::Locked,
            None => Definitions::Free,
        };
        tracing::info!(%method, ?definitions, readers = readers.len(), "took a snapshot");
        Ok(Snapshot {
            readers,
            method,
            definitions,
            keeper,
        })
    }

    /// Makes definition statements wait, where that is granted and nothing long is running.
    async fn lock_definitions(&self) -> Result<Option<SqlConn>, SchemaError> {
        if !self.control.version().is_mysql_at_least(8, 0, 0) {
            return Ok(None);
        }
        let keeper = prepare_reader(self.source, &self.options.program_name).await?;
        let wait = "SET SESSION lock_wait_timeout = 1";
        let what = "keeping definitions as they are";
        let set = keeper.execute(wait).await;
        set.map_err(SchemaError::sql(Side::Source, what))?;
        for _ in 0..self.options.patience.attempts.clamp(1, 10) {
            match keeper.execute("LOCK INSTANCE FOR BACKUP").await {
                Ok(_) => return Ok(Some(keeper)),
                Err(error) if error.code() == Some(1205) => {}
                Err(error) if is_denied(&error) => return Ok(None),
                Err(error) => return Err(SchemaError::sql(Side::Source, what)(error)),
            }
        }
        Ok(None)
    }

    async fn find_way(&mut self) -> Result<(Vec<Reader>, SnapshotMethod), SchemaError> {
        let lock_free = self.control.version().is_mariadb();
        if lock_free {
            for _ in 0..EQUAL_ATTEMPTS {
                let readers = self.without_lock().await?;
                let first = readers.first().map(|reader| reader.position.clone());
                if readers
                    .iter()
                    .all(|reader| first.as_ref() == Some(&reader.position))
                {
                    return Ok((readers, SnapshotMethod::LockFree));
                }
                self.readers = readers.into_iter().map(|reader| reader.client).collect();
            }
        }
        match self.patiently(Lock::Global).await? {
            Some(found) => return Ok(found),
            None if lock_free => {
                return Ok((self.without_lock().await?, SnapshotMethod::LockFree));
            }
            None => {}
        }
        match self.patiently(Lock::Tables).await? {
            Some(found) => Ok(found),
            None => Err(SchemaError::NoSnapshot {
                user: self.source.user.clone(),
            }),
        }
    }

    /// Attempts until one succeeds; `None` if this way is not granted.
    async fn patiently(
        &mut self,
        lock: Lock,
    ) -> Result<Option<(Vec<Reader>, SnapshotMethod)>, SchemaError> {
        let patience = self.options.patience;
        let mut blockers = String::new();
        for attempt in 0..patience.attempts.max(1) {
            match self.under(lock, patience.lock_timeout_of(attempt)).await? {
                Attempt::Taken(readers, method) => return Ok(Some((readers, method))),
                Attempt::Denied => return Ok(None),
                Attempt::Busy(by) => {
                    tracing::info!(attempt, by, "the source is busy, trying the lock again");
                    blockers = by;
                }
            }
            tokio::time::sleep(patience.pause_after(attempt)).await;
        }
        Err(SchemaError::StayedLocked {
            attempts: patience.attempts,
            lock_timeout: patience.lock_timeout,
            blockers,
        })
    }

    /// One attempt.
    async fn under(&mut self, lock: Lock, wait: Duration) -> Result<Attempt, SchemaError> {
        let what = "locking for a snapshot";
        let (locked, blockers) = self.lock(lock, wait).await?;
        match locked {
            Ok(()) => {}
            Err(error) if is_denied(&error) => return Ok(Attempt::Denied),
            // Interrupted by us, or by its own timeout.
            Err(error) if matches!(error.code(), Some(1205 | 1317)) => {
                return Ok(Attempt::Busy(blockers));
            }
            Err(error) => return Err(SchemaError::sql(Side::Source, what)(error)),
        }
        let held = Instant::now();
        let taken = timeout(HOLD_MAX, self.snapshots()).await;
        let unlocked = self.control.execute("UNLOCK TABLES").await;
        let held = held.elapsed();
        unlocked.map_err(SchemaError::sql(
            Side::Source,
            "unlocking after the snapshot",
        ))?;
        let Ok(position) = taken else {
            return Ok(Attempt::Busy(format!("snapshots took over {HOLD_MAX:?}")));
        };
        let Some(position) = position? else {
            return Ok(Attempt::Busy(
                "XA transactions that are prepared (see XA RECOVER)".to_owned(),
            ));
        };
        let readers = std::mem::take(&mut self.readers)
            .into_iter()
            .map(|client| Reader {
                client,
                position: position.clone(),
            })
            .collect();
        let method = match lock {
            Lock::Global => SnapshotMethod::GlobalLock(held),
            Lock::Tables => SnapshotMethod::TableLocks(held),
        };
        Ok(Attempt::Taken(readers, method))
    }

    /// Asks for the lock, and takes the request back when it has to wait too long.
    async fn lock(
        &self,
        lock: Lock,
        wait: Duration,
    ) -> Result<(Result<(), SqlError>, String), SchemaError> {
        let statement = match lock {
            Lock::Global => "FLUSH TABLES WITH READ LOCK".to_owned(),
            Lock::Tables => {
                // A lock of InnoDB too, which waits for open transactions on 5.6.
                let off = self.control.execute("SET autocommit = 0").await;
                off.map_err(SchemaError::sql(Side::Source, "preparing its table locks"))?;
                let tables = self.options.tables.iter();
                let list: Vec<String> = tables
                    .map(|table| format!("{} READ", table.quoted()))
                    .collect();
                format!("LOCK TABLES {}", list.join(", "))
            }
        };
        let locking = self.control.execute(&statement);
        tokio::pin!(locking);
        let mut blockers = String::new();
        if let Ok(answer) = timeout(wait, &mut locking).await {
            return Ok((answer.map(drop), blockers));
        }
        if let Ok(found) = self.blockers().await {
            blockers = found;
        }
        let kill = format!("KILL QUERY {}", self.control.thread_id());
        let killed = self.watch.execute(&kill).await;
        let answer = locking.await.map(drop);
        killed.map_err(SchemaError::sql(Side::Source, "taking a waiting lock back"))?;
        Ok((answer, blockers))
    }

    /// The sessions that have been at work the longest.
    async fn blockers(&self) -> Result<String, SqlError> {
        let sql = format!(
            "SELECT ID, USER, HOST, TIME, COALESCE(STATE, '') FROM information_schema.PROCESSLIST
             WHERE COMMAND NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')
               AND ID NOT IN ({}, {}) ORDER BY TIME DESC LIMIT 3",
            self.control.thread_id(),
            self.watch.thread_id()
        );
        let rows = self.watch.query(&sql).await?;
        let named: Vec<String> = rows
            .iter()
            .map(|row| {
                let word = |index| row.text(index).unwrap_or_default().to_owned();
                let (id, user, host, time) = (word(0), word(1), word(2), word(3));
                format!("session {id} of {user} at {host}, busy for {time} s")
            })
            .collect();
        Ok(if named.is_empty() {
            "a transaction or lock of a session that looks idle".to_owned()
        } else {
            named.join("; ")
        })
    }

    /// Opens all snapshots and asks where they stand; `None` while XA transactions are prepared,
    /// whose changes stand before the position and are in no snapshot.
    async fn snapshots(&self) -> Result<Option<crate::position::Position>, SchemaError> {
        open_all(&self.readers).await?;
        let position = place::current(&self.control).await?;
        let prepared = self.control.query("XA RECOVER").await;
        match prepared {
            Ok(rows) if !rows.is_empty() => Ok(None),
            // Without the privilege to see them the check has said so.
            Ok(_) | Err(SqlError::Server(_)) => Ok(Some(position)),
            Err(error) => Err(SchemaError::sql(Side::Source, "asking for XA transactions")(error)),
        }
    }

    /// A snapshot each, with the position that each tells itself.
    async fn without_lock(&mut self) -> Result<Vec<Reader>, SchemaError> {
        open_all(&self.readers).await?;
        let mut found = Vec::new();
        for client in std::mem::take(&mut self.readers) {
            let position = place::of_snapshot(&client).await?;
            found.push(Reader { client, position });
        }
        Ok(found)
    }
}

async fn open_all(readers: &[SqlConn]) -> Result<(), SchemaError> {
    let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
    let opened = join_all(readers.iter().map(|reader| reader.execute(begin))).await;
    for result in opened {
        result.map_err(SchemaError::sql(Side::Source, "opening a snapshot"))?;
    }
    Ok(())
}

fn is_denied(error: &SqlError) -> bool {
    error.code().is_some_and(|code| DENIED.contains(&code))
}

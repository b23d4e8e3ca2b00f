//! One client of the load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::LoadOptions;
use super::connection::{Connection, Ending};
use super::record::{ClientLog, Shared};

/// Ids of one client lie within a range of its own.
const IDS_PER_CLIENT: i64 = 1_000_000_000;

/// How long a client waits before it connects again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Client {
    number: i32,
    options: LoadOptions,
    shared: Arc<Shared>,
    log: ClientLog,
    next_id: i64,
    /// What the counter must hold; unknown after a commit whose outcome is.
    total: Option<i64>,
}

/// How a transaction ended.
enum Outcome {
    Committed { total: i64 },
    Failed(anyhow::Error),
    Unknown(anyhow::Error),
}

impl Client {
    pub(super) fn new(number: i32, options: LoadOptions, shared: Arc<Shared>) -> Self {
        Self {
            number,
            options,
            shared,
            log: ClientLog::new(),
            next_id: i64::from(number) * IDS_PER_CLIENT + 1,
            total: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut connection: Connection,
        stopped: watch::Receiver<bool>,
    ) -> ClientLog {
        while !*stopped.borrow() {
            if connection.is_closed() {
                match Connection::open(&self.options.url, self.number).await {
                    Ok(again) => connection = again,
                    Err(error) => {
                        self.shared.failed(format!("connecting again: {error:#}"));
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                        continue;
                    }
                }
            }
            self.transaction(&mut connection).await;
            if !self.options.think.is_zero() {
                tokio::time::sleep(self.options.think).await;
            }
        }
        self.log
    }

    async fn transaction(&mut self, connection: &mut Connection) {
        let id = self.next_id;
        self.next_id += 1;
        let began = Instant::now();
        match self.attempt(connection, id).await {
            Outcome::Committed { total } => {
                self.shared.committed();
                self.log
                    .latency_us
                    .saturating_record(microseconds(began.elapsed()));
                self.log.acknowledged.push(id);
                self.compare(id, total);
            }
            Outcome::Failed(error) => {
                self.shared.failed(format!("transaction {id}: {error:#}"));
                self.log.failed.push(id);
                // A broken connection is seen by the loop; a failed transaction must be ended.
                connection.roll_back().await;
            }
            Outcome::Unknown(error) => {
                self.shared
                    .failed(format!("COMMIT of transaction {id}: {error:#}"));
                self.log.unknown.push(id);
                self.total = None;
            }
        }
    }

    /// The counter is this client's alone, so what it returns is known beforehand.
    fn compare(&mut self, id: i64, total: i64) {
        if self.total.is_some_and(|before| before + id != total) {
            self.log.wrong_answers += 1;
        }
        self.total = Some(total);
    }

    async fn attempt(&self, connection: &mut Connection, id: i64) -> Outcome {
        let total = match connection.write(self.number, id).await {
            Ok(total) => total,
            Err(error) => return Outcome::Failed(error),
        };
        match connection.commit().await {
            Ok(()) => Outcome::Committed { total },
            Err(Ending::RolledBack(error)) => Outcome::Failed(error),
            Err(Ending::Unknown(error)) => Outcome::Unknown(error),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

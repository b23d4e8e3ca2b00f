//! One client of the load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio_postgres::types::Type;

use super::LoadOptions;
use super::record::{ClientLog, Shared};
use crate::server::PgClient;

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
        mut connection: PgClient,
        stopped: watch::Receiver<bool>,
    ) -> ClientLog {
        while !*stopped.borrow() {
            if connection.is_closed() {
                match PgClient::connect(&self.options.url).await {
                    Ok(again) => connection = again,
                    Err(error) => {
                        self.shared.failed(format!("connecting again: {error:#}"));
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                        continue;
                    }
                }
            }
            self.transaction(&connection).await;
            if !self.options.think.is_zero() {
                tokio::time::sleep(self.options.think).await;
            }
        }
        self.log
    }

    async fn transaction(&mut self, connection: &PgClient) {
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
                connection
                    .batch_execute("ROLLBACK")
                    .await
                    .unwrap_or_default();
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

    async fn attempt(&self, connection: &PgClient, id: i64) -> Outcome {
        let before = if self.number % 2 == 0 {
            self.simple(connection, id).await
        } else {
            self.extended(connection, id).await
        };
        let total = match before {
            Ok(total) => total,
            Err(error) => return Outcome::Failed(error),
        };
        match connection.batch_execute("COMMIT").await {
            Ok(()) => Outcome::Committed { total },
            Err(error) if rolled_back(&error) => Outcome::Failed(error.into()),
            Err(error) => Outcome::Unknown(error.into()),
        }
    }

    async fn simple(&self, connection: &PgClient, id: i64) -> Result<i64> {
        let client = self.number;
        connection.batch_execute("BEGIN").await?;
        connection
            .batch_execute(&format!(
                "INSERT INTO load_event (id, client, note) VALUES ({id}, {client}, 'simple {id}')"
            ))
            .await?;
        let total = connection
            .value(&format!(
                "UPDATE load_counter SET total = total + {id} WHERE client = {client} \
                 RETURNING total"
            ))
            .await?;
        total.parse().context("the total is no number")
    }

    async fn extended(&self, connection: &PgClient, id: i64) -> Result<i64> {
        connection.query_typed("BEGIN", &[]).await?;
        let note = format!("extended {id}");
        connection
            .query_typed(
                "INSERT INTO load_event (id, client, note) VALUES ($1, $2, $3)",
                &[
                    (&id, Type::INT8),
                    (&self.number, Type::INT4),
                    (&note, Type::TEXT),
                ],
            )
            .await?;
        let rows = connection
            .query_typed(
                "UPDATE load_counter SET total = total + $1 WHERE client = $2 RETURNING total",
                &[(&id, Type::INT8), (&self.number, Type::INT4)],
            )
            .await?;
        Ok(rows
            .first()
            .context("the client's counter is not there")?
            .try_get(0)?)
    }
}

/// Whether an error that answers a COMMIT says that nothing was committed. A session that was ended
/// (class 57P, 08) or a connection that closed says nothing about it.
fn rolled_back(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let code = error.code().code();
        !code.starts_with("57P") && !code.starts_with("08")
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

//! A load of which every commit is accounted for.
//!
//! Each client runs transactions of one INSERT and one UPDATE with an id of its own, one after the
//! other, and remembers what the server said of each: acknowledged, failed, or unknown (the
//! connection was lost with the COMMIT under way). Afterwards [`Report::account`] compares that
//! with the rows found: nothing acknowledged may be missing, nothing may be there twice, nothing
//! that failed may be there. The UPDATE adds the id to the client's own counter and must return
//! what the client expects, so a lost update or a read from the past shows at once; at the end the
//! counters must equal the sums of the ids found.
//!
//! The URL says which engine: PostgreSQL, or MySQL and MariaDB. Half of the clients send text, half
//! of them parameters apart from their statements. A client connects again
//! only after its connection broke, and that counts as an error.

mod account;
mod client;
mod connection;
mod mysql;
mod postgres;
mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use binlog::wire::SqlConn;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::account::Account;
use self::connection::Connection;
use self::record::{ClientLog, Shared};
pub use self::record::{Gap, Report};
use crate::server::PgClient;

/// How many clients, and where.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where the clients connect.
    pub url: String,
    /// How many clients, at most 1000.
    pub clients: u32,
    /// How long a client thinks between transactions.
    pub think: Duration,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<ClientLog>,
}

impl LoadOptions {
    /// Eight clients that do not think.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            clients: 8,
            think: Duration::ZERO,
        }
    }

    /// Another number of clients.
    #[must_use]
    pub fn clients(mut self, clients: u32) -> Self {
        self.clients = clients;
        self
    }

    /// Another time to think.
    #[must_use]
    pub fn think(mut self, think: Duration) -> Self {
        self.think = think;
        self
    }
}

impl Load {
    /// Makes the load's tables in a PostgreSQL database.
    ///
    /// # Errors
    ///
    /// When they exist or may not be made.
    pub async fn prepare(client: &PgClient) -> Result<()> {
        Ok(client.batch_execute(postgres::TABLES).await?)
    }

    /// Makes the load's tables in a database of MySQL or MariaDB.
    ///
    /// # Errors
    ///
    /// When they exist or may not be made.
    pub async fn prepare_in(client: &SqlConn, database: &str) -> Result<()> {
        let database = binlog::wire::quote::ident(database);
        client.execute(&format!("USE {database}")).await?;
        for table in mysql::TABLES {
            client.execute(table).await?;
        }
        client.execute(&mysql::counters()).await?;
        Ok(())
    }

    /// Connects all clients, then starts them.
    ///
    /// # Errors
    ///
    /// When one of them cannot connect.
    pub async fn start(options: &LoadOptions) -> Result<Self> {
        let mut connections = Vec::new();
        for number in 0..i32::try_from(options.clients)? {
            connections.push(Connection::open(&options.url, number).await?);
        }
        let shared = Arc::new(Shared::new());
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for (number, connection) in (0..).zip(connections) {
            let client = client::Client::new(number, options.clone(), Arc::clone(&shared));
            clients.spawn(client.run(connection, stopped.clone()));
        }
        Ok(Self {
            shared,
            stop,
            clients,
        })
    }

    /// Transactions acknowledged so far.
    pub fn commits(&self) -> u64 {
        self.shared.commits()
    }

    /// Errors so far.
    pub fn errors(&self) -> u64 {
        self.shared.errors()
    }

    /// Forgets the longest gap seen so far, to measure the one to come.
    pub fn reset_gap(&self) {
        self.shared.reset_gap();
    }

    /// The longest time so far without any client's commit, the present one included.
    pub fn longest_gap(&self) -> Gap {
        self.shared.longest_gap()
    }

    /// Waits until so many more transactions are acknowledged.
    ///
    /// # Errors
    ///
    /// When that takes longer than `patience`.
    pub async fn more_commits(&self, count: u64, patience: Duration) -> Result<()> {
        let goal = self.commits() + count;
        let deadline = Instant::now() + patience;
        while self.commits() < goal {
            if Instant::now() > deadline {
                bail!(
                    "{} of {goal} transactions after {} s; errors so far: {:?}",
                    self.commits(),
                    patience.as_secs(),
                    self.shared.error_samples()
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Lets every client end its transaction, and gathers what they know.
    ///
    /// # Errors
    ///
    /// When a client panicked.
    pub async fn stop(mut self) -> Result<Report> {
        self.stop.send_replace(true);
        let longest_gap = self.shared.longest_gap();
        let mut logs = Vec::new();
        while let Some(log) = self.clients.join_next().await {
            logs.push(log?);
        }
        Ok(Report::new(&self.shared, longest_gap, logs))
    }
}

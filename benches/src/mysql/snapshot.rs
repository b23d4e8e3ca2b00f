//! How long each way to a snapshot of the source holds writers up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use binlog::copy::Snapshot;
use binlog::copy::snapshot::{SnapshotMethod, SnapshotOptions};
use binlog::name::QualifiedName;
use binlog::schema::patience::LockPatience;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use tokio::task::JoinSet;

use super::stage::DATABASE;
use crate::cutover::milliseconds;
use crate::figure::Figure;

/// Sessions that commit one row after the other, each into its own share of the tables.
const WRITERS: u32 = 8;

/// Connections that hold the snapshot.
const READERS: usize = 4;

/// Let pass before and after, so that what waited is counted.
const AROUND: Duration = Duration::from_millis(300);

/// Small and larger sets of tables.
const TABLES: [u32; 2] = [1, 200];

/// An account for each way, by what it is granted.
const WAYS: [(&str, &str); 3] = [
    ("lock_free", ""),
    ("global", ", RELOAD, BACKUP_ADMIN"),
    ("tables", ", BACKUP_ADMIN, LOCK TABLES"),
];

struct Source {
    server: MySqlServer,
    tables: u32,
}

/// Writers at work, and the longest that one of them waited for its commit.
struct Writers {
    longest_us: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    async fn start(source: &Source) -> Result<Self> {
        let longest_us = Arc::new(AtomicU64::new(0));
        let ends = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let client = source.server.connect().await?;
            let (longest_us, ends) = (Arc::clone(&longest_us), Arc::clone(&ends));
            let tables = source.tables;
            tasks.spawn(async move {
                let mut table = writer;
                while !ends.load(Ordering::Relaxed) {
                    table = (table + WRITERS) % tables;
                    let began = Instant::now();
                    let insert = format!("INSERT INTO {DATABASE}.t{table} (w) VALUES ({writer})");
                    client.execute(&insert).await?;
                    let took_us = u64::try_from(began.elapsed().as_micros())?;
                    longest_us.fetch_max(took_us, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(Self {
            longest_us,
            ends,
            tasks,
        })
    }

    /// Forgets, waits, and tells the longest wait since.
    async fn longest_around<T>(&self, what: impl Future<Output = T>) -> (Duration, T) {
        tokio::time::sleep(AROUND).await;
        self.longest_us.store(0, Ordering::Relaxed);
        let done = what.await;
        tokio::time::sleep(AROUND).await;
        let longest_us = self.longest_us.load(Ordering::Relaxed);
        (Duration::from_micros(longest_us), done)
    }

    async fn stop(mut self) -> Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Source {
    async fn start(version: Version, tables: u32) -> Result<Self> {
        let server = MySqlServer::start(version, MySqlOptions::default().durable()).await?;
        server.sql(&format!("CREATE DATABASE {DATABASE}"))?;
        for table in 0..tables {
            server.sql(&format!(
                "CREATE TABLE {DATABASE}.t{table} (id int AUTO_INCREMENT PRIMARY KEY, w int)"
            ))?;
        }
        for (user, grants) in WAYS {
            // MariaDB has no such privilege and needs none.
            let grants = match version.is_mariadb() {
                true => grants.replace(", BACKUP_ADMIN", ""),
                false => grants.to_owned(),
            };
            server.sql(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'm'"))?;
            server.sql(&format!(
                "GRANT SELECT, PROCESS, REPLICATION CLIENT{grants} ON *.* TO {user}@'%'"
            ))?;
        }
        Ok(Self { server, tables })
    }

    async fn snapshot(&self, user: &str) -> Result<Snapshot> {
        let url = self.server.url_with_password(user, "m", "");
        let table = |number| QualifiedName::new(DATABASE, format!("t{number}"));
        let options = SnapshotOptions {
            readers: READERS,
            patience: LockPatience::default(),
            tables: (0..self.tables).map(table).collect(),
            program_name: "benches".to_owned(),
        };
        let endpoint = url.parse().map_err(|error| anyhow!("{url}: {error}"))?;
        Ok(Snapshot::take(&endpoint, &options).await?)
    }
}

/// Takes snapshots by every way, each while sessions write, on both flavours.
///
/// # Errors
///
/// When a snapshot cannot be had.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for version in [super::stage::VERSION, Version::MariaDb1011] {
        for tables in TABLES {
            figures.extend(Box::pin(of(version, tables, runs)).await?);
        }
    }
    Ok(figures)
}

async fn of(version: Version, tables: u32, runs: u32) -> Result<[Figure; 2]> {
    let name = format!("snapshot of {tables} tables on {version:?}");
    let mut waited = Figure::new(format!("{name}: longest wait of 8 writers"), "ms");
    let mut locked = Figure::new(format!("{name}: the lock was held"), "ms");
    let source = Source::start(version, tables).await?;
    let writers = Writers::start(&source).await?;
    for _ in 0..runs {
        let (longest, ()) = writers.longest_around(tokio::time::sleep(AROUND)).await;
        waited.add("no snapshot (noise)", milliseconds(longest));
        for (user, _) in WAYS {
            if user == "lock_free" && !version.is_mariadb() {
                continue;
            }
            let (longest, snapshot) = writers
                .longest_around(Box::pin(source.snapshot(user)))
                .await;
            let (way, held) = match snapshot?.method {
                SnapshotMethod::LockFree => ("no lock", None),
                SnapshotMethod::GlobalLock(held) => ("FLUSH TABLES WITH READ LOCK", Some(held)),
                SnapshotMethod::TableLocks(held) => ("LOCK TABLES .. READ", Some(held)),
            };
            waited.add(way, milliseconds(longest));
            if let Some(held) = held {
                locked.add(way, milliseconds(held));
            }
        }
    }
    writers.stop().await?;
    Ok([waited, locked])
}

//! A source and a target with the same tables, and the applier between them.

use std::time::Duration;

use binlog::apply::{Applier, ApplyError, ApplyOptions, Method, Watermarks};
use binlog::position::Position;
use binlog::schema::bookkeeping;
use binlog::schema::catalog::Scope;
use binlog::wire::Endpoint;
use integration::mysql::{MySqlOptions, MySqlServer, Version};

use super::log;

/// How long applying a handful of rows may take on a starved machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Pair {
    pub(super) source: MySqlServer,
    pub(super) target: MySqlServer,
    pub(super) target_url: String,
    pub(super) applied: Position,
}

impl Pair {
    /// Two servers with an empty database `d`.
    pub(super) async fn start(source: Version, target: Version) -> Self {
        let options = MySqlOptions::default;
        let (source, target) = tokio::join!(
            MySqlServer::start(source, options()),
            MySqlServer::start(target, options())
        );
        let (source, target) = (source.unwrap(), target.unwrap());
        target.sql(bookkeeping::CREATE_SCHEMA).unwrap();
        for table in bookkeeping::TARGET_TABLES {
            target.sql(table).unwrap();
        }
        for server in [&source, &target] {
            server
                .sql("CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
                .unwrap();
        }
        Self {
            applied: log::end_of(&source).await,
            target_url: target.url("root", ""),
            source,
            target,
        }
    }

    /// Runs statements on both, which the applier does not see.
    pub(super) async fn both(&mut self, sql: &str) {
        self.source.sql_in("d", sql).unwrap();
        self.target.sql_in("d", sql).unwrap();
        self.applied = log::end_of(&self.source).await;
    }

    /// Runs statements on the source.
    pub(super) fn change(&self, sql: &str) {
        self.source.sql_in("d", sql).unwrap();
    }

    /// From now on the applier is a user to whom the target does not permit row events.
    pub(super) async fn without_row_events(&mut self) {
        self.target
            .sql(
                "CREATE USER plain IDENTIFIED BY 'p'; GRANT ALL ON d.* TO plain; \
                 GRANT ALL ON pointsman.* TO plain; FLUSH PRIVILEGES",
            )
            .unwrap();
        // Some versions have users without a name, who would come first.
        self.target
            .sql("DELETE FROM mysql.user WHERE User = ''; FLUSH PRIVILEGES")
            .unwrap_or_default();
        self.target_url = self.target.url_with_password("plain", "p", "");
        let applier = Box::pin(self.applier()).await.unwrap();
        assert_eq!(applier.method(), Some(Method::Sql));
    }

    pub(super) async fn applier(&self) -> Result<Applier, ApplyError> {
        let endpoint: Endpoint = self.target_url.parse().unwrap();
        let options = ApplyOptions::new(
            "pointsman test",
            self.applied.clone(),
            Scope::Database("d".to_owned()),
        );
        Applier::open(&endpoint, options, Watermarks::new()).await
    }

    /// Another start than the one of the first run: the tests' own statements lie between.
    pub(super) fn start_again(&self) {
        let start = binlog::name::quote_literal(&self.applied.to_string());
        self.target
            .sql(&format!("UPDATE pointsman.progress SET position = {start}"))
            .unwrap();
    }

    /// Applies what the source's log has so far.
    pub(super) async fn apply(&mut self) -> Result<(), ApplyError> {
        let end = log::end_of(&self.source).await;
        self.start_again();
        let mut applier = Box::pin(self.applier()).await?;
        let stream = log::behind(&self.source, &self.applied).await;
        let handle = applier.handle();
        let stop = async {
            let mut applied = handle.applied();
            applied.wait_for(|applied| *applied >= end).await.unwrap();
            handle.stop();
        };
        let run = Box::pin(applier.run_stream(stream));
        let both = async {
            tokio::select! {
                ran = run => ran,
                ran = async { stop.await; std::future::pending().await } => ran,
            }
        };
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("the applier is done in time")?;
        self.applied = end;
        Ok(())
    }

    /// A query's answer, which must be the same on both.
    pub(super) fn same(&self, sql: &str) -> String {
        let source = self.source.sql_in("d", sql).unwrap();
        let target = self.target.sql_in("d", sql).unwrap();
        assert_eq!(source, target, "{sql}");
        target
    }

    /// Compares every column of a table exactly.
    pub(super) fn same_rows(&self, table: &str) -> String {
        let columns = self
            .target
            .sql(&format!(
                "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = 'd' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
            ))
            .unwrap();
        let shown: Vec<_> = columns
            .lines()
            .map(|line| {
                let (name, kind) = line.split_once('\t').unwrap();
                let exact = [
                    "int", "float", "double", "decimal", "date", "time", "year", "enum",
                ];
                if exact.iter().any(|word| kind.contains(word)) {
                    format!("`{name}`")
                } else {
                    format!("LENGTH(`{name}`), SHA2(HEX(`{name}`), 256)")
                }
            })
            .collect();
        self.same(&format!(
            "SELECT {} FROM {table} ORDER BY 1, 2",
            shown.join(", ")
        ))
    }
}

//! The demonstration's servers and database on MySQL and MariaDB.

use anyhow::{Context as _, Result};
use binlog::wire::Endpoint;

use super::{DATABASE, DemoOptions};
use crate::contents::Contents;
use crate::load::{Account, Load, Report};
use crate::mysql::{MySqlOptions, MySqlServer, Version, contents};
use crate::proxy::ProxyOptions;

/// Types, keys and features that an application would have.
const SCHEMA: &str = "
CREATE TABLE digit (d int NOT NULL PRIMARY KEY);
INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE customer (
    id      int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name    varchar(60) NOT NULL,
    email   varchar(100) NOT NULL,
    tags    set('new', 'gold', 'abroad') NOT NULL DEFAULT '',
    notes   text,
    UNIQUE KEY customer_email (email)
) ENGINE = InnoDB;
CREATE TABLE purchase (
    id       bigint NOT NULL AUTO_INCREMENT,
    day      date NOT NULL,
    customer int unsigned NOT NULL,
    state    enum('open', 'paid', 'sent') NOT NULL DEFAULT 'open',
    net      decimal(12, 2) NOT NULL,
    PRIMARY KEY (id, day),
    KEY purchase_customer (customer)
) ENGINE = InnoDB PARTITION BY RANGE COLUMNS (day) (
    PARTITION p2025 VALUES LESS THAN ('2026-01-01'),
    PARTITION p2026 VALUES LESS THAN (MAXVALUE)
);
CREATE TABLE sbtest (
    id int NOT NULL AUTO_INCREMENT PRIMARY KEY,
    k int NOT NULL DEFAULT 0,
    c char(120) NOT NULL DEFAULT '',
    pad char(60) NOT NULL DEFAULT '',
    KEY k_1 (k)
) ENGINE = InnoDB;
CREATE TABLE note (at datetime(6), text text) ENGINE = InnoDB;
CREATE VIEW turnover AS SELECT day, SUM(net) AS net FROM purchase GROUP BY day;
";

/// Two servers of different versions.
pub(super) struct Servers {
    source: MySqlServer,
    target: MySqlServer,
}

impl Servers {
    pub(super) async fn start(options: &DemoOptions) -> Result<Self> {
        let servers = || {
            MySqlOptions::default()
                .durable()
                .set("innodb-buffer-pool-size", "256M")
                .set("local-infile", "1")
        };
        let usual = "mysql-9.7".to_owned();
        let from = Version::named(options.from.as_ref().unwrap_or(&usual))?;
        let to = Version::named(options.to.as_ref().unwrap_or(&usual))?;
        let source = MySqlServer::start(from, servers());
        let target = MySqlServer::start(to, servers());
        let (source, target) = tokio::join!(source, target);
        Ok(Self {
            source: source?,
            target: target?,
        })
    }

    pub(super) fn described(&self) -> String {
        format!(
            "source {} on port {}, target {} on port {}",
            self.source.version(),
            self.source.port(),
            self.target.version(),
            self.target.port()
        )
    }

    /// Fills the source; gives the number of rows. The target's databases are pointsman's work.
    pub(super) async fn fill(&self, scale: u32) -> Result<u64> {
        self.source.sql(&format!(
            "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        ))?;
        self.source.create_user("app", "secret", DATABASE)?;
        self.source.script(DATABASE, SCHEMA)?;
        let client = self.source.connect().await?;
        Load::prepare_in(&client, DATABASE).await?;
        for fill in fills(scale) {
            client
                .execute(&fill)
                .await
                .context("the demonstration's data")?;
        }
        let contents = contents::read(&client).await?;
        Ok(contents.values().map(|table| table.rows).sum())
    }

    pub(super) fn proxy(&self) -> ProxyOptions {
        ProxyOptions::between_mysql(&self.source, &self.target, DATABASE)
    }

    /// What both sides hold, the source first.
    pub(super) async fn contents(&self) -> Result<(Contents, Contents)> {
        let source = self.source.connect().await?;
        let target = self.target.connect().await?;
        Ok((
            contents::read(&source).await?,
            contents::read(&target).await?,
        ))
    }

    pub(super) async fn account(&self, report: &Report) -> Result<Account> {
        let target = self.target.connect().await?;
        report.account_in(&target, DATABASE).await
    }
}

/// The server that a client of this URL talks to, in words.
pub(super) async fn serving(url: &str) -> Result<String> {
    let endpoint: Endpoint = url.parse()?;
    let client = Box::pin(endpoint.connect_sql("demo")).await?;
    let row = client.query_first("SELECT @@version, @@port").await?;
    let row = row.context("a server has a version")?;
    let (version, port) = (row.text(0).unwrap_or("?"), row.text(1).unwrap_or("?"));
    Ok(format!("{version} (the server on port {port})"))
}

/// Rows for a scale of 1 are a hundred thousand.
fn fills(scale: u32) -> Vec<String> {
    // Ten thousand numbers from 0, as often as asked for.
    let numbers = "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n
        FROM digit a, digit b, digit c, digit e) AS numbers";
    let mut fills = vec![format!("USE {DATABASE}")];
    for round in 0..scale {
        let from = round * 80_000;
        for part in 0..8 {
            let first = from + part * 10_000;
            fills.push(format!(
                "INSERT INTO sbtest (k, c, pad) SELECT ({first} + n) * 7919 % 1000003,
                    REPEAT(CONCAT(n, '-'), 20), REPEAT(CONCAT({first} + n, '-'), 6) FROM {numbers}"
            ));
        }
        fills.push(format!(
            "INSERT INTO customer (name, email, tags, notes)
             SELECT CONCAT('Customer ', n), CONCAT('c', {from} + n, '@example.com'), n % 8,
                    REPEAT('x', n % 300) FROM {numbers} WHERE n < 5000"
        ));
        fills.push(format!(
            "INSERT INTO purchase (day, customer, state, net)
             SELECT '2025-01-01' + INTERVAL n % 700 DAY, 1 + n % 5000, 1 + n % 3, n / 7
             FROM {numbers} UNION ALL
             SELECT '2025-06-01' + INTERVAL n % 300 DAY, 1 + n % 5000, 1 + n % 3, n / 3
             FROM {numbers} WHERE n < 5000"
        ));
    }
    let notes = "INSERT INTO note SELECT NOW(6), CONCAT('note ', n) FROM";
    fills.push(format!("{notes} {numbers} WHERE n < 1000"));
    fills
}

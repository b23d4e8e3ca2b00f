//! Two servers, a database with data, the program in front of it.

use std::time::{Duration, Instant};

use binlog::wire::Endpoint;
use integration::contents;
use integration::load::{Load, LoadOptions, Report};
use integration::mysql::{self, MySqlOptions, MySqlServer, Version};
use integration::proxy::{Proxy, ProxyOptions};
use serde_json::Value;

/// The database that is moved.
pub(super) const DATABASE: &str = "shop";

/// How long a load may take for the commits that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Tables, types and features that an application has, on every version.
const SCHEMA: &str = "
SET NAMES utf8mb4 COLLATE utf8mb4_general_ci;
SET sql_mode = 'NO_ENGINE_SUBSTITUTION';
CREATE TABLE digits (d int NOT NULL PRIMARY KEY);
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE numbers (n int NOT NULL PRIMARY KEY);
INSERT INTO numbers SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d
    FROM digits a, digits b, digits c, digits e;
DROP TABLE digits;
CREATE TABLE customer (
    id     int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email  varchar(100) NOT NULL,
    name   varchar(50) CHARACTER SET latin1 DEFAULT NULL,
    notes  mediumtext,
    UNIQUE KEY customer_email (email)
) ENGINE = InnoDB;
CREATE TABLE purchase (
    id       bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer int unsigned NOT NULL,
    day      date NOT NULL,
    net      decimal(12, 2) NOT NULL,
    state    enum('open', 'paid', 'sent') NOT NULL DEFAULT 'open',
    flags    set('gift', 'fast', 'return') NOT NULL DEFAULT '',
    at       datetime(3) DEFAULT NULL,
    KEY purchase_day (day),
    CONSTRAINT purchase_customer FOREIGN KEY (customer) REFERENCES customer (id)
        ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB;
CREATE TABLE by_year (
    day   date NOT NULL,
    shop  int NOT NULL,
    total double NOT NULL,
    PRIMARY KEY (day, shop)
) ENGINE = InnoDB PARTITION BY RANGE COLUMNS (day) (
    PARTITION p2025 VALUES LESS THAN ('2026-01-01'),
    PARTITION p2026 VALUES LESS THAN (MAXVALUE)
);
CREATE TABLE `No key` (`a column` text, n double, bits bit(9), raw varbinary(20),
    at timestamp NULL DEFAULT NULL) ENGINE = InnoDB;
CREATE TABLE `odd-dates` (id int NOT NULL PRIMARY KEY, d date NOT NULL, t time(6), y year)
    ENGINE = InnoDB;
INSERT INTO customer (email, name, notes)
    SELECT CONCAT('c', n, '@example.com'), CONCAT('Käufer ', n), REPEAT('x', n * 7 % 4000)
    FROM numbers WHERE n <= 2000 ORDER BY n;
INSERT INTO purchase (customer, day, net, state, flags, at)
    SELECT 1 + n % 2000, '2025-01-01' + INTERVAL n % 700 DAY, n / 7, 1 + n % 3, n % 8,
           '2026-01-01 10:11:12.345' + INTERVAL n SECOND
    FROM numbers ORDER BY n;
INSERT INTO by_year SELECT '2025-06-01' + INTERVAL n DAY, n % 5, n / 3 FROM numbers WHERE n < 500;
INSERT INTO `No key` SELECT CONCAT('text ', n), n / 3, n % 512, UNHEX(HEX(n)), NULL
    FROM numbers WHERE n <= 500;
INSERT INTO `No key` VALUES (NULL, NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL, NULL),
    ('', -0.0, b'1', '', '2026-03-29 01:30:00'), ('\\\\ tab\\tnul\\0 \\'quote\\'', 1e300, b'0', X'00FF0A', NULL);
INSERT INTO `odd-dates` VALUES (0, '0000-00-00', '-838:59:59', 1901), (1, '2026-02-00', NULL, NULL);
CREATE VIEW sales AS SELECT day, SUM(net) AS net FROM purchase GROUP BY day;
DELIMITER //
CREATE TRIGGER customer_named BEFORE INSERT ON customer FOR EACH ROW
BEGIN
    IF NEW.notes IS NULL THEN SET NEW.notes = 'by trigger'; END IF;
END//
CREATE PROCEDURE pay(IN which bigint)
BEGIN
    UPDATE purchase SET state = 'paid' WHERE id = which;
END//
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2//
DELIMITER ;
";

pub(super) struct Stage {
    pub(super) source: MySqlServer,
    pub(super) target: MySqlServer,
    pub(super) proxy: Proxy,
}

/// Servers as most applications have them.
pub(super) fn usual() -> MySqlOptions {
    MySqlOptions::default()
        .set("local-infile", "1")
        // A function in the database is made by an account that is no administrator.
        .set("log-bin-trust-function-creators", "1")
}

/// The source with its database, filled.
pub(super) async fn filled_source(version: Version, options: MySqlOptions) -> MySqlServer {
    let source = MySqlServer::start(version, options).await.unwrap();
    source
        .sql("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        .unwrap();
    source.create_user("app", "secret", DATABASE).unwrap();
    source.script(DATABASE, SCHEMA).unwrap();
    let client = source.connect().await.unwrap();
    Load::prepare_in(&client, DATABASE).await.unwrap();
    source
}

/// The configuration that the tests start from.
pub(super) fn configured(source: &MySqlServer, target: &MySqlServer) -> ProxyOptions {
    ProxyOptions::between_mysql(source, target, DATABASE)
        // A machine that runs several of these tests at a time can starve a transaction for long.
        .key("cutover.drain_timeout = \"30s\"")
        .key("cutover.max_pause = \"60s\"")
}

/// Whether the target knows the accounts' method of authentication. Else they have to be made there
/// beforehand, with the same passwords.
fn carries_accounts(from: Version, to: Version) -> bool {
    from.is_mariadb() == to.is_mariadb() && from != Version::MySql56
}

impl Stage {
    pub(super) async fn new(from: Version, to: Version) -> Self {
        Self::with(from, to, usual(), |options| options).await
    }

    pub(super) async fn with(
        from: Version,
        to: Version,
        servers: MySqlOptions,
        configure: impl FnOnce(ProxyOptions) -> ProxyOptions,
    ) -> Self {
        let source = filled_source(from, servers.clone());
        let target = MySqlServer::start(to, servers);
        let (source, target) = tokio::join!(source, target);
        let target = target.unwrap();
        if !carries_accounts(from, to) {
            target.create_user("app", "secret", DATABASE).unwrap();
        }
        let proxy = Proxy::start(configure(configured(&source, &target)))
            .await
            .unwrap();
        Self {
            source,
            target,
            proxy,
        }
    }

    /// Where the application connects.
    pub(super) fn url(&self) -> String {
        self.proxy.url("app:secret", DATABASE)
    }

    pub(super) async fn load(&self, clients: u32) -> Load {
        let options = LoadOptions::new(self.url()).clients(clients);
        let load = Load::start(&options.think(Duration::from_millis(1)))
            .await
            .unwrap();
        load.more_commits(20, PATIENCE).await.unwrap();
        load
    }

    /// Starts the migration and waits until changes flow.
    pub(super) async fn stream(&self) {
        self.proxy.done(&["start"]).await.unwrap();
        self.proxy.wait_for_phase("streaming").await.unwrap();
    }

    /// Cuts over, which must succeed; gives the report.
    pub(super) async fn cutover(&self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let said = loop {
            let said = self.proxy.cli(&["cutover", "--json"]).await.unwrap();
            // On a starved machine the target may be behind, or the source late to say how far.
            let behind = said.stdout.contains("of log behind") || said.stdout.contains("lag");
            if said.code != 1 || !behind || Instant::now() > deadline {
                break said;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        if report["outcome"] != "switched" {
            let status = self.proxy.status().await.unwrap();
            panic!("{report:#}\n{:#}\n{}", status["sessions"], self.proxy.log());
        }
        assert_eq!(self.proxy.status().await.unwrap()["serving"], "target");
        report
    }

    /// The same as soon as the target is current: until then it is refused.
    pub(super) async fn cutover_once_current(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.proxy.cli(&["cutover"]).await.unwrap();
            if said.code == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{said}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Which server a new client talks to, by its server id.
    pub(super) async fn serving(&self) -> u32 {
        let endpoint: Endpoint = self.url().parse().unwrap();
        let client = Box::pin(endpoint.connect_sql("who serves")).await.unwrap();
        let row = client.query_first("SELECT @@server_id").await.unwrap();
        row.unwrap().parse(0).unwrap()
    }

    /// Nothing lost, nothing twice, no error seen by any client.
    pub(super) async fn assert_perfect(&self, report: &Report, serving: &MySqlServer) {
        let client = serving.connect().await.unwrap();
        let account = report.account_in(&client, DATABASE).await.unwrap();
        assert!(
            account.is_perfect(),
            "{account:?}\n{:?}",
            report.error_samples
        );
    }

    /// Nothing lost, nothing twice; clients may have seen errors.
    pub(super) async fn assert_balanced(&self, report: &Report, serving: &MySqlServer) {
        let client = serving.connect().await.unwrap();
        let account = report.account_in(&client, DATABASE).await.unwrap();
        assert!(
            account.balances(),
            "{account:?}\n{:?}",
            report.error_samples
        );
    }

    /// What the source had when it was fenced is on the target, but for the load's tables.
    pub(super) async fn assert_same_contents(&self) {
        self.assert_same_contents_but("load_").await;
    }

    /// The same, but for tables whose name has this in it, and the load's.
    pub(super) async fn assert_same_contents_but(&self, changed: &str) {
        let source = self.source.connect().await.unwrap();
        let target = self.target.connect().await.unwrap();
        let source = mysql::contents::read(&source).await.unwrap();
        let target = mysql::contents::read(&target).await.unwrap();
        assert!(source.len() >= 8, "{source:?}");
        let mut differences = contents::differences(&source, &target);
        differences.retain(|line| !line.contains("load_") && !line.contains(changed));
        assert_eq!(differences, Vec::<String>::new());
    }
}

//! How the snapshot is taken is the best that the source grants.

use binlog::copy::Snapshot;
use binlog::copy::snapshot::{Definitions, SnapshotMethod, SnapshotOptions};
use binlog::name::QualifiedName;
use binlog::schema::error::SchemaError;
use binlog::schema::patience::LockPatience;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::words;

/// What is asked of every source's account.
const COMMON: &str = "SELECT, PROCESS, REPLICATION CLIENT";

struct Source {
    server: MySqlServer,
    accounts: u32,
}

impl Source {
    async fn start(version: Version) -> Self {
        let server = MySqlServer::start(version, MySqlOptions::default()).await;
        let server = server.unwrap();
        let tables = "CREATE DATABASE shop; CREATE TABLE shop.t (id int PRIMARY KEY); \
                      CREATE TABLE shop.u (id int PRIMARY KEY);";
        server.script("", tables).unwrap();
        if version == Version::MySql56 {
            let anonymous = "DELETE FROM mysql.user WHERE User = ''; FLUSH PRIVILEGES;";
            server.script("", anonymous).unwrap();
        }
        Self {
            server,
            accounts: 0,
        }
    }

    /// A snapshot of an account that is granted this and no more.
    async fn snapshot(&mut self, grants: &str) -> Result<Snapshot, SchemaError> {
        self.accounts += 1;
        let user = format!("mover{}", self.accounts);
        let make = format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'm'; GRANT {COMMON}{grants} ON *.* TO {user}@'%';"
        );
        self.server.script("", &make).unwrap();
        let url = self.server.url_with_password(&user, "m", "");
        let options = SnapshotOptions {
            readers: 3,
            patience: LockPatience::default(),
            tables: vec![
                QualifiedName::new("shop", "t"),
                QualifiedName::new("shop", "u"),
            ],
            program_name: "test".to_owned(),
        };
        Snapshot::take(&url.parse().unwrap(), &options).await
    }

    /// The way, and whether definitions wait; rows can be written while the snapshot lives.
    async fn way(&mut self, grants: &str) -> (&'static str, Definitions) {
        let snapshot = self.snapshot(grants).await;
        let snapshot = snapshot.unwrap_or_else(|error| panic!("{}", words(&error)));
        assert!(snapshot.is_common());
        let row = format!("INSERT INTO shop.t VALUES ({})", self.accounts);
        self.server.sql(&row).unwrap();
        let way = match snapshot.method {
            SnapshotMethod::LockFree => "no lock",
            SnapshotMethod::GlobalLock(_) => "a lock on the server",
            SnapshotMethod::TableLocks(_) => "locks on tables",
        };
        (way, snapshot.definitions)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_9_7_is_locked_as_its_grants_allow() {
    let mut source = Source::start(Version::MySql97).await;
    let (server, tables) = ("a lock on the server", "locks on tables");
    let all = ", RELOAD, BACKUP_ADMIN, LOCK TABLES";
    assert_eq!(source.way(all).await, (server, Definitions::Locked));
    let no_backup = ", RELOAD, LOCK TABLES";
    assert_eq!(source.way(no_backup).await, (server, Definitions::Free));
    let no_reload = ", BACKUP_ADMIN, LOCK TABLES";
    assert_eq!(source.way(no_reload).await, (tables, Definitions::Locked));
    let lock_tables = ", LOCK TABLES";
    assert_eq!(source.way(lock_tables).await, (tables, Definitions::Free));
    let refused = words(&source.snapshot("").await.unwrap_err());
    assert!(refused.contains("mover5"), "{refused}");
    assert!(refused.contains("grant RELOAD"), "{refused}");
    assert!(refused.contains("LOCK TABLES"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_5_6_is_locked_as_its_grants_allow() {
    let mut source = Source::start(Version::MySql56).await;
    let reload = source.way(", RELOAD").await;
    assert_eq!(reload, ("a lock on the server", Definitions::Free));
    let tables = source.way(", LOCK TABLES").await;
    assert_eq!(tables, ("locks on tables", Definitions::Free));
    assert!(source.snapshot("").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_not_locked_when_its_snapshots_are_one_anyway() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let mut source = Source::start(version).await;
        for grants in [", RELOAD, LOCK TABLES", ""] {
            let way = source.way(grants).await;
            assert_eq!(way, ("no lock", Definitions::Free), "{grants}");
        }
    }
}

//! A server with our tables and the accounts that a fence meets, for fence, journal and check.

use std::time::Duration;

use binlog::schema::bookkeeping;
use binlog::wire::{ConnectError, Endpoint, SqlConn, SqlError};
use integration::mysql::{MySqlOptions, MySqlServer, Version};

/// A server with database `shop`, our tables of both sides, and accounts without passwords.
///
/// * `app`: all on `shop`.
/// * `migrator`: what the documentation says that a source's account needs, and no more.
/// * `chief`: every privilege.
pub(crate) struct Ground {
    pub(crate) server: MySqlServer,
    pub(crate) root: SqlConn,
}

/// What the account on a source is granted, as in `docs/`.
pub(crate) fn source_grants(version: Version) -> &'static [&'static str] {
    match version {
        Version::MySql97 => &[
            "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, REPLICATION SLAVE, \
             REPLICATION CLIENT ON *.*",
            "BACKUP_ADMIN, CONNECTION_ADMIN, SHOW_ROUTINE, SYSTEM_VARIABLES_ADMIN, \
             XA_RECOVER_ADMIN ON *.*",
        ],
        Version::MySql56 => &[
            "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, REPLICATION SLAVE, \
             REPLICATION CLIENT, SUPER ON *.*",
        ],
        Version::MariaDb1011 | Version::MariaDb118 => &[
            "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, REPLICATION SLAVE, \
             BINLOG MONITOR, BINLOG ADMIN, SLAVE MONITOR, CONNECTION ADMIN, READ ONLY ADMIN, \
             SET USER ON *.*",
        ],
    }
}

/// What the account on a target is granted on all databases, as in `docs/`; beside it, all on
/// `pointsman` and on the moved database.
pub(crate) fn target_grants(version: Version) -> &'static [&'static str] {
    match version {
        Version::MySql97 => &[
            "SELECT, CREATE USER, PROCESS, RELOAD, REPLICATION CLIENT ON *.*",
            "REPLICATION_APPLIER, SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, \
             SYSTEM_VARIABLES_ADMIN, ROLE_ADMIN ON *.*",
        ],
        Version::MySql56 => {
            &["SELECT, CREATE USER, PROCESS, RELOAD, REPLICATION CLIENT, SUPER ON *.*"]
        }
        Version::MariaDb1011 | Version::MariaDb118 => &[
            "SELECT, CREATE USER, PROCESS, RELOAD, BINLOG MONITOR, BINLOG REPLAY, SET USER ON *.*",
        ],
    }
}

impl Ground {
    pub(crate) async fn open(version: Version) -> Self {
        Self::open_with(version, MySqlOptions::default()).await
    }

    pub(crate) async fn open_with(version: Version, options: MySqlOptions) -> Self {
        let server = MySqlServer::start(version, options).await.unwrap();
        let root = connect(&server.url("root", "")).await;
        let ground = Self { server, root };
        ground
            .run("DELETE FROM mysql.user WHERE User = ''")
            .await
            .unwrap_or_default();
        ground.run("FLUSH PRIVILEGES").await.unwrap();
        for sql in std::iter::once(&bookkeeping::CREATE_SCHEMA)
            .chain(bookkeeping::SOURCE_TABLES)
            .chain(bookkeeping::TARGET_TABLES)
        {
            ground.run(sql).await.unwrap();
        }
        for sql in [
            "CREATE DATABASE shop",
            "CREATE TABLE shop.entry (id INT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(20)) ENGINE=InnoDB",
            "CREATE USER app@'%'",
            "GRANT ALL ON shop.* TO app@'%'",
            "CREATE USER migrator@'%'",
            "GRANT ALL ON pointsman.* TO migrator@'%' WITH GRANT OPTION",
            "CREATE USER chief@'%'",
            "GRANT ALL ON *.* TO chief@'%' WITH GRANT OPTION",
        ] {
            ground.run(sql).await.unwrap();
        }
        for grant in source_grants(version) {
            ground
                .run(&format!("GRANT {grant} TO migrator@'%'"))
                .await
                .unwrap();
        }
        ground
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), SqlError> {
        self.root.execute(sql).await.map(|_done| ())
    }

    pub(crate) async fn connect(&self, user: &str) -> SqlConn {
        connect(&self.server.url(user, "")).await
    }

    pub(crate) async fn try_connect(&self, user: &str) -> Result<SqlConn, ConnectError> {
        endpoint(&self.server.url(user, ""))
            .connect_sql("test")
            .await
    }

    pub(crate) async fn one(&self, sql: &str) -> String {
        let row = self.root.query_first(sql).await.unwrap().unwrap();
        row.text(0).unwrap_or("NULL").to_owned()
    }

    /// Ends the server at once and starts it again.
    pub(crate) async fn crash(&mut self) {
        self.server.kill9().unwrap();
        self.server.restart().await.unwrap();
        self.root = connect(&self.server.url("root", "")).await;
    }

    /// The settings that a fence changes.
    pub(crate) async fn settings(&self) -> String {
        let super_read_only = match self.server.version() {
            Version::MySql97 => "@@GLOBAL.super_read_only",
            Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => "'none'",
        };
        self.one(&format!(
            "SELECT CONCAT_WS(' ', @@GLOBAL.read_only, {super_read_only}, @@GLOBAL.event_scheduler)"
        ))
        .await
    }
}

/// Writes as an application does.
pub(crate) async fn write(client: &SqlConn) -> Result<(), SqlError> {
    let sql = "INSERT INTO shop.entry (who) VALUES ('test')";
    client.execute(sql).await.map(|_done| ())
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    url.parse().unwrap()
}

pub(crate) async fn connect(url: &str) -> SqlConn {
    endpoint(url).connect_sql("test").await.unwrap()
}

/// Long enough for a test machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

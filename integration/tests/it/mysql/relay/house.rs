//! A relay in front of real servers, and clients that speak packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use binlog::session::{Relay, RelayOptions, TwinReport};
use binlog::wire::{Conn, ConnectOptions, Endpoint, SqlConn, SqlError};
use bytes::Bytes;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::{Side, Switch};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that listens, in front of one server or two.
pub(super) struct House {
    pub(super) source: MySqlServer,
    pub(super) target: Option<MySqlServer>,
    pub(super) relay: Arc<Relay>,
    pub(super) switch: Arc<Switch>,
    pub(super) address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl House {
    pub(super) async fn new(version: Version) -> Self {
        Self::over(version, None, |_options| {}).await
    }

    /// A source and a target, with an account `app` and a database `shop` on both.
    pub(super) async fn pair(from: Version, to: Version) -> Self {
        Self::over(from, Some(to), |_options| {}).await
    }

    pub(super) async fn over(
        from: Version,
        to: Option<Version>,
        change: impl FnOnce(&mut RelayOptions),
    ) -> Self {
        let source = furnished(from).await;
        let target = match to {
            Some(version) => Some(furnished(version).await),
            None => None,
        };
        let endpoint = |server: &MySqlServer| server.url("root", "").parse().unwrap();
        let switch = Switch::new(2, Side::Source);
        let mut options = RelayOptions {
            threads: 2,
            target: target.as_ref().map(endpoint),
            ..RelayOptions::new(endpoint(&source), Arc::clone(&switch))
        };
        change(&mut options);
        let relay = Relay::new(options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        let to_relay = Arc::clone(&relay);
        accepting.spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                to_relay.accept(client, from);
            }
        });
        Self {
            source,
            target,
            relay,
            switch,
            address,
            _accepting: accepting,
        }
    }

    /// Where clients connect.
    pub(super) fn endpoint(&self, user: &str, password: &str, tls: &str) -> Endpoint {
        let port = self.address.port();
        format!("mysql://{user}:{password}@127.0.0.1:{port}/?ssl-mode={tls}")
            .parse()
            .unwrap()
    }

    pub(super) async fn conn(&self) -> Conn {
        let endpoint = self.endpoint("app", "secret", "DISABLED");
        Conn::connect(&endpoint, in_shop()).await.unwrap()
    }

    /// A client that runs SQL.
    pub(super) async fn client(&self) -> SqlConn {
        SqlConn::new(self.conn().await, "the relay".to_owned())
    }

    /// Waits until the source has no connection of a user.
    pub(super) async fn wait_until_alone(&self, user: &str) {
        let sql =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE USER = '{user}'");
        let alone = async {
            while self.source.sql(&sql).unwrap().trim() != "0" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, alone).await.unwrap();
    }

    /// Moves the points to the other side, as a cutover does.
    pub(super) async fn move_points(&self) -> TwinReport {
        let to = self.switch.serving().unwrap().other();
        let mut held = self.switch.hold(to).unwrap();
        tokio::time::timeout(PATIENCE, held.drain()).await.unwrap();
        let drained = held.into_drained().unwrap();
        let report = self.relay.refresh_changed(PATIENCE).await;
        drained.fenced().caught_up().switch().release();
        report
    }
}

pub(super) fn in_shop() -> ConnectOptions {
    ConnectOptions {
        database: Some(Bytes::from_static(b"shop")),
        ..ConnectOptions::named("test")
    }
}

async fn furnished(version: Version) -> MySqlServer {
    let server = MySqlServer::start(version, MySqlOptions::default())
        .await
        .unwrap();
    server.sql("CREATE DATABASE shop").unwrap();
    server.create_user("app", "secret", "shop").unwrap();
    server
}

/// The rows of a query, tabs between columns, a line each.
pub(super) async fn ask(client: &SqlConn, sql: &str) -> String {
    show(client.query(sql).await.unwrap())
}

pub(super) fn show(rows: Vec<binlog::wire::TextRow>) -> String {
    let line = |row: &binlog::wire::TextRow| {
        (0..row.columns().len())
            .map(|at| row.text(at).unwrap_or("NULL").to_owned())
            .collect::<Vec<_>>()
            .join("\t")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn refusal(result: Result<Vec<binlog::wire::TextRow>, SqlError>) -> (u16, String) {
    let error = result.expect_err("it is refused");
    let server = error.server().expect("the server refuses it");
    (server.code, server.message.clone())
}

/// The port of the server that a client is on.
pub(super) async fn port(client: &SqlConn) -> u16 {
    ask(client, "SELECT @@port").await.parse().unwrap()
}

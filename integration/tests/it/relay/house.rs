//! A relay in front of real servers, and a client that speaks bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use integration::server::{PgClient, PgOptions, PgServer};
use pgwal::session::{Relay, RelayOptions};
use pgwal::wire::frame::{self, Message};
use pgwal::wire::frontend;
use router::{Side, Switch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A relay that listens, in front of one server or two.
pub(super) struct House {
    pub(super) source: PgServer,
    pub(super) target: Option<PgServer>,
    pub(super) relay: Arc<Relay>,
    pub(super) switch: Arc<Switch>,
    pub(super) address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl House {
    pub(super) async fn new(major: u32) -> Self {
        let options = PgOptions::default().without_fsync();
        let source = PgServer::start(major, options).await.unwrap();
        Self::over(source, None, |_options| {}).await
    }

    /// A source and a target.
    pub(super) async fn pair(from: u32, to: u32) -> Self {
        let options = PgOptions::default().without_fsync();
        let source = PgServer::start(from, options.clone()).await.unwrap();
        let target = PgServer::start(to, options).await.unwrap();
        Self::over(source, Some(target), |_options| {}).await
    }

    pub(super) async fn over(
        source: PgServer,
        target: Option<PgServer>,
        change: impl FnOnce(&mut RelayOptions),
    ) -> Self {
        let endpoint = |server: &PgServer| server.url("postgres", "postgres").parse().unwrap();
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
        let accepts = Arc::clone(&relay);
        accepting.spawn(async move {
            while let Ok((client, from)) = listener.accept().await {
                accepts.accept(client, from);
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

    pub(super) fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@{}/postgres", self.address)
    }

    pub(super) async fn client(&self) -> PgClient {
        PgClient::connect(&self.url("postgres", "x")).await.unwrap()
    }

    pub(super) async fn raw(&self) -> Raw {
        Raw::log_in(self.address, frontend::PROTOCOL_3_0).await
    }

    /// The whole movement, with nothing between its steps but what the relay itself does.
    pub(super) async fn move_to(&self, side: Side) {
        self.move_promoting(side, || {}).await;
    }

    /// The same, with a promotion.
    pub(super) async fn move_promoting(&self, side: Side, promote: impl FnOnce()) {
        let mut held = self.switch.hold(side).unwrap();
        let settling = async { tokio::join!(held.drain(), self.relay.refresh_idle(PATIENCE)) };
        timeout(PATIENCE, settling).await.unwrap();
        let drained = held.into_drained().unwrap();
        self.relay.refresh_changed(PATIENCE).await;
        promote();
        drained.fenced().caught_up().switch().release();
    }

    /// Polls until a condition holds.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Relay) -> bool) {
        until(what, || condition(&self.relay)).await;
    }
}

/// Polls until a condition holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        timeout(PATIENCE, poll).await.is_ok(),
        "waited in vain: {what}"
    );
}

/// A client that writes and reads bytes.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    read: BytesMut,
}

impl Raw {
    pub(super) async fn connect(address: impl tokio::net::ToSocketAddrs) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            read: BytesMut::new(),
        }
    }

    /// Logs in without a password; the welcome is read.
    pub(super) async fn log_in(address: impl tokio::net::ToSocketAddrs, protocol: u32) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&startup(protocol)).await;
        let welcome = raw.until_ready().await;
        assert!(
            welcome.iter().all(|message| message.tag != b'E'),
            "{welcome:?}"
        );
        raw
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let next = async {
            loop {
                if let Some(message) = frame::take(&mut self.read, u32::MAX - 4).unwrap() {
                    return Some(message);
                }
                if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap()
    }

    /// Messages up to `ReadyForQuery` or the end.
    pub(super) async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            let ready = message.tag == b'Z';
            messages.push(message);
            if ready {
                break;
            }
        }
        messages
    }

    /// A whole simple query.
    pub(super) async fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&query(sql)).await;
        self.until_ready().await
    }

    /// The error that comes next, as text.
    pub(super) async fn error(&mut self) -> String {
        loop {
            match self.next().await {
                Some(message) if message.tag == b'E' => {
                    let error = pgwal::wire::ServerError::parse(message.body).unwrap();
                    return error.to_string();
                }
                Some(_other) => {}
                None => return "closed".to_owned(),
            }
        }
    }
}

/// A startup message of the superuser.
pub(super) fn startup(protocol: u32) -> Bytes {
    let mut out = BytesMut::new();
    let parameters = [("user", "postgres"), ("database", "postgres")];
    frontend::startup(protocol, parameters, &mut out).unwrap();
    out.freeze()
}

pub(super) fn query(sql: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out).unwrap();
    out
}

/// Parse, Bind, Describe and Execute of a statement without parameters; no Sync.
pub(super) fn extended(statement: &str, sql: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::parse(statement, sql, [], &mut out).unwrap();
    out.extend_from_slice(&run_prepared(statement));
    out
}

/// Bind, Describe and Execute.
pub(super) fn run_prepared(statement: &str) -> BytesMut {
    let mut out = BytesMut::new();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_slice(statement.as_bytes());
    body.put_slice(&[0; 7]);
    out.put_u8(b'B');
    out.put_i32(i32::try_from(body.len() + 4).unwrap());
    out.put_slice(&body);
    frontend::describe(b'P', "", &mut out).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    out
}

pub(super) fn sync() -> BytesMut {
    let mut out = BytesMut::new();
    frontend::sync(&mut out);
    out
}

/// The tags of messages, as text.
pub(super) fn tags(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| char::from(message.tag))
        .collect()
}

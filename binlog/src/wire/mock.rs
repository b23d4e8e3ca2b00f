//! A server of the tests' own, which says whatever a test wants, right or wrong.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::capabilities::{Capabilities, StatusFlags};
use super::endpoint::{Endpoint, TlsMode};
use super::handshake::{Greeting, HandshakeResponse, Scramble};
use super::packet::{Assembler, put_packet};
use super::response::{OK, OkPacket};

/// The challenge that mocks give.
pub(super) const SCRAMBLE: Scramble = *b"abcdefghijklmnopqrst";

/// Listens and tells its address.
pub(super) struct Mock {
    listener: TcpListener,
}

/// One client of a mock.
pub(super) struct MockClient {
    stream: TcpStream,
    read: BytesMut,
    assembler: Assembler,
    pub(super) sequence: u8,
    pub(super) capabilities: Capabilities,
}

impl Mock {
    pub(super) async fn listen() -> (Self, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        let url = format!("mysql://me:secret@{address}");
        let mut endpoint: Endpoint = url.parse().unwrap();
        endpoint.tls = TlsMode::Disabled;
        (Self { listener }, endpoint)
    }

    pub(super) async fn accept(&self) -> MockClient {
        let (stream, _from) = self.listener.accept().await.unwrap();
        MockClient {
            stream,
            read: BytesMut::new(),
            assembler: Assembler::default(),
            sequence: 0,
            capabilities: Capabilities::NONE,
        }
    }

    /// Accepts a client and lets it in, and through the settings of a control connection.
    pub(super) async fn accept_sql(&self, without: Capabilities) -> MockClient {
        let mut client = self.accept().await;
        client.greet("mysql_native_password", without).await;
        client.response().await;
        client.ok().await;
        for _setting in 0..3 {
            client.command().await;
            client.ok().await;
        }
        client
    }
}

/// A greeting of a server that can do everything but compression, TLS and `without`.
pub(super) fn greeting(plugin: &str, without: Capabilities) -> Greeting {
    let all = Capabilities::from_words(u32::MAX, 0);
    Greeting {
        version: "9.7.4".to_owned(),
        thread_id: 7,
        scramble: SCRAMBLE,
        capabilities: all.without(Capabilities::SSL | Capabilities::COMPRESS | without),
        collation: 45,
        status: StatusFlags::AUTOCOMMIT,
        auth_plugin: plugin.to_owned(),
    }
}

impl MockClient {
    pub(super) async fn greet(&mut self, plugin: &str, without: Capabilities) {
        let mut payload = BytesMut::new();
        greeting(plugin, without).put(&mut payload);
        self.write(&payload).await;
    }

    pub(super) async fn response(&mut self) -> HandshakeResponse {
        let packet = self.read().await;
        let response = HandshakeResponse::parse(&packet).unwrap();
        self.capabilities = response.capabilities;
        response
    }

    /// The next command's payload.
    pub(super) async fn command(&mut self) -> Bytes {
        self.sequence = 0;
        self.read().await
    }

    pub(super) async fn read(&mut self) -> Bytes {
        loop {
            let taken = self
                .assembler
                .take(&mut self.read, &mut self.sequence, usize::MAX);
            if let Some(packet) = taken.unwrap() {
                return packet;
            }
            let count = self.stream.read_buf(&mut self.read).await.unwrap();
            assert_ne!(count, 0, "the client closed the connection");
        }
    }

    /// Waits until the client closes; gives what it still sent.
    pub(super) async fn closed(mut self) -> Vec<u8> {
        let mut rest = self.read.to_vec();
        // A connection that is reset is closed as well.
        let _end = self.stream.read_to_end(&mut rest).await;
        rest
    }

    pub(super) async fn write(&mut self, payload: &[u8]) {
        let mut out = BytesMut::new();
        put_packet(payload, &mut self.sequence, &mut out);
        self.write_raw(&out).await;
    }

    pub(super) async fn write_raw(&mut self, bytes: &[u8]) {
        // A client that has gone is a test's own matter.
        let _gone = self.stream.write_all(bytes).await;
    }

    pub(super) async fn ok(&mut self) {
        let mut payload = BytesMut::new();
        let ok = OkPacket {
            status: StatusFlags::AUTOCOMMIT,
            ..OkPacket::default()
        };
        ok.put(OK, self.capabilities, &mut payload);
        self.write(&payload).await;
    }
}

//! The log-in of a connection of ours.

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::{Conn, Facts, Sealed};
use crate::version::ServerVersion;
use crate::wire::auth::{AuthError, native};
use crate::wire::capabilities::{Capabilities, StatusFlags};
use crate::wire::compress::{Compressor, Envelopes, ZSTD_LEVEL};
use crate::wire::endpoint::{Endpoint, TlsMode};
use crate::wire::error::{ConnectError, ServerError, WireError};
use crate::wire::handshake::{
    AUTH_MORE_DATA, AUTH_NEXT_FACTOR, AUTH_SWITCH, AuthSwitch, Greeting, HandshakeResponse,
};
use crate::wire::limits::{LOGIN_PACKETS_MAX, PACKET_BYTES_MAX};
use crate::wire::login::{Credential, Login, Privacy};
use crate::wire::packet::Assembler;
use crate::wire::response::{ERR, OK, OkPacket};
use crate::wire::socket::Socket;
use crate::wire::tls::{self, TlsError};

/// utf8mb4_general_ci, which every server from 5.5 on knows.
const UTF8MB4_GENERAL_CI: u8 = 45;

/// What a connection needs to have: the servers have all of it since 5.5.
const NEEDED: [Capabilities; 3] = [
    Capabilities::PROTOCOL_41,
    Capabilities::SECURE_CONNECTION,
    Capabilities::PLUGIN_AUTH,
];

/// As whom and for what a connection is opened.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The user, when it is not the endpoint's.
    pub user: Option<Bytes>,
    /// What to prove ourselves with, when it is not the endpoint's password.
    pub credential: Option<Credential>,
    /// The default database. The endpoint's is not used: it says what moves.
    pub database: Option<Bytes>,
    /// What is wanted beyond the needed; what the server does not have is left out. TLS is the
    /// endpoint's matter.
    pub capabilities: Capabilities,
    /// The session's collation, its low byte.
    pub collation: u8,
    /// Connection attributes, in order.
    pub attributes: Vec<(Bytes, Bytes)>,
    /// Whether the endpoint's wish for compression counts.
    pub compression: Compression,
}

/// Whether the endpoint's wish for compression counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// No: the caller reads the socket itself.
    #[default]
    Never,
    /// Yes, as far as the server can.
    AsEndpoint,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            user: None,
            credential: None,
            database: None,
            capabilities: Capabilities::LONG_PASSWORD
                | Capabilities::LONG_FLAG
                | Capabilities::TRANSACTIONS
                | Capabilities::MULTI_RESULTS
                | Capabilities::PLUGIN_AUTH_LENENC_DATA
                | Capabilities::CONNECT_ATTRS
                | Capabilities::SESSION_TRACK
                | Capabilities::DEPRECATE_EOF,
            collation: UTF8MB4_GENERAL_CI,
            attributes: Vec::new(),
            compression: Compression::Never,
        }
    }
}

impl ConnectOptions {
    /// The usual, under a name that the server shows in its tables of connection attributes.
    #[must_use]
    pub fn named(program_name: &str) -> Self {
        let attribute = |name: &'static str, value: &str| {
            (
                Bytes::from_static(name.as_bytes()),
                Bytes::copy_from_slice(value.as_bytes()),
            )
        };
        Self {
            attributes: vec![
                attribute("_client_name", "pointsman"),
                attribute("program_name", program_name),
            ],
            compression: Compression::AsEndpoint,
            ..Self::default()
        }
    }
}

impl Conn {
    /// Connects and logs in.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or takes too long.
    pub async fn connect(
        endpoint: &Endpoint,
        options: ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let limit = endpoint.connect_timeout;
        match timeout(limit, open(endpoint, &options)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout {
                endpoint: endpoint.to_string(),
                timeout: limit,
            }),
        }
    }
}

async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Conn, ConnectError> {
    let attempt = Attempt::new(endpoint, options);
    match attempt.open(endpoint.tls).await {
        // As the mysql client's PREFERRED: a server whose TLS is too old is better reached in clear
        // than not at all, and who could force this could also hide that there is TLS.
        Err(ConnectError::Tls {
            source: TlsError::Handshake(error),
            ..
        }) if endpoint.tls == TlsMode::Preferred => {
            tracing::warn!(server = %endpoint, %error, "TLS failed; connecting in clear");
            attempt.open(TlsMode::Disabled).await
        }
        result => result,
    }
}

/// One try to connect and what its errors name.
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    options: &'a ConnectOptions,
    user: Bytes,
    credential: Credential,
}

impl<'a> Attempt<'a> {
    fn new(endpoint: &'a Endpoint, options: &'a ConnectOptions) -> Self {
        let own_user = || Bytes::copy_from_slice(endpoint.user.as_bytes());
        let own_credential = || Credential::from_password(endpoint.password.as_ref());
        Self {
            endpoint,
            options,
            user: options.user.clone().unwrap_or_else(own_user),
            credential: options.credential.clone().unwrap_or_else(own_credential),
        }
    }

    async fn open(&self, tls: TlsMode) -> Result<Conn, ConnectError> {
        let socket = Socket::connect(self.endpoint).await;
        let mut conn = Conn {
            socket: socket.map_err(|source| ConnectError::Unreachable {
                endpoint: self.endpoint.to_string(),
                source,
            })?,
            read: BytesMut::new(),
            write: BytesMut::new(),
            assembler: Assembler::default(),
            envelopes: None,
            sequence: 0,
            facts: Facts {
                version: ServerVersion {
                    flavour: crate::version::Flavour::MySql,
                    major: 0,
                    minor: 0,
                    patch: 0,
                },
                version_text: String::new(),
                thread_id: 0,
                server_capabilities: Capabilities::NONE,
                capabilities: Capabilities::PROTOCOL_41,
                status: StatusFlags::default(),
                collation: 0,
                auth_plugin: native::PLUGIN,
            },
        };
        let greeting = self.greeting(&mut conn).await?;
        let mut response = self.response(&greeting)?;
        if tls != TlsMode::Disabled {
            conn = self.secure(conn, &greeting, &mut response, tls).await?;
        }
        let privacy = if conn.socket.is_private() {
            Privacy::Private
        } else {
            Privacy::Clear
        };
        let (login, plugin, answer) = Login::begin(
            &self.credential,
            privacy,
            &greeting.auth_plugin,
            greeting.scramble,
        );
        response.auth_response = answer;
        response.auth_plugin = Some(Bytes::from_static(plugin.as_bytes()));
        conn.facts.capabilities = response.capabilities;
        conn.facts.auth_plugin = plugin;
        let mut payload = BytesMut::new();
        response
            .put(&mut payload)
            .map_err(|source| self.broken(WireError::Malformed(source)))?;
        conn.queue_answer(&payload);
        self.authenticate(&mut conn, login).await?;
        conn.envelopes = self.compressor(&greeting).map(|compressor| Sealed {
            envelopes: Envelopes::new(compressor),
            read: BytesMut::new(),
            write: BytesMut::new(),
        });
        Ok(conn)
    }

    /// The first of the endpoint's algorithms that the server has.
    fn compressor(&self, greeting: &Greeting) -> Option<Compressor> {
        let offered = |compressor: &&Compressor| {
            let needed = compressor.capability();
            greeting.capabilities.contains(needed)
        };
        match self.options.compression {
            Compression::Never => None,
            Compression::AsEndpoint => self.endpoint.compression.iter().find(offered).copied(),
        }
    }

    async fn greeting(&self, conn: &mut Conn) -> Result<Greeting, ConnectError> {
        let packet = conn.read_login_packet().await;
        let packet = packet.map_err(|error| self.broken(error))?;
        if packet.first() == Some(&ERR) {
            let error = ServerError::parse(&packet).map_err(|error| self.broken(error.into()))?;
            return Err(self.refused(error));
        }
        let greeting = Greeting::parse(&packet).map_err(|error| self.broken(error.into()))?;
        conn.facts.version =
            ServerVersion::parse(&greeting.version).map_err(|source| ConnectError::Version {
                endpoint: self.endpoint.to_string(),
                source,
            })?;
        conn.facts.version_text.clone_from(&greeting.version);
        conn.facts.thread_id = greeting.thread_id;
        conn.facts.server_capabilities = greeting.capabilities;
        conn.facts.status = greeting.status;
        conn.facts.collation = greeting.collation;
        Ok(greeting)
    }

    fn response(&self, greeting: &Greeting) -> Result<HandshakeResponse, ConnectError> {
        let mut capabilities = self.options.capabilities & greeting.capabilities;
        for needed in NEEDED {
            if !greeting.capabilities.contains(needed) {
                return Err(self.unauthenticated(AuthError::OldProtocol));
            }
            capabilities = capabilities | needed;
        }
        // Bit 0 tells a MariaDB server that we have no use for its own capabilities.
        let plain = capabilities.mariadb_word() == 0;
        let compressor = self.compressor(greeting);
        let compression = compressor.map_or(Capabilities::NONE, Compressor::capability);
        capabilities = capabilities
            .without(Capabilities::SSL | Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION)
            .with(compression, true)
            .with(Capabilities::LONG_PASSWORD, plain)
            .with(
                Capabilities::CONNECT_WITH_DB,
                self.options.database.is_some(),
            );
        Ok(HandshakeResponse {
            capabilities,
            packet_bytes_max: u32::try_from(PACKET_BYTES_MAX).unwrap_or(u32::MAX),
            collation: self.options.collation,
            user: self.user.clone(),
            database: self.options.database.clone(),
            attributes: self.options.attributes.clone(),
            zstd_level: Some(ZSTD_LEVEL),
            ..HandshakeResponse::default()
        })
    }

    /// Puts TLS under the connection, if the server has it.
    async fn secure(
        &self,
        mut conn: Conn,
        greeting: &Greeting,
        response: &mut HandshakeResponse,
        mode: TlsMode,
    ) -> Result<Conn, ConnectError> {
        let failed = |source| ConnectError::Tls {
            endpoint: self.endpoint.to_string(),
            source,
        };
        if conn.socket.is_private() {
            return Ok(conn);
        }
        if !greeting.capabilities.contains(Capabilities::SSL) {
            if mode.allows_clear() {
                return Ok(conn);
            }
            return Err(failed(TlsError::NotOffered(mode.as_str())));
        }
        response.capabilities = response.capabilities | Capabilities::SSL;
        let mut payload = BytesMut::new();
        response.put_tls_request(&mut payload);
        conn.queue_answer(&payload);
        conn.flush().await.map_err(|error| self.broken(error))?;
        if !conn.read.is_empty() {
            return Err(failed(TlsError::ClearBytes));
        }
        conn.socket = match conn.socket {
            Socket::Tcp(stream) => {
                let stream = tls::wrap(self.endpoint, stream).await;
                Socket::from(stream.map_err(failed)?)
            }
            private @ (Socket::Tls(_) | Socket::Unix(_)) => private,
        };
        Ok(conn)
    }

    async fn authenticate(&self, conn: &mut Conn, login: Login<'_>) -> Result<(), ConnectError> {
        let mut login = login;
        for _packet in 0..LOGIN_PACKETS_MAX {
            conn.flush().await.map_err(|error| self.broken(error))?;
            let packet = conn.read_login_packet().await;
            let packet = packet.map_err(|error| self.broken(error))?;
            let answer = match packet.first() {
                Some(&OK) => {
                    let ok = OkPacket::parse(&packet, conn.facts.capabilities)
                        .map_err(|error| self.broken(error.into()))?;
                    conn.facts.status = ok.status;
                    return Ok(());
                }
                Some(&ERR) => {
                    let error = ServerError::parse(&packet);
                    return Err(self.refused(error.map_err(|error| self.broken(error.into()))?));
                }
                Some(&AUTH_SWITCH) => {
                    let switch = AuthSwitch::parse(&packet);
                    let switch = switch.map_err(|error| self.broken(error.into()))?;
                    let (plugin, answer) = login
                        .switch(&switch)
                        .map_err(|source| self.unauthenticated(source))?;
                    conn.facts.auth_plugin = plugin;
                    Some(answer)
                }
                Some(&AUTH_MORE_DATA) => {
                    let data = packet.get(1..).unwrap_or_default();
                    login
                        .more(data)
                        .map_err(|source| self.unauthenticated(source))?
                }
                Some(&AUTH_NEXT_FACTOR) => {
                    let several = AuthError::Unsupported("of a second factor".to_owned());
                    return Err(self.unauthenticated(several));
                }
                first => {
                    return Err(self.broken(WireError::Unexpected {
                        first: first.copied().unwrap_or_default(),
                        expected: "a packet of the authentication",
                    }));
                }
            };
            if let Some(answer) = answer {
                conn.queue_answer(&answer);
            }
        }
        Err(self.unauthenticated(AuthError::Endless))
    }

    fn user(&self) -> String {
        String::from_utf8_lossy(&self.user).into_owned()
    }

    fn broken(&self, source: WireError) -> ConnectError {
        ConnectError::Wire {
            endpoint: self.endpoint.to_string(),
            source,
        }
    }

    fn refused(&self, error: ServerError) -> ConnectError {
        ConnectError::Refused {
            endpoint: self.endpoint.to_string(),
            user: self.user(),
            source: Box::new(error),
        }
    }

    fn unauthenticated(&self, source: AuthError) -> ConnectError {
        ConnectError::Auth {
            endpoint: self.endpoint.to_string(),
            user: self.user(),
            source,
        }
    }
}

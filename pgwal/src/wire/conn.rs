//! One connection of ours to a server, in the frontend's role. It works for SQL by the simple
//! protocol, for COPY and for replication.
//!
//! Guarantees: lengths are checked, an error of the server is kept as it came, reading is cancel
//! safe. It does not: pipeline requests for its caller, or reconnect.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::backend::{self, Authentication};
use super::endpoint::Endpoint;
use super::error::{ConnectError, ServerError, WireError};
use super::fields::Fields;
use super::frame::{self, Message};
use super::frontend;
use super::limits::{GREETING_BYTES_MAX, MESSAGE_BYTES_MAX, READ_CHUNK_BYTES};
use super::login::{Credential, Login};
use super::socket::Socket;

/// An authenticated connection.
#[derive(Debug)]
pub struct Conn {
    socket: Socket,
    read: BytesMut,
    write: BytesMut,
    greeting: Greeting,
}

/// What a server said between letting us in and its first `ReadyForQuery`.
#[derive(Debug, Default)]
struct Greeting {
    pid: i32,
    cancel_key: Bytes,
    parameters: HashMap<String, String>,
    /// Every message but `BackendKeyData` and `ReadyForQuery`, in order.
    messages: Vec<Message>,
    bytes: usize,
}

/// The pieces of a connection, for a caller that does its own input and output.
#[derive(Debug)]
pub struct ConnParts {
    /// The stream.
    pub socket: Socket,
    /// What was read and not yet taken.
    pub read: BytesMut,
    /// What was queued and not yet written.
    pub write: BytesMut,
}

/// The reading half of a split connection.
#[derive(Debug)]
pub struct ConnReader {
    socket: ReadHalf<Socket>,
    read: BytesMut,
}

/// The writing half of a split connection.
#[derive(Debug)]
pub struct ConnWriter {
    socket: WriteHalf<Socket>,
    write: BytesMut,
}

impl Conn {
    /// Connects and logs in. `parameters` go into the startup message after `user` and `database`,
    /// unless they name these two themselves: then they are sent exactly as given.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or takes too long.
    pub async fn connect(
        endpoint: &Endpoint,
        parameters: &[(String, String)],
        credential: Credential,
    ) -> Result<Self, ConnectError> {
        let limit = endpoint.connect_timeout;
        match timeout(limit, Self::open(endpoint, parameters, &credential)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout {
                endpoint: endpoint.to_string(),
                timeout: limit,
            }),
        }
    }

    /// Connects with the endpoint's own password.
    ///
    /// # Errors
    /// As [`Conn::connect`].
    pub async fn connect_own(
        endpoint: &Endpoint,
        parameters: &[(String, String)],
    ) -> Result<Self, ConnectError> {
        let credential = Credential::from_password(endpoint.password.as_ref());
        Self::connect(endpoint, parameters, credential).await
    }

    async fn open(
        endpoint: &Endpoint,
        parameters: &[(String, String)],
        credential: &Credential,
    ) -> Result<Self, ConnectError> {
        let socket = endpoint.connect_socket().await?;
        let mut conn = Self {
            socket,
            read: BytesMut::new(),
            write: BytesMut::new(),
            greeting: Greeting::default(),
        };
        let given = |name| parameters.iter().find(|(key, _)| key == name);
        let mut startup: Vec<(&str, &str)> = Vec::new();
        if given("user").is_none() {
            startup.push(("user", &endpoint.user));
        }
        if given("user").is_none() && given("database").is_none() {
            startup.push(("database", &endpoint.database));
        }
        startup.extend(
            parameters
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let user = given("user").map_or(endpoint.user.as_str(), |(_, user)| user.as_str());
        let broken = |source| ConnectError::Wire {
            endpoint: endpoint.to_string(),
            source,
        };
        frontend::startup(frontend::PROTOCOL_3_0, startup, &mut conn.write).map_err(broken)?;
        conn.authenticate(endpoint, user, credential).await?;
        conn.greet()
            .await
            .map_err(|error| refused_or_broken(endpoint, user, error))?;
        Ok(conn)
    }

    async fn authenticate(
        &mut self,
        endpoint: &Endpoint,
        user: &str,
        credential: &Credential,
    ) -> Result<(), ConnectError> {
        let mut login = Login::new(user, credential);
        loop {
            let request = self.read_authentication().await;
            let request = request.map_err(|error| refused_or_broken(endpoint, user, error))?;
            let Some(request) = request else { continue };
            let let_in =
                login
                    .answer(request, &mut self.write)
                    .map_err(|source| ConnectError::Auth {
                        endpoint: endpoint.to_string(),
                        user: user.into(),
                        source,
                    })?;
            if let_in {
                return Ok(());
            }
        }
    }

    async fn read_authentication(&mut self) -> Result<Option<Authentication>, WireError> {
        self.flush().await?;
        let message = self.read_message().await?;
        match message.tag {
            b'R' => Ok(Some(Authentication::parse(&message.body)?)),
            b'E' => Err(ServerError::parse(message.body)?.into()),
            b'N' => {
                self.greeting.keep(message)?;
                Ok(None)
            }
            tag => Err(WireError::Unexpected {
                tag,
                expected: "an authentication request",
            }),
        }
    }

    async fn greet(&mut self) -> Result<(), WireError> {
        loop {
            let message = self.read_message().await?;
            match message.tag {
                b'Z' => return Ok(()),
                b'K' => {
                    let mut fields = Fields::new(&message.body);
                    self.greeting.pid = fields.i32()?;
                    self.greeting.cancel_key = message.body.slice_ref(fields.rest());
                }
                b'S' | b'N' => self.greeting.keep(message)?,
                b'E' => return Err(ServerError::parse(message.body)?.into()),
                tag => {
                    return Err(WireError::Unexpected {
                        tag,
                        expected: "the server's greeting",
                    });
                }
            }
        }
    }

    /// The process id of the backend.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.greeting.pid
    }

    /// The key that cancels this connection's queries.
    #[must_use]
    pub fn cancel_key(&self) -> &Bytes {
        &self.greeting.cancel_key
    }

    /// A parameter that the server reported.
    #[must_use]
    pub fn parameter_status(&self, name: &str) -> Option<&str> {
        self.greeting.parameters.get(name).map(String::as_str)
    }

    /// All parameters that the server reported.
    #[must_use]
    pub fn parameters(&self) -> &HashMap<String, String> {
        &self.greeting.parameters
    }

    /// Notes a `ParameterStatus` that a caller of [`Conn::read_message`] came across.
    ///
    /// # Errors
    /// The body is malformed.
    pub fn note_parameter(&mut self, body: &Bytes) -> Result<(), WireError> {
        self.greeting.note_parameter(body)
    }

    /// Whether the server still holds the connection, as far as is known without waiting. Only for
    /// a connection that waits for nothing: messages that are already here and are no goodbye stay.
    pub fn is_open(&mut self) -> bool {
        self.read.reserve(READ_CHUNK_BYTES);
        match self.socket.read_buf(&mut self.read).now_or_never() {
            None => true,
            Some(Ok(0) | Err(_)) => false,
            // The only error that a server sends unasked is its last word.
            Some(Ok(_)) => self.read.first() != Some(&b'E'),
        }
    }

    /// The messages of the log-in as they came, `BackendKeyData` and `ReadyForQuery` left out.
    #[must_use]
    pub fn greeting(&self) -> &[Message] {
        &self.greeting.messages
    }

    /// Reads the next message, whatever it is.
    ///
    /// # Cancel safety
    /// What was read stays in the buffer.
    ///
    /// # Errors
    /// The connection broke or the header is wrong.
    pub async fn read_message(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(message) = frame::take(&mut self.read, MESSAGE_BYTES_MAX)? {
                return Ok(message);
            }
            self.read.reserve(READ_CHUNK_BYTES);
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// A whole message that was already received, without waiting.
    ///
    /// # Errors
    /// The header is wrong.
    pub fn try_message(&mut self) -> Result<Option<Message>, WireError> {
        Ok(frame::take(&mut self.read, MESSAGE_BYTES_MAX)?)
    }

    /// Puts bytes behind what is to be written.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.write.extend_from_slice(bytes);
    }

    /// The buffer of what is to be written, for the functions of [`frontend`].
    pub fn out(&mut self) -> &mut BytesMut {
        &mut self.write
    }

    /// Writes everything that was queued.
    ///
    /// # Cancel safety
    /// What was not written stays queued.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        while !self.write.is_empty() {
            if self.socket.write_buf(&mut self.write).await? == 0 {
                return Err(WireError::Closed);
            }
        }
        // TLS keeps what the network does not take at once.
        Ok(self.socket.flush().await?)
    }

    /// Runs statements by the simple protocol and gives all rows, in text form.
    ///
    /// # Errors
    /// The server's error (the connection is usable again then), or the connection broke.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<Bytes>>>, WireError> {
        frontend::query(sql, &mut self.write)
            .map_err(|_zero| WireError::Unwritable("a query holds a zero byte"))?;
        self.flush().await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = self.read_message().await?;
            match message.tag {
                b'D' => rows.push(backend::data_row(&message.body)?),
                b'E' => failure = Some(ServerError::parse(message.body)?),
                b'Z' => return failure.map_or(Ok(rows), |error| Err(error.into())),
                b'S' => self.greeting.note_parameter(&message.body)?,
                b'T' | b'C' | b'I' | b'N' | b'A' => {}
                tag => {
                    return Err(WireError::Unexpected {
                        tag,
                        expected: "the rows of a query",
                    });
                }
            }
        }
    }

    /// Splits into a reading and a writing half, for COPY and replication in both directions.
    #[must_use]
    pub fn into_split(self) -> (ConnReader, ConnWriter) {
        let (read_half, write_half) = tokio::io::split(self.socket);
        (
            ConnReader {
                socket: read_half,
                read: self.read,
            },
            ConnWriter {
                socket: write_half,
                write: self.write,
            },
        )
    }

    /// The pieces, for a caller that does its own input and output.
    #[must_use]
    pub fn into_parts(self) -> ConnParts {
        ConnParts {
            socket: self.socket,
            read: self.read,
            write: self.write,
        }
    }

    /// Says goodbye and closes; errors do not matter any more.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.write);
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "a connection was gone before its goodbye");
        }
    }
}

impl Greeting {
    fn keep(&mut self, message: Message) -> Result<(), WireError> {
        self.bytes += message.body.len();
        if self.bytes > GREETING_BYTES_MAX {
            return Err(WireError::Unexpected {
                tag: message.tag,
                expected: "a greeting of bearable length",
            });
        }
        if message.tag == b'S' {
            self.note_parameter(&message.body)?;
        }
        self.messages.push(message);
        Ok(())
    }

    fn note_parameter(&mut self, body: &Bytes) -> Result<(), WireError> {
        let mut fields = Fields::new(body);
        let name = String::from_utf8_lossy(fields.string()?).into_owned();
        let value = String::from_utf8_lossy(fields.string()?).into_owned();
        self.parameters.insert(name, value);
        Ok(())
    }
}

impl ConnReader {
    /// Reads the next message, whatever it is.
    ///
    /// # Cancel safety
    /// What was read stays in the buffer.
    ///
    /// # Errors
    /// The connection broke or the header is wrong.
    pub async fn read_message(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(message) = self.try_message()? {
                return Ok(message);
            }
            self.read.reserve(READ_CHUNK_BYTES);
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(WireError::Closed);
            }
        }
    }

    /// A whole message that was already received, without waiting.
    ///
    /// # Errors
    /// The header is wrong.
    pub fn try_message(&mut self) -> Result<Option<Message>, WireError> {
        Ok(frame::take(&mut self.read, MESSAGE_BYTES_MAX)?)
    }
}

impl ConnWriter {
    /// The buffer of what is to be written, for the functions of [`frontend`].
    pub fn out(&mut self) -> &mut BytesMut {
        &mut self.write
    }

    /// Writes everything that was queued.
    ///
    /// # Cancel safety
    /// What was not written stays queued.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        while !self.write.is_empty() {
            if self.socket.write_buf(&mut self.write).await? == 0 {
                return Err(WireError::Closed);
            }
        }
        // TLS keeps what the network does not take at once.
        Ok(self.socket.flush().await?)
    }
}

fn refused_or_broken(endpoint: &Endpoint, user: &str, error: WireError) -> ConnectError {
    match error {
        WireError::Server(source) => ConnectError::Refused {
            endpoint: endpoint.to_string(),
            user: user.to_owned(),
            source,
        },
        source @ (WireError::Io(_)
        | WireError::Closed
        | WireError::Frame(_)
        | WireError::Malformed(_)
        | WireError::Unexpected { .. }
        | WireError::Unwritable(_)) => ConnectError::Wire {
            endpoint: endpoint.to_string(),
            source,
        },
    }
}

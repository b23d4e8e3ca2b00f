//! One connection of ours to a server, in the client's role: log-in, then packets both ways.
//!
//! Guarantees: frames are joined and their numbers checked, nothing larger than
//! [`PACKET_BYTES_MAX`] is taken, reading and flushing are cancel
//! safe. It does not: know what an exchange means, or reconnect. Whoever sends a command must read
//! its whole answer.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::capabilities::{Capabilities, StatusFlags};
use super::command::COM_QUIT;
use super::compress::{Compressor, Envelopes};
use super::error::{ServerError, WireError};
use super::limits::{
    LAST_WORD_TIMEOUT, LOGIN_PACKET_BYTES_MAX, PACKET_BYTES_MAX, READ_CHUNK_BYTES,
};
use super::packet::{self, Assembler, FrameHeader};
use super::response::{self, OkPacket};
use super::socket::Socket;
use crate::version::ServerVersion;

mod open;

pub use open::{Compression, ConnectOptions};

/// Most bytes that are made room for at once while a large frame comes in: its length is only
/// believed as far as its bytes arrive.
const RESERVE_BYTES_MAX: usize = 1024 * 1024;

/// An authenticated connection.
#[derive(Debug)]
pub struct Conn {
    socket: Socket,
    read: BytesMut,
    write: BytesMut,
    assembler: Assembler,
    envelopes: Option<Sealed>,
    /// The number of the next frame in either direction.
    sequence: u8,
    facts: Facts,
}

/// A compressed connection: what is in envelopes, in either direction.
#[derive(Debug)]
struct Sealed {
    envelopes: Envelopes,
    read: BytesMut,
    write: BytesMut,
}

/// What a server said of itself and the session during the log-in.
#[derive(Debug, Clone)]
struct Facts {
    version: ServerVersion,
    version_text: String,
    thread_id: u32,
    server_capabilities: Capabilities,
    /// What both sides agreed on.
    capabilities: Capabilities,
    /// As of the last OK packet of the log-in, or what [`Conn::note_status`] noted.
    status: StatusFlags,
    collation: u8,
    auth_plugin: &'static str,
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

impl Conn {
    /// The server's flavour and version.
    #[must_use]
    pub fn version(&self) -> ServerVersion {
        self.facts.version
    }

    /// The version as the server spells it.
    #[must_use]
    pub fn version_text(&self) -> &str {
        &self.facts.version_text
    }

    /// The connection's number on the server, for KILL and the process list.
    #[must_use]
    pub fn thread_id(&self) -> u32 {
        self.facts.thread_id
    }

    /// The capabilities that both sides agreed on.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.facts.capabilities
    }

    /// Everything that the server's greeting offered.
    #[must_use]
    pub fn server_capabilities(&self) -> Capabilities {
        self.facts.server_capabilities
    }

    /// The session's status flags, as of the last that were noted.
    #[must_use]
    pub fn status_flags(&self) -> StatusFlags {
        self.facts.status
    }

    /// Notes the status flags of an answer that a caller of [`Conn::read_packet`] read.
    pub fn note_status(&mut self, status: StatusFlags) {
        self.facts.status = status;
    }

    /// The server's default collation, its low byte, as its greeting had it.
    #[must_use]
    pub fn server_collation(&self) -> u8 {
        self.facts.collation
    }

    /// The method of authentication by which the server let us in.
    #[must_use]
    pub fn auth_plugin(&self) -> &'static str {
        self.facts.auth_plugin
    }

    /// How the connection is compressed.
    #[must_use]
    pub fn compressor(&self) -> Option<Compressor> {
        self.envelopes
            .as_ref()
            .map(|sealed| sealed.envelopes.compressor())
    }

    /// Whether nobody between us and the server can read: TLS, or a unix socket.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.socket.is_private()
    }

    /// Sends a command: the packet begins a new exchange, numbered from 0.
    ///
    /// # Cancel safety
    /// What was not written stays queued, and goes out before anything else.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write_packet(&mut self, payload: &[u8]) -> Result<(), WireError> {
        self.queue_command(&[], payload);
        self.flush().await
    }

    /// Puts a command behind what is to be written, in two parts: its first bytes and its text.
    pub fn queue_command(&mut self, head: &[u8], tail: &[u8]) {
        self.sequence = 0;
        if let Some(sealed) = &mut self.envelopes {
            sealed.envelopes.restart();
        }
        packet::put_packet_parts(head, tail, &mut self.sequence, &mut self.write);
    }

    /// Puts a packet of the same exchange behind what is to be written: a piece of a local file, an
    /// answer of the log-in.
    pub fn queue_answer(&mut self, payload: &[u8]) {
        packet::put_packet(payload, &mut self.sequence, &mut self.write);
    }

    /// Bytes that are queued and not yet written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let sealed = self.envelopes.as_ref();
        self.write.len() + sealed.map_or(0, |sealed| sealed.write.len())
    }

    /// Writes everything that was queued.
    ///
    /// # Cancel safety
    /// What was not written stays queued.
    ///
    /// # Errors
    /// The connection broke; [`WireError::Ended`] when the server said why.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        match self.flush_socket().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_word().await.unwrap_or(error)),
        }
    }

    async fn flush_socket(&mut self) -> Result<(), WireError> {
        let write = match &mut self.envelopes {
            Some(sealed) => {
                sealed.envelopes.seal(&self.write, &mut sealed.write);
                self.write.clear();
                &mut sealed.write
            }
            None => &mut self.write,
        };
        while !write.is_empty() {
            if self.socket.write_buf(write).await? == 0 {
                return Err(WireError::Closed);
            }
        }
        // TLS keeps bytes of its own.
        Ok(self.socket.flush().await?)
    }

    /// What a server wrote before it closed while we were writing: that a packet was too large for
    /// it, or that it shuts down.
    async fn last_word(&mut self) -> Option<WireError> {
        let reading = timeout(LAST_WORD_TIMEOUT, self.read_limited(LOGIN_PACKET_BYTES_MAX));
        let packet = reading.await.ok()?.ok()?;
        let error = ServerError::parse(&packet).ok()?;
        Some(WireError::Ended(Box::new(error)))
    }

    /// Reads the next packet, whatever it is, its frames joined.
    ///
    /// # Cancel safety
    /// What was read stays in the buffer.
    ///
    /// # Errors
    /// The connection broke or a frame cannot be right.
    pub async fn read_packet(&mut self) -> Result<Bytes, WireError> {
        self.read_limited(PACKET_BYTES_MAX).await
    }

    /// A whole packet that was already received, without waiting.
    ///
    /// # Errors
    /// A frame cannot be right.
    pub fn try_packet(&mut self) -> Result<Option<Bytes>, WireError> {
        self.take(PACKET_BYTES_MAX)
    }

    /// Reads an answer that must be OK, and notes its status.
    ///
    /// # Errors
    /// The server's error, or the connection broke.
    pub async fn read_ok(&mut self) -> Result<OkPacket, WireError> {
        let packet = self.read_packet().await?;
        match packet.first() {
            Some(&response::OK) => {
                let ok = OkPacket::parse(&packet, self.facts.capabilities)?;
                self.facts.status = ok.status;
                Ok(ok)
            }
            Some(&response::ERR) => Err(ServerError::parse(&packet)?.into()),
            first => Err(WireError::Unexpected {
                first: first.copied().unwrap_or_default(),
                expected: "OK",
            }),
        }
    }

    /// Whether the server still holds the connection, as far as is known without waiting. Only for
    /// a connection that waits for nothing: whatever a server then sends unasked is its last word.
    pub fn is_open(&mut self) -> bool {
        if !self.read.is_empty() {
            return false;
        }
        let asked = self.socket.read_buf(&mut self.read).now_or_never();
        match asked {
            None => true,
            Some(_closed_or_spoke) => false,
        }
    }

    /// Gives back the memory of empty buffers, for a connection that will be silent for long.
    pub fn give_back_buffers(&mut self) {
        for buffer in [&mut self.read, &mut self.write] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
    }

    /// The pieces, for a caller that does its own input and output. Such a caller does not ask for
    /// [compression](ConnectOptions::compression), which is undone here and not by it.
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
        self.queue_command(&[COM_QUIT], &[]);
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "a connection was gone before its goodbye");
        }
    }

    async fn read_login_packet(&mut self) -> Result<Bytes, WireError> {
        self.read_limited(LOGIN_PACKET_BYTES_MAX).await
    }

    async fn read_limited(&mut self, limit_bytes: usize) -> Result<Bytes, WireError> {
        loop {
            if let Some(packet) = self.take(limit_bytes)? {
                return Ok(packet);
            }
            if let ControlFlow::Break(()) = self.receive().await? {
                return Err(WireError::Closed);
            }
        }
    }

    fn take(&mut self, limit_bytes: usize) -> Result<Option<Bytes>, WireError> {
        // Inside envelopes the servers lose count; the envelopes have numbers of their own.
        if self.envelopes.is_some()
            && let Some(header) = FrameHeader::peek(&self.read)
        {
            self.sequence = header.sequence;
        }
        let taken = self
            .assembler
            .take(&mut self.read, &mut self.sequence, limit_bytes);
        Ok(taken?)
    }

    async fn receive(&mut self) -> Result<ControlFlow<()>, WireError> {
        let (buffer, missing) = match &mut self.envelopes {
            Some(sealed) => {
                let missing = Envelopes::missing_bytes(&sealed.read);
                (&mut sealed.read, missing)
            }
            None => {
                let missing = Assembler::missing_bytes(&self.read);
                (&mut self.read, missing)
            }
        };
        buffer.reserve(missing.clamp(READ_CHUNK_BYTES, RESERVE_BYTES_MAX));
        if self.socket.read_buf(buffer).await? == 0 {
            return Ok(ControlFlow::Break(()));
        }
        if let Some(sealed) = &mut self.envelopes {
            sealed.envelopes.open(&mut sealed.read, &mut self.read)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests;

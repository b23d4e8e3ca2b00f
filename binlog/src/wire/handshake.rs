//! The packets of the handshake, each read and written: the greeting, the answer to it, the wish
//! for TLS, the change of the authentication method.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets.html>

use bytes::{BufMut, Bytes, BytesMut};

use super::capabilities::{Capabilities, StatusFlags};
use super::fields::{FieldError, Fields};

mod response;

pub use response::HandshakeResponse;

/// The version of the handshake that every server since 3.21 speaks.
const PROTOCOL_VERSION: u8 = 10;

/// First byte of a request to change the authentication method.
pub const AUTH_SWITCH: u8 = 0xfe;
/// First byte of more data of an authentication method.
pub const AUTH_MORE_DATA: u8 = 0x01;
/// First byte of a request for another factor.
pub const AUTH_NEXT_FACTOR: u8 = 0x02;

/// Bytes of the random challenge of all methods of the two families that have one, but ed25519.
pub const SCRAMBLE_BYTES: usize = 20;

/// The random challenge of a server.
pub type Scramble = [u8; SCRAMBLE_BYTES];

/// A server's greeting (`HandshakeV10`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version as the server spells it.
    pub version: String,
    /// The connection's number, for KILL. It is cut to 32 bits.
    pub thread_id: u32,
    /// The challenge.
    pub scramble: Scramble,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// The server's default collation, its low byte.
    pub collation: u8,
    /// The status of the session to be.
    pub status: StatusFlags,
    /// The method of authentication that the challenge is meant for.
    pub auth_plugin: String,
}

impl Greeting {
    /// Reads a greeting.
    ///
    /// # Errors
    /// The packet ends too early, or is of another protocol.
    pub fn parse(packet: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        if fields.u8()? != PROTOCOL_VERSION {
            return Err(FieldError("it is no greeting of protocol 10"));
        }
        let version = String::from_utf8_lossy(fields.string()?).into_owned();
        let thread_id = fields.u32()?;
        let first: [u8; 8] = fields.array("it ends inside the challenge")?;
        fields.u8()?;
        let low = fields.u16()?;
        let collation = fields.u8()?;
        let status = StatusFlags(fields.u16()?);
        let high = fields.u16()?;
        let scramble_bytes = usize::from(fields.u8()?);
        fields.bytes(6)?;
        let mariadb_word = fields.u32()?;
        let standard_word = u32::from(low) | u32::from(high) << 16;
        let mut capabilities = Capabilities::from_words(standard_word, 0);
        if !capabilities.contains(Capabilities::LONG_PASSWORD) {
            capabilities = Capabilities::from_words(standard_word, mariadb_word);
        }
        let second = fields.bytes(
            scramble_bytes
                .saturating_sub(8)
                .max(13)
                .min(fields.rest().len()),
        )?;
        let mut scramble = [0; SCRAMBLE_BYTES];
        let challenge = first.iter().chain(second.iter().take(SCRAMBLE_BYTES - 8));
        for (to, from) in scramble.iter_mut().zip(challenge) {
            *to = *from;
        }
        if second.len() < SCRAMBLE_BYTES - 8 {
            return Err(FieldError("its challenge is too short"));
        }
        let auth_plugin = if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            String::from_utf8_lossy(fields.string_or_rest()).into_owned()
        } else {
            super::auth::native::PLUGIN.to_owned()
        };
        Ok(Self {
            version,
            thread_id,
            scramble,
            capabilities,
            collation,
            status,
            auth_plugin,
        })
    }

    /// Writes the payload of the packet.
    pub fn put(&self, out: &mut BytesMut) {
        let (first, second) = self.scramble.split_at(8);
        let [a, b, c, d] = self.capabilities.standard_word().to_le_bytes();
        out.put_u8(PROTOCOL_VERSION);
        out.put_slice(self.version.as_bytes());
        out.put_u8(0);
        out.put_u32_le(self.thread_id);
        out.put_slice(first);
        out.put_u8(0);
        out.put_slice(&[a, b]);
        out.put_u8(self.collation);
        out.put_u16_le(self.status.0);
        out.put_slice(&[c, d]);
        // With the zero byte that follows the challenge.
        out.put_u8(21);
        out.put_bytes(0, 6);
        if self.capabilities.contains(Capabilities::LONG_PASSWORD) {
            out.put_u32_le(0);
        } else {
            out.put_u32_le(self.capabilities.mariadb_word());
        }
        out.put_slice(second);
        out.put_u8(0);
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            out.put_slice(self.auth_plugin.as_bytes());
            out.put_u8(0);
        }
    }
}

/// A request to authenticate by another method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSwitch {
    /// The method.
    pub plugin: String,
    /// Its challenge, without the zero byte at its end.
    pub data: Bytes,
}

impl AuthSwitch {
    /// Reads the packet. One that is only its first byte asks for the method before 4.1.
    ///
    /// # Errors
    /// The packet ends too early.
    pub fn parse(packet: &Bytes) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        if fields.u8()? != AUTH_SWITCH {
            return Err(FieldError("it is no AuthSwitchRequest"));
        }
        if fields.is_empty() {
            return Ok(Self {
                plugin: "mysql_old_password".to_owned(),
                data: Bytes::new(),
            });
        }
        let plugin = String::from_utf8_lossy(fields.string()?).into_owned();
        let data = fields.rest();
        Ok(Self {
            plugin,
            data: packet.slice_ref(data.strip_suffix(&[0]).unwrap_or(data)),
        })
    }

    /// Writes the payload of the packet.
    pub fn put(&self, out: &mut BytesMut) {
        out.put_u8(AUTH_SWITCH);
        out.put_slice(self.plugin.as_bytes());
        out.put_u8(0);
        out.put_slice(&self.data);
        out.put_u8(0);
    }

    /// The challenge, if it has the usual length.
    #[must_use]
    pub fn scramble(&self) -> Option<Scramble> {
        Scramble::try_from(&self.data[..]).ok()
    }
}

#[cfg(test)]
mod tests;

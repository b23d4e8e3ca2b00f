//! What a client answers to the greeting (`HandshakeResponse41`).

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::capabilities::Capabilities;
use crate::wire::fields::{FieldError, Fields};
use crate::wire::lenenc;

/// Bytes of the part that a wish for TLS consists of.
const FIXED_BYTES: usize = 32;

/// A client's answer to the greeting.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HandshakeResponse {
    /// What the client can do and wants.
    pub capabilities: Capabilities,
    /// Largest packet the client takes.
    pub packet_bytes_max: u32,
    /// The collation of the session, its low byte.
    pub collation: u8,
    /// The user.
    pub user: Bytes,
    /// The answer to the challenge.
    pub auth_response: Bytes,
    /// The default database.
    pub database: Option<Bytes>,
    /// The method that the answer is meant for.
    pub auth_plugin: Option<Bytes>,
    /// Names and values, in order.
    pub attributes: Vec<(Bytes, Bytes)>,
    /// The zstd level, with that capability.
    pub zstd_level: Option<u8>,
}

impl HandshakeResponse {
    /// Whether the packet is only the wish for TLS; the whole answer follows inside it.
    #[must_use]
    pub fn is_tls_request(packet: &[u8]) -> bool {
        packet.len() == FIXED_BYTES
            && Self::peek_capabilities(packet)
                .is_some_and(|capabilities| capabilities.contains(Capabilities::SSL))
    }

    /// The capabilities at the beginning of the answer or of the wish for TLS.
    #[must_use]
    pub fn peek_capabilities(packet: &[u8]) -> Option<Capabilities> {
        let mut fields = Fields::new(packet);
        let standard_word = fields.u32().ok()?;
        fields.bytes(FIXED_BYTES - 8).ok()?;
        let mariadb_word = fields.u32().ok()?;
        let standard = Capabilities::from_words(standard_word, 0);
        if standard.contains(Capabilities::LONG_PASSWORD) {
            Some(standard)
        } else {
            Some(Capabilities::from_words(standard_word, mariadb_word))
        }
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// The packet ends too early, or the client speaks the protocol before 4.1.
    pub fn parse(packet: &Bytes) -> Result<Self, FieldError> {
        let capabilities = Self::peek_capabilities(packet)
            .ok_or(FieldError("it ends inside the handshake response"))?;
        if !capabilities.contains(Capabilities::PROTOCOL_41) {
            return Err(FieldError("the client speaks the protocol before 4.1"));
        }
        let mut fields = Fields::new(packet);
        fields.u32()?;
        let packet_bytes_max = fields.u32()?;
        let collation = fields.u8()?;
        fields.bytes(23)?;
        let user = packet.slice_ref(fields.string()?);
        let auth_response = if capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            fields.lenenc_bytes()?
        } else if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let length = usize::from(fields.u8()?);
            fields.bytes(length)?
        } else {
            fields.string_or_rest()
        };
        let mut response = Self {
            capabilities,
            packet_bytes_max,
            collation,
            user,
            auth_response: packet.slice_ref(auth_response),
            ..Self::default()
        };
        // Clients that set a flag and then send nothing for it exist; the servers bear them.
        if capabilities.contains(Capabilities::CONNECT_WITH_DB) && !fields.is_empty() {
            response.database = Some(packet.slice_ref(fields.string_or_rest()));
        }
        if capabilities.contains(Capabilities::PLUGIN_AUTH) && !fields.is_empty() {
            response.auth_plugin = Some(packet.slice_ref(fields.string_or_rest()));
        }
        if capabilities.contains(Capabilities::CONNECT_ATTRS) && !fields.is_empty() {
            let mut attributes = Fields::new(fields.lenenc_bytes()?);
            while !attributes.is_empty() {
                let name = packet.slice_ref(attributes.lenenc_bytes()?);
                let value = packet.slice_ref(attributes.lenenc_bytes()?);
                response.attributes.push((name, value));
            }
        }
        if capabilities.contains(Capabilities::ZSTD_COMPRESSION) && !fields.is_empty() {
            response.zstd_level = Some(fields.u8()?);
        }
        Ok(response)
    }

    /// Writes the wish for TLS: the beginning of the answer.
    pub fn put_tls_request(&self, out: &mut BytesMut) {
        out.put_u32_le(self.capabilities.standard_word());
        out.put_u32_le(self.packet_bytes_max);
        out.put_u8(self.collation);
        out.put_bytes(0, 19);
        if self.capabilities.contains(Capabilities::LONG_PASSWORD) {
            out.put_u32_le(0);
        } else {
            out.put_u32_le(self.capabilities.mariadb_word());
        }
    }

    /// Writes the payload of the packet. What the capabilities do not announce is left out.
    ///
    /// # Errors
    /// The user or the database holds a zero byte, or the answer to the challenge is too long for
    /// the capabilities.
    pub fn put(&self, out: &mut BytesMut) -> Result<(), FieldError> {
        self.put_tls_request(out);
        put_string(&self.user, out)?;
        if self
            .capabilities
            .contains(Capabilities::PLUGIN_AUTH_LENENC_DATA)
        {
            lenenc::put_bytes(&self.auth_response, out);
        } else {
            let length = u8::try_from(self.auth_response.len())
                .map_err(|_long| FieldError("the answer to the challenge is too long"))?;
            out.put_u8(length);
            out.put_slice(&self.auth_response);
        }
        if self.capabilities.contains(Capabilities::CONNECT_WITH_DB) {
            put_string(self.database.as_deref().unwrap_or_default(), out)?;
        }
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            put_string(self.auth_plugin.as_deref().unwrap_or_default(), out)?;
        }
        if self.capabilities.contains(Capabilities::CONNECT_ATTRS) {
            let mut attributes = BytesMut::new();
            for (name, value) in &self.attributes {
                lenenc::put_bytes(name, &mut attributes);
                lenenc::put_bytes(value, &mut attributes);
            }
            lenenc::put_bytes(&attributes, out);
        }
        if self.capabilities.contains(Capabilities::ZSTD_COMPRESSION) {
            out.put_u8(self.zstd_level.unwrap_or(3));
        }
        Ok(())
    }
}

/// The answer to the challenge may be a password in clear, so it is not shown.
impl std::fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("auth_plugin", &self.auth_plugin)
            .finish_non_exhaustive()
    }
}

fn put_string(value: &[u8], out: &mut BytesMut) -> Result<(), FieldError> {
    if value.contains(&0) {
        return Err(FieldError("a name holds a zero byte"));
    }
    out.put_slice(value);
    out.put_u8(0);
    Ok(())
}

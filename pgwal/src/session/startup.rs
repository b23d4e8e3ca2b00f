//! The first messages of a client, up to its startup parameters.
//!
//! The rules of the server: at most one TLS and one GSSAPI request, packets of at most 10,000
//! bytes. Stricter than the server: no byte may follow such a request before our answer, since
//! bytes that were sent before encryption must never count as sent inside it.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::fatal::Fatal;
use super::tls::{self, ListenerTls, TlsDemand};
use crate::wire::frontend::{
    CANCEL_REQUEST, GSSENC_REQUEST, PROTOCOL_3_0, PROTOCOL_3_2, SSL_REQUEST,
};
use crate::wire::limits::STARTUP_BYTES_MAX;
use crate::wire::{Fields, Socket, backend};

/// What a client wants.
#[derive(Debug)]
pub(super) enum Opening {
    /// A session.
    Session(Startup),
    /// To cancel a query.
    Cancel { pid: i32, key: Vec<u8> },
    /// Nothing: it went away.
    Gone,
}

/// A startup message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Startup {
    /// The protocol version that both sides know.
    pub(super) protocol: u32,
    /// The parameters in order, without the protocol options.
    pub(super) parameters: Vec<(String, String)>,
    /// Protocol options that we do not know.
    pub(super) unknown_options: Vec<String>,
    /// The version as asked for.
    asked: u32,
}

/// How a client's first packet reads.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    EncryptionRequest(u32),
    Cancel { pid: i32, key: Vec<u8> },
    Startup(Startup),
}

/// Reads and answers until the client has said what it wants. What the client sent beyond its
/// startup message stays in `buffer`.
///
/// # Cancel safety
/// None; a client that is cut off here has no session yet.
pub(super) async fn open(
    client: &mut Socket,
    buffer: &mut BytesMut,
    tls: Option<&ListenerTls>,
) -> Result<Opening, Fatal> {
    let mut seen = Vec::new();
    if let Some(tls) = tls
        && begins_with_handshake(client).await?
    {
        encrypt(client, tls, tls::Opening::Direct).await?;
        seen.extend([SSL_REQUEST, GSSENC_REQUEST]);
    }
    loop {
        let Some(packet) = read_packet(client, buffer).await? else {
            return Ok(Opening::Gone);
        };
        match parse(&packet)? {
            Packet::EncryptionRequest(code) => {
                if seen.contains(&code) {
                    return Err(Fatal::unsupported_protocol(code));
                }
                if !buffer.is_empty() {
                    return Err(Fatal::protocol(
                        "data was sent behind an encryption request",
                    ));
                }
                seen.push(code);
                match tls {
                    Some(tls) if code == SSL_REQUEST => {
                        answer(client, b"S").await?;
                        encrypt(client, tls, tls::Opening::Asked).await?;
                    }
                    Some(_) | None => answer(client, b"N").await?,
                }
            }
            Packet::Cancel { pid, key } => return Ok(Opening::Cancel { pid, key }),
            Packet::Startup(startup) => {
                let demand = tls.map(ListenerTls::demand);
                if demand == Some(TlsDemand::Require) && matches!(client, Socket::Tcp(_)) {
                    return Err(Fatal::new(
                        "28000",
                        "pointsman takes connections only with TLS (sslmode=require or stricter)",
                    ));
                }
                return Ok(Opening::Session(startup));
            }
        }
    }
}

async fn answer(client: &mut Socket, byte: &[u8; 1]) -> Result<(), Fatal> {
    let written = client.write_all(byte).await;
    written.map_err(|_gone| Fatal::ClientGone)
}

/// Whether the first byte is that of a TLS handshake; it stays where it is.
async fn begins_with_handshake(client: &mut Socket) -> Result<bool, Fatal> {
    let Socket::Tcp(stream) = client else {
        return Ok(false);
    };
    let mut first = [0];
    let peeked = stream.peek(&mut first).await;
    peeked.map_err(|_gone| Fatal::ClientGone)?;
    Ok(first == [tls::HANDSHAKE_RECORD])
}

/// The handshake. A client that is cut off in it is gone.
async fn encrypt(
    client: &mut Socket,
    tls: &ListenerTls,
    opening: tls::Opening,
) -> Result<(), Fatal> {
    match std::mem::replace(client, Socket::Closed) {
        Socket::Tcp(stream) => {
            *client = tls.accept(stream, opening).await?;
            Ok(())
        }
        Socket::Tls(_) | Socket::Unix(_) | Socket::Closed => Err(Fatal::ClientGone),
    }
}

/// Reads one packet without a tag; `None` at a clean end before its first byte.
async fn read_packet(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Option<BytesMut>, Fatal> {
    loop {
        if let Some(&[a, b, c, d]) = buffer.first_chunk::<4>() {
            let length = u32::from_be_bytes([a, b, c, d]);
            if !(8..=STARTUP_BYTES_MAX).contains(&length) {
                return Err(Fatal::protocol("invalid length of startup packet"));
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if buffer.len() >= length {
                let mut packet = buffer.split_to(length);
                packet.advance(4);
                return Ok(Some(packet));
            }
        }
        let read = stream
            .read_buf(buffer)
            .await
            .map_err(|_gone| Fatal::ClientGone)?;
        if read == 0 && buffer.is_empty() {
            return Ok(None);
        }
        if read == 0 {
            return Err(Fatal::ClientGone);
        }
    }
}

fn parse(packet: &[u8]) -> Result<Packet, Fatal> {
    let malformed = |_bad| Fatal::protocol("invalid startup packet layout");
    let mut fields = Fields::new(packet);
    let code = fields.u32().map_err(malformed)?;
    match code {
        SSL_REQUEST | GSSENC_REQUEST if fields.is_empty() => Ok(Packet::EncryptionRequest(code)),
        SSL_REQUEST | GSSENC_REQUEST => Err(Fatal::protocol("invalid length of startup packet")),
        CANCEL_REQUEST => {
            let pid = fields.i32().map_err(malformed)?;
            Ok(Packet::Cancel {
                pid,
                key: fields.rest().to_vec(),
            })
        }
        version if version >> 16 == PROTOCOL_3_0 >> 16 => parse_parameters(version, fields),
        other => Err(Fatal::unsupported_protocol(other)),
    }
}

fn parse_parameters(version: u32, mut fields: Fields<'_>) -> Result<Packet, Fatal> {
    let malformed = |_bad| Fatal::protocol("invalid startup packet layout");
    let mut startup = Startup {
        protocol: version.min(PROTOCOL_3_2),
        parameters: Vec::new(),
        unknown_options: Vec::new(),
        asked: version,
    };
    loop {
        let name = fields.utf8().map_err(malformed)?;
        if name.is_empty() {
            break;
        }
        let value = fields.utf8().map_err(malformed)?;
        if name.starts_with("_pq_.") {
            startup.unknown_options.push(name.to_owned());
        } else {
            startup.parameters.push((name.to_owned(), value.to_owned()));
        }
    }
    if !fields.is_empty() {
        return Err(Fatal::protocol(
            "invalid startup packet layout: expected terminator as last byte",
        ));
    }
    if startup.user().is_empty() {
        return Err(Fatal::no_user());
    }
    Ok(Packet::Startup(startup))
}

impl Startup {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The role.
    pub(super) fn user(&self) -> &str {
        self.parameter("user").unwrap_or_default()
    }

    /// The database; the role's name when none is given.
    pub(super) fn database(&self) -> &str {
        self.parameter("database")
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| self.user())
    }

    /// The application's name, for the list of sessions.
    pub(super) fn application(&self) -> &str {
        self.parameter("application_name").unwrap_or_default()
    }

    /// Whether this is a replication connection.
    pub(super) fn is_replication(&self) -> bool {
        let off = ["", "0", "false", "off", "no", "f", "n", "of"];
        self.parameter("replication")
            .is_some_and(|value| !off.contains(&value.to_ascii_lowercase().as_str()))
    }

    /// Names of custom settings (they have a dot) that the client sets at log-in.
    pub(super) fn custom_settings(&self) -> Vec<String> {
        let direct = self.parameters.iter().map(|(name, _)| name.as_str());
        let options = self.parameter("options").unwrap_or_default();
        let by_option = options
            .split(|separator: char| separator.is_ascii_whitespace())
            .map(|word| word.trim_start_matches("-c").trim_start_matches("--"))
            .filter_map(|word| word.split_once('='))
            .map(|(name, _)| name);
        direct
            .chain(by_option)
            .filter(|name| super::state::is_custom_setting(name))
            .map(str::to_owned)
            .collect()
    }

    /// Writes a `NegotiateProtocolVersion` when something was asked that we do not know.
    pub(super) fn negotiate(&self, out: &mut BytesMut) {
        if self.asked > PROTOCOL_3_2 || !self.unknown_options.is_empty() {
            backend::negotiate_protocol_version(self.protocol, &self.unknown_options, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frontend;
    use proptest::prelude::*;

    fn packet(version: u32, parameters: &[(&str, &str)]) -> BytesMut {
        let mut bytes = BytesMut::new();
        frontend::startup(version, parameters.iter().copied(), &mut bytes).unwrap();
        bytes
    }

    async fn open_bytes(bytes: &[u8]) -> Result<Opening, Fatal> {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        open(&mut Socket::Unix(ours), &mut BytesMut::new(), None).await
    }

    #[tokio::test]
    async fn a_newer_minor_and_unknown_options_are_negotiated_down() {
        let bytes = packet(
            0x0003_0005,
            &[("user", "a"), ("_pq_.x", "1"), ("options", "-c a.b=1")],
        );
        let Ok(Opening::Session(startup)) = open_bytes(&bytes).await else {
            panic!()
        };
        assert_eq!(startup.protocol, PROTOCOL_3_2);
        assert_eq!(startup.unknown_options, ["_pq_.x"]);
        assert_eq!(startup.custom_settings(), ["a.b"]);
        let mut out = BytesMut::new();
        startup.negotiate(&mut out);
        assert_eq!(out.first(), Some(&b'v'));
    }

    #[tokio::test]
    async fn lengths_that_cannot_be_are_refused_before_more_is_read() {
        for length in [0_u32, 4, 7, 10_001, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.extend(PROTOCOL_3_0.to_be_bytes());
            let Err(Fatal::Error { message, .. }) = open_bytes(&bytes).await else {
                panic!()
            };
            assert_eq!(message, "invalid length of startup packet");
        }
    }

    #[tokio::test]
    async fn bytes_behind_an_encryption_request_and_a_second_one_are_refused() {
        let mut ssl = 8_u32.to_be_bytes().to_vec();
        ssl.extend(SSL_REQUEST.to_be_bytes());
        let mut stuffed = ssl.clone();
        stuffed.extend_from_slice(&packet(PROTOCOL_3_0, &[("user", "a")]));
        assert!(matches!(
            open_bytes(&stuffed).await,
            Err(Fatal::Error { .. })
        ));
    }

    #[tokio::test]
    async fn a_user_is_needed_and_the_database_defaults_to_it() {
        let none = packet(PROTOCOL_3_0, &[("database", "x")]);
        assert!(matches!(
            open_bytes(&none).await,
            Err(Fatal::Error {
                sqlstate: "28000",
                ..
            })
        ));
        let some = packet(PROTOCOL_3_0, &[("user", "me"), ("replication", "database")]);
        let Ok(Opening::Session(startup)) = open_bytes(&some).await else {
            panic!()
        };
        assert_eq!(startup.database(), "me");
        assert!(startup.is_replication());
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let parsed = parse(&bytes);
            prop_assert!(parsed.is_ok() || parsed.is_err());
        }
    }
}

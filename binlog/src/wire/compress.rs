//! Compressed packets: after the log-in, the bytes of ordinary packets go in envelopes with a header
//! of seven bytes: the length as sent, a sequence number of their own, and the length inside, which
//! is 0 when the bytes are sent as they are.
//!
//! Envelopes and packets need not begin or end together. No input or output here.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression.html>

use std::io::{Read, Write};

use bytes::{Buf, BufMut, BytesMut};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::capabilities::Capabilities;
use super::packet::{FrameHeader, PacketError};

/// Bytes of an envelope's header.
const HEADER_BYTES: usize = 7;

/// Bytes that are put into one envelope; the protocol allows 16 MiB - 1.
const ENVELOPE_BYTES_MAX: usize = 256 * 1024;

/// What is shorter is sent as it is, as the servers do.
const COMPRESSED_BYTES_MIN: usize = 50;

/// The level of the mysql client.
pub(super) const ZSTD_LEVEL: u8 = 3;

/// How the bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// zlib: every server.
    Zlib,
    /// zstd: MySQL from 8.0.18 on.
    Zstd,
}

impl Compressor {
    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Reads a word of the URL.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Zlib, Self::Zstd]
            .into_iter()
            .find(|compressor| compressor.as_str() == word)
    }

    /// The capability that announces it.
    #[must_use]
    pub fn capability(self) -> Capabilities {
        match self {
            Self::Zlib => Capabilities::COMPRESS,
            Self::Zstd => Capabilities::ZSTD_COMPRESSION,
        }
    }

    fn compress(self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Zstd => zstd::bulk::compress(plain, i32::from(ZSTD_LEVEL)),
        }
    }

    /// Gives exactly `plain_bytes` bytes, or nothing.
    fn decompress(self, sealed: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
        let plain = match self {
            Self::Zlib => {
                let limit = u64::try_from(plain_bytes).ok()?.saturating_add(1);
                let mut plain = Vec::new();
                let mut decoder = ZlibDecoder::new(sealed).take(limit);
                decoder.read_to_end(&mut plain).ok()?;
                plain
            }
            Self::Zstd => zstd::bulk::decompress(sealed, plain_bytes).ok()?,
        };
        (plain.len() == plain_bytes).then_some(plain)
    }
}

/// The envelopes of one connection.
#[derive(Debug)]
pub(super) struct Envelopes {
    compressor: Compressor,
    /// The number of the next envelope in either direction.
    sequence: u8,
}

impl Envelopes {
    pub(super) fn new(compressor: Compressor) -> Self {
        Self {
            compressor,
            sequence: 0,
        }
    }

    pub(super) fn compressor(&self) -> Compressor {
        self.compressor
    }

    /// A command begins.
    pub(super) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Puts all of `plain` into envelopes.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut BytesMut) {
        for piece in plain.chunks(ENVELOPE_BYTES_MAX) {
            let sealed = if piece.len() < COMPRESSED_BYTES_MIN {
                None
            } else {
                // Neither fails into memory; if one did, the bytes go as they are.
                let sealed = self.compressor.compress(piece).ok();
                sealed.filter(|sealed| sealed.len() < piece.len())
            };
            let (body, plain_bytes) = match &sealed {
                Some(sealed) => (&sealed[..], piece.len()),
                None => (piece, 0),
            };
            let header = FrameHeader {
                payload_bytes: body.len(),
                sequence: self.sequence,
            };
            self.sequence = self.sequence.wrapping_add(1);
            out.reserve(HEADER_BYTES + body.len());
            header.put(out);
            out.put_uint_le(u64::try_from(plain_bytes).unwrap_or_default(), 3);
            out.put_slice(body);
        }
    }

    /// Opens the whole envelopes at the beginning of `buffer`.
    ///
    /// # Errors
    /// An envelope is out of order or cannot be opened.
    pub(super) fn open(
        &mut self,
        buffer: &mut BytesMut,
        plain: &mut BytesMut,
    ) -> Result<(), PacketError> {
        loop {
            let Some(header) = FrameHeader::peek(buffer) else {
                return Ok(());
            };
            if buffer.len() < HEADER_BYTES + header.payload_bytes {
                return Ok(());
            }
            // As with packets: a server that gives up numbers its last word from 0.
            if header.sequence != self.sequence && header.sequence != 0 {
                return Err(PacketError::OutOfOrder {
                    expected: self.sequence,
                    got: header.sequence,
                });
            }
            self.sequence = header.sequence.wrapping_add(1);
            buffer.advance(super::packet::HEADER_BYTES);
            let plain_bytes = usize::try_from(buffer.get_uint_le(3)).unwrap_or_default();
            let body = buffer.split_to(header.payload_bytes);
            if plain_bytes == 0 {
                plain.extend_from_slice(&body);
            } else {
                let opened = self.compressor.decompress(&body, plain_bytes);
                plain.extend_from_slice(&opened.ok_or(PacketError::BadEnvelope)?);
            }
        }
    }

    /// Bytes that are missing from the envelope at the beginning of `buffer`, as far as known.
    pub(super) fn missing_bytes(buffer: &BytesMut) -> usize {
        FrameHeader::peek(buffer)
            .map_or(0, |header| header.payload_bytes)
            .saturating_add(HEADER_BYTES)
            .saturating_sub(buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Compressor; 2] = [Compressor::Zlib, Compressor::Zstd];

    #[test]
    fn a_lie_about_the_length_inside_is_found() {
        for compressor in BOTH {
            let mut out = BytesMut::new();
            Envelopes::new(compressor).seal(&[7; 1_000], &mut out);
            for lie in [1_u8, 0xff] {
                let mut lying = out.clone();
                lying[4] = lie;
                let opened = Envelopes::new(compressor).open(&mut lying, &mut BytesMut::new());
                assert_eq!(opened, Err(PacketError::BadEnvelope));
            }
        }
    }

    #[test]
    fn envelopes_out_of_order_are_an_error() {
        let mut out = BytesMut::new();
        Envelopes::new(Compressor::Zlib).seal(b"x", &mut out);
        out[3] = 9;
        let opened = Envelopes::new(Compressor::Zlib).open(&mut out, &mut BytesMut::new());
        assert!(matches!(
            opened,
            Err(PacketError::OutOfOrder { got: 9, .. })
        ));
    }

    #[test]
    fn more_than_an_envelope_goes_over_several() {
        let plain: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for compressor in BOTH {
            let (mut sealed, mut opened) = (BytesMut::new(), BytesMut::new());
            Envelopes::new(compressor).seal(&plain, &mut sealed);
            assert!(sealed.len() < plain.len());
            let mut envelopes = Envelopes::new(compressor);
            envelopes.open(&mut sealed, &mut opened).unwrap();
            assert!(opened == plain && sealed.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_bytes(
            parts in prop::collection::vec(prop::collection::vec(0_u8..4, 0..300), 0..5),
            step in 1_usize..50, zstd: bool,
        ) {
            let compressor = if zstd { Compressor::Zstd } else { Compressor::Zlib };
            let (mut out, mut writer) = (BytesMut::new(), Envelopes::new(compressor));
            for part in &parts {
                writer.seal(part, &mut out);
            }
            let mut reader = Envelopes::new(compressor);
            let (mut buffer, mut plain) = (BytesMut::new(), BytesMut::new());
            for piece in out.chunks(step) {
                buffer.extend_from_slice(piece);
                reader.open(&mut buffer, &mut plain).unwrap();
            }
            prop_assert_eq!(&plain[..], parts.concat());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, zstd: bool) {
            let compressor = if zstd { Compressor::Zstd } else { Compressor::Zlib };
            let mut envelopes = Envelopes::new(compressor);
            let _opened = envelopes.open(&mut BytesMut::from(&bytes[..]), &mut BytesMut::new());
        }
    }
}

//! One frame: header and payload, for packets that fit one.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes in front of a payload: its length in three bytes, and the number in the exchange.
pub(super) const HEADER_BYTES: usize = 4;

/// A payload of this length goes on in the next frame.
pub(super) const FRAME_FULL: u32 = 0x00ff_ffff;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) sequence: u8,
}

impl Header {
    /// Reads the header at the beginning of `bytes`, if it is there already.
    #[inline]
    pub(super) fn peek(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_le_bytes([a, b, c, 0]),
            sequence,
        })
    }

    /// Whether the payload goes on in the next frame.
    #[inline]
    pub(super) fn continues(self) -> bool {
        self.length == FRAME_FULL
    }

    /// Bytes of the frame, this header included.
    pub(super) fn frame_bytes(self) -> u64 {
        u64::from(self.length) + 4
    }
}

/// Writes a payload that fits one frame.
pub(super) fn put(payload: &[u8], sequence: u8, out: &mut BytesMut) {
    let length = u32::try_from(payload.len()).unwrap_or(FRAME_FULL - 1);
    let [a, b, c, _none] = length.to_le_bytes();
    out.reserve(HEADER_BYTES + payload.len());
    out.put_slice(&[a, b, c, sequence]);
    out.put_slice(payload);
}

/// Takes a whole frame out of `buffer`, if it is there already.
pub(super) fn take(buffer: &mut BytesMut) -> Option<(Header, Bytes)> {
    let header = Header::peek(buffer)?;
    let whole = usize::try_from(header.frame_bytes()).ok()?;
    if buffer.len() < whole {
        return None;
    }
    let mut frame = buffer.split_to(whole);
    let payload = frame.split_off(HEADER_BYTES);
    Some((header, payload.freeze()))
}

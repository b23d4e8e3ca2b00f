//! Packets: a header of three bytes of length and one of sequence, then the payload. A payload of
//! 16 MiB - 1 or more goes over several frames; the last of them is shorter, possibly empty.
//!
//! No input or output here: bytes in, whole packets out, and every length is checked before it is
//! believed. [`Assembler`] joins the frames for one who needs whole packets; a relay that passes
//! frames on reads only their [`FrameHeader`]s.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use bytes::{BufMut, Bytes, BytesMut};

use super::limits::FRAME_PAYLOAD_BYTES_MAX;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 4;

/// The header of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload in this frame, up to [`FRAME_PAYLOAD_BYTES_MAX`].
    pub payload_bytes: usize,
    /// The frame's number since the command began, modulo 256.
    pub sequence: u8,
}

/// Bytes that cannot be frames of the expected exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A frame is not the next one: something was lost or sent twice.
    #[error("packet number {got} came where {expected} was due")]
    OutOfOrder {
        /// The number that was due.
        expected: u8,
        /// The number that came.
        got: u8,
    },
    /// The packet is larger than anything that has a place here.
    #[error("a packet of more than {limit_bytes} bytes was announced")]
    TooLarge {
        /// What is allowed here.
        limit_bytes: usize,
    },
    /// A compressed packet does not hold what its header says.
    #[error("a compressed packet cannot be opened")]
    BadEnvelope,
}

impl FrameHeader {
    /// Reads the header at the beginning of `bytes`, if it is there already.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let (&[a, b, c, sequence], _payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let payload_bytes = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        Some(Self {
            payload_bytes,
            sequence,
        })
    }

    /// The header and the payload together.
    #[must_use]
    pub fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    /// Whether the payload goes on in the next frame.
    #[must_use]
    pub fn continues(self) -> bool {
        self.payload_bytes == FRAME_PAYLOAD_BYTES_MAX
    }

    /// Writes the header.
    pub fn put(self, out: &mut BytesMut) {
        let [a, b, c, ..] = self.payload_bytes.to_le_bytes();
        out.put_slice(&[a, b, c, self.sequence]);
    }
}

/// Writes `payload` as one packet, in as many frames as it needs. `sequence` is the number of the
/// first frame and becomes the number after the last.
pub fn put_packet(payload: &[u8], sequence: &mut u8, out: &mut BytesMut) {
    put_packet_parts(&[], payload, sequence, out);
}

/// As [`put_packet`], for a payload in two parts: a command's first bytes and its text.
pub fn put_packet_parts(head: &[u8], tail: &[u8], sequence: &mut u8, out: &mut BytesMut) {
    let (mut head, mut tail) = (head, tail);
    loop {
        let payload_bytes = FRAME_PAYLOAD_BYTES_MAX.min(head.len() + tail.len());
        let header = FrameHeader {
            payload_bytes,
            sequence: *sequence,
        };
        *sequence = sequence.wrapping_add(1);
        out.reserve(header.frame_bytes());
        header.put(out);
        let of_head = head.split_at(payload_bytes.min(head.len()));
        let of_tail = tail.split_at(payload_bytes - of_head.0.len());
        out.put_slice(of_head.0);
        out.put_slice(of_tail.0);
        (head, tail) = (of_head.1, of_tail.1);
        if !header.continues() {
            return;
        }
    }
}

/// Joins frames to packets. What was taken out of the buffer of a packet that is not whole yet is
/// kept here, so that a reader may stop anywhere.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The frames of a packet that goes on; empty else.
    begun: BytesMut,
}

impl Assembler {
    /// Takes the next whole packet out of `buffer`. `sequence` is the number that is due and moves
    /// on with every frame. An error packet may come under any number, since a server that is about
    /// to close the connection does not wait to be asked.
    ///
    /// # Errors
    /// A frame is out of order, or the packet would be larger than `limit_bytes`.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        sequence: &mut u8,
        limit_bytes: usize,
    ) -> Result<Option<Bytes>, PacketError> {
        loop {
            let Some(header) = FrameHeader::peek(buffer) else {
                return Ok(None);
            };
            if self.begun.len() + header.payload_bytes > limit_bytes {
                return Err(PacketError::TooLarge { limit_bytes });
            }
            if header.sequence != *sequence {
                match buffer.get(HEADER_BYTES) {
                    Some(0xff) if self.begun.is_empty() => {}
                    None if header.payload_bytes > 0 => return Ok(None),
                    Some(_) | None => {
                        return Err(PacketError::OutOfOrder {
                            expected: *sequence,
                            got: header.sequence,
                        });
                    }
                }
            }
            if buffer.len() < header.frame_bytes() {
                return Ok(None);
            }
            let mut frame = buffer.split_to(header.frame_bytes());
            let payload = frame.split_off(HEADER_BYTES);
            *sequence = header.sequence.wrapping_add(1);
            if header.continues() {
                self.begun.extend_from_slice(&payload);
            } else if self.begun.is_empty() {
                return Ok(Some(payload.freeze()));
            } else {
                self.begun.extend_from_slice(&payload);
                return Ok(Some(std::mem::take(&mut self.begun).freeze()));
            }
        }
    }

    /// Bytes that are missing from the frame at the beginning of `buffer`, as far as known: how
    /// much a reader may make room for, within reason.
    #[must_use]
    pub fn missing_bytes(buffer: &BytesMut) -> usize {
        FrameHeader::peek(buffer)
            .map_or(HEADER_BYTES, FrameHeader::frame_bytes)
            .saturating_sub(buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(payload: &[u8], sequence: u8) -> BytesMut {
        let mut out = BytesMut::new();
        let mut sequence = sequence;
        put_packet(payload, &mut sequence, &mut out);
        out
    }

    #[test]
    fn packets_around_16_mib_come_back_whole() {
        for extra in [-1_isize, 0, 1] {
            let length = FRAME_PAYLOAD_BYTES_MAX.checked_add_signed(extra).unwrap();
            let payload = vec![7; length];
            let mut buffer = frames(&payload, 255);
            let mut sequence = 255;
            let mut assembler = Assembler::default();
            let packet = assembler.take(&mut buffer, &mut sequence, usize::MAX);
            assert_eq!(packet.unwrap().unwrap().len(), length);
            assert_eq!(sequence, if extra < 0 { 0 } else { 1 });
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_waited_for() {
        let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0, 1][..]);
        let taken = Assembler::default().take(&mut buffer, &mut 0, 1_000);
        assert_eq!(taken, Err(PacketError::TooLarge { limit_bytes: 1_000 }));
    }

    #[test]
    fn frames_out_of_order_are_an_error_but_an_unasked_error_packet_is_not() {
        let mut assembler = Assembler::default();
        let taken = assembler.take(&mut frames(&[0, 1], 3), &mut 1, 100);
        let error = PacketError::OutOfOrder {
            expected: 1,
            got: 3,
        };
        assert_eq!(taken, Err(error));
        let taken = assembler.take(&mut frames(&[0xff, 1, 2], 0), &mut 1, 100);
        assert_eq!(taken.unwrap().unwrap()[..], [0xff, 1, 2]);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_packets(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            pieces in prop::collection::vec(1_usize..20, 1..40),
        ) {
            let mut stream = BytesMut::new();
            let mut sequence = 250;
            for payload in &payloads {
                put_packet_parts(&payload[..payload.len() / 2], &payload[payload.len() / 2..],
                    &mut sequence, &mut stream);
            }
            let (mut due, mut buffer, mut taken) = (250, BytesMut::new(), Vec::new());
            let mut assembler = Assembler::default();
            for piece in pieces.into_iter().cycle() {
                if stream.is_empty() { break; }
                buffer.extend_from_slice(&stream.split_to(piece.min(stream.len())));
                while let Some(packet) = assembler.take(&mut buffer, &mut due, 1_000).unwrap() {
                    taken.push(packet.to_vec());
                }
            }
            prop_assert_eq!(taken, payloads);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, sequence: u8) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut sequence = sequence;
            let mut assembler = Assembler::default();
            while let Ok(Some(_packet)) = assembler.take(&mut buffer, &mut sequence, 1_000) {}
        }
    }
}

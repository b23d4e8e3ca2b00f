//! Finding the borders of messages in a byte stream.
//!
//! Only the five header bytes are looked at. A length is checked against a limit before anything
//! is done with it, and no memory is taken because of a length: buffers grow with what arrived.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a message's header: the tag and the length.
pub const HEADER_BYTES: usize = 5;

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The kind of message.
    pub tag: u8,
    /// Bytes that follow the header.
    pub body_bytes: u32,
}

impl Header {
    /// Bytes of the whole message, header included.
    #[must_use]
    pub fn message_bytes(self) -> u64 {
        u64::from(self.body_bytes) + 5
    }
}

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The kind of message.
    pub tag: u8,
    /// What follows the header.
    pub body: Bytes,
}

/// A header that cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length does not even count itself.
    #[error("message {} has the impossible length {length}", show_tag(*tag))]
    TooShort {
        /// The kind of message.
        tag: u8,
        /// The length as sent.
        length: u32,
    },
    /// The length is beyond what is allowed here.
    #[error("message {} of {length} bytes is longer than the {limit} bytes allowed here", show_tag(*tag))]
    TooLong {
        /// The kind of message.
        tag: u8,
        /// The length as sent.
        length: u32,
        /// The limit.
        limit: u32,
    },
}

/// A tag the way the manual writes it.
#[must_use]
pub fn show_tag(tag: u8) -> String {
    if tag.is_ascii_graphic() {
        format!("'{}'", char::from(tag))
    } else {
        format!("0x{tag:02x}")
    }
}

/// Reads the header at the start of `bytes`: `None` when there are not yet five bytes.
///
/// # Errors
/// The length is below 4 or the body is longer than `body_bytes_max`.
pub fn header(bytes: &[u8], body_bytes_max: u32) -> Result<Option<Header>, FrameError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let Some(body_bytes) = length.checked_sub(4) else {
        return Err(FrameError::TooShort { tag, length });
    };
    if body_bytes > body_bytes_max {
        return Err(FrameError::TooLong {
            tag,
            length,
            limit: body_bytes_max,
        });
    }
    Ok(Some(Header { tag, body_bytes }))
}

/// Takes the first whole message out of `buffer`: `None` when it is not all there yet.
///
/// # Errors
/// As [`header`].
pub fn take(buffer: &mut BytesMut, body_bytes_max: u32) -> Result<Option<Message>, FrameError> {
    let Some(header) = header(buffer, body_bytes_max)? else {
        return Ok(None);
    };
    let missing = usize::try_from(header.body_bytes)
        .ok()
        .filter(|body| buffer.len() - HEADER_BYTES >= *body);
    let Some(body_bytes) = missing else {
        return Ok(None);
    };
    buffer.advance(HEADER_BYTES);
    Ok(Some(Message {
        tag: header.tag,
        body: buffer.split_to(body_bytes).freeze(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    fn encode(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for (tag, body) in messages {
            out.put_u8(*tag);
            out.put_u32(u32::try_from(body.len() + 4).unwrap());
            out.put_slice(body);
        }
        out.to_vec()
    }

    #[test]
    fn lengths_below_four_and_beyond_the_limit_are_refused() {
        for length in 0..4_u32 {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert_eq!(
                header(&bytes, 100),
                Err(FrameError::TooShort { tag: b'Q', length })
            );
        }
        let mut bytes = vec![b'Q'];
        bytes.extend(0x8000_0000_u32.to_be_bytes());
        assert!(matches!(
            header(&bytes, 100),
            Err(FrameError::TooLong { .. })
        ));
        let mut bytes = vec![b'Q'];
        bytes.extend(104_u32.to_be_bytes());
        assert!(header(&bytes, 100).is_ok());
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_messages(
            messages in proptest::collection::vec((1_u8..=255, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            steps in proptest::collection::vec(1_usize..17, 1..40),
        ) {
            let bytes = encode(&messages);
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            let mut at = 0;
            let mut steps = steps.into_iter().cycle();
            while at < bytes.len() {
                let end = bytes.len().min(at + steps.next().unwrap());
                buffer.extend_from_slice(&bytes[at..end]);
                at = end;
                while let Some(message) = take(&mut buffer, 1000).unwrap() {
                    got.push((message.tag, message.body.to_vec()));
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(buffer.is_empty());
        }
    }
}

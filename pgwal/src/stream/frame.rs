//! What travels inside `CopyData` in both directions of a replication connection.
//!
//! <https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-START-REPLICATION>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use router::Lsn;

/// From the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// `w`: a piece of the stream, here one pgoutput message.
    XLogData(Bytes),
    /// `k`: the server has decoded and sent everything up to `wal_end`.
    Keepalive { wal_end: Lsn, reply_requested: bool },
}

impl Frame {
    /// Decodes the body of a `CopyData` message.
    pub(super) fn decode(mut body: Bytes) -> Result<Self, &'static str> {
        if body.is_empty() {
            return Err("an empty CopyData message");
        }
        match body.get_u8() {
            b'w' if body.len() >= 24 => {
                // The message's place, the server's end (here the same), its clock.
                body.advance(24);
                Ok(Self::XLogData(body))
            }
            b'k' if body.len() == 17 => {
                let wal_end = Lsn(body.get_u64());
                let _server_clock = body.get_i64();
                let reply_requested = body.get_u8() != 0;
                Ok(Self::Keepalive {
                    wal_end,
                    reply_requested,
                })
            }
            b'w' | b'k' => Err("a replication message of the wrong length"),
            _unknown => Err("a replication message that is not known"),
        }
    }
}

/// `r`: how far we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusUpdate {
    /// Received.
    pub(super) written: Lsn,
    /// Never needed again: the server may forget it.
    pub(super) flushed: Lsn,
    /// Whether the server shall answer at once.
    pub(super) ask: bool,
}

impl StatusUpdate {
    /// Appends the whole message, `CopyData` header included.
    pub(super) fn encode(self, now: SystemTime, out: &mut BytesMut) {
        out.put_u8(b'd');
        out.put_u32(4 + 34);
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        out.put_u64(self.flushed.0);
        out.put_i64(server_micros(now));
        out.put_u8(u8::from(self.ask));
    }
}

/// Microseconds since 2000-01-01 00:00 UTC; only shown by the server, never compared.
fn server_micros(now: SystemTime) -> i64 {
    let epoch = UNIX_EPOCH + Duration::from_secs(946_684_800);
    let since = now.duration_since(epoch).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xlog_data_and_keepalives_are_decoded() {
        let mut body = BytesMut::from(&b"w"[..]);
        body.put_bytes(0, 24);
        body.put_slice(b"payload");
        let frame = Frame::decode(body.freeze());
        assert_eq!(frame, Ok(Frame::XLogData(Bytes::from_static(b"payload"))));

        let mut body = BytesMut::from(&b"k"[..]);
        body.put_u64(0x16_B374_D848);
        body.put_i64(1);
        body.put_u8(1);
        let expected = Frame::Keepalive {
            wal_end: Lsn(0x16_B374_D848),
            reply_requested: true,
        };
        assert_eq!(Frame::decode(body.freeze()), Ok(expected));
    }

    #[test]
    fn broken_replication_messages_are_errors() {
        for body in [&b""[..], b"w", b"wshort", b"k\0\0", b"x0123456789"] {
            assert!(Frame::decode(Bytes::copy_from_slice(body)).is_err());
        }
    }

    #[test]
    fn a_status_update_has_the_length_it_announces() {
        let mut out = BytesMut::new();
        let update = StatusUpdate {
            written: Lsn(2),
            flushed: Lsn(1),
            ask: true,
        };
        update.encode(SystemTime::now(), &mut out);
        assert_eq!(out.len(), 39);
        assert_eq!(u32::from_be_bytes(out[1..5].try_into().unwrap()), 38);
    }
}

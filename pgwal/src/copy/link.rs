//! The two connections of a worker: how they are opened, and the target's way of taking rows.

use bytes::{BufMut, BytesMut};
use tokio::select;

use crate::wire::{
    Conn, ConnReader, ConnWriter, ConnectError, Endpoint, Message, SESSION_SETTINGS, ServerError,
    WireError, frontend,
};

/// A row that a policy hides is an error, not a row less.
const EVERY_ROW: &str = "SET row_security = off";

/// A lock that is held for long is one of an earlier connection that the server still believes in.
/// Commits stay synchronous: a worker remembers what it has copied, and goes on from there when the
/// target comes back from a crash.
const TARGET_ONLY: &str = "SET lock_timeout = '60s'";

/// Bytes gathered into one message to the target.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;

/// Bytes of a message's header.
const HEADER_BYTES: usize = 5;

pub(super) async fn open(endpoint: &Endpoint, application_name: &str) -> Result<Conn, LinkError> {
    let parameters = [("application_name".to_owned(), application_name.to_owned())];
    let mut conn = Conn::connect_own(endpoint, &parameters).await?;
    conn.query(SESSION_SETTINGS).await?;
    conn.query(EVERY_ROW).await?;
    Ok(conn)
}

/// A connection could not be opened or made ready.
#[derive(Debug)]
pub(super) enum LinkError {
    Connect(ConnectError),
    Wire(WireError),
}

impl From<ConnectError> for LinkError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// The target's connection, in two halves: while rows are written, an error must be heard.
pub(super) struct TargetLink {
    reader: ConnReader,
    writer: ConnWriter,
    /// Where the unfinished `CopyData` message begins in the writer's buffer.
    open_message: Option<usize>,
}

impl TargetLink {
    pub(super) async fn open(
        endpoint: &Endpoint,
        application_name: &str,
    ) -> Result<Self, LinkError> {
        let mut conn = open(endpoint, application_name).await?;
        conn.query(TARGET_ONLY).await?;
        // Needs a privilege that some servers do not give. The tables have no triggers yet, so it
        // only matters for those that fire always, and nothing creates these before the rows.
        if let Err(error) = conn.query("SET session_replication_role = replica").await
            && error.server().is_none()
        {
            return Err(error.into());
        }
        let (reader, writer) = conn.into_split();
        Ok(Self {
            reader,
            writer,
            open_message: None,
        })
    }

    /// Runs statements to their end; gives the last command's tag.
    pub(super) async fn execute(&mut self, sql: &str) -> Result<String, WireError> {
        self.send(sql).await?;
        self.finish().await
    }

    /// Runs statements of which the last is a `COPY .. FROM STDIN`, up to where rows may come.
    pub(super) async fn begin_copy(&mut self, sql: &str) -> Result<(), WireError> {
        self.send(sql).await?;
        loop {
            let message = self.reader.read_message().await?;
            match message.tag {
                b'G' => return Ok(()),
                b'E' => return self.fail(message).await,
                b'Z' => {
                    return Err(WireError::Unexpected {
                        tag: b'Z',
                        expected: "CopyInResponse",
                    });
                }
                _other => {}
            }
        }
    }

    /// Takes one row (or any piece of the text form).
    pub(super) fn push(&mut self, body: &[u8]) {
        let out = self.writer.out();
        if self.open_message.is_none() {
            self.open_message = Some(out.len());
            out.put_u8(b'd');
            out.put_u32(0);
        }
        out.put_slice(body);
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&mut self) -> usize {
        self.writer.out().len()
    }

    /// Writes what waits, and hears when the server has given up meanwhile.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        self.close_message()?;
        loop {
            // An error is seen first: the server throws away what is sent after it.
            let heard = select! {
                biased;
                message = self.reader.read_message() => Some(message?),
                flushed = self.writer.flush() => {
                    flushed?;
                    None
                }
            };
            match heard {
                None => return Ok(()),
                Some(message) if message.tag == b'E' => {
                    return Err(ServerError::parse(message.body)?.into());
                }
                Some(_notice) => {}
            }
        }
    }

    /// Ends the rows; gives the tag of the COPY, `COPY 42`.
    pub(super) async fn end_copy(&mut self) -> Result<String, WireError> {
        self.close_message()?;
        frontend::copy_done(self.writer.out());
        self.flush().await?;
        self.finish().await
    }

    fn close_message(&mut self) -> Result<(), WireError> {
        let Some(start) = self.open_message.take() else {
            return Ok(());
        };
        patch_length(self.writer.out(), start)
    }

    async fn send(&mut self, sql: &str) -> Result<(), WireError> {
        frontend::query(sql, self.writer.out())
            .map_err(|_zero| WireError::Unwritable("a query holds a zero byte"))?;
        self.writer.flush().await
    }

    async fn finish(&mut self) -> Result<String, WireError> {
        let mut tag = String::new();
        loop {
            let message = self.reader.read_message().await?;
            match message.tag {
                b'C' => tag = command_tag(&message),
                b'E' => return self.fail(message).await,
                b'Z' => return Ok(tag),
                _other => {}
            }
        }
    }

    /// Reads on to the end of the failed query, so that the connection can be used again.
    async fn fail<T>(&mut self, message: Message) -> Result<T, WireError> {
        let error = ServerError::parse(message.body)?;
        while self.reader.read_message().await?.tag != b'Z' {}
        Err(error.into())
    }
}

fn patch_length(out: &mut BytesMut, start: usize) -> Result<(), WireError> {
    let too_long = || WireError::Unwritable("a CopyData message is too long");
    let length = u32::try_from(out.len() - start - 1).map_err(|_long| too_long())?;
    let place = out
        .get_mut(start + 1..start + HEADER_BYTES)
        .ok_or_else(too_long)?;
    place.copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The text of a `CommandComplete`.
pub(super) fn command_tag(message: &Message) -> String {
    let text = message.body.strip_suffix(&[0]).unwrap_or(&message.body);
    String::from_utf8_lossy(text).into_owned()
}

/// The number in `COPY 42`.
pub(super) fn rows_of_tag(tag: &str) -> Option<u64> {
    tag.strip_prefix("COPY ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_one_message_with_its_length() {
        let mut out = BytesMut::from(&b"before"[..]);
        out.put_u8(b'd');
        out.put_u32(0);
        out.put_slice(b"1\t2\n");
        patch_length(&mut out, 6).unwrap();
        assert_eq!(&out[6..], b"d\x00\x00\x00\x081\t2\n");
    }

    #[test]
    fn the_servers_count_is_read_from_its_tag() {
        assert_eq!(rows_of_tag("COPY 42"), Some(42));
        assert_eq!(rows_of_tag("SELECT 42"), None);
    }
}

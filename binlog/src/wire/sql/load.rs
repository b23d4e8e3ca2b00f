//! LOAD DATA LOCAL: we are the file.
//!
//! A server may ask for a file in answer to any statement; only one that was begun here is
//! answered, and whatever name the server asks for it gets these bytes and no file.

use bytes::Bytes;

use super::exchange::{self, Answer, More};
use super::{Done, Running, SqlConn, SqlError};
use crate::wire::error::WireError;
use crate::wire::limits::LOAD_PACKET_BYTES_MAX;

/// A `LOAD DATA LOCAL` in progress. Dropping it before [`Load::finish`] closes the connection, and
/// the server rolls the statement back.
pub struct Load<'a> {
    running: Running<'a>,
}

impl<'a> Load<'a> {
    pub(super) async fn begin(sql: &'a SqlConn, statement: &str) -> Result<Self, SqlError> {
        let (running, answer) = Running::begin(sql, statement.as_bytes()).await?;
        match answer {
            Answer::File => Ok(Self { running }),
            Answer::Done(..) | Answer::Rows(_) => Err(running.fail(WireError::Unexpected {
                first: 0,
                expected: "a request for the file of LOAD DATA LOCAL",
            })),
        }
    }

    /// Sends a piece of the file.
    ///
    /// # Cancel safety
    /// Giving it up leaves a part of the piece to be sent; the load must be dropped then.
    ///
    /// # Errors
    /// The connection broke. The server's own error comes from [`Load::finish`].
    pub async fn send(&mut self, piece: &[u8]) -> Result<(), SqlError> {
        for part in piece.chunks(LOAD_PACKET_BYTES_MAX) {
            self.running.conn.queue_answer(part);
            if let Err(error) = self.running.conn.flush().await {
                return Err(self.running.sql.broken(error));
            }
        }
        Ok(())
    }

    /// As [`Load::send`], for shared bytes.
    ///
    /// # Errors
    /// As [`Load::send`].
    pub async fn send_shared(&mut self, piece: Bytes) -> Result<(), SqlError> {
        self.send(&piece).await
    }

    /// Ends the file and waits for the server's verdict.
    ///
    /// # Errors
    /// The server's error (the connection is usable again then), or the connection broke.
    pub async fn finish(mut self) -> Result<Done, SqlError> {
        self.running.conn.queue_answer(&[]);
        if let Err(error) = self.running.conn.flush().await {
            return Err(self.running.fail(error));
        }
        match exchange::read_answer(&mut self.running.conn).await {
            Ok(Answer::Done(done, More::Last)) => {
                self.running.give_back();
                Ok(done)
            }
            Ok(Answer::Done(_, More::Follows) | Answer::Rows(_) | Answer::File) => {
                Err(self.running.fail(WireError::Unexpected {
                    first: 0,
                    expected: "the end of LOAD DATA LOCAL",
                }))
            }
            Err(error) => Err(self.running.fail(error)),
        }
    }
}

impl std::fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").finish_non_exhaustive()
    }
}

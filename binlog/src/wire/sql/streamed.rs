//! Rows one by one.

use super::exchange::{self, Answer, More, Next};
use super::rows::{Columns, TextRow};
use super::{Done, Running, SqlConn, SqlError};
use crate::wire::error::WireError;

/// The rows of a statement as they come. Dropping it before the end closes the connection.
pub struct RowStream<'a> {
    sql: &'a SqlConn,
    columns: Columns,
    state: State<'a>,
    done: Done,
}

/// How far a result was read.
enum State<'a> {
    /// Rows, or the end, may follow.
    Rows(Box<Running<'a>>),
    /// Everything was read and the connection is given back, or it failed.
    Over,
}

impl<'a> RowStream<'a> {
    pub(super) async fn begin(sql: &'a SqlConn, statement: &[u8]) -> Result<Self, SqlError> {
        let (running, answer) = Running::begin(sql, statement).await?;
        let mut stream = Self {
            sql,
            columns: Columns::default(),
            state: State::Over,
            done: Done::default(),
        };
        match answer {
            Answer::Rows(columns) => {
                stream.columns = columns;
                stream.state = State::Rows(Box::new(running));
            }
            Answer::Done(done, more) => {
                stream.done = done;
                skip_results(running, more).await?;
            }
            Answer::File => return Err(running.fail(WireError::LocalFileRefused)),
        }
        Ok(stream)
    }

    /// The columns; none if the statement gives no rows.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The next row, or `None` at the end.
    ///
    /// # Cancel safety
    /// Giving it up loses no row: the next call goes on. Only among the further results of a CALL
    /// it closes the connection.
    ///
    /// # Errors
    /// The server's error (the connection is usable again then), or the connection broke.
    pub async fn next(&mut self) -> Result<Option<TextRow>, SqlError> {
        let State::Rows(running) = &mut self.state else {
            return Ok(None);
        };
        let read = match exchange::read_row(&mut running.conn).await {
            Ok(Next::Row(packet)) => TextRow::read(&self.columns, packet)
                .map(Some)
                .map_err(WireError::from),
            Ok(Next::End(done, more)) => {
                self.done = done;
                if let State::Rows(running) = std::mem::replace(&mut self.state, State::Over) {
                    skip_results(*running, more).await?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(row) => Ok(row),
            Err(error) => Err(match std::mem::replace(&mut self.state, State::Over) {
                State::Rows(running) => running.fail(error),
                State::Over => self.sql.broken(error),
            }),
        }
    }

    /// What the statement did; known at the end of the rows.
    #[must_use]
    pub fn done(&self) -> &Done {
        &self.done
    }
}

impl std::fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream")
            .field("columns", &self.columns.len())
            .finish_non_exhaustive()
    }
}

/// Reads further results of a CALL to their end, and gives the connection back.
async fn skip_results(mut running: Running<'_>, more: More) -> Result<(), SqlError> {
    match skip(&mut running, more).await {
        Ok(()) => {
            running.give_back();
            Ok(())
        }
        Err(error) => Err(running.fail(error)),
    }
}

async fn skip(running: &mut Running<'_>, mut more: More) -> Result<(), WireError> {
    while more == More::Follows {
        match exchange::read_answer(&mut running.conn).await? {
            Answer::Done(_done, next) => more = next,
            Answer::File => return Err(WireError::LocalFileRefused),
            Answer::Rows(_columns) => loop {
                if let Next::End(_done, next) = exchange::read_row(&mut running.conn).await? {
                    more = next;
                    break;
                }
            },
        }
    }
    Ok(())
}

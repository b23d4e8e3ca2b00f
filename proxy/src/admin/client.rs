//! The command line's side of the admin socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::protocol::{Request, Response};

/// Bytes of an answer at most: a status with thousands of tables and sessions fits.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A proxy that did not answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error(
        "cannot reach the proxy at {}: is `pointsman run` running, and as this user?",
        path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke before the answer.
    #[error("the proxy closed the admin connection before it answered")]
    Lost {
        /// Why.
        source: std::io::Error,
    },
    /// The answer is not understood.
    #[error("the proxy's answer is not understood: is it of the same version?")]
    Answer {
        /// Why.
        source: serde_json::Error,
    },
}

/// Sends one command and waits for its answer, however long it takes.
///
/// # Errors
/// When the proxy is not there or its answer does not come; a command that changes something may
/// then have been carried out all the same.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| ClientError::Connect {
        path: socket.to_owned(),
        source,
    })?;
    let mut line = serde_json::to_vec(request).map_err(|source| ClientError::Answer { source })?;
    line.push(b'\n');
    stream
        .write_all(&line)
        .map_err(|source| ClientError::Lost { source })?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX))
        .read_line(&mut answer)
        .map_err(|source| ClientError::Lost { source })?;
    if answer.is_empty() {
        let source = std::io::ErrorKind::UnexpectedEof.into();
        return Err(ClientError::Lost { source });
    }
    serde_json::from_str(&answer).map_err(|source| ClientError::Answer { source })
}

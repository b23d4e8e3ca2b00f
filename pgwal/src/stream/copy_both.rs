//! The replication connection: asked about the server, then turned into the stream.
//!
//! The walsender writes values with the output functions of its own session, so everything that
//! shapes text is set there, exactly as for our SQL connections.

use std::time::Duration;

use bytes::Bytes;
use router::Lsn;

use super::error::StreamError;
use crate::name::quote_identifier;
use crate::wire::{
    Conn, ConnReader, ConnWriter, Endpoint, SESSION_SETTINGS, ServerError, WireError,
};

/// A walsender that is bound to a database and streams nothing yet.
#[derive(Debug)]
pub struct ReplicationConn {
    conn: Conn,
    endpoint: String,
}

/// What identifies a source: a slot of another cluster, or of a promoted standby, is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// `system_identifier` of the cluster.
    pub system_id: String,
    /// Its timeline; it changes when a standby is promoted.
    pub timeline: i32,
}

/// Rows of a command: text or NULL.
pub(super) type Rows = Vec<Vec<Option<Bytes>>>;

impl ReplicationConn {
    /// Connects in replication mode.
    ///
    /// # Errors
    /// The source cannot be reached or refuses.
    pub async fn open(endpoint: &Endpoint, application_name: &str) -> Result<Self, StreamError> {
        let parameters = [
            ("replication", "database"),
            ("application_name", application_name),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let conn = Conn::connect_own(endpoint, &parameters).await?;
        let mut conn = Self {
            conn,
            endpoint: endpoint.to_string(),
        };
        conn.query("prepare the session", SESSION_SETTINGS).await?;
        Ok(conn)
    }

    /// The server's major version, by what it told at the log-in.
    #[must_use]
    pub fn server_major(&self) -> Option<u32> {
        let version = self.conn.parameter_status("server_version")?;
        let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// The process id of the walsender.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.conn.backend_pid()
    }

    /// Runs a command or, on this kind of connection, SQL.
    ///
    /// # Errors
    /// The server's error, or the connection broke.
    pub async fn query(&mut self, doing: &'static str, sql: &str) -> Result<Rows, StreamError> {
        let rows = self.conn.query(sql).await;
        rows.map_err(|error| wire_error(&self.endpoint, doing, error))
    }

    /// `IDENTIFY_SYSTEM`.
    ///
    /// # Errors
    /// As [`ReplicationConn::query`].
    pub async fn identify(&mut self) -> Result<SystemIdentity, StreamError> {
        let rows = self.query("identify itself", "IDENTIFY_SYSTEM").await?;
        let row = rows.first().map(Vec::as_slice);
        let identity = row.and_then(|row| {
            let system_id = text(row.first()?)?.to_owned();
            let timeline = text(row.get(1)?)?.parse().ok()?;
            Some(SystemIdentity {
                system_id,
                timeline,
            })
        });
        identity.ok_or_else(|| self.answer("IDENTIFY_SYSTEM", "no system id and timeline"))
    }

    /// `wal_sender_timeout`; zero if it is off.
    ///
    /// # Errors
    /// As [`ReplicationConn::query`].
    pub async fn wal_sender_timeout(&mut self) -> Result<Duration, StreamError> {
        let sql = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let rows = self.query("show its wal_sender_timeout", sql).await?;
        let setting = rows
            .first()
            .and_then(|row| text(row.first()?)?.parse().ok());
        let setting = setting.map(Duration::from_millis);
        setting.ok_or_else(|| self.answer("SHOW wal_sender_timeout", "no number"))
    }

    /// `START_REPLICATION` for a slot that decodes with pgoutput.
    ///
    /// # Errors
    /// The server refuses, or the connection broke.
    pub async fn start(
        mut self,
        slot: &str,
        publication: &str,
        start: Lsn,
    ) -> Result<CopyBoth, StreamError> {
        let major = self.server_major();
        let major = major.ok_or_else(|| self.answer("the log-in", "no server version"))?;
        let command = start_command(slot, publication, start, major);
        let failed = |source| start_error(&self.endpoint, slot, source);
        crate::wire::frontend::query(&command, self.conn.out())
            .map_err(|_zero| failed(WireError::Unwritable("a name holds a zero byte")))?;
        self.conn.flush().await.map_err(failed)?;
        loop {
            let message = self.conn.read_message().await.map_err(failed)?;
            match message.tag {
                b'W' => break,
                b'E' => {
                    let error = ServerError::parse(message.body).map_err(WireError::from);
                    return Err(failed(error.map_or_else(|bad| bad, WireError::from)));
                }
                b'N' | b'S' => {}
                tag => {
                    return Err(failed(WireError::Unexpected {
                        tag,
                        expected: "the beginning of the stream",
                    }));
                }
            }
        }
        let (reader, writer) = self.conn.into_split();
        Ok(CopyBoth {
            reader,
            writer,
            endpoint: self.endpoint,
        })
    }

    fn answer(&self, command: &'static str, what: &'static str) -> StreamError {
        StreamError::Answer {
            endpoint: self.endpoint.clone(),
            command,
            what,
        }
    }
}

/// A connection in the mode of COPY in both directions.
#[derive(Debug)]
pub struct CopyBoth {
    pub(super) reader: ConnReader,
    pub(super) writer: ConnWriter,
    pub(super) endpoint: String,
}

/// The command that starts the stream. `origin` is left at its default, `any`: changes that came to
/// the source by replication are changes of the source. `messages` and `binary` are left off.
fn start_command(slot: &str, publication: &str, start: Lsn, server_major: u32) -> String {
    let (version, streaming) = match server_major {
        ..14 => (1, false),
        14 => (2, true),
        15 => (3, true),
        16.. => (4, true),
    };
    let streaming = if streaming { ", streaming 'on'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {start} \
         (proto_version '{version}', publication_names {}{streaming})",
        quote_identifier(slot),
        command_literal(&quote_identifier(publication)),
    )
}

/// A string constant of a replication command: there a backslash is an ordinary character.
fn command_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn text(value: &Option<Bytes>) -> Option<&str> {
    value
        .as_ref()
        .and_then(|value| std::str::from_utf8(value).ok())
}

pub(super) fn wire_error(endpoint: &str, doing: &'static str, error: WireError) -> StreamError {
    let endpoint = endpoint.to_owned();
    match error {
        WireError::Server(source) => StreamError::Server {
            endpoint,
            doing,
            source,
        },
        source @ (WireError::Io(_)
        | WireError::Closed
        | WireError::Frame(_)
        | WireError::Malformed(_)
        | WireError::Unexpected { .. }
        | WireError::Unwritable(_)) => StreamError::Disconnected { endpoint, source },
    }
}

fn start_error(endpoint: &str, slot: &str, error: WireError) -> StreamError {
    match wire_error(endpoint, "start the stream", error) {
        // object_in_use
        StreamError::Server {
            endpoint, source, ..
        } if source.sqlstate == "55006" => StreamError::SlotBusy {
            endpoint,
            slot: slot.to_owned(),
            source,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_version_follows_the_server() {
        let command = |major| start_command("s", "p", Lsn(0x1_0000_0002), major);
        assert_eq!(
            command(13),
            "START_REPLICATION SLOT \"s\" LOGICAL 1/2 \
             (proto_version '1', publication_names '\"p\"')"
        );
        assert!(command(12).contains("proto_version '1'"));
        assert!(command(14).contains("proto_version '2'"));
        assert!(command(15).contains("proto_version '3'"));
        assert!(
            command(18).ends_with("(proto_version '4', publication_names '\"p\"', streaming 'on')")
        );
    }

    #[test]
    fn names_are_quoted_for_the_list_and_for_the_command() {
        let command = start_command("s\"1", "my 'pub\"", Lsn(1), 12);
        assert!(command.contains(r#"SLOT "s""1" LOGICAL"#), "{command}");
        assert!(
            command.contains(r#"publication_names '"my ''pub"""'"#),
            "{command}"
        );
    }
}

//! The marker: something of ours in the log of a fenced server whose coming through the stream
//! proves that all before it came through too.
//!
//! A position that was only asked for is never the end of the stream; something that we wrote
//! behind the fence is.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::error::Failed;
use super::{has_table, names, one};
use crate::wire::{SqlConn, quote};

/// A marker that stands in the log of the server that wrote it.
///
/// Which kind it is depends on what the fence lets through: `super_read_only` stops rows of ours
/// too, but neither an empty transaction under a GTID of ours nor the end of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// MySQL with GTIDs: an empty transaction under this GTID, `uuid:number` in lower case. It is
    /// reached when the applied position contains it.
    Gtid {
        /// The GTID.
        gtid: String,
    },
    /// A row in `pointsman.marker` with this text in its second column, `token`.
    Row {
        /// Unlike any other marker's.
        token: String,
    },
    /// The log was switched to a new file behind the fence: all writes stand before it. It is
    /// reached when the applied position is at its beginning or later, which the stream tells when
    /// it meets the rotate event at the end of the file before.
    Rotated {
        /// The name of the new file, such as `binlog.000042`.
        file: String,
    },
}

/// Which marker a server takes behind its fence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Under this UUID of ours.
    Gtid {
        uuid: String,
    },
    Row,
    Rotated,
}

/// Why there is no marker.
#[derive(Debug, Error)]
pub enum MarkerError {
    /// The source failed a statement of ours, or the connection broke.
    #[error("the source failed while its end was marked")]
    Failed(#[from] Failed),
    /// Our tables are not on this server.
    #[error("the server has no table pointsman.marker; run `pointsman start` first")]
    NoBookkeeping,
    /// The system gave no random bytes for the token.
    #[error("the system gave no random bytes for a marker ({0})")]
    Random(getrandom::Error),
}

/// How markers are written on one server.
#[derive(Debug, Clone)]
pub struct MarkerWriter {
    kind: Kind,
}

impl MarkerWriter {
    /// Finds out which marker this server takes.
    ///
    /// # Errors
    /// When our tables are not there or the server fails.
    pub async fn prepare(client: &SqlConn) -> Result<Self, MarkerError> {
        let step = "preparing the marker";
        if !has_table(client, "marker", step).await? {
            return Err(MarkerError::NoBookkeeping);
        }
        if client.version().is_mariadb() {
            return Ok(Self { kind: Kind::Row });
        }
        let mode: String = one(client, "SELECT @@GLOBAL.gtid_mode", step).await?;
        if !matches!(mode.as_str(), "ON" | "ON_PERMISSIVE") {
            return Ok(Self {
                kind: Kind::Rotated,
            });
        }
        let ids = names(client, "SELECT id FROM pointsman.migration", step).await?;
        let id = ids.first().map_or("", String::as_str);
        let uuid = marker_uuid(id);
        Ok(Self {
            kind: Kind::Gtid { uuid },
        })
    }

    /// Writes a marker behind the fence and returns once it stands in the log.
    ///
    /// # Errors
    /// When the server fails. Then the marker may or may not be there; the next one is another.
    pub async fn write(&self, client: &SqlConn) -> Result<Marker, MarkerError> {
        match &self.kind {
            Kind::Gtid { uuid } => write_gtid(client, uuid).await,
            Kind::Row => write_row(client).await,
            Kind::Rotated => rotate(client).await,
        }
    }
}

/// Writes one marker: [`MarkerWriter::prepare`] and [`MarkerWriter::write`] in one call.
///
/// # Errors
/// As those two.
pub async fn write(client: &SqlConn) -> Result<Marker, MarkerError> {
    MarkerWriter::prepare(client).await?.write(client).await
}

/// The UUID under which a migration writes its markers: made from the migration's id, so that every
/// proxy finds the numbers that were used.
#[must_use]
pub fn marker_uuid(migration_id: &str) -> String {
    let digest = Sha256::digest(format!("pointsman marker {migration_id}"));
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    // Version 8 (made by its own rule) and the variant of RFC 9562.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

async fn write_gtid(client: &SqlConn, uuid: &str) -> Result<Marker, MarkerError> {
    let step = "writing the marker's GTID";
    let executed: String = one(client, "SELECT @@GLOBAL.gtid_executed", step).await?;
    let gtid = format!("{uuid}:{}", last_number(&executed, uuid) + 1);
    let literal = quote::literal(&gtid);
    // A GTID that is executed already would be skipped in silence, so the number is a new one; only
    // the holder of the fence's lock writes under this UUID.
    for sql in [
        format!("SET gtid_next = {literal}").as_str(),
        "BEGIN",
        "COMMIT",
    ] {
        client.execute(sql).await.map_err(Failed::sql(step))?;
    }
    client
        .execute("SET gtid_next = 'AUTOMATIC'")
        .await
        .map_err(Failed::sql(step))?;
    Ok(Marker::Gtid { gtid })
}

/// The greatest number of this UUID in a GTID set; 0 if there is none.
fn last_number(set: &str, uuid: &str) -> u64 {
    let of_uuid = set
        .split(',')
        .map(str::trim)
        .filter_map(|one| one.split_once(':'))
        .filter(|(id, _)| id.eq_ignore_ascii_case(uuid));
    of_uuid
        .flat_map(|(_, intervals)| intervals.split([':', '-']))
        .filter_map(|number| number.trim().parse().ok())
        .max()
        .unwrap_or(0)
}

async fn write_row(client: &SqlConn) -> Result<Marker, MarkerError> {
    let step = "writing the marker's row";
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(MarkerError::Random)?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "INSERT INTO pointsman.marker (id, token)
         SELECT COALESCE(MAX(id), 0) + 1, '{token}' FROM pointsman.marker"
    );
    client.execute(&sql).await.map_err(Failed::sql(step))?;
    Ok(Marker::Row { token })
}

async fn rotate(client: &SqlConn) -> Result<Marker, MarkerError> {
    let step = "ending the log's file";
    client
        .execute("FLUSH BINARY LOGS")
        .await
        .map_err(Failed::sql(step))?;
    let status = match client.version().is_mysql_at_least(8, 2, 0) {
        true => "SHOW BINARY LOG STATUS",
        false => "SHOW MASTER STATUS",
    };
    let file = one(client, status, step).await?;
    Ok(Marker::Rotated { file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_is_well_formed_and_of_its_migration_alone() {
        let uuid = marker_uuid("abc");
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.chars().filter(|c| *c == '-').count(), 4);
        assert_eq!(uuid, marker_uuid("abc"));
        assert_ne!(uuid, marker_uuid("abd"));
        assert_eq!(uuid.as_bytes()[14], b'8');
    }

    #[test]
    fn the_next_number_follows_the_greatest_of_our_uuid() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let other = "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-99";
        assert_eq!(last_number("", uuid), 0);
        assert_eq!(last_number(other, uuid), 0);
        let set = format!("{other},\n3E11FA47-71CA-11E1-9E33-C80AA9429562:1-3:7:tag:9");
        assert_eq!(last_number(&set, uuid), 9);
        assert_eq!(last_number(&format!("{uuid}:1-3:7"), uuid), 7);
    }
}

//! What other replicas of the two servers need to follow the switch: where the log of the old server
//! ends, and where that of the new one begins.
//!
//! A replica that has all of the old server's log goes on at the new one behind what was there at the
//! switch. By GTIDs of MySQL that is `SET GLOBAL gtid_purged` with the new server's set, of MariaDB
//! `SET GLOBAL gtid_slave_pos`; without them `CHANGE REPLICATION SOURCE` (`CHANGE MASTER`) to file and
//! offset.

use std::fmt;
use std::time::Duration;

use router::{Side, words};

use crate::copy::snapshot;
use crate::position::Position;
use crate::wire::SqlConn;

/// How long the question may hold up what it is asked in.
const PATIENCE: Duration = Duration::from_millis(500);

/// A place in a server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `@@server_id`.
    pub server_id: u32,
    /// What is committed there.
    pub position: Position,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (server_id {})", self.position, self.server_id)
    }
}

/// Where a server's log is now, or why that is not known, which is no failure of the movement.
///
/// # Errors
/// In words: the server did not answer in time, or has no binary log, or does not let us see it.
pub async fn place(client: &SqlConn, side: Side) -> Result<Place, String> {
    let asked = tokio::time::timeout(PATIENCE, async {
        let row = client.query_first("SELECT @@server_id").await;
        let row = row.map_err(|error| words(&error))?;
        let row = row.ok_or("the server did not tell its server_id")?;
        let server_id = row.parse(0).map_err(|error| words(&error))?;
        let position = snapshot::position_of(client, side).await;
        let position = position.map_err(|error| words(&error))?;
        Ok(Place {
            server_id,
            position,
        })
    });
    asked
        .await
        .unwrap_or_else(|_elapsed| Err("the server takes too long".to_owned()))
}

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
    pub server_id: u64,
    /// What is committed there; or why it is not known.
    pub position: Result<Position, String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Ok(position) => write!(f, "{position} (server_id {})", self.server_id),
            Err(why) => write!(f, "not known: {why} (server_id {})", self.server_id),
        }
    }
}

/// Where a server's log is now. What fails is no failure of the movement; it is said in the place.
pub async fn place(client: &SqlConn, side: Side) -> Place {
    let mut server_id = 0;
    let asked = tokio::time::timeout(PATIENCE, async {
        let row = client.query_first("SELECT @@server_id").await;
        let row = row.map_err(|error| words(&error))?;
        server_id = row.and_then(|row| row.parse(0).ok()).unwrap_or_default();
        let position = snapshot::position_of(client, side).await;
        position.map_err(|error| words(&error))
    });
    let position = asked
        .await
        .unwrap_or_else(|_elapsed| Err("the server takes too long".to_owned()));
    Place {
        server_id,
        position,
    }
}

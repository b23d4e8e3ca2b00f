//! Connections of ours to the source, which a fence must tell from others'.
//!
//! A server lists a session for a moment after its client has closed it, so that an id counts as ours
//! a little longer. Ids are given in order and none comes twice while a server runs.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binlog::wire::SqlConn;
use parking_lot::Mutex;

/// How long a closed connection's id counts.
const LINGERS: Duration = Duration::from_secs(2);

/// The ids of our connections to one server. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnConns {
    known: Arc<Mutex<Vec<Known>>>,
}

/// A connection of ours.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: u32,
    closed: Option<Instant>,
}

impl Known {
    /// Whether the server may still list it.
    fn counts(&self) -> bool {
        self.closed.is_none_or(|closed| closed.elapsed() < LINGERS)
    }
}

/// A connection that asks and changes things.
#[derive(Debug)]
pub(crate) struct OwnConn {
    conn: SqlConn,
    own: OwnConns,
}

impl OwnConns {
    /// Counts a connection for as long as it is open.
    pub(super) fn add(&self, conn: SqlConn) -> OwnConn {
        self.known.lock().push(Known {
            id: conn.thread_id(),
            closed: None,
        });
        OwnConn {
            conn,
            own: self.clone(),
        }
    }

    /// The ids that count now.
    pub(super) fn ids(&self) -> Vec<u32> {
        let mut known = self.known.lock();
        known.retain(Known::counts);
        known.iter().map(|known| known.id).collect()
    }
}

impl Deref for OwnConn {
    type Target = SqlConn;

    fn deref(&self) -> &SqlConn {
        &self.conn
    }
}

impl Drop for OwnConn {
    fn drop(&mut self) {
        let id = self.conn.thread_id();
        let mut known = self.own.known.lock();
        known.retain(Known::counts);
        let open = known
            .iter_mut()
            .find(|known| known.id == id && known.closed.is_none());
        if let Some(known) = open {
            known.closed = Some(Instant::now());
        }
    }
}

//! What took away a table that was to be copied: the source's log tells.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::InitialCopy;
use crate::apply::ddl::Search;
use crate::name::QualifiedName;
use crate::position::Position;
use crate::stream::{Stream, StreamError, StreamEvent, StreamOptions};

/// How long the log is searched; the operator waits for the answer.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(60);

/// Disk for what is read of the log; rows are not kept.
const SEARCH_DISK_BYTES: u64 = 1 << 30;

/// A table that is gone, and the statement that took it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vanished {
    /// The table.
    pub table: QualifiedName,
    /// The statement and its place in the source's log, without values; `None` if it was not found
    /// there.
    pub by: Option<String>,
}

impl fmt::Display for Vanished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, by } = self;
        match by {
            Some(by) => write!(f, "table {table} was dropped or renamed by {by}"),
            None => write!(
                f,
                "table {table} was dropped or renamed (by a statement that was not found in the \
                 source's log)"
            ),
        }
    }
}

impl InitialCopy {
    /// Looks for the statements that took `tables` away, from the first snapshot to the last one.
    pub(super) async fn find_vanished(
        &self,
        tables: Vec<QualifiedName>,
        from: Option<Position>,
        until: Option<Position>,
    ) -> Vec<Vanished> {
        let mut search = Search::new(tables.clone());
        let folder = self
            .options
            .folder
            .join(format!("pointsman_{}_search", self.options.id));
        if let (Some(from), Some(until)) = (from, until) {
            let looking = self.look_through(&folder, from, &until, &mut search);
            match timeout(SEARCH_TIME_MAX, Box::pin(looking)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the source's log could not be searched"),
                Err(_elapsed) => tracing::warn!("the source's log is too long to be searched"),
            }
        }
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
            tracing::debug!(%error, "the folder of the search stays");
        }
        let told = tables.into_iter().map(|table| Vanished {
            by: search.by(&table).map(ToOwned::to_owned),
            table,
        });
        told.collect()
    }

    async fn look_through(
        &self,
        folder: &Path,
        from: Position,
        until: &Position,
        search: &mut Search,
    ) -> Result<(), StreamError> {
        let mut options = StreamOptions::new(from, self.searcher_id(), folder);
        options.spool_limit_bytes = SEARCH_DISK_BYTES;
        options.tables = Some(Arc::new(|_schema, _table| false));
        let mut stream = Stream::open(&self.source, options).await?;
        let (mut committed, mut nth) = (until.clone(), 0);
        loop {
            match stream.next().await? {
                StreamEvent::Begin { position } => (committed, nth) = (position, 0),
                StreamEvent::Ddl(ddl) => {
                    nth += 1;
                    search.see(*ddl, &committed, nth);
                }
                StreamEvent::Commit { position, .. } | StreamEvent::Idle { position } => {
                    if position >= *until {
                        break;
                    }
                }
                StreamEvent::Table { .. } | StreamEvent::Change { .. } => {}
            }
        }
        Ok(())
    }

    /// A number among the source's replicas, another than that of the migration's stream, which
    /// may be reading at the same time.
    fn searcher_id(&self) -> u32 {
        let digest = Sha256::digest(format!("pointsman search {}", self.options.id));
        let bytes = digest.first_chunk::<4>().copied().unwrap_or([1; 4]);
        u32::from_be_bytes(bytes).max(1)
    }
}

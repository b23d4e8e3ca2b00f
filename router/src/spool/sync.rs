//! Making what was pushed durable, and telling what is.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::Spool;
use super::error::SpoolError;
use super::recovery::{floor_of, sync_dir};
use super::segment::{self, Link};

/// Whether syncs can still be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncState {
    /// Each one that was made succeeded.
    Works,
    /// A ticket is out.
    Running,
    /// One failed: the kernel may have dropped what it could not write.
    Failed,
}

/// What to sync; see [`Spool::start_sync`].
#[derive(Debug)]
pub struct SyncTicket {
    dir: PathBuf,
    files: Vec<(u64, Arc<File>)>,
    /// The last unit end of each segment when the ticket was made.
    ends: Vec<(u64, u64)>,
}

/// A ticket that was run.
#[derive(Debug)]
pub struct Synced {
    ends: Vec<(u64, u64)>,
}

impl SyncTicket {
    /// Waits until the files are on stable storage.
    ///
    /// # Errors
    /// The disk fails.
    pub fn run(self) -> Result<Synced, SpoolError> {
        for (seq, file) in &self.files {
            let path = || segment::path_of(&self.dir, *seq);
            file.sync_data()
                .map_err(|source| SpoolError::io("sync", path(), source))?;
        }
        sync_dir(&self.dir)?;
        Ok(Synced { ends: self.ends })
    }
}

impl Spool {
    /// Whether [`Spool::start_sync`] would give a ticket.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        !self.unsynced.is_empty() && self.sync == SyncState::Works
    }

    /// What must be synced so that everything pushed until now is durable; `None` if it is, if the
    /// last ticket did not come back yet, or if a sync failed before.
    pub fn start_sync(&mut self) -> Option<SyncTicket> {
        if !self.needs_sync() {
            return None;
        }
        self.sync = SyncState::Running;
        let files = std::mem::take(&mut self.unsynced);
        let ends = self.segments.iter().filter_map(|segment| {
            segment
                .last_unit_end
                .map(|(position, _len)| (segment.seq, position))
        });
        Some(SyncTicket {
            dir: self.options.dir.clone(),
            files,
            ends: ends.collect(),
        })
    }

    /// Takes the outcome of a ticket. After a failure nothing more becomes durable.
    ///
    /// # Errors
    /// The failure itself.
    pub fn finish_sync(&mut self, outcome: Result<Synced, SpoolError>) -> Result<(), SpoolError> {
        let synced = match outcome {
            Ok(synced) => synced,
            Err(error) => {
                self.sync = SyncState::Failed;
                return Err(error);
            }
        };
        self.sync = SyncState::Works;
        let mut segments = self.segments.iter_mut();
        for (seq, end) in synced.ends {
            if let Some(segment) = segments.find(|segment| segment.seq == seq) {
                segment.durable_unit_end = Some(end);
            }
        }
        Ok(())
    }

    /// Up to where everything is safe when everything up to `done` is: `done` itself, or the end
    /// of the durable units that follow it here with nothing missing in between.
    #[must_use]
    pub fn durable_end(&self, done: u64) -> u64 {
        let mut end = done;
        let mut rest = self.segments.iter().peekable();
        // Chain by chain: a chain counts if nothing before it is missing.
        while let Some(first) = rest.peek() {
            let mut chain = vec![*first];
            rest.next();
            while let Some(next) = rest.next_if(|next| next.link == Link::Continues) {
                chain.push(next);
            }
            if floor_of(chain.iter().copied()).is_some_and(|floor| floor <= done) {
                let durable = chain
                    .iter()
                    .filter_map(|segment| segment.durable_unit_end)
                    .max();
                end = end.max(durable.unwrap_or(end));
            }
        }
        end
    }
}

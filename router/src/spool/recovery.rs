//! What a spool's folder holds after a restart, and what of it can be used.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::SpoolError;
use super::segment::{self, Link, Scanned, Segment, StartsAt};
use super::{Spool, SpoolOptions};

/// The segments found in a folder, not yet decided upon. The folder is locked.
#[derive(Debug)]
pub struct Recovered {
    options: SpoolOptions,
    lock: File,
    /// Runs of segments with nothing missing inside, oldest first.
    chains: Vec<Vec<Segment>>,
    /// Files that are of no use whatever is decided.
    useless: Vec<PathBuf>,
    /// The number of the next segment.
    next_seq: u64,
}

impl Recovered {
    /// Locks the folder (made if it is missing) and reads all of its segments. Nothing is changed.
    ///
    /// # Errors
    /// Another spool uses the folder, or the file system refuses.
    pub fn read(options: SpoolOptions) -> Result<Self, SpoolError> {
        let dir = options.dir.clone();
        fs::create_dir_all(&dir).map_err(|source| SpoolError::io("create", &dir, source))?;
        let lock = lock(&dir)?;
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        let entries = fs::read_dir(&dir).map_err(|source| SpoolError::io("list", &dir, source))?;
        for entry in entries {
            let path = entry
                .map_err(|source| SpoolError::io("list", &dir, source))?
                .path();
            if let Some(seq) = segment::seq_of(&path) {
                found.push((seq, path));
            }
        }
        found.sort_unstable();
        let mut recovered = Self {
            options,
            lock,
            chains: Vec::new(),
            useless: Vec::new(),
            next_seq: 0,
        };
        recovered.scan(found)?;
        Ok(recovered)
    }

    /// The end of what is held, if everything after `done` up to there is.
    #[must_use]
    pub fn covers(&self, done: u64) -> Option<u64> {
        self.chain_for(done)
            .and_then(|chain| end_of(self.chains.get(chain)?))
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Goes on with what covers `done`: the spool gives every unit after it (and maybe some before
    /// it), and pushes go on behind its end. What is of no use is deleted. If nothing covers it,
    /// this is [`Recovered::discard`].
    ///
    /// # Errors
    /// The file system refuses.
    pub fn resume(mut self, done: u64) -> Result<Spool, SpoolError> {
        let Some(chain) = self.chain_for(done) else {
            return self.discard(done);
        };
        let mut segments = VecDeque::from(self.chains.remove(chain));
        let mut useless = std::mem::take(&mut self.useless);
        useless.extend(self.chains.drain(..).flatten().map(|segment| segment.path));
        while segments
            .back()
            .is_some_and(|last| last.last_unit_end.is_none())
        {
            useless.extend(segments.pop_back().map(|segment| segment.path));
        }
        // Gone for good before anything is cut off: what came behind a torn record must not come
        // back and look as if it continued what was cut there.
        delete(useless)?;
        sync_dir(&self.options.dir)?;
        let mut end = done;
        if let Some(last) = segments.back_mut() {
            let (position, len) = last.last_unit_end.unwrap_or((last.base, last.len));
            truncate(&last.path, len)?;
            last.len = len;
            last.needed_until = Some(position);
            end = position;
            // The next segment continues this one, so it must have the next number: after a gap
            // another recovery would not believe it.
            self.next_seq = last.seq + 1;
        }
        // Units that go on from one segment into the next are over where the next one says so.
        let mut ends = None;
        for segment in segments.iter_mut().rev() {
            if let Some(position) = ends {
                segment.unit_ended(position);
            }
            ends = segment.first_unit_end.or(ends);
        }
        let is_done = |segment: &&Segment| segment.needed_until.is_some_and(|until| until <= done);
        let first_needed = segments.iter().take_while(is_done).count();
        let done_with = segments.drain(..first_needed);
        delete(done_with.map(|segment| segment.path).collect())?;
        let mut spool = Spool::new(self.options, self.lock, end, self.next_seq);
        spool.adopt(segments)?;
        Ok(spool)
    }

    /// Deletes everything; pushes start at `start`, at a boundary between two units.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn discard(mut self, start: u64) -> Result<Spool, SpoolError> {
        let mut useless = std::mem::take(&mut self.useless);
        useless.extend(self.chains.drain(..).flatten().map(|segment| segment.path));
        delete(useless)?;
        Ok(Spool::new(self.options, self.lock, start, self.next_seq))
    }

    fn scan(&mut self, found: Vec<(u64, PathBuf)>) -> Result<(), SpoolError> {
        let mut broken = true;
        for (seq, path) in found {
            let gap = seq != self.next_seq;
            self.next_seq = seq + 1;
            let (segment, torn) = match segment::scan(&path, seq)? {
                Scanned::Whole(segment) => (segment, false),
                Scanned::Torn(segment) => (segment, true),
                Scanned::Headless => {
                    self.useless.push(path);
                    broken = true;
                    continue;
                }
            };
            let linked = segment.link == Link::Continues && !gap && !broken;
            match self.chains.last_mut().filter(|_chain| linked) {
                Some(chain) => chain.push(segment),
                None => self.chains.push(vec![segment]),
            }
            broken = torn;
        }
        Ok(())
    }

    /// The newest chain that can be used when everything up to `done` is done.
    fn chain_for(&self, done: u64) -> Option<usize> {
        let usable = |chain: &Vec<Segment>| {
            floor_of(chain.iter()).is_some_and(|floor| floor <= done)
                && end_of(chain).is_some_and(|end| done <= end)
        };
        self.chains.iter().rposition(usable)
    }
}

/// The first position from which a chain can be used: everything after it is there.
pub(super) fn floor_of<'a>(chain: impl Iterator<Item = &'a Segment>) -> Option<u64> {
    let mut chain = chain.peekable();
    let first = chain.peek()?;
    match first.starts_at {
        StartsAt::Boundary => Some(first.base),
        StartsAt::InsideUnit => chain.find_map(|segment| segment.first_unit_end),
    }
}

/// The position after the last unit that ends in the chain.
fn end_of(chain: &[Segment]) -> Option<u64> {
    let last = chain.iter().rev().find_map(|segment| segment.last_unit_end);
    let first = chain.first()?;
    last.map(|(position, _len)| position)
        .or((first.starts_at == StartsAt::Boundary).then_some(first.base))
}

fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|source| SpoolError::io("create", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(SpoolError::InUse {
            dir: dir.to_owned(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(SpoolError::io("lock", path, source)),
    }
}

fn truncate(path: &Path, len: u64) -> Result<(), SpoolError> {
    let failed = |source| SpoolError::io("cut", path, source);
    let file = File::options().write(true).open(path).map_err(failed)?;
    file.set_len(len).map_err(failed)
}

/// Deletes files. A crash that brings some of them back does no harm: a recovery decides by what
/// it finds.
pub(super) fn delete(files: Vec<PathBuf>) -> Result<(), SpoolError> {
    for file in files {
        fs::remove_file(&file).map_err(|source| SpoolError::io("delete", &file, source))?;
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| SpoolError::io("sync", dir, source))
}

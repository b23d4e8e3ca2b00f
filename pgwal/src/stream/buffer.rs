//! The queue between the reader and the consumer: memory first, then the spool, always in order.
//!
//! While the consumer keeps up, everything stays in memory. When the memory bound is reached, what
//! comes next goes to the spool, and goes on going there until the consumer has read the spool to
//! its end; then memory is used again. So what is in memory is always older than what is in the
//! spool.
//!
//! # What may be acknowledged
//! The applied position; or the durable end of the spool, once everything before the spool's
//! beginning is applied ([`Buffer::acknowledgeable`]). Units in memory are never acknowledged
//! before they are applied.
//!
//! # When the spool is full
//! [`Buffer::push`] leaves in the caller's hands what it could not take. The reader stops reading
//! then and tries again after the consumer has taken or applied something. There is always room for
//! the next item when the consumer has nothing to read, so the two never wait for each other, even
//! if one transaction is larger than everything.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use bytes::Bytes;
use router::Lsn;
use router::spool::{RecordKind, Spool, SpoolError, SyncTicket, Synced};

use super::item::{self, Content, Item, relation_oid};
use super::limits::CHUNK_BYTES;

/// The queue.
#[derive(Debug)]
pub(super) struct Buffer {
    dir: PathBuf,
    memory: VecDeque<Item>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    mode: Mode,
    spool: Spool,
    /// The last Relation message of each relation that was put into the spool or past it: what a
    /// reader of the spool's next segment must know.
    relations: BTreeMap<u32, Bytes>,
    /// Files of committed transactions that are not applied yet.
    files: BTreeMap<Lsn, PathBuf>,
    /// Those of them that must be synced with the spool.
    unsynced_files: Vec<PathBuf>,
}

/// Where the next item goes.
#[derive(Debug)]
enum Mode {
    /// Into memory: the spool was read to its end.
    Memory,
    /// Into the spool, by way of this chunk.
    Spooling(Chunk),
}

/// What will be the spool's next record.
#[derive(Debug, Default)]
struct Chunk {
    items: Vec<Item>,
    bytes: usize,
    /// How many of the items come up to the last end of a unit, and its position.
    complete: Option<(usize, Lsn)>,
}

/// How a push ended.
#[derive(Debug)]
pub(super) enum Pushed {
    /// Everything was taken.
    All,
    /// What is left in the caller's hands did not fit; why.
    Full(SpoolError),
}

/// What was taken out of the queue.
#[derive(Debug)]
pub(super) enum Taken {
    /// The next items.
    Items(Vec<Item>),
    /// There is nothing.
    Nothing,
    /// The next items are on disk: call [`Buffer::take`] where blocking does no harm.
    OnDisk,
}

/// Files to sync, without holding the queue.
#[derive(Debug)]
pub(super) struct BufferSync {
    files: Vec<PathBuf>,
    ticket: SyncTicket,
}

impl BufferSync {
    /// Waits until everything is on stable storage.
    pub(super) fn run(self) -> Result<Synced, SpoolError> {
        for path in self.files {
            let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
            match synced {
                Ok(()) => {}
                // Applied and deleted in the meantime.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(SpoolError::Io {
                        doing: "sync",
                        file: path,
                        source,
                    });
                }
            }
        }
        self.ticket.run()
    }
}

impl Buffer {
    /// A queue over a spool that is new or was resumed. `files` are the transactions' files that
    /// the spool refers to.
    pub(super) fn new(
        dir: PathBuf,
        memory_bytes_max: usize,
        spool: Spool,
        files: BTreeMap<Lsn, PathBuf>,
    ) -> Self {
        let drained = spool.is_drained();
        Self {
            dir,
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_bytes_max,
            mode: if drained {
                Mode::Memory
            } else {
                Mode::Spooling(Chunk::default())
            },
            spool,
            relations: BTreeMap::new(),
            unsynced_files: files.values().cloned().collect(),
            files,
        }
    }

    /// Whether a push of this many bytes, or a take, may touch the disk.
    pub(super) fn may_use_disk(&self, bytes: usize) -> bool {
        match self.mode {
            Mode::Memory => self.memory_bytes + bytes > self.memory_bytes_max,
            Mode::Spooling(_) => true,
        }
    }

    /// Takes items from the front of `items`, as many as fit.
    ///
    /// # Errors
    /// The disk fails in a way that waiting does not help.
    pub(super) fn push(&mut self, items: &mut VecDeque<Item>) -> Result<Pushed, SpoolError> {
        while let Some(item) = items.pop_front() {
            let fits = self.memory.is_empty()
                || self.memory_bytes + item.bytes() <= self.memory_bytes_max
                || matches!(item.content, Content::Idle);
            if matches!(self.mode, Mode::Memory) {
                if fits {
                    self.remember(item);
                    continue;
                }
                self.mode = Mode::Spooling(Chunk::default());
            }
            if let Err(error) = self.flush(Flush::IfLarge) {
                items.push_front(item);
                return if error.is_full() {
                    Ok(Pushed::Full(error))
                } else {
                    Err(error)
                };
            }
            if let Content::File(file) = &item.content {
                self.files.insert(file.commit.end_lsn, file.path.clone());
                self.unsynced_files.push(file.path.clone());
            }
            if let Mode::Spooling(chunk) = &mut self.mode {
                chunk.push(item);
            }
        }
        Ok(Pushed::All)
    }

    /// The next items if they are in memory.
    pub(super) fn take_from_memory(&mut self, bytes_max: usize) -> Taken {
        if self.memory.is_empty() {
            return match &self.mode {
                Mode::Memory => Taken::Nothing,
                Mode::Spooling(chunk) if self.spool.is_drained() && chunk.is_empty() => {
                    Taken::Nothing
                }
                Mode::Spooling(_) => Taken::OnDisk,
            };
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.memory.pop_front() {
            bytes += item.bytes();
            taken.push(item);
            if bytes >= bytes_max {
                break;
            }
        }
        self.memory_bytes -= bytes;
        Taken::Items(taken)
    }

    /// The next items, wherever they are. May read a file.
    ///
    /// # Errors
    /// The spool is damaged or cannot be read.
    pub(super) fn take(&mut self, bytes_max: usize) -> Result<Taken, SpoolError> {
        match self.take_from_memory(bytes_max) {
            Taken::OnDisk => {}
            taken @ (Taken::Items(_) | Taken::Nothing) => return Ok(taken),
        }
        if let Some(record) = self.spool.pop()? {
            return self.decode(record.kind, record.payload).map(Taken::Items);
        }
        // The spool is read to its end: what is left of the chunk goes past it, through memory.
        let Mode::Spooling(chunk) = std::mem::replace(&mut self.mode, Mode::Memory) else {
            return Ok(Taken::Nothing);
        };
        let idle = chunk.idle_at_its_end();
        for item in chunk.items.into_iter().chain(idle) {
            self.remember(item);
        }
        Ok(self.take_from_memory(bytes_max))
    }

    /// Forgets what is not needed any more once everything up to `applied` is.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn trim(&mut self, applied: Lsn) -> Result<(), SpoolError> {
        self.spool.trim(applied.0)?;
        while let Some(first) = self
            .files
            .first_entry()
            .filter(|first| *first.key() <= applied)
        {
            let path = first.remove();
            self.unsynced_files.retain(|unsynced| *unsynced != path);
            if let Err(source) = std::fs::remove_file(&path)
                && source.kind() != std::io::ErrorKind::NotFound
            {
                return Err(SpoolError::Io {
                    doing: "delete",
                    file: path,
                    source,
                });
            }
        }
        Ok(())
    }

    /// Up to where the source may forget, when everything up to `applied` is applied.
    pub(super) fn acknowledgeable(&self, applied: Lsn) -> Lsn {
        Lsn(self.spool.durable_end(applied.0))
    }

    /// Writes out what is complete; what must be synced for it to be durable, if anything.
    ///
    /// # Errors
    /// The disk fails; a full one is no error here.
    pub(super) fn start_sync(&mut self) -> Result<Option<BufferSync>, SpoolError> {
        match self.flush(Flush::Complete) {
            Ok(()) => {}
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error),
        }
        let ticket = self.spool.start_sync();
        Ok(ticket.map(|ticket| {
            let files = std::mem::take(&mut self.unsynced_files);
            BufferSync { files, ticket }
        }))
    }

    /// Takes the outcome of a sync. After a failure only what is applied is acknowledged.
    pub(super) fn finish_sync(
        &mut self,
        outcome: Result<Synced, SpoolError>,
    ) -> Result<(), SpoolError> {
        self.spool.finish_sync(outcome)
    }

    /// Bytes on disk, without the files of large transactions.
    pub(super) fn spool_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Whether something is or will be in the spool that is not durable.
    pub(super) fn needs_sync(&self) -> bool {
        matches!(&self.mode, Mode::Spooling(chunk) if chunk.complete.is_some())
            || self.spool.needs_sync()
    }

    /// Whether there are files that may be deleted one day.
    pub(super) fn has_files(&self) -> bool {
        self.spool.bytes() > 0 || !self.files.is_empty()
    }

    /// Whether there is something on disk that the consumer did not take yet.
    pub(super) fn has_backlog_on_disk(&self) -> bool {
        !self.spool.is_drained()
    }

    /// Puts an item into memory: it goes past the spool.
    fn remember(&mut self, item: Item) {
        self.spool.passed(kind_of(&item));
        keep_relations(&mut self.relations, &item);
        if let Content::File(file) = &item.content {
            self.files.insert(file.commit.end_lsn, file.path.clone());
        }
        if matches!(item.content, Content::Idle)
            && let Some(last) = self.memory.back_mut()
            && matches!(last.content, Content::Idle)
        {
            last.ends_at = item.ends_at;
            return;
        }
        self.memory_bytes += item.bytes();
        self.memory.push_back(item);
    }

    /// Writes the chunk, or as much of it as asked.
    fn flush(&mut self, flush: Flush) -> Result<(), SpoolError> {
        let Mode::Spooling(chunk) = &mut self.mode else {
            return Ok(());
        };
        let (count, kind) = match (flush, chunk.complete) {
            (Flush::IfLarge, _) if chunk.bytes < CHUNK_BYTES => return Ok(()),
            (Flush::IfLarge | Flush::Complete, Some((count, end))) => {
                (count, RecordKind::UnitEnd(end.0))
            }
            (Flush::IfLarge, None) => (chunk.items.len(), RecordKind::Part),
            (Flush::Complete, None) => return Ok(()),
        };
        let mut payload = Vec::with_capacity(chunk.bytes);
        chunk
            .items
            .iter()
            .take(count)
            .for_each(|item| item::encode(item, &mut payload));
        let relations = &self.relations;
        self.spool.push(kind, &payload, || preamble(relations))?;
        let rest = chunk.items.split_off(count);
        for item in std::mem::take(chunk).items {
            keep_relations(&mut self.relations, &item);
        }
        rest.into_iter().for_each(|item| chunk.push(item));
        Ok(())
    }

    fn decode(&self, kind: RecordKind, payload: Vec<u8>) -> Result<Vec<Item>, SpoolError> {
        let mut items = item::decode(payload, &self.dir).ok_or_else(|| SpoolError::Damaged {
            file: self.dir.clone(),
            offset: 0,
            what: "a record is not of this program",
        })?;
        if let RecordKind::UnitEnd(end) = kind
            && items.last().and_then(|last| last.ends_at) != Some(Lsn(end))
        {
            items.push(Item {
                content: Content::Idle,
                ends_at: Some(Lsn(end)),
            });
        }
        Ok(items)
    }
}

/// How much of the chunk to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// What makes a record, if there is enough for one.
    IfLarge,
    /// Everything up to the last end of a unit.
    Complete,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.complete.is_none()
    }

    /// The position that was reached after the last item, without one.
    fn idle_at_its_end(&self) -> Option<Item> {
        let (count, position) = self.complete?;
        let told = self.items.last().and_then(|last| last.ends_at) == Some(position);
        (count == self.items.len() && !told).then_some(Item {
            content: Content::Idle,
            ends_at: Some(position),
        })
    }

    fn push(&mut self, item: Item) {
        let ends_at = item.ends_at;
        if !matches!(item.content, Content::Idle) {
            self.bytes += item.bytes();
            self.items.push(item);
        }
        if let Some(end) = ends_at {
            self.complete = Some((self.items.len(), end));
        }
    }
}

fn kind_of(item: &Item) -> RecordKind {
    item.ends_at
        .map_or(RecordKind::Part, |end| RecordKind::UnitEnd(end.0))
}

fn keep_relations(relations: &mut BTreeMap<u32, Bytes>, item: &Item) {
    for message in item.relations() {
        if let Some(oid) = relation_oid(message) {
            // A copy: the message may be a slice of something large.
            relations.insert(oid, Bytes::copy_from_slice(message));
        }
    }
}

fn preamble(relations: &BTreeMap<u32, Bytes>) -> Vec<u8> {
    let mut out = Vec::new();
    for message in relations.values() {
        let content = Content::Message(message.clone());
        item::encode(
            &Item {
                content,
                ends_at: None,
            },
            &mut out,
        );
    }
    out
}

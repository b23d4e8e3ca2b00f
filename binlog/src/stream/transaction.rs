//! One transaction on its way: the events that matter, as they came, in memory or on disk.
//!
//! Events are kept undecoded: rows are decoded when the consumer takes them, so that one transaction
//! of any size needs little memory. What does not fit goes to a file without a name.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;

use crate::position::Position;

/// Bytes of one transaction that are held in memory.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A flat charge for each event that is held.
const EVENT_BYTES: usize = 64;

/// What is kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its type byte.
    pub(super) code: u8,
    /// Its time, seconds since 1970.
    pub(super) timestamp: u32,
    pub(super) body: Bytes,
}

/// The events of a transaction that is being read.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Until there is a file; then all events are there.
    memory: Vec<Kept>,
    bytes: usize,
    file: Option<BufWriter<File>>,
    file_bytes: u64,
}

/// A whole transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) position: Position,
    pub(super) commit_time_us: Option<u64>,
    pub(super) short_table_ids: bool,
    events: Events,
    bytes: usize,
    file_bytes: u64,
}

/// The events of a whole transaction, in order.
#[derive(Debug)]
enum Events {
    Memory(std::vec::IntoIter<Kept>),
    File(BufReader<File>),
}

impl Gathering {
    /// Whether nothing was kept.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.file.is_none()
    }

    /// Keeps an event.
    pub(super) fn push(&mut self, kept: Kept, folder: &Path) -> io::Result<()> {
        let bytes = kept.body.len() + EVENT_BYTES;
        if self.file.is_none() && self.bytes + bytes <= MEMORY_BYTES_MAX {
            self.bytes += bytes;
            self.memory.push(kept);
            return Ok(());
        }
        if self.file.is_none() {
            std::fs::create_dir_all(folder)?;
            let file = tempfile::tempfile_in(folder)?;
            self.file = Some(BufWriter::with_capacity(1 << 20, file));
            self.bytes = 0;
            for earlier in std::mem::take(&mut self.memory) {
                self.write(&earlier)?;
            }
        }
        self.write(&kept)
    }

    fn write(&mut self, kept: &Kept) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let length = u32::try_from(kept.body.len()).map_err(io::Error::other)?;
        file.write_all(&[kept.code])?;
        file.write_all(&kept.timestamp.to_le_bytes())?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&kept.body)?;
        self.file_bytes += 9 + u64::from(length);
        Ok(())
    }

    /// Ends the transaction.
    pub(super) fn end(
        self,
        position: Position,
        commit_time_us: Option<u64>,
        short_table_ids: bool,
    ) -> io::Result<Transaction> {
        let events = match self.file {
            None => Events::Memory(self.memory.into_iter()),
            Some(writer) => {
                let mut file = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                Events::File(BufReader::with_capacity(1 << 20, file))
            }
        };
        Ok(Transaction {
            position,
            commit_time_us,
            short_table_ids,
            events,
            bytes: self.bytes,
            file_bytes: self.file_bytes,
        })
    }
}

impl Transaction {
    /// One of few events.
    pub(super) fn new(
        position: Position,
        commit_time_us: Option<u64>,
        short_table_ids: bool,
        events: Vec<Kept>,
    ) -> Self {
        let bytes = events.iter().map(|kept| kept.body.len() + EVENT_BYTES);
        Self {
            position,
            commit_time_us,
            short_table_ids,
            bytes: bytes.sum(),
            events: Events::Memory(events.into_iter()),
            file_bytes: 0,
        }
    }

    /// Bytes held in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + EVENT_BYTES
    }

    /// Bytes in a file of its own.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The events, unless they are in a file.
    pub(super) fn in_memory(&self) -> Option<&[Kept]> {
        match &self.events {
            Events::Memory(events) => Some(events.as_slice()),
            Events::File(_) => None,
        }
    }

    /// The next event.
    pub(super) fn next(&mut self) -> io::Result<Option<Kept>> {
        match &mut self.events {
            Events::Memory(memory) => Ok(memory.next()),
            Events::File(file) => read(file),
        }
    }
}

/// Reads an event that [`Gathering::push`] wrote; `None` at the end.
fn read(file: &mut impl Read) -> io::Result<Option<Kept>> {
    let mut code = [0];
    if file.read(&mut code)? == 0 {
        return Ok(None);
    }
    let mut number = [0; 4];
    file.read_exact(&mut number)?;
    let timestamp = u32::from_le_bytes(number);
    file.read_exact(&mut number)?;
    let length = usize::try_from(u32::from_le_bytes(number)).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    file.read_exact(&mut body)?;
    Ok(Some(Kept {
        code: code[0],
        timestamp,
        body: Bytes::from(body),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{BinlogFile, Gtids};

    #[test]
    fn events_come_back_in_order_from_memory_and_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        for count in [3_u8, 40] {
            let kept = |number: u8| Kept {
                code: number,
                timestamp: u32::from(number) * 1000,
                body: Bytes::from(vec![number; 1024 * 1024]),
            };
            let mut gathering = Gathering::default();
            for number in 0..count {
                gathering.push(kept(number), folder.path()).unwrap();
            }
            assert!(gathering.bytes <= MEMORY_BYTES_MAX && !gathering.is_empty());
            assert_eq!(gathering.memory.is_empty(), count == 40);
            let position = Position::new(BinlogFile::new("b.1", 4), Gtids::None);
            let mut transaction = gathering.end(position, None, false).unwrap();
            for number in 0..count {
                assert_eq!(transaction.next().unwrap(), Some(kept(number)));
            }
            assert_eq!(transaction.next().unwrap(), None);
        }
    }
}

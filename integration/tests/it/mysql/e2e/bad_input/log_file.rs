//! The files of a server's binary log, to be damaged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use integration::mysql::MySqlServer;

/// Bytes of an event's header.
const HEADER_BYTES: usize = 19;

/// Bytes of the checksum behind an event.
const CHECKSUM_BYTES: usize = 4;

/// One event in a file.
#[derive(Debug, Clone)]
pub(super) struct Event {
    path: PathBuf,
    /// The file's name.
    pub(super) file: String,
    /// Where it begins.
    pub(super) offset: usize,
    /// Where its transaction begins.
    pub(super) transaction: usize,
    bytes: Vec<u8>,
}

/// The last event of a server's log that inserts rows.
pub(super) fn last_insert(server: &MySqlServer) -> Event {
    let logs = server.sql("SHOW BINARY LOGS").unwrap();
    let last = logs.lines().last().unwrap();
    let file = last.split('\t').next().unwrap().to_owned();
    let path = server.data_dir().join(&file);
    let bytes = fs::read(&path).unwrap();
    let mut offset = 4;
    let (mut found, mut transaction) = (None, offset);
    while offset + HEADER_BYTES <= bytes.len() {
        let length = u32::from_le_bytes(bytes[offset + 9..offset + 13].try_into().unwrap());
        let end = offset + usize::try_from(length).unwrap();
        match bytes[offset + 4] {
            // GTIDs of all flavours.
            33 | 34 | 162 => transaction = offset,
            // WRITE_ROWS of versions 1 and 2.
            23 | 30 => found = Some((offset..end, transaction)),
            _other => {}
        }
        offset = end;
    }
    let (found, transaction) = found.expect("an insert in the log");
    Event {
        path,
        file,
        offset: found.start,
        transaction,
        bytes: bytes[found].to_vec(),
    }
}

impl Event {
    /// Writes the event as it was.
    pub(super) fn restore(&self) {
        self.write(&self.bytes);
    }

    /// Flips a bit of its last row; the checksum stays.
    pub(super) fn flip(&self) {
        let mut bytes = self.bytes.clone();
        let last = bytes.len() - CHECKSUM_BYTES - 1;
        bytes[last] ^= 0x01;
        self.write(&bytes);
    }

    /// Makes it an event of another type, with a checksum that fits.
    pub(super) fn become_type(&self, code: u8) {
        let mut bytes = self.bytes.clone();
        bytes[4] = code;
        checksum(&mut bytes);
        self.write(&bytes);
    }

    fn write(&self, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        let at = u64::try_from(self.offset).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }
}

/// Puts the right checksum behind an event.
pub(super) fn checksum(event: &mut [u8]) {
    let covered = event.len() - CHECKSUM_BYTES;
    let sum = crc32fast::hash(&event[..covered]);
    event[covered..].copy_from_slice(&sum.to_le_bytes());
}

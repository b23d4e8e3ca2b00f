//! A file of records without segments: written once from front to back, then read the same way.
//!
//! The home of one large thing that is too big for memory and is not part of the queue itself (a
//! transaction that is still running at its source).

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::SpoolError;
use super::record::{self, Found, Record, RecordKind};

/// Writes a new file.
#[derive(Debug)]
pub struct RecordFileWriter {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Reused for every record.
    encoded: Vec<u8>,
}

impl RecordFileWriter {
    /// Makes the file; one that exists under this name is emptied.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, SpoolError> {
        let path = path.into();
        let file = File::create(&path).map_err(|source| SpoolError::io("create", &path, source))?;
        Ok(Self {
            path,
            file,
            bytes: 0,
            encoded: Vec::new(),
        })
    }

    /// Appends a record. After an error the file ends where it ended before.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), SpoolError> {
        self.encoded.clear();
        if record::encode(RecordKind::Part, payload, &mut self.encoded).is_none() {
            return Err(SpoolError::TooLarge {
                dir: self.path.parent().map(PathBuf::from).unwrap_or_default(),
                bytes: payload.len(),
            });
        }
        self.bytes += append(&self.file, &self.path, self.bytes, &self.encoded)?;
        Ok(())
    }

    /// The file's size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its last name.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self, path: impl Into<PathBuf>) -> Result<PathBuf, SpoolError> {
        let path = path.into();
        std::fs::rename(&self.path, &path)
            .map_err(|source| SpoolError::io("rename", &self.path, source))?;
        Ok(path)
    }
}

/// Reads a file that a [`RecordFileWriter`] wrote.
#[derive(Debug)]
pub struct RecordFileReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    /// The length that the writer told: a file that ends earlier is damaged.
    len: u64,
}

impl RecordFileReader {
    /// Opens a file that must have `len` bytes.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(path: impl Into<PathBuf>, len: u64) -> Result<Self, SpoolError> {
        let path = path.into();
        let file = File::open(&path).map_err(|source| SpoolError::io("open", &path, source))?;
        Ok(Self {
            path,
            file: BufReader::new(file),
            offset: 0,
            len,
        })
    }

    /// The next record's payload; `None` after the last.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn pop(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        let damaged = |what| SpoolError::Damaged {
            file: self.path.clone(),
            offset: self.offset,
            what,
        };
        if self.offset == self.len {
            return Ok(None);
        }
        let found = record::read(&mut self.file)
            .map_err(|source| SpoolError::io("read", &self.path, source))?;
        match found {
            Found::Record {
                record: Record { payload, .. },
                bytes,
            } => {
                self.offset += bytes;
                Ok(Some(payload))
            }
            Found::End => Err(damaged("it ends too early")),
            Found::Torn(what) => Err(damaged(what)),
        }
    }
}

/// Appends bytes to a file that ends at `len`; if that fails half-way, the file is cut there again.
pub(super) fn append(
    mut file: &File,
    path: &Path,
    len: u64,
    bytes: &[u8],
) -> Result<u64, SpoolError> {
    if let Err(source) = file.write_all(bytes) {
        // Cutting needs no space; if it fails too, the torn record is found by its checksum.
        if file
            .set_len(len)
            .and_then(|()| file.seek(SeekFrom::Start(len)))
            .is_err()
        {
            return Err(SpoolError::Io {
                doing: "cut back",
                file: path.to_owned(),
                source,
            });
        }
        return Err(SpoolError::io("write to", path, source));
    }
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

//! What can go wrong with the spool's files.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A spool that cannot go on. What was written before stays readable.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The size limit is reached: write again after a trim.
    #[error("the spool in {dir} has reached its limit of {limit_bytes} bytes")]
    LimitReached {
        /// The spool's folder.
        dir: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file system is full: write again after a trim, or when there is space.
    #[error("no space is left for the spool in {dir}")]
    DiskFull {
        /// The spool's folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process, or another stream of this one, uses the folder.
    #[error("the spool in {dir} is in use; give each migration a folder of its own")]
    InUse {
        /// The spool's folder.
        dir: PathBuf,
    },
    /// A record is larger than any that we write.
    #[error("a record of {bytes} bytes is too large for the spool in {dir}")]
    TooLarge {
        /// The spool's folder.
        dir: PathBuf,
        /// The record's size.
        bytes: usize,
    },
    /// A record that was written is not what is read.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The file system failed in another way.
    #[error("cannot {doing} {file}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    /// Whether writing may succeed later, when space was made.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::LimitReached { .. } | Self::DiskFull { .. } => true,
            Self::InUse { .. } | Self::TooLarge { .. } | Self::Damaged { .. } | Self::Io { .. } => {
                false
            }
        }
    }

    pub(super) fn io(doing: &'static str, file: impl Into<PathBuf>, source: io::Error) -> Self {
        let file = file.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                dir: file.parent().map(PathBuf::from).unwrap_or_default(),
                source,
            },
            _other => Self::Io {
                doing,
                file,
                source,
            },
        }
    }
}

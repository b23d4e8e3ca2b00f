//! The note that a source was left for good.
//!
//! `finish` removes everything of ours from both servers, the journal that says who serves too. A
//! proxy that is started again with the same configuration would find two servers without a trace
//! and serve the old one, with its old rows. So `finish` first writes down here, beside the spool,
//! which server was left and which one serves. The note counts only as long as the configuration
//! still names both as they were; it goes away when a later migration ends on that server.
//!
//! # Crash behaviour
//! The note is durable before the first trace is removed. Until then the journal answers.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The note about a source: one file each, since several proxies may share the folder.
fn path(folder: &Path, source: &str) -> PathBuf {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let name: String = source.chars().map(plain).collect();
    folder.join(format!("left-{name}.json"))
}

/// Which server was left, and which one serves, each as `host:port/database`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Left {
    /// The server that was left.
    pub source: String,
    /// The server that serves.
    pub target: String,
}

/// What the note says of the servers in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// There is none for this source: the servers are asked who serves.
    Absent,
    /// The source was left for the target, which serves.
    Left,
}

/// Why the note cannot be followed.
#[derive(Debug, Error)]
pub(crate) enum LeftError {
    /// The file cannot be read or written.
    #[error("the note {} about a finished migration cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration serves a server that was left.
    #[error(
        "`source` names {source_server}, which was left for {target_server} by a migration that is \
         finished: set `source` to the new server. If the old one is really to serve, with the rows \
         it had then, remove {}",
        path.display()
    )]
    OldSource {
        /// The server that was left.
        source_server: String,
        /// The server that serves.
        target_server: String,
        /// The note.
        path: PathBuf,
    },
}

impl Left {
    /// Writes the note, durably; one that the target was left before counts no more.
    ///
    /// # Errors
    /// When the folder or the file cannot be written; nothing must be removed then.
    pub(super) fn write(&self, folder: &Path) -> Result<(), LeftError> {
        let path = path(folder, &self.source);
        let write = || {
            std::fs::create_dir_all(folder)?;
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            match std::fs::remove_file(self::path(folder, &self.target)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(_) | Ok(()) => {}
            }
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| LeftError::File {
            path: path.clone(),
            source,
        })
    }
}

/// Looks for a note about the configured servers.
///
/// # Errors
/// The note cannot be read, or `source` names a server that was left for one that is not `target`.
pub(super) fn look(folder: &Path, source: &str, target: Option<&str>) -> Result<Note, LeftError> {
    let path = path(folder, source);
    let failed = |error| LeftError::File {
        path: path.clone(),
        source: error,
    };
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Note::Absent),
        text => text.map_err(failed)?,
    };
    let left: Left = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    if left.source != source {
        return Ok(Note::Absent);
    }
    if target == Some(left.target.as_str()) {
        return Ok(Note::Left);
    }
    Err(LeftError::OldSource {
        source_server: left.source,
        target_server: left.target,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Left {
        Left {
            source: "old:5432/shop".to_owned(),
            target: "new:5432/shop".to_owned(),
        }
    }

    #[test]
    fn a_source_that_was_left_does_not_serve_again_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = ("old:5432/shop", "new:5432/shop");
        let look = |source, target| look(folder.path(), source, target);
        assert_eq!(look(old, Some(new)).unwrap(), Note::Absent);
        note().write(folder.path()).unwrap();
        assert_eq!(look(old, Some(new)).unwrap(), Note::Left);
        for target in [None, Some("third:5432/shop")] {
            let error = look(old, target).unwrap_err().to_string();
            assert!(error.contains(new) && error.contains("left-old"), "{error}");
        }
        // The operator has set `source` to the new server, and later moves back.
        assert_eq!(look(new, None).unwrap(), Note::Absent);
        let back = Left {
            source: new.to_owned(),
            target: old.to_owned(),
        };
        back.write(folder.path()).unwrap();
        assert_eq!(look(new, Some(old)).unwrap(), Note::Left);
        assert_eq!(look(old, None).unwrap(), Note::Absent);
    }

    #[test]
    fn a_damaged_note_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let old = "old:5432/shop";
        std::fs::write(path(folder.path(), old), "{").unwrap();
        look(folder.path(), old, None).unwrap_err();
    }
}

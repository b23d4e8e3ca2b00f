//! Places in a server's binary log, and what they are written down as.
//!
//! A [`Position`] has two halves. The *file coordinates* order the positions of one server: they
//! only grow while its log is not reset. The *GTIDs* say what a stream is resumed by, where the
//! server has them; the two halves always describe the same instant.
//!
//! # Which position is written down
//! The position behind a commit whose changes are applied, never one ahead of them: a server that
//! is asked to go on behind a GTID never sends it again. XA transactions that are prepared and not
//! yet committed are such a gap: [`Position::reread`] tells where reading must begin again so that
//! they are seen, while everything up to [`Position::file`] is left out.

mod gtid;
mod maria;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

pub use gtid::{Gtid, GtidSet, Interval, ParseGtidError, Sid, Tag, Uuid};
pub use maria::{MariaGtid, MariaGtidState};

/// A place in a binary log file: the end of an event, or 4 for the file's beginning.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BinlogFile {
    /// The file's name as the server tells it, without a folder.
    pub name: Arc<str>,
    /// Bytes from the file's beginning. May pass 4 GiB, which the events' own field cannot say.
    pub offset: u64,
}

/// What a server's own transaction identifiers say about a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtids {
    /// The server has none (`gtid_mode=OFF`, or MySQL 5.6 without it): resume by file.
    None,
    /// MySQL: everything that is included.
    MySql(GtidSet),
    /// MariaDB: the last transaction of each domain.
    MariaDb(MariaGtidState),
}

/// A position in one server's stream of changes.
///
/// Compared by [`Position::file`] alone: two positions of one server with equal coordinates are
/// the same position. Positions of different servers must not be compared.
#[derive(Debug, Clone)]
pub struct Position {
    /// Everything committed up to here is included.
    pub file: BinlogFile,
    /// The same in the server's identifiers. XA transactions that are only prepared are not in a
    /// MySQL set, so that the server sends them again.
    pub gtids: Gtids,
    /// Where reading begins again, if it is earlier than `file`: prepared XA transactions stand
    /// between the two. Not needed with a MySQL set, which has gaps for them.
    pub reread: Option<Box<Reread>>,
}

/// Where reading begins so that prepared XA transactions are seen again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// Before the first of them.
    pub file: BinlogFile,
    /// The same in the server's identifiers.
    pub gtids: Gtids,
}

impl BinlogFile {
    /// The place behind a file's magic number, where its first event begins.
    pub const FIRST_OFFSET: u64 = 4;

    /// Bits of [`BinlogFile::ordinal`] for the offset: one file of at most 256 GiB.
    const OFFSET_BITS: u32 = 38;

    /// A place in the file of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, offset: u64) -> Self {
        Self {
            name: name.into(),
            offset,
        }
    }

    /// The name's base and number: `binlog` and 7 of `binlog.000007`.
    #[must_use]
    pub fn parts(&self) -> Option<(&str, u64)> {
        let (base, number) = self.name.rsplit_once('.')?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse().ok().map(|number| (base, number)))?
    }

    /// One number that grows with the place, for places of one server. `None` if the name has no
    /// number, or the place is beyond what 64 bits hold (67 million files of 256 GiB).
    #[must_use]
    pub fn ordinal(&self) -> Option<u64> {
        let (_base, number) = self.parts()?;
        let fits = number >> (64 - Self::OFFSET_BITS) == 0 && self.offset >> Self::OFFSET_BITS == 0;
        fits.then_some(number << Self::OFFSET_BITS | self.offset)
    }

    /// Bytes of log from `earlier` to here as far as two places tell: those of files in between
    /// are not known, and count as nothing.
    #[must_use]
    pub fn bytes_since(&self, earlier: &Self) -> u64 {
        if self.name == earlier.name {
            self.offset.saturating_sub(earlier.offset)
        } else if *self > *earlier {
            self.offset
        } else {
            0
        }
    }
}

impl PartialOrd for BinlogFile {
    /// By the file's number, then the offset. Files with other base names cannot be compared.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self.name == other.name {
            return Some(self.offset.cmp(&other.offset));
        }
        let ((base, number), (other_base, other_number)) = (self.parts()?, other.parts()?);
        let order = number.cmp(&other_number);
        (base == other_base && order != Ordering::Equal).then_some(order)
    }
}

impl fmt::Display for BinlogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.offset)
    }
}

impl fmt::Debug for BinlogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Gtids {
    /// Whether the server has identifiers to resume by.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Position {
    /// A position with no XA transaction in between.
    #[must_use]
    pub fn new(file: BinlogFile, gtids: Gtids) -> Self {
        Self {
            file,
            gtids,
            reread: None,
        }
    }

    /// Whether everything in it is the same, not the place alone.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.file == other.file && self.gtids == other.gtids && self.reread == other.reread
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.file.partial_cmp(&other.file)
    }
}

impl router::Position for Position {}

/// Characters of a file's name that would end it in a position's text.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b':').add(b';');

impl fmt::Display for Position {
    /// `binlog.000003:1547 mysql 3e11fa47-..:1-5`, and ` reread binlog.000002:4 ..` if there is
    /// such a place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_half(f, &self.file, &self.gtids)?;
        if let Some(reread) = &self.reread {
            f.write_str(" reread ")?;
            write_half(f, &reread.file, &reread.gtids)?;
        }
        Ok(())
    }
}

fn write_half(f: &mut fmt::Formatter<'_>, file: &BinlogFile, gtids: &Gtids) -> fmt::Result {
    let name = utf8_percent_encode(&file.name, ESCAPED);
    write!(f, "{name}:{}", file.offset)?;
    match gtids {
        Gtids::None => Ok(()),
        Gtids::MySql(set) => write!(f, " mysql {set}"),
        Gtids::MariaDb(state) => write!(f, " mariadb {state}"),
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParsePositionError {
    /// There is no file and offset at its beginning.
    #[error("\"{0}\" is not a binary log's file and offset")]
    File(String),
    /// Its identifiers cannot be read.
    #[error("the position's transaction identifiers cannot be read")]
    Gtids(#[from] ParseGtidError),
    /// A word has no place there.
    #[error("\"{0}\" has no place in a position")]
    Word(String),
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, reread) = match text.split_once(" reread ") {
            Some((first, reread)) => (first, Some(reread)),
            None => (text, None),
        };
        let (file, gtids) = parse_half(first)?;
        let reread = reread
            .map(|half| parse_half(half).map(|(file, gtids)| Box::new(Reread { file, gtids })))
            .transpose()?;
        Ok(Self {
            file,
            gtids,
            reread,
        })
    }
}

fn parse_half(text: &str) -> Result<(BinlogFile, Gtids), ParsePositionError> {
    let (place, rest) = text.split_once(' ').unwrap_or((text, ""));
    let file = parse_place(place).ok_or_else(|| ParsePositionError::File(place.to_owned()))?;
    let (kind, set) = rest.split_once(' ').unwrap_or((rest, ""));
    let gtids = match kind {
        "" if set.is_empty() => Gtids::None,
        "mysql" => Gtids::MySql(set.parse()?),
        "mariadb" => Gtids::MariaDb(set.parse()?),
        word => return Err(ParsePositionError::Word(word.to_owned())),
    };
    Ok((file, gtids))
}

fn parse_place(place: &str) -> Option<BinlogFile> {
    let (name, offset) = place.split_once(':')?;
    let name = percent_decode_str(name).decode_utf8().ok()?;
    if name.is_empty() || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(BinlogFile::new(name.as_ref(), offset.parse().ok()?))
}

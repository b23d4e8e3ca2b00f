//! Positions in a server's stream of changes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A place in one server's stream of changes.
///
/// Positions of one stream are partially ordered: GTID sets of a server with several origins may be
/// incomparable, PostgreSQL's [`Lsn`] is totally ordered.
pub trait Position:
    Clone + fmt::Debug + fmt::Display + PartialEq + PartialOrd + Send + Sync
{
    /// Whether a stream that has come to `self` has everything up to and including `other`.
    fn includes(&self, other: &Self) -> bool {
        self >= other
    }
}

/// A PostgreSQL log sequence number: a byte offset into the write-ahead log.
///
/// Printed and parsed as the server does it (`16/B374D848`), see "`pg_lsn` Type" in the manual.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The invalid position, smaller than every real one.
    pub const INVALID: Self = Self(0);

    /// Bytes of log from `earlier` to `self`, 0 if `earlier` is not earlier.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Position for Lsn {}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no log sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a log sequence number: {0:?}")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(high, low)| {
            let high = u32::from_str_radix(high, 16).ok()?;
            let low = u32::from_str_radix(low, 16).ok()?;
            Some(Self(u64::from(high) << 32 | u64::from(low)))
        });
        parsed.ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_prints_and_parses_like_the_server() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn, Lsn(0x16_B374_D848));
        assert_eq!(lsn.to_string(), "16/B374D848");
        assert_eq!("0/0".parse(), Ok(Lsn::INVALID));
    }

    #[test]
    fn what_is_no_lsn_is_refused() {
        for text in ["", "16", "16/", "/1", "G/1", "1/100000000", "1/2/3"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}

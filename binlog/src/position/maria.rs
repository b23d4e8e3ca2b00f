//! MariaDB's identifiers: domain, server and sequence.
//!
//! <https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::gtid::ParseGtidError;

/// One transaction's identifier: `domain-server-sequence`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MariaGtid {
    /// Replication domain: transactions of one domain are in one order.
    pub domain: u32,
    /// The server that made it.
    pub server: u32,
    /// Its number; it grows within the domain.
    pub sequence: u64,
}

/// A position: the last transaction of each domain.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct MariaGtidState {
    last: BTreeMap<u32, MariaGtid>,
}

impl MariaGtidState {
    /// A state without any transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the transaction is included.
    pub fn advance(&mut self, gtid: MariaGtid) {
        self.last.insert(gtid.domain, gtid);
    }

    /// The last transaction of a domain.
    #[must_use]
    pub fn last(&self, domain: u32) -> Option<MariaGtid> {
        self.last.get(&domain).copied()
    }

    /// The last transactions, by domain.
    pub fn iter(&self) -> impl Iterator<Item = MariaGtid> + '_ {
        self.last.values().copied()
    }

    /// Whether there is no transaction at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Whether every domain here is there too, with at least this sequence.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        let covered = |gtid: &MariaGtid| {
            let last = other.last.get(&gtid.domain);
            last.is_some_and(|last| last.sequence >= gtid.sequence)
        };
        self.last.values().all(covered)
    }

    /// Whether the transaction is included, as far as its domain's last sequence tells.
    #[must_use]
    pub fn contains(&self, gtid: MariaGtid) -> bool {
        let last = self.last.get(&gtid.domain);
        last.is_some_and(|last| last.sequence >= gtid.sequence)
    }
}

impl FromIterator<MariaGtid> for MariaGtidState {
    fn from_iter<I: IntoIterator<Item = MariaGtid>>(gtids: I) -> Self {
        let mut state = Self::new();
        gtids.into_iter().for_each(|gtid| state.advance(gtid));
        state
    }
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl fmt::Debug for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MariaGtidState {
    /// As in `@@gtid_binlog_pos` and `@slave_connect_state`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MariaGtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaGtidState({self})")
    }
}

impl FromStr for MariaGtid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut part = || {
            let part = parts.next()?;
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(part)
        };
        let gtid = (|| {
            let domain = part()?.parse().ok()?;
            let server = part()?.parse().ok()?;
            let sequence = part()?.parse().ok()?;
            Some(Self {
                domain,
                server,
                sequence,
            })
        })();
        match (gtid, parts.next()) {
            (Some(gtid), None) => Ok(gtid),
            (_, _) => Err(ParseGtidError::new(text)),
        }
    }
}

impl FromStr for MariaGtidState {
    type Err = ParseGtidError;

    /// A domain that is named twice is refused: a state has one last transaction a domain.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut state = Self::new();
        if text.trim().is_empty() {
            return Ok(state);
        }
        for one in text.split(',') {
            let gtid: MariaGtid = one.trim().parse()?;
            if state.last.insert(gtid.domain, gtid).is_some() {
                return Err(ParseGtidError::new(text));
            }
        }
        Ok(state)
    }
}

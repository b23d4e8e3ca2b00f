//! MySQL's identifiers: sets of transactions by the server that made them, and by tag.
//!
//! <https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html>

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::BufMut;
use thiserror::Error;

/// A server's `server_uuid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// A tag, as MySQL 8.3 and later know them: at most 32 of `a-z`, `0-9` and `_`, no digit first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// Who numbered a transaction: a server, under a tag or none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    /// The server.
    pub uuid: Uuid,
    /// The tag.
    pub tag: Option<Tag>,
}

/// One transaction: `uuid:number` or `uuid:tag:number`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Gtid {
    /// Who numbered it.
    pub sid: Sid,
    /// Its number, at least 1.
    pub number: u64,
}

/// Transactions with consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first, at least 1.
    pub first: u64,
    /// The last, included.
    pub last: u64,
}

/// A set of transactions.
///
/// Intervals of one [`Sid`] are sorted, and never touch or overlap; none is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    sids: BTreeMap<Sid, Vec<Interval>>,
}

/// A text that is no transaction identifier or no set of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a set of transaction identifiers")]
pub struct ParseGtidError(String);

impl ParseGtidError {
    pub(super) fn new(text: &str) -> Self {
        const SHOWN: usize = 200;
        Self(text.chars().take(SHOWN).collect())
    }
}

impl Tag {
    /// A tag of this text; capital letters become small ones, as the server does it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let first = text.bytes().next()?;
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = text.len() <= 32 && !first.is_ascii_digit() && text.bytes().all(legal);
        fits.then(|| Self(text.into()))
    }

    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GtidSet {
    /// The largest number that a server gives.
    const NUMBER_MAX: u64 = i64::MAX.cast_unsigned() - 1;

    /// A set without transactions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no transaction in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sids.is_empty()
    }

    /// The servers and tags, each with its intervals.
    pub fn iter(&self) -> impl Iterator<Item = (&Sid, &[Interval])> {
        self.sids
            .iter()
            .map(|(sid, intervals)| (sid, intervals.as_slice()))
    }

    /// Adds one transaction.
    pub fn insert(&mut self, gtid: &Gtid) {
        let one = Interval {
            first: gtid.number,
            last: gtid.number,
        };
        match self.sids.get_mut(&gtid.sid) {
            Some(intervals) => add(intervals, one),
            None => {
                self.sids.insert(gtid.sid.clone(), vec![one]);
            }
        }
    }

    /// Adds all transactions from one number to another.
    pub fn insert_interval(&mut self, sid: Sid, interval: Interval) {
        if interval.first <= interval.last {
            add(self.sids.entry(sid).or_default(), interval);
        }
    }

    /// Whether the transaction is in the set.
    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        let Some(intervals) = self.sids.get(&gtid.sid) else {
            return false;
        };
        let after = intervals.partition_point(|interval| interval.first <= gtid.number);
        let before = after.checked_sub(1).and_then(|index| intervals.get(index));
        before.is_some_and(|interval| interval.last >= gtid.number)
    }

    /// Adds everything of `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (sid, intervals) in &other.sids {
            let own = self.sids.entry(sid.clone()).or_default();
            intervals.iter().for_each(|interval| add(own, *interval));
        }
    }

    /// What is in one of the two.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.union_with(other);
        all
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::new();
        for (sid, intervals) in &self.sids {
            let taken = other.sids.get(sid).map_or(&[][..], Vec::as_slice);
            let left = without(intervals, taken);
            if !left.is_empty() {
                rest.sids.insert(sid.clone(), left);
            }
        }
        rest
    }

    /// Whether everything here is in `other` too.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.subtract(other).is_empty()
    }

    /// How many transactions are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        let all = self.sids.values().flatten();
        all.map(|interval| interval.last - interval.first + 1)
            .fold(0, u64::saturating_add)
    }

    /// Whether a tag is in it, which servers before 8.3 do not understand.
    #[must_use]
    pub fn has_tags(&self) -> bool {
        self.sids.keys().any(|sid| sid.tag.is_some())
    }

    /// The set as `COM_BINLOG_DUMP_GTID` carries it: with tags only where there are some, since
    /// servers before 8.3 know no other form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        const TAGGED: u64 = 1;
        let count = as_u64(self.sids.len());
        let mut out = Vec::new();
        out.put_u64_le(if self.has_tags() {
            TAGGED << 56 | count << 8 | TAGGED
        } else {
            count
        });
        for (sid, intervals) in &self.sids {
            out.put_slice(&sid.uuid.0);
            if self.has_tags() {
                let tag = sid.tag.as_ref().map_or("", Tag::as_str);
                // A number of up to 7 bits in the server's variable-length form.
                out.put_u8(u8::try_from(tag.len() << 1).unwrap_or_default());
                out.put_slice(tag.as_bytes());
            }
            out.put_u64_le(as_u64(intervals.len()));
            for interval in intervals {
                out.put_u64_le(interval.first);
                out.put_u64_le(interval.last + 1);
            }
        }
        out
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Adds an interval, joining it with all that it overlaps or touches.
fn add(intervals: &mut Vec<Interval>, new: Interval) {
    // The common case: the next number of the last interval.
    if let Some(last) = intervals.last_mut()
        && last.first <= new.first
        && new.first <= last.last.saturating_add(1)
    {
        last.last = last.last.max(new.last);
        return;
    }
    let begin = intervals.partition_point(|old| old.last.saturating_add(1) < new.first);
    let end = intervals.partition_point(|old| old.first <= new.last.saturating_add(1));
    let joined = intervals.get(begin..end).unwrap_or_default();
    let first = joined
        .first()
        .map_or(new.first, |old| old.first.min(new.first));
    let last = joined.last().map_or(new.last, |old| old.last.max(new.last));
    intervals.splice(begin..end.max(begin), [Interval { first, last }]);
}

/// What is left of sorted intervals without others.
fn without(intervals: &[Interval], taken: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut taken = taken.iter().peekable();
    for &Interval { mut first, last } in intervals {
        while let Some(hole) = taken.peek() {
            if hole.last < first {
                taken.next();
                continue;
            }
            if hole.first > last {
                break;
            }
            if hole.first > first {
                let last = hole.first - 1;
                left.push(Interval { first, last });
            }
            first = hole.last + 1;
            if first > last {
                break;
            }
        }
        if first <= last {
            left.push(Interval { first, last });
        }
    }
    left
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            None => write!(f, "{}", self.uuid),
            Some(tag) => write!(f, "{}:{}", self.uuid, tag.as_str()),
        }
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sid, self.number)
    }
}

impl fmt::Debug for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for GtidSet {
    /// As the server writes it, on one line: `uuid:1-5:7:tag:1-3,uuid:..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<Uuid> = None;
        for (sid, intervals) in &self.sids {
            if before != Some(sid.uuid) {
                let comma = if before.is_some() { "," } else { "" };
                write!(f, "{comma}{}", sid.uuid)?;
                before = Some(sid.uuid);
            }
            if let Some(tag) = &sid.tag {
                write!(f, ":{}", tag.as_str())?;
            }
            for Interval { first, last } in intervals {
                match first == last {
                    true => write!(f, ":{first}")?,
                    false => write!(f, ":{first}-{last}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({self})")
    }
}

impl FromStr for Uuid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_uuid(text).ok_or_else(|| ParseGtidError::new(text))
    }
}

fn parse_uuid(text: &str) -> Option<Uuid> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let dashes = text.len() == 36 && text.bytes().filter(|byte| *byte == b'-').count() == 4;
    if !dashes || digits.len() != 32 {
        return None;
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        if !pair.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Uuid(uuid))
}

impl FromStr for Gtid {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let set: GtidSet = text.parse()?;
        let mut sids = set.sids.into_iter();
        match (sids.next(), sids.next()) {
            (Some((sid, intervals)), None) => match intervals.as_slice() {
                [Interval { first, last }] if first == last => Ok(Self {
                    sid,
                    number: *first,
                }),
                _several => Err(ParseGtidError::new(text)),
            },
            (_, _) => Err(ParseGtidError::new(text)),
        }
    }
}

impl FromStr for GtidSet {
    type Err = ParseGtidError;

    /// Reads what any server writes; white space around the parts is allowed, as there.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_set(text).ok_or_else(|| ParseGtidError::new(text))
    }
}

fn parse_set(text: &str) -> Option<GtidSet> {
    let mut set = GtidSet::new();
    for group in text.split(',').map(str::trim) {
        if group.is_empty() {
            continue;
        }
        let mut parts = group.split(':').map(str::trim);
        let mut sid = Sid {
            uuid: parts.next()?.parse().ok()?,
            tag: None,
        };
        let mut intervals = 0;
        for part in parts {
            match parse_interval(part) {
                Some(interval) => {
                    set.insert_interval(sid.clone(), interval);
                    intervals += 1;
                }
                None => sid.tag = Some(Tag::new(part)?),
            }
        }
        if intervals == 0 {
            return None;
        }
    }
    Some(set)
}

fn parse_interval(text: &str) -> Option<Interval> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok())?
    };
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    let fits = 1 <= first && first <= last && last <= GtidSet::NUMBER_MAX;
    fits.then_some(Interval { first, last })
}

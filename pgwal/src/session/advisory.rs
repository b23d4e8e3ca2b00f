//! Session-level advisory locks: which a session holds, how often, and taking them on its twin.
//!
//! The list comes from outside, one query for all sessions. How often a session holds a lock is in
//! no view: it is counted inside the session, by giving the lock up as often as the server lets it
//! and taking it again as often, in one transaction that holds the same lock as its own: nobody
//! else can take it meanwhile.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::wire::frontend;

/// Most different locks of one session that are carried.
pub(super) const LOCKS_MAX: usize = 1_000;

const HOLD_NAME: &str = "pointsman_hold";
const COUNT_NAME: &str = "pointsman_count";

const FITS: &str = "invariant: constants and numbers without zero bytes fit a message";

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Exclusive,
    Shared,
}

/// What a lock is on, as the functions take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// One `bigint`.
    Whole(i64),
    /// Two `int`s.
    Pair(i32, i32),
}

/// One lock in one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lock {
    key: Key,
    mode: Mode,
}

/// A lock and how often it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldLock {
    lock: Lock,
    times: i64,
}

/// A lock as a row of `pg_locks` names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockRow<'a> {
    pub(super) class: i64,
    pub(super) object: i64,
    /// 1 for one `bigint`, 2 for two `int`s.
    pub(super) sub: i64,
    pub(super) mode: &'a str,
}

impl Lock {
    /// The lock that a row names; `None` for a kind that this version does not know.
    pub(super) fn from_row(row: LockRow<'_>) -> Option<Self> {
        let class = u32::try_from(row.class).ok()?;
        let object = u32::try_from(row.object).ok()?;
        let key = match row.sub {
            1 => {
                let whole = (u64::from(class) << 32) | u64::from(object);
                Key::Whole(whole.cast_signed())
            }
            2 => Key::Pair(class.cast_signed(), object.cast_signed()),
            _unknown => return None,
        };
        let mode = match row.mode {
            "ExclusiveLock" => Mode::Exclusive,
            "ShareLock" => Mode::Shared,
            _unknown => return None,
        };
        Some(Self { key, mode })
    }

    /// A call of one of the functions `pg_catalog.pg_<function>[_shared](key)`.
    fn call(self, function: &str) -> String {
        let shared = match self.mode {
            Mode::Exclusive => "",
            Mode::Shared => "_shared",
        };
        format!("pg_catalog.pg_{function}{shared}({})", self.key)
    }

    /// An expression with one row: how often the session holds the lock.
    fn count(self) -> String {
        let unlock = self.call("advisory_unlock");
        let lock = self.call("try_advisory_lock");
        format!(
            "(WITH RECURSIVE u(n, ok) AS (SELECT 0::pg_catalog.int8, true UNION ALL \
             SELECT u.n OPERATOR(pg_catalog.+) 1, {unlock} FROM u WHERE u.ok), \
             c AS MATERIALIZED (SELECT pg_catalog.max(u.n) OPERATOR(pg_catalog.-) 1 AS n FROM u) \
             SELECT pg_catalog.concat(c.n, ' ', (SELECT pg_catalog.count(*) FROM \
             pg_catalog.generate_series(1::pg_catalog.int8, c.n) AS g WHERE {lock})) FROM c)"
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(key) => write!(f, "'{key}'::pg_catalog.int8"),
            Self::Pair(first, second) => {
                write!(f, "'{first}'::pg_catalog.int4, '{second}'::pg_catalog.int4")
            }
        }
    }
}

/// The question how often a session holds these locks, which it does hold. It leaves the session's
/// unnamed statement alone, and everything in it is one transaction. The answer has one row of one
/// column for each lock, behind one row of no interest.
pub(super) fn count_question(locks: &[Lock]) -> BytesMut {
    let mut out = BytesMut::new();
    let holds: Vec<String> = locks
        .iter()
        .map(|lock| format!("{}::pg_catalog.text", lock.call("try_advisory_xact_lock")))
        .collect();
    let hold = format!(
        "SELECT pg_catalog.bool_and(h.held::pg_catalog.bool) FROM pg_catalog.unnest(ARRAY[{}]) AS h(held)",
        holds.join(", ")
    );
    let counts: Vec<String> = locks
        .iter()
        .map(|lock| format!("SELECT {}", lock.count()))
        .collect();
    for (name, sql) in [(HOLD_NAME, hold), (COUNT_NAME, counts.join(" UNION ALL "))] {
        frontend::parse(name, &sql, [], &mut out).expect(FITS);
        super::question::bind(name, &[], &mut out);
        frontend::execute("", 0, &mut out).expect(FITS);
        frontend::close(b'S', name, &mut out).expect(FITS);
    }
    frontend::sync(&mut out);
    out
}

/// The locks with their counts, from the answer. `None` when the answer is not what was asked for,
/// or when not all could be taken again.
pub(super) fn counted(locks: &[Lock], rows: &[Vec<Option<Bytes>>]) -> Option<Vec<HeldLock>> {
    let (first, rows) = rows.split_first()?;
    let held = first.first()?.as_deref()?;
    if held != b"t" || rows.len() != locks.len() {
        return None;
    }
    let mut counted = Vec::with_capacity(locks.len());
    for (lock, row) in locks.iter().zip(rows) {
        let text = std::str::from_utf8(row.first()?.as_deref()?).ok()?;
        let (given, taken) = text.split_once(' ')?;
        let times: i64 = given.parse().ok()?;
        if given != taken {
            return None;
        }
        if times > 0 {
            counted.push(HeldLock { lock: *lock, times });
        }
    }
    Some(counted)
}

/// Takes locks on a twin; gives `t` when it got all of them.
pub(super) fn take(locks: &[HeldLock]) -> String {
    let all: Vec<String> = locks
        .iter()
        .map(|held| {
            let lock = held.lock.call("try_advisory_lock");
            format!(
                "SELECT pg_catalog.bool_and({lock}) AS taken FROM pg_catalog.generate_series(\
                 1::pg_catalog.int8, '{}'::pg_catalog.int8)",
                held.times
            )
        })
        .collect();
    format!(
        "SELECT pg_catalog.bool_and(a.taken) FROM ({}) AS a",
        all.join(" UNION ALL ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(class: i64, object: i64, sub: i64, mode: &str) -> Option<Lock> {
        Lock::from_row(LockRow {
            class,
            object,
            sub,
            mode,
        })
    }

    #[test]
    fn keys_are_the_numbers_that_the_functions_take() {
        let max = i64::from(u32::MAX);
        for (class, object, sub, key) in [
            (0, 7, 1, "'7'::pg_catalog.int8"),
            (max, max, 1, "'-1'::pg_catalog.int8"),
            (1 << 31, 0, 1, "'-9223372036854775808'::pg_catalog.int8"),
            (1, max - 1, 2, "'1'::pg_catalog.int4, '-2'::pg_catalog.int4"),
        ] {
            let lock = lock(class, object, sub, "ExclusiveLock").unwrap();
            assert_eq!(lock.key.to_string(), key);
        }
        assert_eq!(lock(0, 7, 3, "ExclusiveLock"), None);
        assert_eq!(lock(0, 7, 1, "AccessShareLock"), None);
        assert_eq!(lock(-1, 7, 1, "ShareLock"), None);
    }

    #[test]
    fn an_answer_counts_only_when_every_lock_was_taken_again() {
        let locks = [
            lock(0, 7, 1, "ExclusiveLock").unwrap(),
            lock(0, 7, 1, "ShareLock").unwrap(),
        ];
        let rows = |cells: &[&str]| -> Vec<Vec<Option<Bytes>>> {
            let bytes = |cell: &&str| vec![Some(Bytes::copy_from_slice(cell.as_bytes()))];
            cells.iter().map(bytes).collect()
        };
        let one = HeldLock {
            lock: locks[0],
            times: 3,
        };
        assert_eq!(
            counted(&locks, &rows(&["t", "3 3", "0 0"])),
            Some(vec![one])
        );
        for bad in [
            &["f", "3 3", "1 1"][..],
            &["t", "3 2", "1 1"],
            &["t", "3 3"],
            &["t", "3", "1"],
            &[],
        ] {
            assert_eq!(counted(&locks, &rows(bad)), None, "{bad:?}");
        }
    }
}

//! Which failures of the target may be none later, and which tell of rows that differ.

use super::error::Found;
use crate::wire::{ConnectError, SqlError};

/// Errors that end by themselves: the server is starting, full, shutting down, locked, read-only
/// for a while; or the statement was in another's way.
const TRANSIENT: &[u16] = &[
    1040, // too many connections
    1041, // out of memory
    1053, // shutdown in progress
    1077, 1078, 1079, // shutting down
    1021, 1114, // disk or table full
    1152, 1158, 1159, 1160, 1161, // network
    1203, 1226, // user's connections
    1205, 1213, 1206, // lock wait timeout, deadlock, too many locks
    1290, 1792, 1836, // read-only, by option or by transaction
    1317, 1927, // interrupted, killed
    1020, // record has changed since last read (MariaDB's snapshot isolation)
    3024, 1969, // statement timeout
    3572, // no wait
    2006, 2013, // gone away
];

/// Codes after which the same transaction succeeds when it is run again.
const RUN_AGAIN: &[u16] = &[1205, 1213, 1020];

/// Whether the same statement may succeed later.
pub(super) fn is_transient(error: &SqlError) -> bool {
    error.code().is_none_or(|code| TRANSIENT.contains(&code))
}

/// Whether only the locks of others were in the way: the transaction is to be run again whole.
pub(super) fn lost_to_a_lock(error: &SqlError) -> bool {
    error.code().is_some_and(|code| RUN_AGAIN.contains(&code))
}

/// Whether opening a connection may succeed later.
pub(super) fn connect_is_transient(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => true,
        ConnectError::Tls { .. } | ConnectError::Auth { .. } | ConnectError::Version { .. } => {
            false
        }
        ConnectError::Refused { source, .. } => TRANSIENT.contains(&source.code),
        ConnectError::Wire { source, .. } => source
            .server()
            .is_none_or(|refusal| TRANSIENT.contains(&refusal.code)),
    }
}

/// How the target's rows differ, if that is what the refusal of a change tells.
pub(super) fn difference(error: &SqlError) -> Option<Found> {
    match error.code()? {
        1032 => Some(Found::Missing),
        1022 | 1062 | 1169 | 1586 | 1761 | 1762 => Some(Found::Exists),
        _ => None,
    }
}

/// A row breaks a rule that the target has: of NULL, of what refers to what, of values and types, of
/// partitions.
const BROKEN_RULE: &[u16] = &[
    1048, 1364, // NULL where none may be
    1216, 1217, 1451, 1452, // foreign keys
    1264, 1265, 1292, 1366, 1406, 1411, 1416, 1690, 3140, // values that do not fit
    1526, 1591, 1748, // no partition
    1644, // a trigger
    1906, // computed columns
    3819, 4025, // CHECK
];

/// Whether the refusal of a change is about what is in one of its rows.
pub(super) fn is_broken_rule(error: &SqlError) -> bool {
    error.code().is_some_and(|code| BROKEN_RULE.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ServerError;

    /// Only somebody who sets `max_allowed_packet` higher makes the same statement pass.
    #[test]
    fn a_packet_that_is_too_large_stays_too_large() {
        let of = |code| {
            let refused = ServerError {
                code,
                sqlstate: "08S01".to_owned(),
                message: String::new(),
            };
            is_transient(&SqlError::Server(refused))
        };
        assert!(!of(1153));
        assert!(of(1158));
    }
}

//! What a server says that cannot send its log.

use super::error::StreamError;
use crate::position::BinlogFile;
use crate::wire::{ServerError, WireError};

/// The server cannot send the log: `ER_MASTER_FATAL_ERROR_READING_BINLOG`.
const FATAL_READING: u16 = 1236;

/// MariaDB: another reader has this number; also while a connection that broke is not yet noticed.
const SAME_NUMBER: u16 = 4052;

/// The log that was asked for is not there any more.
const GONE: [&str; 4] = ["purged", "could not find", "not found in", "missing"];

/// The place that was asked for never was: MariaDB's words for a GTID, and all servers' for an
/// offset.
const NEVER_THERE: [&str; 3] = ["which is not in the", "> file size", "impossible position"];

/// What passes by itself.
const PASSING: [&str; 2] = ["memory allocation", "out of memory"];

/// The end of a stream by the server's error; `place` is the end of what was read.
pub(super) fn judge(error: ServerError, server_id: u32, place: &BinlogFile) -> StreamError {
    if error.code == SAME_NUMBER {
        return StreamError::NumberTaken(server_id);
    }
    if error.code != FATAL_READING {
        return WireError::from(error).into();
    }
    let text = error.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["with the same server"]) {
        // It tells the one that it ends for another that has come.
        StreamError::EndedBySource
    } else if says(&NEVER_THERE) {
        StreamError::Rewound(error.message)
    } else if says(&GONE) {
        StreamError::Purged(error.message)
    } else if says(&PASSING) {
        WireError::from(error).into()
    } else {
        StreamError::Unreadable {
            file: place.clone(),
            message: error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: u16, message: &str) -> StreamError {
        let error = ServerError {
            code,
            sqlstate: "HY000".to_owned(),
            message: message.to_owned(),
        };
        judge(error, 7, &BinlogFile::new("binlog.000002", 120))
    }

    #[test]
    fn each_fatal_answer_is_told_apart() {
        let clash = "A replica with the same server_uuid/server_id as this replica has connected \
                     to the source; the first event 'binlog.000001' at 4";
        assert!(matches!(judged(1236, clash), StreamError::EndedBySource));
        let maria = "A slave with the same server_uuid/server_id as this slave has connected to \
                     the master";
        assert!(matches!(judged(1236, maria), StreamError::EndedBySource));
        let purged = "Could not find first log file name in binary log index file";
        assert!(matches!(judged(1236, purged), StreamError::Purged(_)));
        let rewound = "connecting slave requested to start from GTID 0-1-9, which is not in the \
                       master's binlog";
        assert!(matches!(judged(1236, rewound), StreamError::Rewound(_)));
        let broken = judged(1236, "bogus data in log event; the first event");
        let said = broken.to_string();
        assert!(said.contains("binlog.000002:120"), "{said}");
        assert!(!broken.is_transient());
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        assert!(judged(1236, "memory allocation failed reading log event").is_transient());
        let taken = "A slave with the same server_uuid/server_id is already connected";
        assert!(judged(4052, taken).is_transient());
        assert!(judged(1053, "Server shutdown in progress").is_transient());
    }
}

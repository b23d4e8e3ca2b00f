//! The types of events: which are applied, which may be left out, and which end the stream.
//!
//! Whatever is not on this list ends the stream: an event that is passed over in silence is data
//! that is lost. Numbers: `enum Log_event_type` of MySQL, and MariaDB's manual, "Event Types".

use super::error::StopReason;

/// What is done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    CompressedQuery,
    Rotate,
    Format,
    Xid,
    XaPrepare,
    TableMap,
    /// Changes of rows.
    Rows(RowsKind),
    Gtid,
    TaggedGtid,
    AnonymousGtid,
    MariaGtid,
    Payload,
    Heartbeat,
    /// Says nothing about data, or only something about a statement that is judged by itself.
    Ignorable,
}

/// A kind of rows event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsKind {
    pub(super) change: RowsChange,
    /// Whether the post-header has extra data (version 2).
    pub(super) has_extra: bool,
    /// Whether the rows are compressed (MariaDB).
    pub(super) compressed: bool,
    /// Whether images after a change may have parts of JSON values (MySQL).
    pub(super) partial: bool,
}

/// What a rows event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsChange {
    Insert,
    Update,
    Delete,
}

impl Kind {
    /// The kind of a type byte.
    pub(super) fn of(code: u8) -> Result<Self, StopReason> {
        use RowsChange::{Delete, Insert, Update};
        let rows = |change, has_extra, compressed| {
            Self::Rows(RowsKind {
                change,
                has_extra,
                compressed,
                partial: false,
            })
        };
        Ok(match code {
            2 => Self::Query,
            165 => Self::CompressedQuery,
            4 => Self::Rotate,
            15 => Self::Format,
            16 => Self::Xid,
            19 => Self::TableMap,
            23 => rows(Insert, false, false),
            24 => rows(Update, false, false),
            25 => rows(Delete, false, false),
            30 => rows(Insert, true, false),
            31 => rows(Update, true, false),
            32 => rows(Delete, true, false),
            39 => Self::Rows(RowsKind {
                change: Update,
                has_extra: true,
                compressed: false,
                partial: true,
            }),
            166 => rows(Insert, false, true),
            167 => rows(Update, false, true),
            168 => rows(Delete, false, true),
            169 => rows(Insert, true, true),
            170 => rows(Update, true, true),
            171 => rows(Delete, true, true),
            27 | 41 => Self::Heartbeat,
            33 => Self::Gtid,
            34 => Self::AnonymousGtid,
            42 => Self::TaggedGtid,
            162 => Self::MariaGtid,
            38 => Self::XaPrepare,
            40 => Self::Payload,
            // STOP, IGNORABLE, ROWS_QUERY, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE,
            // ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST; START_ENCRYPTION, behind which the file
            // is encrypted and what is sent is not; INTVAR, RAND and USER_VAR, which belong to a
            // statement that follows.
            3 | 5 | 13 | 14 | 28 | 29 | 35 | 36 | 37 | 160 | 161 | 163 | 164 => Self::Ignorable,
            26 => return Err(StopReason::Incident),
            6 | 8..=12 | 17 | 18 => return Err(StopReason::LoadData),
            unknown => return Err(StopReason::UnknownEvent(unknown)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_applied_or_ignorable_or_ends_the_stream() {
        let stops: Vec<u8> = (0..=u8::MAX)
            .filter(|code| Kind::of(*code).is_err())
            .collect();
        let known = [
            2, 3, 4, 5, 13, 14, 15, 16, 19, 23, 24, 25, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37,
            38, 39, 40, 41, 42, 160, 161, 162, 163, 164, 165, 166, 167, 168, 169, 170, 171,
        ];
        for code in 0..=u8::MAX {
            assert_ne!(stops.contains(&code), known.contains(&code), "{code}");
        }
        assert!(matches!(Kind::of(26), Err(StopReason::Incident)));
        assert!(matches!(Kind::of(18), Err(StopReason::LoadData)));
        assert!(matches!(Kind::of(200), Err(StopReason::UnknownEvent(200))));
    }
}

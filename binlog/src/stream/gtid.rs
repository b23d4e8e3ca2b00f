//! Events that begin a transaction and name it.

use mysql_common::binlog::BinlogCtx;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{FormatDescriptionEvent, GtidEvent};
use mysql_common::io::ParseBuf;
use mysql_common::proto::MyDeserialize;

use super::error::EventError;
use crate::position::{Gtid, MariaGtid, Sid, Tag, Uuid};
use crate::wire::{FieldError, Fields};

/// The type of an event with a tagged GTID.
const TAGGED: u8 = 42;

/// A transaction of MySQL begins.
#[derive(Debug, Clone)]
pub(super) struct MySqlBegin {
    /// `None` if it is anonymous.
    pub(super) gtid: Option<Gtid>,
    /// When it committed, microseconds since 1970, from 8.0 on.
    pub(super) commit_time_us: Option<u64>,
}

/// A transaction of MariaDB begins.
#[derive(Debug, Clone)]
pub(super) struct MariaBegin {
    pub(super) gtid: MariaGtid,
    pub(super) form: MariaForm,
}

/// What follows a GTID of MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MariaForm {
    /// Changes, and something that ends them.
    Transaction,
    /// A single statement, and nothing will end it.
    Standalone,
    /// An `ALTER TABLE` in two phases (`binlog_alter_two_phase`) begins, or was undone. When it
    /// has been done, it comes again.
    Announced,
}

/// Reads `Gtid_log_event` or an anonymous one.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Gtid__event.html>
pub(super) fn mysql(body: &[u8], named: bool) -> Result<MySqlBegin, EventError> {
    let mut fields = Fields::new(body);
    let _flags = fields.u8()?;
    let uuid = Uuid(fields.array("it ends in its UUID")?);
    let number = fields.u64()?;
    let gtid = named.then_some(Gtid {
        sid: Sid { uuid, tag: None },
        number,
    });
    Ok(MySqlBegin {
        gtid,
        commit_time_us: commit_time(fields),
    })
}

/// Behind the numbers for parallel appliers, from 8.0.1 on: 7 bytes, of which the highest bit tells
/// whether another time follows.
fn commit_time(mut fields: Fields<'_>) -> Option<u64> {
    const LOGICAL_TIMESTAMPS: u8 = 2;
    (fields.u8().ok()? == LOGICAL_TIMESTAMPS).then_some(())?;
    let _last_committed = fields.u64().ok()?;
    let _sequence = fields.u64().ok()?;
    let [a, b, c, d, e, f, g] = fields.array("no commit time").ok()?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, g & 0x7f, 0]))
}

/// Reads `Gtid_tagged_log_event` (MySQL 8.3 and later), which has a serialization of its own.
pub(super) fn tagged(body: &[u8]) -> Result<MySqlBegin, EventError> {
    let unreadable = FieldError("the tagged GTID cannot be read");
    let description = FormatDescriptionEvent::new(BinlogVersion::Version4);
    let ctx = BinlogCtx::new(body.len(), &description, TAGGED);
    let event = GtidEvent::deserialize(ctx, &mut ParseBuf(body)).map_err(|_bad| unreadable)?;
    let tag = event.tag().map(ToString::to_string).unwrap_or_default();
    let tag = match tag.as_str() {
        "" => None,
        text => Some(Tag::new(text).ok_or(unreadable)?),
    };
    let time = event.immediate_commit_timestamp();
    Ok(MySqlBegin {
        gtid: Some(Gtid {
            sid: Sid {
                uuid: Uuid(event.sid()),
                tag,
            },
            number: event.gno(),
        }),
        commit_time_us: (time > 0).then_some(time),
    })
}

/// Reads MariaDB's `GTID_EVENT`; the server's number is in the event's header.
/// <https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol/gtid_event>
pub(super) fn maria(body: &[u8], server: u32) -> Result<MariaBegin, EventError> {
    const STANDALONE: u8 = 1;
    let mut fields = Fields::new(body);
    let sequence = fields.u64()?;
    let domain = fields.u32()?;
    let flags = fields.u8()?;
    let form = if flags & STANDALONE == 0 {
        MariaForm::Transaction
    } else if announces(fields, flags)? {
        MariaForm::Announced
    } else {
        MariaForm::Standalone
    };
    Ok(MariaBegin {
        gtid: MariaGtid {
            domain,
            server,
            sequence,
        },
        form,
    })
}

/// The extra flags stand behind what the first flags add; servers before 10.8 have none.
fn announces(mut fields: Fields<'_>, flags: u8) -> Result<bool, FieldError> {
    const GROUP_COMMIT_ID: u8 = 2;
    const PREPARED_XA: u8 = 64;
    const COMPLETED_XA: u8 = 128;
    const START_ALTER: u8 = 2;
    const ROLLBACK_ALTER: u8 = 8;
    if flags & GROUP_COMMIT_ID != 0 {
        let _id = fields.u64()?;
    }
    if flags & (PREPARED_XA | COMPLETED_XA) != 0 {
        let _format = fields.u32()?;
        let (gtrid, bqual) = (fields.u8()?, fields.u8()?);
        fields.bytes(usize::from(gtrid) + usize::from(bqual))?;
    }
    if fields.is_empty() {
        return Ok(false);
    }
    Ok(fields.u8()? & (START_ALTER | ROLLBACK_ALTER) != 0)
}

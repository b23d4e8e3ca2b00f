//! `KILL`: clients know their sessions by ids of ours, servers by theirs.
//!
//! A client is told an id of ours at its log-in, since its server connection does not exist yet
//! then; `CONNECTION_ID()` tells it the server's. Both are understood, also after the session went
//! over to another server. Whether one may kill another is the server's decision.

use bytes::{BufMut, BytesMut};
use router::Side;

use super::command::code;
use super::registry::Registry;
use super::text;

/// The longest text that is looked at.
const TEXT_BYTES_MAX: usize = 256;

/// The payload of a `COM_PROCESS_KILL`, as a statement: newer servers do not know the command.
pub(super) fn command(payload: &[u8], registry: &Registry, side: Side) -> Option<BytesMut> {
    let id = u32::from_le_bytes(*payload.get(1..)?.first_chunk::<4>()?);
    let id = registry.present_id(id, side).unwrap_or(id);
    Some(statement(&format!("KILL {id}")))
}

/// The payload of a query that is a `KILL` of an id that the server does not know by that name, as
/// it must be sent. `None`: as it is.
pub(super) fn query(sql: &[u8], registry: &Registry, side: Side) -> Option<BytesMut> {
    if sql.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (before, id) = parse(sql)?;
    let id = registry.present_id(id, side)?;
    Some(statement(&format!("{before} {id}")))
}

fn statement(sql: &str) -> BytesMut {
    let mut payload = BytesMut::with_capacity(1 + sql.len());
    payload.put_u8(code::QUERY);
    payload.put_slice(sql.as_bytes());
    payload
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY [ID]] n`: what stands before the number, and the number.
fn parse(sql: &[u8]) -> Option<(String, u32)> {
    let sql = text::trim(sql);
    if !sql.get(..4)?.eq_ignore_ascii_case(b"kill") {
        return None;
    }
    let sql = std::str::from_utf8(sql)
        .ok()?
        .trim_end_matches([';', ' ', '\n', '\t', '\r']);
    let (before, number) = sql.rsplit_once(|space: char| space.is_ascii_whitespace())?;
    let id = number.parse().ok()?;
    let known = ["kill", "hard", "soft", "connection", "query", "id"];
    let plain = before
        .split_ascii_whitespace()
        .all(|word| known.iter().any(|known| word.eq_ignore_ascii_case(known)));
    plain.then(|| (before.to_owned(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_kill_is_read_and_nothing_else() {
        let parsed = |sql: &str| parse(sql.as_bytes());
        assert_eq!(parsed("KILL 7"), Some(("KILL".to_owned(), 7)));
        assert_eq!(
            parsed("/* x */ kill query 1073741825 ;\n"),
            Some(("kill query".to_owned(), 1_073_741_825))
        );
        assert_eq!(
            parsed("KILL HARD CONNECTION 3"),
            Some(("KILL HARD CONNECTION".to_owned(), 3))
        );
        for other in [
            "KILL",
            "KILL USER x",
            "killed 7",
            "select 7",
            "KILL 'a' 7",
            "KILL -7",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}

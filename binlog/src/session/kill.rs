//! `KILL`: clients know their sessions by ids of ours, servers by theirs.
//!
//! A client is told an id of ours at its log-in, since its server connection does not exist yet
//! then; `CONNECTION_ID()` tells it the server's, of that time. Both are understood, also after the
//! session went over to another server. There an id of before may be the id of somebody else by now:
//! who is meant cannot be told then, and nobody is killed. Whether one may kill another is the
//! server's decision.

use bytes::{BufMut, Bytes, BytesMut};

use super::command::code;
use super::statements::Statements;
use super::text;

/// The longest text that is looked at.
const TEXT_BYTES_MAX: usize = 256;

/// Types of parameters that may hold an id.
mod kind {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
}

/// A `KILL` of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kill {
    /// The words in front of the id.
    before: String,
    /// All of it.
    text: Bytes,
    pub(super) whom: Whom,
}

/// Whom it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// The connection with this id.
    Id(u32),
    /// The session itself, or something that has no connection id: as it stands.
    Plain,
    /// The connection whose id is a statement's parameter.
    Parameter,
    /// The connection whose id the server finds out.
    Expression,
    /// Nobody can tell.
    Unknown,
}

/// Whether a text is a `KILL`.
#[inline]
pub(super) fn is_kill(sql: &[u8]) -> bool {
    if sql.len() > TEXT_BYTES_MAX {
        return false;
    }
    let sql = text::trim(sql);
    sql.get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"kill"))
        && sql
            .get(4)
            .is_some_and(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
}

/// What a command of a client kills: a `COM_PROCESS_KILL`, a query, or the execution of a statement.
pub(super) fn parse(payload: &[u8], statements: &Statements) -> Option<Kill> {
    let (&first, rest) = payload.split_first()?;
    if first == code::QUERY {
        return of_text(rest);
    }
    let id = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    if first == code::PROCESS_KILL {
        return of_text(format!("KILL {id}").as_bytes());
    }
    let (text, params, types) = statements.text_and_types(id)?;
    let mut kill = of_text(text)?;
    kill.whom = match (kill.whom, params) {
        (whom, 0) => whom,
        (Whom::Parameter, 1) => parameter(payload, types).map_or(Whom::Unknown, Whom::Id),
        (_any, _more) => Whom::Unknown,
    };
    Some(kill)
}

/// `KILL [HARD | SOFT] [CONNECTION | QUERY] n`: what stands before the number, and the number.
fn of_text(sql: &[u8]) -> Option<Kill> {
    if !is_kill(sql) {
        return None;
    }
    let text = Bytes::copy_from_slice(sql);
    let sql = String::from_utf8_lossy(text::trim(sql));
    let sql = sql.trim_end_matches([';', ' ', '\n', '\t', '\r']);
    let space = |space: char| space.is_ascii_whitespace();
    let (before, last) = sql.rsplit_once(space).unwrap_or((sql, ""));
    let words: Vec<String> = before
        .split_ascii_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    let is_plain = |known: &[&str]| words.iter().all(|word| known.contains(&word.as_str()));
    let whom = if is_plain(&["kill", "hard", "soft", "connection", "query"]) {
        match last.parse() {
            Ok(id) => Whom::Id(id),
            Err(_other) if last == "?" => Whom::Parameter,
            Err(_other) if last.eq_ignore_ascii_case("connection_id()") => Whom::Plain,
            Err(_other) => Whom::Expression,
        }
    } else if words.iter().any(|word| word == "user" || word == "id") {
        // A user, or the number of a statement (MariaDB).
        Whom::Plain
    } else {
        Whom::Expression
    };
    Some(Kill {
        before: before.to_owned(),
        text,
        whom,
    })
}

/// The only parameter of an execution, as an id.
fn parameter(payload: &[u8], known: Option<&Bytes>) -> Option<u32> {
    // Command, id, flags, iterations; a bitmap of one byte; whether types follow.
    let (nulls, rest) = payload.get(10..)?.split_first()?;
    let (sent, rest) = rest.split_first()?;
    let (kind, value) = match sent {
        0 => (*known?.first()?, rest),
        _types => (*rest.first()?, rest.get(2..)?),
    };
    if nulls & 1 != 0 {
        return None;
    }
    match kind {
        kind::TINY => Some(u32::from(*value.first()?)),
        kind::SHORT => Some(u32::from(u16::from_le_bytes(*value.first_chunk()?))),
        kind::LONG => Some(u32::from_le_bytes(*value.first_chunk()?)),
        kind::LONGLONG => u64::from_le_bytes(*value.first_chunk()?).try_into().ok(),
        // By its digits: an id is a whole number.
        kind::DOUBLE => f64::from_le_bytes(*value.first_chunk()?)
            .to_string()
            .parse()
            .ok(),
        kind::VARCHAR | kind::VAR_STRING | kind::STRING => {
            let (length, digits) = value.split_first()?;
            let digits = digits.get(..usize::from(*length))?;
            std::str::from_utf8(digits).ok()?.trim().parse().ok()
        }
        _other => None,
    }
}

impl Kill {
    /// The payload of a query that kills this connection.
    pub(super) fn of(&self, id: u32) -> BytesMut {
        query(format!("{} {id}", self.before).as_bytes())
    }

    /// Whether it ends a session, and not only what that does.
    pub(super) fn ends_session(&self) -> bool {
        let mut words = self.before.split_ascii_whitespace();
        !words.any(|word| word.eq_ignore_ascii_case("query"))
    }

    /// The payload of a query that is this very statement.
    pub(super) fn as_it_is(&self) -> BytesMut {
        query(&self.text)
    }
}

fn query(sql: &[u8]) -> BytesMut {
    let mut payload = BytesMut::with_capacity(1 + sql.len());
    payload.put_u8(code::QUERY);
    payload.put_slice(sql);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_kill_is_read() {
        let whom = |sql: &str| of_text(sql.as_bytes()).map(|kill| kill.whom);
        assert_eq!(whom("KILL 7"), Some(Whom::Id(7)));
        assert_eq!(
            whom("/* x */ kill query 1073741825 ;\n"),
            Some(Whom::Id(1_073_741_825))
        );
        assert_eq!(whom("KILL HARD CONNECTION 3"), Some(Whom::Id(3)));
        assert_eq!(whom("KILL QUERY ?"), Some(Whom::Parameter));
        for plain in ["KILL CONNECTION_ID()", "KILL USER x", "KILL QUERY ID 7"] {
            assert_eq!(whom(plain), Some(Whom::Plain), "{plain}");
        }
        for expression in [
            "KILL @a",
            "KILL -7",
            "KILL 7; SELECT 1",
            "KILL 3 + 4",
            "KILL(7)",
        ] {
            assert_eq!(whom(expression), Some(Whom::Expression), "{expression}");
        }
        for other in ["KILL", "killed 7", "select 7", "kill_7"] {
            assert_eq!(whom(other), None, "{other}");
        }
    }

    #[test]
    fn a_kill_of_a_statement_ends_no_session() {
        let ends = |sql: &str| of_text(sql.as_bytes()).map(|kill| kill.ends_session());
        for sql in ["KILL 7", "kill hard connection 7", "KILL SOFT 7"] {
            assert_eq!(ends(sql), Some(true), "{sql}");
        }
        for sql in ["KILL QUERY 7", "kill hard Query\n7"] {
            assert_eq!(ends(sql), Some(false), "{sql}");
        }
    }

    #[test]
    fn an_id_is_read_from_every_type_of_parameter() {
        let execution = |kind: u8, value: &[u8]| {
            let head = [0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, kind, 0];
            [&head[..], value].concat()
        };
        for payload in [
            execution(kind::LONGLONG, &7_i64.to_le_bytes()),
            execution(kind::LONG, &7_i32.to_le_bytes()),
            execution(kind::SHORT, &7_i16.to_le_bytes()),
            execution(kind::TINY, &[7]),
            execution(kind::DOUBLE, &7_f64.to_le_bytes()),
            execution(kind::VAR_STRING, b"\x017"),
        ] {
            assert_eq!(parameter(&payload, None), Some(7), "{payload:?}");
            for cut in 0..payload.len() {
                assert_eq!(parameter(&payload[..cut], None), None);
            }
        }
        let again = [0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7];
        let types = Bytes::from_static(&[kind::TINY, 0]);
        assert_eq!(parameter(&again, Some(&types)), Some(7));
        assert_eq!(parameter(&again, None), None);
        assert_eq!(
            parameter(&execution(kind::DOUBLE, &7.5_f64.to_le_bytes()), None),
            None
        );
    }
}

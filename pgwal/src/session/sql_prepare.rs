//! Statements that a client prepared with SQL's own `PREPARE`: which of them a twin can be given.
//!
//! The server keeps the text of the whole query string that held the `PREPARE`. It is sent again
//! only when it is exactly one such command: as an extended query, in which the server itself
//! refuses more than one command. What is in doubt is left alone, and the session listed.

use bytes::{BufMut, Bytes, BytesMut};

/// The body of the Parse message that runs this `PREPARE` again; `None` if the text may mean
/// something else than it did.
pub(super) fn replayable(text: &[u8]) -> Option<Bytes> {
    let trimmed = text.trim_ascii();
    let command = trimmed.strip_suffix(b";").unwrap_or(trimmed);
    let (word, rest) = command.split_at_checked(b"PREPARE".len())?;
    let is_prepare = word.eq_ignore_ascii_case(b"PREPARE")
        && rest
            .first()
            .is_some_and(|next| next.is_ascii_whitespace() || *next == b'"');
    // A semicolon may begin another command. What a backslash means depends on
    // standard_conforming_strings as it was when the statement was prepared, which nobody knows.
    let is_plain = !command
        .iter()
        .any(|letter| matches!(letter, b';' | b'\\' | 0));
    (is_prepare && is_plain).then(|| {
        let mut body = BytesMut::with_capacity(text.len() + 4);
        body.put_u8(0);
        body.put_slice(text);
        body.put_u8(0);
        body.put_i16(0);
        body.freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_prepare_is_sent_again_as_it_was() {
        for text in [
            "PREPARE p AS SELECT 1",
            " prepare p(int) AS SELECT $1 ; \n",
            "Prepare\"P p\" AS SELECT 'x' -- why",
        ] {
            let body = replayable(text.as_bytes()).expect(text);
            assert_eq!(body, format!("\0{text}\0\0\0"));
        }
    }

    #[test]
    fn a_text_that_may_mean_something_else_is_left_alone() {
        for text in [
            "",
            ";",
            "PREPARE",
            "PREPARED x",
            "PREPARE p AS SELECT 1; DELETE FROM t",
            "PREPARE p AS SELECT 1; PREPARE q AS SELECT 2;",
            "SELECT 1; PREPARE p AS SELECT 1",
            "DO $$BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END$$",
            "PREPARE p AS SELECT 'a\\b'",
            "/* why */ DROP TABLE t",
        ] {
            assert_eq!(replayable(text.as_bytes()), None, "{text}");
        }
    }
}

//! The question for a session's state, which its own server answers.
//!
//! It is a prepared statement of ours with a name, since an unnamed one or a simple query would
//! destroy the client's unnamed statement. Everything in it is schema qualified, operators
//! included: it runs under the client's search path and role.
//!
//! The statement is kept on the server from the first reading on, since a session that is read
//! inside the hold would else spend a third of that time on parsing and planning. It has no
//! parameters, so that its plan is kept too. It goes when twins are dropped; a client that looks
//! into `pg_prepared_statements` meanwhile sees it. A client that drops it with all others loses
//! nothing: then it is made again.

use bytes::{BufMut, BytesMut};

use crate::wire::frontend;

const NAME: &str = "pointsman_state";

const FITS: &str = "invariant: constants and checked names without zero bytes fit a message";

/// What the present server knows of the question.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// The settings that the kept statement asks for besides those in the catalog.
    kept_for: Option<Vec<String>>,
}

impl Question {
    /// Whether the server has the statement that asks for these settings.
    pub(super) fn is_kept_for(&self, custom_settings: &[String]) -> bool {
        self.kept_for.as_deref() == Some(custom_settings)
    }

    /// Notes that the server has the statement now.
    pub(super) fn keep(&mut self, custom_settings: Vec<String>) {
        self.kept_for = Some(custom_settings);
    }

    /// Notes that the server has none any more; whether it had.
    pub(super) fn forget(&mut self) -> bool {
        self.kept_for.take().is_some()
    }

    /// Notes the tag of a command that the client ran.
    #[inline]
    pub(super) fn note_command(&mut self, tag: &[u8]) {
        if tag.starts_with(b"DISCARD ALL") || tag.starts_with(b"DEALLOCATE ALL") {
            self.forget();
        }
    }
}

/// Makes the statement, in place of an older one, and asks.
pub(super) fn make(custom_settings: &[String]) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::close(b'S', NAME, &mut out).expect(FITS);
    frontend::parse(NAME, &text(custom_settings), [], &mut out).expect(FITS);
    out.unsplit(ask());
    out
}

/// Asks with the statement that is kept.
pub(super) fn ask() -> BytesMut {
    let mut out = BytesMut::new();
    bind(NAME, &[], &mut out);
    frontend::execute("", 0, &mut out).expect(FITS);
    frontend::sync(&mut out);
    out
}

/// Drops the statement.
pub(super) fn drop_kept() -> BytesMut {
    let mut out = BytesMut::new();
    frontend::close(b'S', NAME, &mut out).expect(FITS);
    frontend::sync(&mut out);
    out
}

/// The question's SQL. Names of custom settings are checked when they are taken in: they have no
/// character that means anything in a literal.
fn text(custom_settings: &[String]) -> String {
    let names = custom_settings.join(",");
    format!(
        "\
SELECT 1, s.name, s.setting FROM pg_catalog.pg_settings AS s \
 WHERE s.source OPERATOR(pg_catalog.=) 'session' \
   AND s.name OPERATOR(pg_catalog.<>) ALL (ARRAY['transaction_isolation', \
       'transaction_read_only', 'transaction_deferrable']::pg_catalog.text[]) \
UNION ALL SELECT 1, c.name, pg_catalog.current_setting(c.name, true) \
  FROM pg_catalog.unnest('{{{names}}}'::pg_catalog.text[]) AS c(name) \
UNION ALL SELECT 2, ''::pg_catalog.text, session_user::pg_catalog.text \
UNION ALL SELECT CASE WHEN p.from_sql THEN 4 ELSE 3 END, p.name, p.statement \
  FROM pg_catalog.pg_prepared_statement() AS p \
 WHERE p.name OPERATOR(pg_catalog.<>) '{NAME}' \
UNION ALL SELECT 5, l.channel, '' FROM pg_catalog.pg_listening_channels() AS l(channel) \
UNION ALL (SELECT 7, '', '' FROM pg_catalog.pg_depend AS d \
 WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
   AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
   AND pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid LIMIT 1) \
UNION ALL (SELECT 8, '', '' FROM pg_catalog.pg_cursor() AS c WHERE c.is_holdable LIMIT 1) \
UNION ALL SELECT 9, 'role', pg_catalog.current_setting('role')"
    )
}

/// Writes a Bind of the unnamed portal with parameters in text form.
pub(super) fn bind(statement: &str, parameters: &[&[u8]], out: &mut BytesMut) {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_slice(statement.as_bytes());
    body.put_u8(0);
    body.put_i16(0);
    body.put_i16(i16::try_from(parameters.len()).unwrap_or(i16::MAX));
    for parameter in parameters {
        body.put_i32(i32::try_from(parameter.len()).unwrap_or(i32::MAX));
        body.put_slice(parameter);
    }
    body.put_i16(0);
    out.put_u8(b'B');
    out.put_i32(i32::try_from(body.len() + 4).unwrap_or(i32::MAX));
    out.put_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_question_is_for_its_settings_until_the_client_drops_all_statements() {
        let names = vec!["app.tenant".to_owned()];
        for (tag, stays) in [
            (&b"DISCARD ALL\0"[..], false),
            (b"DEALLOCATE ALL\0", false),
            (b"DISCARD TEMP\0", true),
            (b"DEALLOCATE\0", true),
            (b"DELETE 1\0", true),
        ] {
            let mut question = Question::default();
            assert!(!question.is_kept_for(&names));
            question.keep(names.clone());
            assert!(!question.is_kept_for(&[]));
            question.note_command(tag);
            assert_eq!(question.is_kept_for(&names), stays);
            assert_eq!(question.forget(), stays);
        }
    }
}

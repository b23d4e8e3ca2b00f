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
//!
//! Beside it stands another one, the *look*: a digest of the same state, without the view of all
//! settings, which is what the state costs. Inside the hold it says of most sessions that they are
//! what they were.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::frontend;

const NAME: &str = "pointsman_state";

const LOOK_NAME: &str = "pointsman_look";

const FITS: &str = "invariant: constants and checked names without zero bytes fit a message";

/// Names of settings, all of them fit to stand in a literal without quotes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SettingNames {
    /// Those that are in no catalog: every session is asked for them.
    pub(super) custom: Vec<String>,
    /// Those of the catalog that sessions may change: a look compares them.
    pub(super) known: Vec<String>,
}

/// What the present server knows of the question.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// The settings that the kept statements ask for.
    kept_for: Option<Arc<SettingNames>>,
    /// What a look said when the state was read; nothing when the client may since have changed
    /// what no look shows.
    seen: Option<Bytes>,
}

impl Question {
    /// Whether the server has the statements that ask for these settings.
    pub(super) fn is_kept_for(&self, names: &Arc<SettingNames>) -> bool {
        self.kept_for
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept, names))
    }

    /// Notes that the server has the statements now.
    pub(super) fn keep(&mut self, names: Arc<SettingNames>) {
        self.kept_for = Some(names);
    }

    /// Notes that the server has none any more; whether it had.
    pub(super) fn forget(&mut self) -> bool {
        self.seen = None;
        self.kept_for.take().is_some()
    }

    /// What a look said when the state was read, if it can be told by another one whether the state
    /// is still the same.
    pub(super) fn seen(&self) -> Option<&Bytes> {
        self.seen.as_ref()
    }

    /// Notes what a look says of the state that was just read.
    pub(super) fn see(&mut self, seen: Option<Bytes>) {
        self.seen = seen;
    }

    /// Notes the tag of a command that the client ran. A look compares values: it does not show
    /// that a setting was set to the value that it had anyway, or a statement prepared anew.
    #[inline]
    pub(super) fn note_command(&mut self, tag: &[u8]) {
        if !matches!(tag.first(), Some(b'S' | b'R' | b'P' | b'D')) {
            return;
        }
        let begins = |word: &[u8]| tag.starts_with(word);
        if begins(b"DISCARD ALL") || begins(b"DEALLOCATE ALL") {
            self.forget();
        } else if [
            &b"SET\0"[..],
            b"RESET",
            b"PREPARE",
            b"DEALLOCATE",
            b"DISCARD",
        ]
        .into_iter()
        .any(begins)
        {
            self.seen = None;
        }
    }
}

/// The longest beginning of a tag that [`Question::note_command`] looks at.
pub(super) const TAG_BYTES: usize = b"DEALLOCATE ALL".len();

/// Makes the statements, in place of older ones, and asks as [`ask`] does.
pub(super) fn make(names: &SettingNames) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::close(b'S', NAME, &mut out).expect(FITS);
    frontend::close(b'S', LOOK_NAME, &mut out).expect(FITS);
    frontend::parse(LOOK_NAME, &look_text(names), [], &mut out).expect(FITS);
    out.unsplit(look());
    frontend::parse(NAME, &text(&names.custom), [], &mut out).expect(FITS);
    execute(NAME, &mut out);
    out
}

/// Asks with the statements that are kept. There are two answers: the look's and the state.
pub(super) fn ask() -> BytesMut {
    let mut out = look();
    execute(NAME, &mut out);
    out
}

/// Asks for a value that is the same as long as the state is; a fifth of the cost of the state.
pub(super) fn look() -> BytesMut {
    let mut out = BytesMut::new();
    execute(LOOK_NAME, &mut out);
    out
}

fn execute(statement: &str, out: &mut BytesMut) {
    bind(statement, &[], out);
    frontend::execute("", 0, out).expect(FITS);
    frontend::sync(out);
}

/// Drops the statements.
pub(super) fn drop_kept() -> BytesMut {
    let mut out = BytesMut::new();
    frontend::close(b'S', NAME, &mut out).expect(FITS);
    frontend::close(b'S', LOOK_NAME, &mut out).expect(FITS);
    frontend::sync(&mut out);
    out
}

/// The settings that a look compares: those that a session may change. Two of them only some roles
/// may see; a look that asked for them would be refused.
pub(super) const KNOWN_SETTINGS: &str = "\
SELECT s.name FROM pg_catalog.pg_settings AS s WHERE s.context IN ('user', 'superuser') \
   AND s.name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable', \
       'session_preload_libraries', 'dynamic_library_path')";

/// The look's SQL: the values of all settings, and the names of what else the question asks for.
fn look_text(names: &SettingNames) -> String {
    let all: Vec<&str> = names
        .known
        .iter()
        .chain(&names.custom)
        .map(String::as_str)
        .collect();
    let all = all.join(",");
    format!(
        "\
SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', \
  ARRAY(SELECT pg_catalog.current_setting(c.name, true) \
     FROM pg_catalog.unnest('{{{all}}}'::pg_catalog.text[]) AS c(name)), \
  session_user, pg_catalog.current_setting('role'), \
  ARRAY(SELECT p.name FROM pg_catalog.pg_prepared_statement() AS p \
     WHERE p.name OPERATOR(pg_catalog.<>) ALL ('{{{NAME},{LOOK_NAME}}}'::pg_catalog.text[])), \
  ARRAY(SELECT l.channel FROM pg_catalog.pg_listening_channels() AS l(channel)), \
  pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
    AND EXISTS (SELECT FROM pg_catalog.pg_depend AS d \
     WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
       AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), \
  EXISTS (SELECT FROM pg_catalog.pg_cursor() AS c WHERE c.is_holdable)) \
 COLLATE pg_catalog.\"C\", 0)"
    )
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
 WHERE p.name OPERATOR(pg_catalog.<>) ALL ('{{{NAME},{LOOK_NAME}}}'::pg_catalog.text[]) \
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
        let names = Arc::new(SettingNames::default());
        for (tag, stays) in [
            (&b"DISCARD ALL\0"[..], false),
            (b"DEALLOCATE ALL\0", false),
            (b"DISCARD TEMP\0", true),
            (b"DEALLOCATE\0", true),
            (b"DELETE 1\0", true),
        ] {
            let mut question = Question::default();
            assert!(!question.is_kept_for(&names));
            question.keep(Arc::clone(&names));
            assert!(!question.is_kept_for(&Arc::default()));
            question.note_command(tag);
            assert_eq!(question.is_kept_for(&names), stays);
            assert_eq!(question.forget(), stays);
        }
    }

    #[test]
    fn a_look_is_not_believed_behind_commands_that_it_does_not_show() {
        for (tag, is_believed) in [
            (&b"SET\0"[..], false),
            (b"RESET\0", false),
            (b"PREPARE\0", false),
            (b"DEALLOCATE\0", false),
            (b"DISCARD PLANS\0", false),
            (b"DEALLOCATE ALL\0", false),
            (b"SELECT 1\0", true),
            (b"INSERT 0 1\0", true),
            (b"", true),
        ] {
            let mut question = Question::default();
            question.see(Some(Bytes::from_static(b"1")));
            question.note_command(tag);
            assert_eq!(question.seen().is_some(), is_believed, "{tag:?}");
        }
    }
}

//! What `currval()` and `lastval()` say in a session: asked inside of it, and made so on its twin.
//!
//! No view has it. A function of ours asks for every sequence of the database, but only in a
//! session in which `lastval()` says something: the others never called `nextval()`. On the twin a
//! function of ours calls `nextval()` and `setval()`: the session remembers the value. What becomes
//! of the sequence itself does not matter, since the promotion sets all of them; the function is
//! closed before that.
//!
//! Not carried is what only `setval()` defined, in a session that never called `nextval()`.

use bytes::{Bytes, BytesMut};

use crate::wire::frontend;

use super::question::bind;

const NAME: &str = "pointsman_sequences";

const FITS: &str = "invariant: constants without zero bytes fit a message";

/// Makes the function that a session is asked by on its own server: `lastval()`, and a line for each
/// sequence that has a `currval()`. It runs as the session's own role. What fails in it is caught
/// inside the server, and in no log.
pub(super) const INSTALL_QUESTION: &str = "\
CREATE SCHEMA IF NOT EXISTS pointsman;
GRANT USAGE ON SCHEMA pointsman TO PUBLIC;
CREATE OR REPLACE FUNCTION pointsman.current_values() RETURNS text
LANGUAGE plpgsql AS $pointsman$
DECLARE s record; last pg_catalog.text; found pg_catalog.text := '';
BEGIN
  BEGIN
    last := pg_catalog.lastval();
  EXCEPTION WHEN OTHERS THEN
    RETURN '';
  END;
  FOR s IN SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
      WHERE c.relkind OPERATOR(pg_catalog.=) 'S' LOOP
    BEGIN
      found := pg_catalog.concat(found, pg_catalog.chr(10), pg_catalog.currval(s.oid), ' ',
          pg_catalog.quote_ident(s.nspname), '.', pg_catalog.quote_ident(s.relname));
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  RETURN pg_catalog.concat(last, found);
END $pointsman$;
GRANT EXECUTE ON FUNCTION pointsman.current_values() TO PUBLIC";

const QUESTION: &str = "SELECT pointsman.current_values()";

/// Makes the function that twins are given values by, and opens it for who knows the token, which is
/// appended. It works on the sequences themselves, so it is open only as long as nobody but us uses
/// them, see [`CLOSE`]. The table is empty after a crash.
const INSTALL_CARRY: &str = "\
CREATE SCHEMA IF NOT EXISTS pointsman;
GRANT USAGE ON SCHEMA pointsman TO PUBLIC;
CREATE UNLOGGED TABLE IF NOT EXISTS pointsman.carrying (token text NOT NULL);
CREATE OR REPLACE FUNCTION pointsman.carry_sequence(name text, value bigint, secret text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '1s' AS $pointsman$
DECLARE s pg_catalog.regclass;
BEGIN
  -- In this order: who waits for the lock sees what was committed meanwhile.
  LOCK TABLE pointsman.carrying IN ACCESS SHARE MODE;
  IF NOT EXISTS (SELECT FROM pointsman.carrying AS c WHERE c.token = secret) THEN
    RAISE EXCEPTION 'no values of sequences are carried now';
  END IF;
  s := name::pg_catalog.regclass;
  -- lastval() is of the sequence that nextval() was called for; others may do the same right now,
  -- so only the last call says the value.
  PERFORM pg_catalog.setval(s, CASE WHEN q.seqincrement > 0 THEN q.seqmin ELSE q.seqmax END, false)
     FROM pg_catalog.pg_sequence AS q WHERE q.seqrelid = s;
  PERFORM pg_catalog.nextval(s);
  PERFORM pg_catalog.setval(s, value, true);
END $pointsman$;
GRANT EXECUTE ON FUNCTION pointsman.carry_sequence(text, bigint, text) TO PUBLIC;
BEGIN;
LOCK TABLE pointsman.carrying IN ACCESS EXCLUSIVE MODE;
DELETE FROM pointsman.carrying;
INSERT INTO pointsman.carrying VALUES ";

/// The SQL that makes the function and opens it.
pub(super) fn install_carry(token: &str) -> String {
    format!("{INSTALL_CARRY}('{token}');\nCOMMIT")
}

/// Closes the function for good: when this is done nobody is inside of it, and it changes nothing
/// any more. Before the promotion, on the server that is promoted, and in the order of its log.
pub(super) const CLOSE: &str = "\
BEGIN;
SET LOCAL lock_timeout = '10s';
SET LOCAL synchronous_commit = off;
LOCK TABLE pointsman.carrying IN ACCESS EXCLUSIVE MODE;
DELETE FROM pointsman.carrying;
COMMIT";

/// Takes all of it away again.
pub(super) const REMOVE: &str = "\
DO LANGUAGE plpgsql $pointsman$
BEGIN
  IF pg_catalog.to_regnamespace('pointsman') IS NOT NULL THEN
    DROP FUNCTION IF EXISTS pointsman.carry_sequence(
        pg_catalog.text, pg_catalog.int8, pg_catalog.text);
    DROP TABLE IF EXISTS pointsman.carrying;
    DROP FUNCTION IF EXISTS pointsman.current_values();
    REVOKE USAGE ON SCHEMA pointsman FROM PUBLIC;
  END IF;
END $pointsman$";

/// Runs it for the sequence `$1`, the value `$2` and the token `$3`.
pub(super) const CARRY: &str = "SELECT pointsman.carry_sequence($1, $2, $3)";

/// Begins a transaction for it: the session may have it that its own write nothing, or see old
/// states. What a session remembers of sequences outlives the rollback, which waits for no disk.
pub(super) const CARRY_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// A sequence's quoted name and what `currval()` says of it, as text.
pub(super) type Current = (Bytes, Bytes);

/// The question; one row of one column.
pub(super) fn question() -> BytesMut {
    let mut out = BytesMut::new();
    frontend::parse(NAME, QUESTION, [], &mut out).expect(FITS);
    bind(NAME, &[], &mut out);
    frontend::execute("", 0, &mut out).expect(FITS);
    frontend::close(b'S', NAME, &mut out).expect(FITS);
    frontend::sync(&mut out);
    out
}

/// The sequences in an order in which they can be carried: the one that `lastval()` is of comes
/// last. `None` when the answer makes no sense.
pub(super) fn read(rows: &[Vec<Option<Bytes>>]) -> Option<Vec<Current>> {
    let text = rows.first()?.first()?.clone()?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let last = lines.next()?;
    let mut currents = Vec::new();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b' ')?;
        let (value, name) = line.split_at_checked(at)?;
        currents.push((text.slice_ref(name.get(1..)?), text.slice_ref(value)));
    }
    // Where several have that value, lastval() says the same of each.
    if let Some(at) = currents.iter().rposition(|(_, value)| value == last) {
        let current = currents.remove(at);
        currents.push(current);
    } else if !last.is_empty() {
        return None;
    }
    Some(currents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_lastval_comes_last() {
        let read = |text: &str| read(&[vec![Some(Bytes::copy_from_slice(text.as_bytes()))]]);
        let current = |name: &'static str, value: &'static str| -> Current {
            (
                Bytes::from_static(name.as_bytes()),
                Bytes::from_static(value.as_bytes()),
            )
        };
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(
            read("5\n5 public.a\n-7 public.\"b c\""),
            Some(vec![
                current("public.\"b c\"", "-7"),
                current("public.a", "5")
            ])
        );
        assert_eq!(read("6\n5 public.a"), None);
        assert_eq!(read("5\n5"), None);
        assert_eq!(super::read(&[]), None);
    }
}

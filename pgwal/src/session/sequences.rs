//! What `currval()` and `lastval()` say in a session: asked inside of it, and made so on its twin.
//!
//! No view has it. A block of PL/pgSQL asks for every sequence of the database, but only in a
//! session in which `lastval()` says something: the others never called `nextval()`. On the twin a
//! function of ours calls `nextval()` on a new file of the sequence and takes that back: the
//! session remembers the value, and the sequence itself is as it was.
//!
//! Not carried is what only `setval()` defined, in a session that never called `nextval()`.

use bytes::{Bytes, BytesMut};

use crate::wire::frontend;

use super::question::bind;

const COLLECT_NAME: &str = "pointsman_collect";
const SEQUENCES_NAME: &str = "pointsman_sequences";

const FITS: &str = "invariant: constants without zero bytes fit a message";

/// Puts `lastval()`, and a line for each sequence that has a `currval()`, into a setting of the
/// transaction. What fails in it is caught inside the server, and in no log.
const COLLECT: &str = "\
DO LANGUAGE plpgsql $pointsman$
DECLARE s record; last pg_catalog.text; found pg_catalog.text := '';
BEGIN
  BEGIN
    last := pg_catalog.lastval();
  EXCEPTION WHEN OTHERS THEN
    last := NULL;
  END;
  IF last IS NOT NULL THEN
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
  END IF;
  PERFORM pg_catalog.set_config('pointsman.sequences', pg_catalog.concat(last, found), true);
END $pointsman$";

const SEQUENCES: &str = "SELECT pg_catalog.current_setting('pointsman.sequences')";

/// Makes the function on a server that twins use; clients may do no harm with it.
pub(super) const INSTALL: &str = "\
CREATE SCHEMA IF NOT EXISTS pointsman;
GRANT USAGE ON SCHEMA pointsman TO PUBLIC;
CREATE OR REPLACE FUNCTION pointsman.carry_sequence(name text, value bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '1s' AS $pointsman$
DECLARE s pg_catalog.regclass := name::pg_catalog.regclass;
BEGIN
  EXECUTE pg_catalog.format('ALTER SEQUENCE %s RESTART', s);
  PERFORM pg_catalog.setval(s, value, false);
  PERFORM pg_catalog.nextval(s);
  RAISE EXCEPTION USING ERRCODE = 'PT001';
EXCEPTION WHEN SQLSTATE 'PT001' THEN
  NULL;
END $pointsman$";

/// Takes it away again.
pub(super) const REMOVE: &str = "\
DO LANGUAGE plpgsql $pointsman$
BEGIN
  IF pg_catalog.to_regprocedure('pointsman.carry_sequence(pg_catalog.text, pg_catalog.int8)')
      IS NOT NULL THEN
    DROP FUNCTION pointsman.carry_sequence(pg_catalog.text, pg_catalog.int8);
    REVOKE USAGE ON SCHEMA pointsman FROM PUBLIC;
  END IF;
END $pointsman$";

/// Runs it for the sequence `$1` and the value `$2`.
pub(super) const CARRY: &str = "SELECT pointsman.carry_sequence($1, $2)";

/// A sequence's quoted name and what `currval()` says of it, as text.
pub(super) type Current = (Bytes, Bytes);

/// The question; one row of one column.
pub(super) fn question() -> BytesMut {
    let mut out = BytesMut::new();
    for (name, sql) in [(COLLECT_NAME, COLLECT), (SEQUENCES_NAME, SEQUENCES)] {
        frontend::parse(name, sql, [], &mut out).expect(FITS);
        bind(name, &[], &mut out);
        frontend::execute("", 0, &mut out).expect(FITS);
        frontend::close(b'S', name, &mut out).expect(FITS);
    }
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

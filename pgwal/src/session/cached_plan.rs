//! Statements whose result columns are others on the server that is gone to: what their session has
//! there instead.
//!
//! The client must get the error that a server gives when the columns of a prepared statement would
//! change, and drivers look at more of it than its text. So the server itself is made to give it:
//! under the statement's name something is prepared that has a temporary table's columns, and the
//! table, which is never committed, hides a table of the catalog. When it is gone the name stands
//! for that one, which has other columns, and every use of the statement is refused by the server,
//! also by `EXECUTE`, until the client drops it. Whether it is refused is tried before anybody
//! relies on it.

use bytes::{BufMut, Bytes, BytesMut};

use super::columns::Described;
use super::state::Unmovable;
use super::twin::{Twin, put_message, read_to_ready};
use crate::wire::{ServerError, WireError, frontend};

/// The text of the statement in the place of the client's.
pub(super) const TEXT: &str =
    "SELECT * FROM pg_am /* its result has other columns on this server */";

/// With `pg_temp` before all others, whatever search path the client has.
const BEGIN: &str = "\
BEGIN READ WRITE; SET LOCAL search_path TO pg_temp, pg_catalog; \
CREATE TEMPORARY TABLE pg_am (pointsman pg_catalog.int4)";

/// The SQLSTATE of the refusal.
const REFUSED: &str = "0A000";

/// A statement that is to be refused, as the server has it now.
#[derive(Debug)]
pub(super) struct Changed<'a> {
    pub(super) name: &'a Bytes,
    pub(super) described: Described,
}

/// Has the server refuse these statements from now on.
pub(super) async fn refuse(twin: &mut Twin, changed: &[Changed<'_>]) -> Result<(), Unmovable> {
    match try_to_refuse(twin, changed).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::warn!("the server does not refuse a statement whose columns changed");
            Err(Unmovable::PreparedStatement)
        }
        Err(error) => {
            tracing::warn!(
                %error,
                "statements whose columns changed cannot be refused; their session's role needs \
                 the privilege TEMPORARY on the database for that"
            );
            Err(Unmovable::PreparedStatement)
        }
    }
}

async fn try_to_refuse(twin: &mut Twin, changed: &[Changed<'_>]) -> Result<bool, WireError> {
    twin.conn.query(BEGIN).await?;
    for statement in changed {
        let out = twin.conn.out();
        put_message(b'C', &close(statement.name), out);
        put_message(b'P', &parse(statement), out);
        frontend::sync(out);
    }
    twin.conn.flush().await?;
    let mut is_prepared = true;
    for _statement in changed {
        is_prepared &= read_to_ready(&mut twin.conn).await?.is_none();
    }
    twin.conn.query("ROLLBACK").await?;
    let answers = twin.describe(changed.iter().map(|one| one.name)).await?;
    let is_refused = |answer: &Result<Described, Box<ServerError>>| {
        answer
            .as_ref()
            .is_err_and(|error| error.sqlstate == REFUSED)
    };
    Ok(is_prepared && answers.iter().all(is_refused))
}

fn close(name: &[u8]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u8(b'S');
    body.put_slice(name);
    body.put_u8(0);
    body
}

/// With the parameters of the client's statement: it binds them before it is refused.
fn parse(statement: &Changed<'_>) -> BytesMut {
    let parameters = &statement.described.parameters;
    let mut body = BytesMut::new();
    for text in [statement.name.as_ref(), TEXT.as_bytes()] {
        body.put_slice(text);
        body.put_u8(0);
    }
    body.put_u16(u16::try_from(parameters.len()).unwrap_or(u16::MAX));
    for of_type in parameters {
        body.put_u32(*of_type);
    }
    body
}

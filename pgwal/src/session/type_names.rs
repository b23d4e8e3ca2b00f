//! Names of types that servers number each in its own way.
//!
//! They are asked for when a statement of a session has a column of such a type, by the connection
//! that asks about all sessions, and kept until the movement is over.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use router::Side;
use tokio::time::timeout;

use super::limits::ASK_TIMEOUT;
use super::observer::Unknown;
use super::relay::Relay;

/// Types below this have the same number on every server of every version: it stands in the
/// server's sources. Those above got theirs when the server's first database was made, or later.
pub(super) const FIXED_TYPES: u32 = 10_000;

/// Most names that are kept. Beyond them they are asked for each time.
const NAMES_MAX: usize = 100_000;

/// An array is named by its elements: its own name depends on which others there were before it.
const NAMES: &str = "\
SELECT t.oid::pg_catalog.int8, n.nspname::pg_catalog.text, \
    COALESCE(e.typname, t.typname)::pg_catalog.text, e.oid IS NOT NULL \
  FROM pg_catalog.pg_type AS t \
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
  LEFT JOIN pg_catalog.pg_type AS e ON e.typarray OPERATOR(pg_catalog.=) t.oid \
 WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])";

/// A type's name with its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeName(Bytes);

impl TypeName {
    /// The name of a type, or of the array of such.
    pub(super) fn new(schema: &str, name: &str, is_array: bool) -> Self {
        let mut whole = BytesMut::new();
        whole.put_slice(schema.as_bytes());
        whole.put_u8(0);
        whole.put_slice(name.as_bytes());
        if is_array {
            whole.put_slice(&[0, 1]);
        }
        Self(whole.freeze())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The names that are known.
#[derive(Debug, Default)]
pub(super) struct TypeNames {
    known: Mutex<HashMap<(Side, u32), TypeName>>,
}

impl TypeNames {
    /// The names of these types on a server. A type that the server does not have has none.
    pub(super) async fn of(
        &self,
        relay: &Relay,
        side: Side,
        types: Vec<u32>,
    ) -> Result<HashMap<u32, TypeName>, Unknown> {
        let mut names = HashMap::new();
        let mut missing = Vec::new();
        {
            let known = self.known.lock();
            for of_type in types {
                match known.get(&(side, of_type)) {
                    Some(name) => {
                        names.insert(of_type, name.clone());
                    }
                    None => missing.push(of_type),
                }
            }
        }
        if missing.is_empty() {
            return Ok(names);
        }
        let asked = timeout(
            ASK_TIMEOUT,
            relay.observer().type_names(relay, side, missing),
        )
        .await;
        let late = |_elapsed| Unknown::new("the server does not answer");
        let mut known = self.known.lock();
        for (of_type, name) in asked.map_err(late)?? {
            if known.len() < NAMES_MAX {
                known.insert((side, of_type), name.clone());
            }
            names.insert(of_type, name);
        }
        Ok(names)
    }

    /// Forgets them: types may be made anew before the next movement.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    /// The names' SQL; its parameter is a list of object ids.
    pub(super) fn question() -> &'static str {
        NAMES
    }
}

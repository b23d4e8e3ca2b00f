//! The types of both servers, paired by name.

use std::collections::HashMap;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use router::Side;
use tokio::time::timeout;

use super::super::limits::ASK_TIMEOUT;
use super::super::observer::Unknown;
use super::super::relay::Relay;
use super::super::type_names::FIXED_TYPES;

/// `record`, and the array of it: composites whose columns say their types themselves.
const RECORD: u32 = 2249;
const RECORDS: u32 = 2287;

/// `anyarray`, such as the common values that statistics have: it says itself of what.
const ANY_ARRAY: u32 = 2277;

/// How deep types may be nested in each other.
const DEPTH_MAX: usize = 32;

/// Every type that a server numbers by itself. The name of an array is that of its elements.
/// A multirange is there from version 14 on, and so is the column that says of which range.
pub(in crate::session) const QUESTION: &str = "\
SELECT t.oid::pg_catalog.int8, \
    pg_catalog.concat(n.nspname, e'\\x01', COALESCE(e.typname, t.typname), \
        CASE WHEN e.oid IS NULL THEN '' ELSE e'\\x01' END), \
    CASE WHEN e.oid IS NOT NULL THEN 'a' ELSE t.typtype::pg_catalog.text END, \
    CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE COALESCE(r.rngsubtype, 0) \
        END::pg_catalog.int8, \
    ARRAY(SELECT a.atttypid::pg_catalog.int8 FROM pg_catalog.pg_attribute AS a \
        WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND NOT a.attisdropped \
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND a.atttypid OPERATOR(pg_catalog.>=) 10000), \
    COALESCE(e.oid, 0)::pg_catalog.int8 \
  FROM pg_catalog.pg_type AS t \
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace \
  LEFT JOIN pg_catalog.pg_type AS e ON e.typarray OPERATOR(pg_catalog.=) t.oid \
  LEFT JOIN pg_catalog.pg_range AS r ON t.oid OPERATOR(pg_catalog.=) CASE t.typtype \
       WHEN 'r' THEN r.rngtypid \
       WHEN 'm' THEN (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')\
::pg_catalog.oid END \
 WHERE t.oid OPERATOR(pg_catalog.>=) 10000";

/// What a type's values hold, as far as there may be numbers of types in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Kind {
    /// None.
    Plain,
    /// That of the elements.
    Array,
    /// That of each column.
    Composite,
    /// What this type's values hold.
    Domain(u32),
    /// Bounds of this type.
    Range(u32),
    /// Ranges with bounds of this type.
    Multirange(u32),
}

/// One type of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) struct OfType {
    pub(in crate::session) number: u32,
    pub(in crate::session) name: Bytes,
    pub(in crate::session) kind: Kind,
    /// The types that stand in its values, of those that servers number by themselves.
    pub(in crate::session) inner: Vec<u32>,
}

/// The types of both servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct TypeCatalog {
    source: HashMap<u32, Known>,
    target: HashMap<u32, Known>,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    kind: Kind,
    inner: Vec<u32>,
    /// Its number on the other server.
    counterpart: Option<u32>,
}

/// The types as they were asked for last.
#[derive(Debug, Default)]
pub(in crate::session) struct TypeCatalogs {
    read: Mutex<Option<Arc<TypeCatalog>>>,
}

impl TypeCatalogs {
    /// The types of both servers; asked for unless they are known.
    pub(in crate::session) async fn get(&self, relay: &Relay) -> Result<Arc<TypeCatalog>, Unknown> {
        let known = self.read.lock().clone();
        match known {
            Some(known) => Ok(known),
            None => self.read_anew(relay).await,
        }
    }

    /// Asks both servers for their types.
    pub(in crate::session) async fn read_anew(
        &self,
        relay: &Relay,
    ) -> Result<Arc<TypeCatalog>, Unknown> {
        let observer = relay.observer();
        let both = async {
            tokio::try_join!(
                observer.types(relay, Side::Source),
                observer.types(relay, Side::Target),
            )
        };
        let late = |_elapsed| Unknown::new("a server does not say in time which types it has");
        let (source, target) = timeout(ASK_TIMEOUT, both).await.map_err(late)??;
        let read = TypeCatalog::new(source, target);
        let mut known = self.read.lock();
        match &*known {
            // So that whoever has it can tell that nothing has changed.
            Some(known) if **known == read => Ok(Arc::clone(known)),
            _other => Ok(Arc::clone(known.insert(Arc::new(read)))),
        }
    }

    /// Forgets them: types may be made anew before the next movement.
    pub(in crate::session) fn forget(&self) {
        *self.read.lock() = None;
    }
}

/// Those of these types that servers number by themselves.
pub(in crate::session) fn numbered(mut types: Vec<u32>) -> Vec<u32> {
    types.retain(|of| *of >= FIXED_TYPES);
    types
}

impl Kind {
    /// What `pg_type` says: the letter of [`QUESTION`] and the type that belongs to it.
    pub(in crate::session) fn of(letter: &str, inner: u32) -> Self {
        match letter {
            "a" => Self::Array,
            "c" => Self::Composite,
            "d" => Self::Domain(inner),
            "r" => Self::Range(inner),
            "m" => Self::Multirange(inner),
            _plain => Self::Plain,
        }
    }
}

impl TypeCatalog {
    pub(in crate::session) fn new(source: Vec<OfType>, target: Vec<OfType>) -> Self {
        let numbers = |types: &[OfType]| -> HashMap<Bytes, u32> {
            types
                .iter()
                .map(|one| (one.name.clone(), one.number))
                .collect()
        };
        let (by_source, by_target) = (numbers(&source), numbers(&target));
        let known = |types: Vec<OfType>, others: &HashMap<Bytes, u32>| {
            types
                .into_iter()
                .map(|one| {
                    let counterpart = others.get(&one.name).copied();
                    (
                        one.number,
                        Known {
                            kind: one.kind,
                            inner: one.inner,
                            counterpart,
                        },
                    )
                })
                .collect()
        };
        Self {
            source: known(source, &by_target),
            target: known(target, &by_source),
        }
    }

    fn of(&self, side: Side) -> &HashMap<u32, Known> {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Whether a server has a type of this number.
    pub(super) fn has(&self, side: Side, number: u32) -> bool {
        self.of(side).contains_key(&number)
    }

    /// The number that a server's type has on the other one.
    pub(super) fn counterpart(&self, side: Side, number: u32) -> Option<u32> {
        self.of(side).get(&number)?.counterpart
    }

    /// The types in the values of a server's type.
    pub(super) fn inner(&self, side: Side, number: u32) -> &[u32] {
        let known = self.of(side).get(&number);
        known.map_or(&[], |known| &known.inner)
    }

    /// What the values of a server's type hold.
    pub(super) fn kind(&self, side: Side, number: u32) -> Kind {
        match number {
            RECORD => Kind::Composite,
            RECORDS | ANY_ARRAY => Kind::Array,
            number if number < FIXED_TYPES => Kind::Plain,
            number => self
                .of(side)
                .get(&number)
                .map_or(Kind::Plain, |known| known.kind),
        }
    }

    /// Whether values of a server's type can hold numbers of types.
    pub(super) fn holds_numbers(&self, side: Side, number: u32) -> bool {
        let mut number = number;
        for _depth in 0..DEPTH_MAX {
            match self.kind(side, number) {
                Kind::Plain => return false,
                Kind::Array | Kind::Composite => return true,
                Kind::Domain(inner) | Kind::Range(inner) | Kind::Multirange(inner) => {
                    number = inner;
                }
            }
        }
        false
    }
}

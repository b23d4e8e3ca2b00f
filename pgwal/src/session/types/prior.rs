//! What a twin has to know of types before its session goes over to it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use router::Side;

use super::catalog::TypeCatalog;
use super::exchange::{Exchange, Shape};
use super::messages;
use super::numbers::Numbers;
use super::values::{Reader, Renumber};

/// The numbers that a client knows, for a server that has others.
#[derive(Debug)]
pub(in crate::session) struct Prior {
    side: Side,
    numbers: Numbers,
    catalog: Arc<TypeCatalog>,
    /// The types of the client's statements; `None` as long as nobody asked for them.
    statements: Option<HashMap<Bytes, Shape>>,
}

impl Prior {
    pub(in crate::session) fn new(
        side: Side,
        mut numbers: Numbers,
        catalog: Arc<TypeCatalog>,
    ) -> Self {
        numbers.close_over(&catalog);
        Self {
            side,
            numbers,
            catalog,
            statements: None,
        }
    }

    /// The client met more numbers meanwhile; `false` when the types are others than before.
    pub(in crate::session) fn know(
        &mut self,
        mut numbers: Numbers,
        catalog: &Arc<TypeCatalog>,
    ) -> bool {
        numbers.close_over(catalog);
        self.numbers = numbers;
        Arc::ptr_eq(&self.catalog, catalog)
    }

    /// The body of a Parse message as this server has to get it.
    pub(in crate::session) fn translate_parse(&mut self, body: &[u8]) -> Bytes {
        let mut body = BytesMut::from(body);
        let mut renumber = Renumber {
            numbers: &mut self.numbers,
            catalog: &self.catalog,
            side: self.side,
            reader: Reader::Server,
        };
        let _what_it_says = messages::parse(&mut body, &mut renumber);
        body.freeze()
    }

    /// Whether the types of the statements are still to be asked for.
    pub(in crate::session) fn lacks_statements(&self) -> bool {
        self.statements.is_none()
    }

    /// The statements are not those any more that they were.
    pub(in crate::session) fn forget_statements(&mut self) {
        self.statements = None;
    }

    /// These are the statements and their types.
    pub(in crate::session) fn note_statements(
        &mut self,
        statements: impl IntoIterator<Item = (Bytes, Shape)>,
    ) {
        let known = self.statements.get_or_insert_default();
        known.extend(statements);
    }

    /// What translates from now on, and all numbers that the client knows.
    pub(in crate::session) fn into_exchange(self) -> (Box<Exchange>, Numbers) {
        let statements = self.statements.unwrap_or_default();
        let exchange = Exchange::new(self.side, self.catalog, statements);
        (Box::new(exchange), self.numbers)
    }
}

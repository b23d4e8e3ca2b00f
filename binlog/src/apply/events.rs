//! What the applier takes from the stream: whole committed transactions, event by event.

use std::error::Error;
use std::future::Future;

use thiserror::Error;

use super::charset;
use super::error::TableError;
use super::field::FieldType;
use crate::name::QualifiedName;
use crate::stream::Stream;

pub(super) use crate::stream::{ColumnType, Ddl, StreamEvent, TableMap};

/// Where the applier takes its events from: whole committed transactions in commit order.
pub trait Events: Send {
    /// The next event.
    ///
    /// # Cancel safety
    /// An implementation must lose nothing when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<StreamEvent, EventsError>> + Send;
}

/// Why no event comes any more.
#[derive(Debug, Error)]
#[error("no more events")]
pub struct EventsError {
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
    /// Whether opening the stream again can help.
    pub blame: Blame,
}

impl Events for Stream {
    async fn next(&mut self) -> Result<StreamEvent, EventsError> {
        self.next().await.map_err(|error| EventsError {
            blame: if error.is_transient() {
                Blame::Transient
            } else {
                Blame::Definite
            },
            source: Box::new(error),
        })
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It may: a connection was lost, a server restarted.
    Transient,
    /// It cannot.
    Definite,
}

/// A column of the source as the stream describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceColumn {
    pub(super) field: FieldType,
    /// `None` if the source's log does not tell.
    pub(super) unsigned: Option<bool>,
    /// `None` if the source's log does not tell, or the column has no text.
    pub(super) charset: Option<&'static str>,
}

impl SourceColumn {
    /// The column at `place` of a table map.
    pub(super) fn of(
        table: &QualifiedName,
        place: usize,
        column: &ColumnType,
    ) -> Result<Self, TableError> {
        let field = FieldType::decode(column.code, &column.metadata).map_err(|error| {
            TableError::SourceType {
                table: table.clone(),
                place: place + 1,
                error: error.to_string(),
            }
        })?;
        Ok(Self {
            field,
            unsigned: column.unsigned,
            charset: column.collation.and_then(charset::of_collation),
        })
    }
}

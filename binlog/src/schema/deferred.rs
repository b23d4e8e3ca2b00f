//! What is made after the rows, or needs a session of its own: indexes, foreign keys, routines,
//! views, triggers, events.
//!
//! The statements are written down on the target when the structure is made, as the source had
//! them at the snapshot. A later run must not ask the source again: what changed there since comes
//! through the stream.
//!
//! # Crash behaviour
//! A statement that ran without being recorded is found again by the server's answer that the
//! object exists; each statement makes one object, or all indexes of a table at once.

mod run;

use router::Side;

use super::create_table::{Stages, alter};
use super::definitions::{Context, Program};
use super::error::SchemaError;
use crate::name::{QualifiedName, quote_identifier, quote_literal};
use crate::wire::{SqlConn, TextRow};

pub(super) use run::{run_stage, run_views};

/// Which statements belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Routines,
    Views,
    Indexes,
    ForeignKeys,
    Triggers,
    Events,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Routines => "routines",
            Self::Views => "views",
            Self::Indexes => "indexes",
            Self::ForeignKeys => "foreign_keys",
            Self::Triggers => "triggers",
            Self::Events => "events",
        }
    }
}

/// A statement that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    position: u64,
    kind: String,
    pub(super) name: QualifiedName,
    /// The first of the foreign keys of a statement.
    part_name: Option<String>,
    context: Option<Context>,
    statement: String,
}

/// Bytes of one statement of bookkeeping; a single longer definition has one of its own.
const STATEMENT_BYTES_MAX: usize = 64 << 10;

/// Writes statements down, many at once.
pub(super) struct Store<'a> {
    target: &'a SqlConn,
    tuples: String,
}

impl<'a> Store<'a> {
    /// Begins with nothing written down.
    pub(super) async fn begin(target: &'a SqlConn) -> Result<Self, SchemaError> {
        let forget = target.execute("DELETE FROM pointsman.deferred").await;
        forget.map_err(failed())?;
        Ok(Self {
            target,
            tuples: String::new(),
        })
    }

    /// Goes on with what is written down.
    pub(super) fn resume(target: &'a SqlConn) -> Self {
        Self {
            target,
            tuples: String::new(),
        }
    }

    /// Forgets the indexes and foreign keys of a table.
    pub(super) async fn forget(&mut self, name: &QualifiedName) -> Result<(), SchemaError> {
        let forget = format!(
            "DELETE FROM pointsman.deferred WHERE stage IN ('{}', '{}') AND schema_name = {} \
             AND object_name = {}",
            Stage::Indexes.as_str(),
            Stage::ForeignKeys.as_str(),
            quote_literal(&name.schema),
            quote_literal(&name.name)
        );
        let forgotten = self.target.execute(&forget).await;
        forgotten.map(drop).map_err(failed())
    }

    /// What a table's stages leave for later.
    pub(super) async fn table(
        &mut self,
        name: &QualifiedName,
        stages: &Stages,
    ) -> Result<(), SchemaError> {
        for clauses in &stages.indexes {
            let part = clauses.first().map(|(name, _)| name.as_str());
            let statement = alter(name, clauses);
            self.put(Stage::Indexes, "index", name, part, None, &statement)
                .await?;
        }
        if !stages.foreign_keys.is_empty() {
            let part = stages.foreign_keys.first().map(|(name, _)| name.as_str());
            let statement = alter(name, &stages.foreign_keys);
            let stage = Stage::ForeignKeys;
            self.put(stage, "foreign key", name, part, None, &statement)
                .await?;
        }
        Ok(())
    }

    /// A stored program or view.
    pub(super) async fn program(
        &mut self,
        stage: Stage,
        program: &Program,
    ) -> Result<(), SchemaError> {
        let Program {
            kind,
            name,
            statement,
            context,
        } = program;
        self.put(stage, kind, name, None, Some(context), statement)
            .await
    }

    async fn put(
        &mut self,
        stage: Stage,
        kind: &str,
        name: &QualifiedName,
        part: Option<&str>,
        context: Option<&Context>,
        statement: &str,
    ) -> Result<(), SchemaError> {
        let or_null = |text: Option<&str>| text.map_or_else(|| "NULL".to_owned(), quote_literal);
        let fields = [
            quote_literal(stage.as_str()),
            quote_literal(kind),
            quote_literal(&name.schema),
            quote_literal(&name.name),
            or_null(part),
            or_null(context.and_then(|context| context.sql_mode.as_deref())),
            or_null(context.map(|context| context.charset_client.as_str())),
            or_null(context.map(|context| context.collation_connection.as_str())),
            or_null(context.and_then(|context| context.time_zone.as_deref())),
            quote_literal(statement),
        ];
        let tuple = format!("({})", fields.join(", "));
        if self.tuples.len() + tuple.len() > STATEMENT_BYTES_MAX {
            self.flush().await?;
        }
        if !self.tuples.is_empty() {
            self.tuples.push_str(", ");
        }
        self.tuples.push_str(&tuple);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SchemaError> {
        if self.tuples.is_empty() {
            return Ok(());
        }
        let insert = format!(
            "INSERT INTO pointsman.deferred (stage, kind, schema_name, object_name, part_name, \
             sql_mode, charset_client, collation_connection, time_zone, statement) VALUES {}",
            self.tuples
        );
        self.tuples.clear();
        let inserted = self.target.execute(&insert).await;
        inserted.map(drop).map_err(failed())
    }

    /// Everything is written down.
    pub(super) async fn end(mut self) -> Result<(), SchemaError> {
        self.flush().await
    }
}

/// Whether a foreign key that is to be made names one of these tables.
pub(super) async fn is_referred_to(
    target: &SqlConn,
    tables: &[QualifiedName],
) -> Result<bool, SchemaError> {
    for table in tables {
        let query = format!(
            "SELECT 1 FROM pointsman.deferred WHERE stage = '{}' AND object_name <> {} \
             AND LOCATE({}, statement) > 0 LIMIT 1",
            Stage::ForeignKeys.as_str(),
            quote_literal(&table.name),
            quote_literal(&quote_identifier(&table.name))
        );
        if target
            .query_first(&query)
            .await
            .map_err(failed())?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The statements of a stage that did not run yet, in order.
async fn left(target: &SqlConn, stage: Stage) -> Result<Vec<Deferred>, SchemaError> {
    let query = format!(
        "SELECT position, kind, schema_name, object_name, part_name, sql_mode, charset_client,
                collation_connection, time_zone, statement
         FROM pointsman.deferred WHERE done = 0 AND stage = {} ORDER BY position",
        quote_literal(stage.as_str())
    );
    let rows = target.query(&query).await.map_err(failed())?;
    rows.iter().map(read).collect()
}

fn read(row: &TextRow) -> Result<Deferred, SchemaError> {
    let word = |index| row.text(index).unwrap_or_default().to_owned();
    let context = row.text(6).map(|charset| Context {
        sql_mode: row.text(5).map(ToOwned::to_owned),
        charset_client: charset.to_owned(),
        collation_connection: word(7),
        time_zone: row.text(8).map(ToOwned::to_owned),
    });
    Ok(Deferred {
        position: row.parse(0).map_err(|_bad| SchemaError::Unreadable {
            side: Side::Target,
            what: "what is to be made after the rows".to_owned(),
        })?,
        kind: word(1),
        name: QualifiedName::new(word(2), word(3)),
        part_name: row.text(4).map(ToOwned::to_owned),
        context,
        statement: word(9),
    })
}

fn failed() -> impl FnOnce(crate::wire::SqlError) -> SchemaError {
    SchemaError::sql(Side::Target, "writing down what comes after the rows")
}

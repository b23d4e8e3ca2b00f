//! The sequences: read on the fenced side, set on the one that is to serve.
//!
//! `last_value` and `is_called` are read from the sequences themselves: `pg_sequences` shows NULL
//! for a sequence that was set but not yet used, and the greatest value in a column is not the
//! sequence's.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use router::Lsn;
use thiserror::Error;
use tokio_postgres::{Client, Statement};

use crate::name::quote_identifier;

/// Sequences read by one statement; a statement with more takes long to plan.
const SEQUENCES_PER_STATEMENT: usize = 500;

/// First version with `pg_get_sequence_data`.
const HAS_SEQUENCE_DATA: i32 = 180_000;

/// A sequence, and where the other side has it. Here and below the *source* is the side that is left
/// by a movement, and the *target* the one that it leads to: in a rollback they are exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    source_oid: u32,
    target_oid: u32,
}

/// What a sequence gives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceValue {
    /// Object id on the target.
    pub target_oid: u32,
    /// `last_value` of the sequence.
    pub last_value: i64,
    /// `is_called`: whether the next value is the one after `last_value`, or `last_value` itself.
    pub is_called: bool,
}

/// Why sequences could not be read, or cannot be set.
#[derive(Debug, Error)]
pub enum SequenceError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("a server failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The target does not have a sequence of the source.
    #[error(
        "sequences of the serving side are not on the other: {}; create them there, or drop them",
        sequences.join(", ")
    )]
    Missing {
        /// Their names.
        sequences: Vec<String>,
    },
    /// The target has a sequence with other bounds or another step.
    #[error(
        "sequences differ in type, increment, bounds or cycle: {}; ALTER SEQUENCE on the side that \
         does not serve",
        sequences.join(", ")
    )]
    Different {
        /// Their names.
        sequences: Vec<String>,
    },
    /// Our role may not read a sequence.
    #[error("the values of these sequences may not be read: {}; GRANT SELECT on them", sequences.join(", "))]
    Unreadable {
        /// Their names.
        sequences: Vec<String>,
    },
    /// The server's answer is no position of its log.
    #[error("the server gave {position:?} as a position of its log")]
    Position {
        /// What it gave.
        position: String,
    },
    /// A sequence was dropped on the source since the statements were prepared.
    #[error("a sequence was dropped on the serving side: {sequence}; try again")]
    Gone {
        /// Its name.
        sequence: String,
    },
}

impl SequenceError {
    fn sql(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { step, source }
    }
}

/// The sequences of a migration, with the statements that read them prepared on the source.
#[derive(Debug, Clone)]
pub struct Sequences {
    sequences: Vec<Sequence>,
    reader: Reader,
}

#[derive(Debug, Clone)]
enum Reader {
    /// One statement for all, by their object ids.
    Function(Statement),
    /// A statement for each chunk.
    Union(Vec<Statement>),
}

/// A sequence as a catalog describes it.
struct Described {
    schema: String,
    name: String,
    oid: u32,
    /// Type, increment, bounds and cycle, as one text to compare.
    shape: String,
    readable: bool,
}

const DESCRIBE: &str = "
SELECT n.nspname::text, c.relname::text, c.oid,
       pg_catalog.format('%s %s %s %s %s', pg_catalog.format_type(s.seqtypid, NULL),
                         s.seqincrement, s.seqmin, s.seqmax, s.seqcycle),
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname <> 'pointsman'
ORDER BY 1, 2";

async fn describe(client: &Client) -> Result<Vec<Described>, tokio_postgres::Error> {
    let rows = client.query(DESCRIBE, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Described {
                schema: row.try_get(0)?,
                name: row.try_get(1)?,
                oid: row.try_get(2)?,
                shape: row.try_get(3)?,
                readable: row.try_get(4)?,
            })
        })
        .collect()
}

impl Sequences {
    /// Finds each sequence of the source for which `wanted(schema, name)` holds on the target, and
    /// prepares (and once runs) the statements that read them all.
    ///
    /// # Errors
    /// When a sequence is missing on the target or is another one there, may not be read, or a
    /// server fails.
    pub async fn prepare(
        source: &Client,
        target: &Client,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Self, SequenceError> {
        let step = "listing sequences";
        let (on_source, on_target) = tokio::try_join!(describe(source), describe(target))
            .map_err(SequenceError::sql(step))?;
        let on_source: Vec<_> = on_source
            .into_iter()
            .filter(|one| wanted(&one.schema, &one.name))
            .collect();
        let sequences = pair(on_source, &on_target)?;
        let step = "preparing to read the sequences";
        let reader = Reader::prepare(source, &sequences)
            .await
            .map_err(SequenceError::sql(step))?;
        let prepared = Self { sequences, reader };
        // The plans are made at the first execution; it is not made in the pause.
        prepared.read(source).await?;
        Ok(prepared)
    }

    /// The sequences.
    #[must_use]
    pub fn list(&self) -> &[Sequence] {
        &self.sequences
    }

    /// Reads all values; `source` must be the connection that the statements were prepared on.
    ///
    /// # Errors
    /// When a sequence is gone or the server fails.
    pub async fn read(&self, source: &Client) -> Result<Vec<SequenceValue>, SequenceError> {
        let read = self.reader.read(source, &self.sequences);
        let values = read
            .await
            .map_err(SequenceError::sql("reading the sequences"))?;
        self.sequences
            .iter()
            .map(|sequence| match values.get(&sequence.source_oid) {
                Some(&(Some(last_value), Some(is_called))) => Ok(SequenceValue {
                    target_oid: sequence.target_oid,
                    last_value,
                    is_called,
                }),
                Some(_) | None => Err(SequenceError::Gone {
                    sequence: full_name(&sequence.schema, &sequence.name),
                }),
            })
            .collect()
    }
}

fn full_name(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// Finds the target's sequence for each of the source's.
fn pair(
    on_source: Vec<Described>,
    on_target: &[Described],
) -> Result<Vec<Sequence>, SequenceError> {
    let by_name: HashMap<_, _> = on_target
        .iter()
        .map(|one| ((one.schema.as_str(), one.name.as_str()), one))
        .collect();
    let (mut missing, mut different, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut sequences = Vec::with_capacity(on_source.len());
    for one in on_source {
        let name = full_name(&one.schema, &one.name);
        if !one.readable {
            unreadable.push(name.clone());
        }
        match by_name
            .get(&(one.schema.as_str(), one.name.as_str()))
            .copied()
        {
            None => missing.push(name),
            Some(there) if there.shape != one.shape => different.push(name),
            Some(there) => sequences.push(Sequence {
                schema: there.schema.clone(),
                name: there.name.clone(),
                source_oid: one.oid,
                target_oid: there.oid,
            }),
        }
    }
    if !missing.is_empty() {
        return Err(SequenceError::Missing { sequences: missing });
    }
    if !different.is_empty() {
        return Err(SequenceError::Different {
            sequences: different,
        });
    }
    if !unreadable.is_empty() {
        return Err(SequenceError::Unreadable {
            sequences: unreadable,
        });
    }
    Ok(sequences)
}

/// Sets the sequences of the source when it is to serve again, prepared on a connection to it.
#[derive(Debug, Clone)]
pub struct SetSequences {
    statement: Statement,
}

impl SetSequences {
    /// Prepares the statement, makes the connection's commits durable, and runs it once for nothing.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn prepare(client: &Client) -> Result<Self, SequenceError> {
        let step = "preparing to set the sequences";
        super::make_commits_durable(client)
            .await
            .map_err(SequenceError::sql(step))?;
        let sql = "SELECT pg_catalog.count(pg_catalog.setval(s.oid::pg_catalog.regclass, s.value,
                                                             s.called)),
                          pg_catalog.pg_current_wal_insert_lsn()::text
                   FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int8[]),
                                   pg_catalog.unnest($3::bool[])) AS s (oid, value, called)";
        let statement = client
            .prepare(sql)
            .await
            .map_err(SequenceError::sql(step))?;
        let prepared = Self { statement };
        prepared.run(client, &[]).await?;
        Ok(prepared)
    }

    /// Sets the sequences, durably. Gives a position of the server's log that is behind everything
    /// that was committed there before the call.
    ///
    /// # Errors
    /// When the server fails: then some may be set. The journal does not say *switched* yet, so it
    /// does no harm.
    pub async fn run(
        &self,
        client: &Client,
        values: &[SequenceValue],
    ) -> Result<Lsn, SequenceError> {
        let step = "setting the sequences";
        let oids: Vec<_> = values.iter().map(|one| one.target_oid).collect();
        let last: Vec<_> = values.iter().map(|one| one.last_value).collect();
        let called: Vec<_> = values.iter().map(|one| one.is_called).collect();
        let row = client
            .query_one(&self.statement, &[&oids, &last, &called])
            .await
            .map_err(SequenceError::sql(step))?;
        let position: String = row.try_get(1).map_err(SequenceError::sql(step))?;
        position
            .parse()
            .map_err(|_not_one| SequenceError::Position { position })
    }
}

type Values = HashMap<u32, (Option<i64>, Option<bool>)>;

impl Reader {
    async fn prepare(
        source: &Client,
        sequences: &[Sequence],
    ) -> Result<Self, tokio_postgres::Error> {
        let version: i32 = source
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::int4",
                &[],
            )
            .await?
            .try_get(0)?;
        if version >= HAS_SEQUENCE_DATA {
            let sql = "SELECT o, d.last_value, d.is_called FROM pg_catalog.unnest($1::oid[]) o,
                       pg_catalog.pg_get_sequence_data(o::pg_catalog.regclass) d";
            return Ok(Self::Function(source.prepare(sql).await?));
        }
        let chunks = sequences.chunks(SEQUENCES_PER_STATEMENT).map(union_sql);
        let mut statements = Vec::new();
        for sql in chunks {
            statements.push(source.prepare(&sql).await?);
        }
        Ok(Self::Union(statements))
    }

    async fn read(
        &self,
        source: &Client,
        sequences: &[Sequence],
    ) -> Result<Values, tokio_postgres::Error> {
        let rows = match self {
            Self::Function(statement) => {
                let oids: Vec<u32> = sequences.iter().map(|one| one.source_oid).collect();
                source.query(statement, &[&oids]).await?
            }
            Self::Union(statements) => {
                let queries = statements
                    .iter()
                    .map(|statement| source.query(statement, &[]));
                try_join_all(queries).await?.into_iter().flatten().collect()
            }
        };
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?))))
            .collect()
    }
}

fn union_sql(sequences: &[Sequence]) -> String {
    let selects: Vec<_> = sequences
        .iter()
        .map(|one| {
            format!(
                "SELECT {}::oid, last_value, is_called FROM {}",
                one.source_oid,
                full_name(&one.schema, &one.name)
            )
        })
        .collect();
    selects.join("\nUNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &str, oid: u32, shape: &str) -> Described {
        Described {
            schema: "public".to_owned(),
            name: name.to_owned(),
            oid,
            shape: shape.to_owned(),
            readable: true,
        }
    }

    #[test]
    fn a_sequence_is_paired_with_the_one_of_its_name() {
        let paired = pair(
            vec![described("a", 1, "x"), described("b", 2, "x")],
            &[described("b", 20, "x"), described("a", 10, "x")],
        )
        .unwrap();
        let oids: Vec<_> = paired
            .iter()
            .map(|one| (one.source_oid, one.target_oid))
            .collect();
        assert_eq!(oids, [(1, 10), (2, 20)]);
    }

    #[test]
    fn missing_and_different_sequences_are_named() {
        let error = pair(vec![described("a", 1, "x")], &[]).unwrap_err();
        assert!(error.to_string().contains("\"public\".\"a\""), "{error}");
        let error = pair(vec![described("a", 1, "x")], &[described("a", 1, "y")]).unwrap_err();
        assert!(matches!(error, SequenceError::Different { .. }), "{error}");
    }
}

//! Running the statements, those of different tables at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use router::Side;

use super::{Context, Deferred, Stage, left};
use crate::name::{quote_identifier, quote_literal};
use crate::schema::error::SchemaError;
use crate::wire::{Endpoint, SqlConn, SqlError};

/// The server says that the object is there: index, table or view, routine, trigger, event,
/// foreign key.
const EXISTS: [u16; 6] = [1061, 1050, 1304, 1359, 1537, 1826];

/// A view that names what is not there (yet), or is not allowed to.
const MISSING: [u16; 5] = [1146, 1305, 1356, 1054, 1449];

/// How often a broken or locked statement is tried.
const ATTEMPTS: u32 = 5;

/// A statement that the target refused, left to its caller to judge.
#[derive(Debug)]
pub(in super::super) struct Failed {
    pub(in super::super) deferred: Deferred,
    pub(in super::super) error: SqlError,
}

/// Runs all statements of a stage, those of one table in order, several tables at once.
///
/// `done` counts the statements that ran.
pub(in super::super) async fn run_stage(
    target: &Endpoint,
    control: &SqlConn,
    stage: Stage,
    workers: usize,
    name: &str,
    done: &Arc<(AtomicUsize, AtomicUsize)>,
) -> Result<(), SchemaError> {
    let all = left(control, stage).await?;
    done.0.store(0, Ordering::Relaxed);
    done.1.store(all.len(), Ordering::Relaxed);
    // One list a table: two ALTERs of one table would only wait for each other.
    let mut tables: VecDeque<Vec<Deferred>> = VecDeque::new();
    for deferred in all {
        match tables.back_mut() {
            Some(list)
                if list
                    .first()
                    .is_some_and(|first| first.name == deferred.name) =>
            {
                list.push(deferred);
            }
            Some(_) | None => tables.push_back(vec![deferred]),
        }
    }
    let workers = workers.clamp(1, tables.len().max(1));
    let tables = Mutex::new(tables);
    let work = || async {
        let client = open(target, name).await?;
        loop {
            let Some(list) = next(&tables) else {
                return Ok::<(), SchemaError>(());
            };
            for deferred in list {
                run(&client, &deferred).await?;
                done.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    try_join_all((0..workers).map(|_| work())).await.map(drop)
}

fn next(tables: &Mutex<VecDeque<Vec<Deferred>>>) -> Option<Vec<Deferred>> {
    tables.lock().pop_front()
}

/// Makes the views, each after those that it reads from. Gives those that the target refuses.
pub(in super::super) async fn run_views(
    target: &Endpoint,
    control: &SqlConn,
    name: &str,
) -> Result<Vec<Failed>, SchemaError> {
    let client = open(target, name).await?;
    let mut waiting = left(control, Stage::Views).await?;
    loop {
        let before = waiting.len();
        let mut refused = Vec::new();
        for deferred in waiting {
            match try_run(&client, &deferred).await {
                Ok(()) => record(&client, &deferred).await?,
                Err(error) if error.code().is_some_and(|code| MISSING.contains(&code)) => {
                    refused.push(Failed { deferred, error });
                }
                Err(error) => return Err(cannot_make(&deferred)(error)),
            }
        }
        if refused.is_empty() || refused.len() == before {
            return Ok(refused);
        }
        waiting = refused.into_iter().map(|failed| failed.deferred).collect();
    }
}

/// A connection whose statements mean what they meant on the source.
async fn open(target: &Endpoint, name: &str) -> Result<SqlConn, SchemaError> {
    let client = crate::schema::connect(target, Side::Target, name).await?;
    super::super::structure::prepare_session(&client).await?;
    Ok(client)
}

async fn run(client: &SqlConn, deferred: &Deferred) -> Result<(), SchemaError> {
    for attempt in 0..ATTEMPTS {
        match try_run(client, deferred).await {
            Ok(()) => break,
            Err(error) if attempt + 1 < ATTEMPTS && is_lock_trouble(&error) => {
                tracing::info!(table = %deferred.name, "locked, trying again");
            }
            Err(error) => return Err(cannot_make(deferred)(error)),
        }
    }
    record(client, deferred).await
}

fn is_lock_trouble(error: &SqlError) -> bool {
    matches!(error.code(), Some(1205 | 1213))
}

fn cannot_make(deferred: &Deferred) -> impl FnOnce(SqlError) -> SchemaError {
    SchemaError::sql(
        Side::Target,
        format!("making the {} of {}", deferred.kind, deferred.name),
    )
}

async fn try_run(client: &SqlConn, deferred: &Deferred) -> Result<(), SqlError> {
    if deferred.kind == "foreign key" && foreign_key_exists(client, deferred).await? {
        return Ok(());
    }
    let database = quote_identifier(&deferred.name.schema);
    client.execute(&format!("USE {database}")).await?;
    if let Some(context) = &deferred.context {
        client
            .execute(&settings(context, &deferred.statement))
            .await?;
    }
    match client.execute(&deferred.statement).await {
        Ok(_) => Ok(()),
        Err(error) if error.code().is_some_and(|code| EXISTS.contains(&code)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// MariaDB's answer to a foreign key that exists is one that has other reasons too.
async fn foreign_key_exists(client: &SqlConn, deferred: &Deferred) -> Result<bool, SqlError> {
    let query = format!(
        "SELECT 1 FROM information_schema.TABLE_CONSTRAINTS
         WHERE CONSTRAINT_SCHEMA = {} AND TABLE_NAME = {} AND CONSTRAINT_NAME = {}
           AND CONSTRAINT_TYPE = 'FOREIGN KEY'",
        quote_literal(&deferred.name.schema),
        quote_literal(&deferred.name.name),
        quote_literal(deferred.part_name.as_deref().unwrap_or_default())
    );
    Ok(client.query_first(&query).await?.is_some())
}

/// What a stored program remembers of its session.
///
/// Our text is UTF-8. Another client character set is set only where that reads the same.
fn settings(context: &Context, statement: &str) -> String {
    let charset = context.charset_client.as_str();
    let is_utf8 = matches!(charset, "utf8mb4" | "utf8mb3" | "utf8");
    let charset = if is_utf8 || statement.is_ascii() {
        charset
    } else {
        "utf8mb4"
    };
    let mut settings = vec![
        format!("character_set_client = {}", quote_literal(charset)),
        format!(
            "collation_connection = {}",
            quote_literal(&context.collation_connection)
        ),
    ];
    if let Some(mode) = &context.sql_mode {
        settings.push(format!("sql_mode = {}", quote_literal(mode)));
    }
    if let Some(zone) = &context.time_zone {
        settings.push(format!("time_zone = {}", quote_literal(zone)));
    }
    format!("SET {}", settings.join(", "))
}

async fn record(client: &SqlConn, deferred: &Deferred) -> Result<(), SchemaError> {
    // The session may have any sql_mode now; numbers and names of ours are read alike in all.
    let update = format!(
        "UPDATE pointsman.deferred SET done = 1 WHERE position = {}",
        deferred.position
    );
    let updated = client.execute(&update).await;
    updated.map(drop).map_err(super::failed())
}

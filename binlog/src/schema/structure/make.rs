//! Making databases and tables, several tables at once.
//!
//! What a server spends on a table is mostly waiting for its disk, so tables are made over several
//! connections. They need no order: foreign keys come after the rows, and nothing else of a table
//! names another one. Views and routines come when all tables are there.
//!
//! # Crash behaviour
//! A server may still be making a table for a connection that is gone. Each maker therefore holds a
//! lock of its own for as long as its session lasts; [`Makers::open`] waits for the locks of
//! earlier runs before anything is taken away or made.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use router::Side;

use super::super::catalog::{Catalog, Database, DatabaseEncryption};
use super::super::create_table::{CreateTable, Indexes};
use super::super::deferred::{Stage, Store};
use super::super::definitions::Definitions;
use super::super::error::SchemaError;
use super::super::translate::Translation;
use super::{made, prepare_session};
use crate::name::{QualifiedName, quote_identifier};
use crate::wire::{Endpoint, SqlConn, SqlError};

/// Tables smaller than this get their indexes at once.
const DEFER_INDEXES_BYTES: u64 = 8 << 20;

/// The most connections that make tables; more of them wait for the same disk.
pub(in super::super) const MAKERS_MAX: usize = 8;

/// How long the statement of an earlier run may still take.
const EARLIER_RUN_MAX_S: u32 = 300;

/// How often a statement that met another's lock is tried.
const ATTEMPTS: u32 = 5;

/// Connections that make tables.
#[derive(Debug)]
pub(in super::super) struct Makers(Vec<SqlConn>);

impl Makers {
    /// Opens connections, not more than there is work for, when no earlier run works any more.
    ///
    /// # Errors
    /// A connection could not be opened, or an earlier run's statement does not end.
    pub(in super::super) async fn open(
        target: &Endpoint,
        name: &str,
        workers: usize,
        tables: usize,
    ) -> Result<Self, SchemaError> {
        let count = workers.min(tables).clamp(1, MAKERS_MAX);
        let open = |_| super::super::connect(target, Side::Target, name);
        let clients = try_join_all((0..count).map(open)).await?;
        for number in 0..MAKERS_MAX {
            match clients.get(number) {
                Some(client) => take_lock(client, number).await?,
                // An earlier run may have had more of them.
                None => {
                    if let Some(client) = clients.first() {
                        wait_for_lock(client, number).await?;
                    }
                }
            }
        }
        for client in &clients {
            prepare_session(client).await?;
        }
        Ok(Self(clients))
    }

    pub(super) fn first(&self) -> Option<&SqlConn> {
        self.0.first()
    }
}

fn lock_name(number: usize) -> String {
    format!("'pointsman_structure_{number}'")
}

/// Holds a lock until the session ends.
async fn take_lock(client: &SqlConn, number: usize) -> Result<(), SchemaError> {
    let name = lock_name(number);
    let query = format!("SELECT GET_LOCK({name}, {EARLIER_RUN_MAX_S})");
    let row = client.query_first(&query).await;
    let what = "waiting for statements of an earlier run";
    let row = row.map_err(SchemaError::sql(Side::Target, what))?;
    match row.as_ref().and_then(|row| row.text(0)) {
        Some("1") => Ok(()),
        Some(_) | None => Err(SchemaError::EarlierRun { side: Side::Target }),
    }
}

/// Waits until nobody holds a lock. (Before MySQL 5.7 a session holds one at a time, so that it
/// must not be taken for that.)
async fn wait_for_lock(client: &SqlConn, number: usize) -> Result<(), SchemaError> {
    let begun = tokio::time::Instant::now();
    let query = format!("SELECT IS_FREE_LOCK({})", lock_name(number));
    let what = "waiting for statements of an earlier run";
    loop {
        let row = client.query_first(&query).await;
        let row = row.map_err(SchemaError::sql(Side::Target, what))?;
        if row.as_ref().and_then(|row| row.text(0)) == Some("1") {
            return Ok(());
        }
        if begun.elapsed().as_secs() >= u64::from(EARLIER_RUN_MAX_S) {
            return Err(SchemaError::EarlierRun { side: Side::Target });
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Makes databases and tables, and writes down what comes later. Gives warnings.
///
/// `done` counts the tables.
pub(in super::super) async fn make(
    target: &SqlConn,
    makers: &Makers,
    catalog: &Catalog,
    definitions: &Definitions,
    translation: &Translation,
    done: &(AtomicUsize, AtomicUsize),
) -> Result<Vec<String>, SchemaError> {
    let mut warnings = Vec::new();
    for database in &catalog.databases {
        make_database(target, database, translation, &mut warnings).await?;
    }
    let mut store = Store::begin(target).await?;
    let mut tables = VecDeque::with_capacity(definitions.tables.len());
    for table in &definitions.tables {
        let table = translation.table(table, &mut warnings)?;
        let stages = table.stages(indexes_of(&table, catalog));
        store.table(&table.name, &stages).await?;
        tables.push_back((table.name, stages.create));
    }
    let stages = [
        (Stage::Routines, &definitions.routines),
        (Stage::Views, &definitions.views),
        (Stage::Triggers, &definitions.triggers),
    ];
    for (stage, programs) in stages {
        for program in programs {
            let program = translation.program(program, &mut warnings)?;
            store.program(stage, &program).await?;
        }
    }
    for (program, _) in &definitions.events {
        let program = translation.program(program, &mut warnings)?;
        store.program(Stage::Events, &program).await?;
    }
    store.end().await?;
    super::super::events::save(target, &catalog.events).await?;
    made::forget(target).await?;
    make_tables(makers, tables, done).await?;
    let moved: HashSet<&QualifiedName> = catalog.moved_tables().map(|table| &table.name).collect();
    let tables = definitions.tables.iter();
    let moved: Vec<&CreateTable> = tables.filter(|table| moved.contains(&table.name)).collect();
    made::record(target, &moved).await?;
    Ok(warnings)
}

pub(super) fn indexes_of(table: &CreateTable, catalog: &Catalog) -> Indexes {
    let bytes = catalog.table(&table.name).map_or(0, |table| table.bytes);
    if bytes >= DEFER_INDEXES_BYTES {
        Indexes::AfterRows
    } else {
        Indexes::WithTable
    }
}

/// Each maker takes the next table until there is none.
async fn make_tables(
    makers: &Makers,
    tables: VecDeque<(QualifiedName, String)>,
    done: &(AtomicUsize, AtomicUsize),
) -> Result<(), SchemaError> {
    done.0.store(0, Ordering::Relaxed);
    done.1.store(tables.len(), Ordering::Relaxed);
    let tables = Mutex::new(tables);
    let work = async |client: &SqlConn| {
        loop {
            let next = tables.lock().pop_front();
            let Some((name, statement)) = next else {
                return Ok::<(), SchemaError>(());
            };
            let made = make_table(client, &statement).await;
            made.map_err(SchemaError::sql(
                Side::Target,
                format!("making table {name}"),
            ))?;
            done.0.fetch_add(1, Ordering::Relaxed);
        }
    };
    try_join_all(makers.0.iter().map(work)).await.map(drop)
}

/// Tables that are made at once may meet in the server's own dictionary.
pub(super) async fn make_table(client: &SqlConn, statement: &str) -> Result<(), SqlError> {
    let mut attempt = 1;
    loop {
        match client.execute(statement).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt < ATTEMPTS && matches!(error.code(), Some(1205 | 1213)) => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn make_database(
    target: &SqlConn,
    database: &Database,
    translation: &Translation,
    warnings: &mut Vec<String>,
) -> Result<(), SchemaError> {
    let name = quote_identifier(&database.name);
    let (charset, collation) = translation.database(database, warnings)?;
    let encryption = match database.encryption {
        // What the target gives its new databases is kept.
        DatabaseEncryption::Off => "",
        DatabaseEncryption::On => database.encryption.clause(target.version()),
    };
    for statement in [
        format!("CREATE DATABASE IF NOT EXISTS {name}"),
        format!("ALTER DATABASE {name} CHARACTER SET {charset} COLLATE {collation}{encryption}"),
    ] {
        let done = target.execute(&statement).await;
        let what = format!("making database {}", database.name);
        done.map_err(SchemaError::sql(Side::Target, what))?;
    }
    Ok(())
}

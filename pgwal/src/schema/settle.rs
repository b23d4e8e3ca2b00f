//! What a freshly filled target needs before it may serve: statistics and visibility for the
//! planner, refreshed materialized views, and sequences near their values.
//!
//! Each part may be repeated after a crash; none changes what an earlier run did.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use router::Side;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::catalog::{Catalog, MaterializedView, TableKind, ViewContent};
use super::error::{SchemaError, SqlCause};
use crate::movement::sequences::Sequences;
use crate::name::{QualifiedName, some_of};
use crate::wire::Endpoint;

/// Our DDL must not set off the application's event triggers.
const QUIET: &str = "SET session_replication_role = replica";

/// Vacuums and analyzes the copied tables over several connections, big ones first.
///
/// Tables that were copied frozen only get their visibility map checked (from 14 on it is set
/// already), so this costs little more than the sample for the statistics.
///
/// # Errors
/// A connection or a statement failed.
pub async fn vacuum(
    target: &Endpoint,
    catalog: &Catalog,
    workers: usize,
    application_name: &str,
) -> Result<(), SchemaError> {
    let statements = Arc::new(Mutex::new(vacuum_statements(catalog)));
    let mut tasks: JoinSet<Result<(), SchemaError>> = JoinSet::new();
    for _ in 0..workers.max(1) {
        let queue = Arc::clone(&statements);
        let target = target.clone();
        let name = application_name.to_owned();
        tasks.spawn(async move {
            let client = super::connect(&target, Side::Target, &name).await?;
            loop {
                let next = queue.lock().pop_front();
                let Some((table, statement)) = next else {
                    return Ok(());
                };
                let done = client.batch_execute(&statement).await;
                done.map_err(SchemaError::sql(Side::Target, format!("vacuuming {table}")))?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(error) => {
                return Err(SchemaError::Unreadable {
                    side: Side::Target,
                    what: format!("the end of a vacuum ({error})"),
                });
            }
        }
    }
    Ok(())
}

/// Partitions are vacuumed one by one, and analyzed through their topmost root, which alone
/// samples across all of them.
fn vacuum_statements(catalog: &Catalog) -> VecDeque<(QualifiedName, String)> {
    let partitioned: HashSet<&QualifiedName> = catalog
        .tables
        .iter()
        .filter(|table| table.kind == TableKind::Partitioned)
        .map(|table| &table.name)
        .collect();
    let is_partition =
        |parents: &[QualifiedName]| parents.iter().any(|parent| partitioned.contains(parent));
    let mut leaves: Vec<_> = catalog.moved_tables().collect();
    leaves.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let leaves = leaves.into_iter().map(|table| {
        let options = if is_partition(&table.parents) {
            ""
        } else {
            "(ANALYZE) "
        };
        (
            table.name.clone(),
            format!("VACUUM {options}{}", table.name.quoted()),
        )
    });
    let roots = catalog
        .tables
        .iter()
        .filter(|table| table.kind == TableKind::Partitioned && !is_partition(&table.parents))
        .map(|table| {
            (
                table.name.clone(),
                format!("ANALYZE {}", table.name.quoted()),
            )
        });
    leaves.chain(roots).collect()
}

/// Refreshes the materialized views that have content on the source and none yet on the target,
/// each after those that it reads from.
///
/// A view that fails (functions hide what they read) is tried again after the others, as long as
/// that helps.
///
/// # Errors
/// Some views cannot be refreshed; the first failure is given.
pub async fn refresh_views(target: &Client, views: &[MaterializedView]) -> Result<(), SchemaError> {
    if target.batch_execute(QUIET).await.is_err() {
        tracing::debug!("event triggers cannot be kept quiet on the target");
    }
    let mut left: Vec<&MaterializedView> = views
        .iter()
        .filter(|view| view.content == ViewContent::Populated)
        .collect();
    loop {
        let mut failed = Vec::new();
        let mut failure = None;
        let before = left.len();
        for view in left {
            if let Err(cause) = refresh(target, &view.name).await {
                tracing::debug!(view = %view.name, %cause, "not refreshed");
                failed.push(view);
                failure = Some(cause);
            }
        }
        let Some(cause) = failure else { return Ok(()) };
        if failed.len() == before {
            let names: Vec<&QualifiedName> = failed.iter().map(|view| &view.name).collect();
            let what = format!("refreshing the materialized views {}", some_of(&names));
            return Err(SchemaError::Sql {
                side: Side::Target,
                what,
                cause,
            });
        }
        left = failed;
    }
}

async fn refresh(target: &Client, view: &QualifiedName) -> Result<(), SqlCause> {
    let query = "SELECT c.relispopulated FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text";
    let row = target.query_opt(query, &[&view.schema, &view.name]).await?;
    if row.is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    target
        .batch_execute(&format!("REFRESH MATERIALIZED VIEW {}", view.quoted()))
        .await?;
    Ok(())
}

/// Sets the target's sequences to what the source's are now. The exact values follow at the
/// cutover, when nothing draws from them any more.
///
/// # Errors
/// The sequences differ, or a server failed.
pub async fn set_sequences(
    source: &Client,
    target: &Client,
    catalog: &Catalog,
) -> Result<(), SchemaError> {
    let wanted: HashSet<&QualifiedName> = catalog
        .sequences
        .iter()
        .map(|sequence| &sequence.name)
        .collect();
    let chosen = |schema: &str, name: &str| wanted.contains(&QualifiedName::new(schema, name));
    let values = match Sequences::prepare(source, target, chosen).await {
        Ok(sequences) => sequences.read(source).await?,
        Err(error) => return Err(error.into()),
    };
    let oids: Vec<u32> = values.iter().map(|value| value.target_oid).collect();
    let last: Vec<i64> = values.iter().map(|value| value.last_value).collect();
    let called: Vec<bool> = values.iter().map(|value| value.is_called).collect();
    let query = "
        SELECT pg_catalog.count(pg_catalog.setval(u.o::pg_catalog.regclass, u.v, u.c))
        FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),
                        pg_catalog.unnest($2::pg_catalog.int8[]),
                        pg_catalog.unnest($3::pg_catalog.bool[])) AS u (o, v, c)";
    target
        .query(query, &[&oids, &last, &called])
        .await
        .map_err(SchemaError::sql(Side::Target, "setting the sequences"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{Choice, Persistence, ReplicaIdentity, Table};
    use super::*;

    fn table(name: &str, kind: TableKind, bytes: u64, parent: Option<&str>) -> Table {
        Table {
            oid: 1,
            name: QualifiedName::new("s", name),
            kind,
            persistence: Persistence::Permanent,
            columns: Vec::new(),
            key: None,
            identity: ReplicaIdentity::Default,
            parents: parent
                .map(|name| QualifiedName::new("s", name))
                .into_iter()
                .collect(),
            extension: None,
            choice: Choice::Chosen,
            pages: 0,
            bytes,
            rows_estimate: 0,
        }
    }

    #[test]
    fn partitions_are_vacuumed_one_by_one_and_analyzed_through_the_topmost_root() {
        let tables = vec![
            table("small", TableKind::Ordinary, 1, None),
            table("root", TableKind::Partitioned, 0, None),
            table("middle", TableKind::Partitioned, 0, Some("root")),
            table("leaf", TableKind::Ordinary, 9, Some("middle")),
            table("child", TableKind::Ordinary, 5, Some("small")),
        ];
        let statements = vacuum_statements(&Catalog {
            tables,
            ..Catalog::default()
        });
        let words: Vec<&str> = statements.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(
            words,
            [
                "VACUUM \"s\".\"leaf\"",
                "VACUUM (ANALYZE) \"s\".\"child\"",
                "VACUUM (ANALYZE) \"s\".\"small\"",
                "ANALYZE \"s\".\"root\"",
            ]
        );
    }
}

//! A source and a target with the same tables, and an applier between them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::server::{PgOptions, PgServer};
use pgwal::apply::{Applier, ApplyError, ApplyHandle, ApplyOptions, Events, EventsError};
use pgwal::schema::bookkeeping;
use pgwal::stream::event::StreamEvent;
use pgwal::stream::pgoutput::{Framing, Message, decode};
use pgwal::wire::{Endpoint, SqlConn};
use router::Lsn;
use tokio::time::timeout;

/// A source database and a target database.
pub(crate) struct Pair {
    servers: (PgServer, PgServer),
    pub(crate) source: SqlConn,
    pub(crate) target: SqlConn,
    pub(crate) source_endpoint: Endpoint,
    pub(crate) target_endpoint: Endpoint,
    pub(crate) slot: String,
    pub(crate) start: Lsn,
}

impl Pair {
    /// Both databases with what `ddl` makes, all tables of `public` and `odd` published.
    pub(crate) async fn new(source_major: u32, target_major: u32, ddl: &str) -> Result<Self> {
        let (database, slot) = ("shop", "pointsman_0a1b2c3d".to_owned());
        let servers = (
            PgServer::start(source_major, PgOptions::default().without_fsync()).await?,
            PgServer::start(target_major, PgOptions::default().without_fsync()).await?,
        );
        let mut conns = Vec::new();
        for server in [&servers.0, &servers.1] {
            let admin: Endpoint = server.url("postgres", "postgres").parse()?;
            let admin = admin.connect_sql("test").await?;
            admin
                .batch_execute(&format!("CREATE DATABASE {database}"))
                .await?;
            let endpoint: Endpoint = server.url("postgres", database).parse()?;
            let conn = endpoint.connect_sql("test").await?;
            conn.batch_execute("SET search_path = public").await?;
            conn.batch_execute(ddl).await.context("ddl")?;
            conns.push((endpoint, conn));
        }
        let (target_endpoint, target) = conns.pop().context("target")?;
        let (source_endpoint, source) = conns.pop().context("source")?;
        source.batch_execute(bookkeeping::SOURCE_DDL).await?;
        target.batch_execute(bookkeeping::TARGET_DDL).await?;
        let tables: String = source
            .query_one(
                "SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.relname), ', ')
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind = 'r'
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pointsman')",
                &[],
            )
            .await?
            .get(0);
        source
            .batch_execute(&format!(
                "CREATE PUBLICATION {slot} FOR TABLE {tables}, pointsman.marker"
            ))
            .await?;
        let start = source
            .query_one(
                &format!(
                    "SELECT lsn::text FROM \
                     pg_catalog.pg_create_logical_replication_slot('{slot}', 'pgoutput')"
                ),
                &[],
            )
            .await?
            .get::<_, String>(0)
            .parse()?;
        Ok(Self {
            servers,
            source,
            target,
            source_endpoint,
            target_endpoint,
            slot,
            start,
        })
    }

    /// The target's server.
    pub(crate) fn target_server(&mut self) -> &mut PgServer {
        &mut self.servers.1
    }

    /// Connects to the target again, after its server was started again.
    pub(crate) async fn reconnect_target(&mut self) -> Result<()> {
        self.target = self.target_endpoint.connect_sql("test").await?;
        self.target
            .batch_execute("SET search_path = public")
            .await?;
        Ok(())
    }

    /// Runs SQL on the source.
    pub(crate) async fn on_source(&self, sql: &str) -> Result<()> {
        self.source
            .batch_execute(sql)
            .await
            .context("on the source")
    }

    /// Takes what the slot has: whole transactions.
    pub(crate) async fn events(&self) -> Result<Vec<StreamEvent>> {
        // As the stream's own session: names in values are shown with their schema.
        self.source
            .batch_execute("SET search_path = ''; SET lc_monetary = 'C'")
            .await?;
        let rows = self
            .source
            .query(
                "SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes($1, NULL, NULL,
                     'proto_version', '1', 'publication_names', $2)",
                &[&self.slot, &self.slot],
            )
            .await?;
        self.source
            .batch_execute("SET search_path = public")
            .await?;
        let mut events = Vec::new();
        for row in rows {
            let data: Vec<u8> = row.get(0);
            let event = match decode(data.into(), Framing::Plain)?.message {
                Message::Begin(begin) => StreamEvent::Begin {
                    xid: begin.xid,
                    commit_lsn: begin.commit_lsn,
                    commit_time: begin.commit_time,
                },
                Message::Commit(commit) => StreamEvent::Commit {
                    xid: 0,
                    commit_lsn: commit.commit_lsn,
                    end_lsn: commit.end_lsn,
                    commit_time: commit.commit_time,
                },
                Message::Relation(relation) => StreamEvent::Relation(relation),
                Message::Change { relation, change } => StreamEvent::Change { relation, change },
                Message::Truncate {
                    relations,
                    cascade,
                    restart_identity,
                } => StreamEvent::Truncate {
                    relations,
                    cascade,
                    restart_identity,
                },
                Message::Type { .. } => continue,
                other => anyhow::bail!("unexpected {other:?}"),
            };
            events.push(event);
        }
        Ok(events)
    }

    /// Options with small waits.
    pub(crate) fn options(&self) -> ApplyOptions {
        let mut options = ApplyOptions::new(&self.slot, self.start);
        options.window.idle_max = Duration::from_millis(20);
        options
    }

    /// Opens an applier on the target.
    pub(crate) async fn applier(&self) -> Result<Applier, ApplyError> {
        Applier::open(&self.target_endpoint, self.options(), HashMap::new()).await
    }

    /// Applies everything the source has done since the last time.
    pub(crate) async fn apply(&self) -> Result<(), ApplyError> {
        let events = self.events().await.expect("the slot can be read");
        let mut applier = self.applier().await?;
        apply_events(&mut applier, events).await
    }

    /// Applies everything, and checks that all tables are alike on both sides.
    pub(crate) async fn apply_and_compare(&self) -> Result<()> {
        self.apply().await?;
        self.compare().await
    }

    /// Checks that all tables are alike on both sides.
    pub(crate) async fn compare(&self) -> Result<()> {
        let tables = self
            .source
            .query(
                "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind = 'r'
                   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pointsman')",
                &[],
            )
            .await?;
        for table in tables {
            let table: String = table.get(0);
            let (left, right) = (
                rows(&self.source, &table).await?,
                rows(&self.target, &table).await?,
            );
            ensure!(left == right, "{table} differs:\n{left:#?}\n{right:#?}");
        }
        Ok(())
    }
}

/// All rows of a table as text, in order.
pub(crate) async fn rows(conn: &SqlConn, table: &str) -> Result<Vec<String>> {
    let rows = conn
        .query(
            &format!("SELECT whole_row::text FROM {table} whole_row ORDER BY whole_row::text COLLATE pg_catalog.\"C\""),
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Applies what the changes do: one by one between the first servers, and all netted into one
/// window between the second.
pub(crate) async fn arrives(ddl: &str, changes: &[&str]) -> Result<()> {
    Box::pin(arrives_twice(ddl, changes)).await
}

async fn arrives_twice(ddl: &str, changes: &[&str]) -> Result<()> {
    let pair = Pair::new(14, 17, ddl).await?;
    for change in changes {
        pair.on_source(change).await?;
        pair.apply_and_compare().await?;
    }
    let pair = Pair::new(12, 18, ddl).await?;
    for change in changes {
        pair.on_source(change).await?;
    }
    pair.apply_and_compare().await
}

/// Events one after the other, and then silence.
pub(crate) struct Queue(pub(crate) VecDeque<StreamEvent>);

impl Events for Queue {
    async fn next(&mut self) -> Result<StreamEvent, EventsError> {
        match self.0.pop_front() {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }
}

/// Runs the applier over these events, until the last is applied or it fails.
pub(crate) async fn apply_events(
    applier: &mut Applier,
    events: Vec<StreamEvent>,
) -> Result<(), ApplyError> {
    let last = events.iter().rev().find_map(|event| match event {
        StreamEvent::Commit { end_lsn, .. } => Some(*end_lsn),
        StreamEvent::Idle { wal_end } => Some(*wal_end),
        _ => None,
    });
    let handle = applier.handle();
    let run = applier.run(Queue(events.into()), |_lsn| {});
    let all = async {
        tokio::select! {
            result = run => result,
            () = stop_at(handle, last) => unreachable!("it waits for the end of the run"),
        }
    };
    timeout(Duration::from_secs(120), all)
        .await
        .expect("applied within a minute")
}

/// Ends the applier when it has applied `last`, and never returns.
pub(crate) async fn stop_at(handle: ApplyHandle, last: Option<Lsn>) {
    if let Some(last) = last {
        let mut applied = handle.applied();
        drop(applied.wait_for(|applied| *applied >= last).await);
    }
    handle.stop();
    std::future::pending::<()>().await;
}

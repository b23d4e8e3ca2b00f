//! What is the same on both servers: fence, slot, publication, origin, identities, our schema.

use std::time::Duration;

use router::Side;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::super::bookkeeping::object_name;
use super::super::error::SqlCause;
use super::super::patience::LockPatience;
use super::{CleanupReport, FENCE_TIMEOUT, FenceFate};
use crate::movement::fence;
use crate::name::{QualifiedName, quote_identifier, quote_literal};

/// How long a slot or origin may stay in use after its user was ended.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two attempts.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One server being cleaned.
pub(super) struct Cleaner<'a> {
    pub(super) client: &'a Client,
    pub(super) side: Side,
    pub(super) id: &'a str,
    pub(super) report: &'a mut CleanupReport,
}

impl Cleaner<'_> {
    fn note(&mut self, what: &str, result: Result<(), impl std::fmt::Display>) {
        match result {
            Ok(()) => self.report.done(self.side, what),
            Err(error) => self.report.left(self.side, format!("{what}: {error}")),
        }
    }

    /// Lowers the fence, if there is one and it shall not stay.
    pub(super) async fn fence(&mut self, fate: FenceFate) {
        let state = match fence::state(self.client).await {
            Ok(state) if state.is_fenced() => state,
            Ok(_) => return,
            Err(error) => return self.note("looking for the fence", Err(error)),
        };
        match fate {
            FenceFate::Keep => {
                self.report
                    .done(self.side, "kept the fence: only the operator may connect");
            }
            FenceFate::Lift => {
                let was = state.row.map(|row| row.to_string()).unwrap_or_default();
                match fence::lower(self.client, FENCE_TIMEOUT).await {
                    Ok(report) => {
                        self.report
                            .done(self.side, format!("lowered the fence ({was})"));
                        for sentence in report.not_exact {
                            self.report.done(self.side, sentence);
                        }
                    }
                    Err(error) => self.note("lowering the fence", Err(error)),
                }
            }
        }
    }

    /// Ends what of ours still works there: a server finishes a long statement (an index being
    /// built) without its client, and everything here would wait for its locks.
    pub(super) async fn end_ours(&mut self) {
        let end = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
                   FROM pg_catalog.pg_stat_activity a
                   WHERE a.datname = pg_catalog.current_database()
                     AND pg_catalog.starts_with(a.application_name, $1)
                     AND a.pid <> pg_catalog.pg_backend_pid()";
        let name = object_name(self.id);
        if let Err(error) = self.client.execute(end, &[&name]).await {
            self.note(
                "ending statements of ours that still run",
                Err(SqlCause::from(error)),
            );
        }
    }

    /// Drops slots, publication and origins that bear the migration's name.
    pub(super) async fn replication(&mut self) {
        let name = object_name(self.id);
        let slots = "SELECT s.slot_name::pg_catalog.text FROM pg_catalog.pg_replication_slots s
                     WHERE s.slot_name = $1 OR pg_catalog.starts_with(s.slot_name::pg_catalog.text, $1 || '_')";
        for slot in self.names("slots", slots, &name).await {
            let dropped = self.drop_slot(&slot).await;
            self.note(&format!("dropping replication slot {slot}"), dropped);
        }
        let publications = "SELECT p.pubname::pg_catalog.text FROM pg_catalog.pg_publication p
                            WHERE p.pubname = $1 OR pg_catalog.starts_with(p.pubname::pg_catalog.text, $1 || '_')";
        for publication in self.names("publications", publications, &name).await {
            let statement = format!(
                "DROP PUBLICATION IF EXISTS {}",
                quote_identifier(&publication)
            );
            let dropped = self
                .client
                .batch_execute(&statement)
                .await
                .map_err(SqlCause::from);
            self.note(&format!("dropping publication {publication}"), dropped);
        }
        let origins = "SELECT o.roname FROM pg_catalog.pg_replication_origin o
                       WHERE o.roname = $1 OR pg_catalog.starts_with(o.roname, $1 || '_')";
        for origin in self.names("replication origins", origins, &name).await {
            let dropped = self.drop_origin(&origin).await;
            self.note(&format!("dropping replication origin {origin}"), dropped);
        }
    }

    async fn names(&mut self, what: &str, query: &str, name: &str) -> Vec<String> {
        match self.client.query(query, &[&name]).await {
            Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
            Err(error) => {
                let cause = SqlCause::from(error);
                self.note(&format!("looking for {what}"), Err(cause));
                Vec::new()
            }
        }
    }

    /// A slot in use cannot be dropped: its reader (ours) is ended first.
    async fn drop_slot(&self, slot: &str) -> Result<(), SqlCause> {
        let end = "SELECT pg_catalog.pg_terminate_backend(s.active_pid)
                   FROM pg_catalog.pg_replication_slots s
                   WHERE s.slot_name = $1::pg_catalog.text AND s.active_pid IS NOT NULL";
        let drop = "SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)
                    FROM pg_catalog.pg_replication_slots s
                    WHERE s.slot_name = $1::pg_catalog.text";
        self.until_released(async || {
            self.client.execute(end, &[&slot]).await?;
            self.client.execute(drop, &[&slot]).await.map(|_| ())
        })
        .await
    }

    async fn drop_origin(&self, origin: &str) -> Result<(), SqlCause> {
        let drop = "SELECT pg_catalog.pg_replication_origin_drop(o.roname)
                    FROM pg_catalog.pg_replication_origin o WHERE o.roname = $1::pg_catalog.text";
        self.until_released(async || self.client.execute(drop, &[&origin]).await.map(|_| ()))
            .await
    }

    /// Tries again while the object is in use (55006) by a session that is just ending.
    async fn until_released(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<(), tokio_postgres::Error>,
    ) -> Result<(), SqlCause> {
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        loop {
            let Err(error) = attempt().await else {
                return Ok(());
            };
            let cause = SqlCause::from(error);
            match cause.sqlstate() {
                // Somebody else dropped it.
                Some("42704") => return Ok(()),
                Some("55006") if Instant::now() < deadline => sleep(TRY_AGAIN_AFTER).await,
                Some(_) | None => return Err(cause),
            }
        }
    }

    /// Puts back the replica identities that we changed (or that came with our schema).
    pub(super) async fn identities(&mut self) {
        if !self.has_our_table("saved_identity").await {
            return;
        }
        let query = match self.side {
            Side::Source => SAVED_ON_SOURCE,
            Side::Target => SAVED_ON_TARGET,
        };
        let rows = match self.client.query(query, &[]).await {
            Ok(rows) => rows,
            Err(error) => {
                return self.note("reading the saved identities", Err(SqlCause::from(error)));
            }
        };
        for row in rows {
            let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let identity: String = row.get(2);
            let index: Option<String> = row.get(3);
            let forget: String = row.get(4);
            let statement = match (identity.as_str(), index) {
                ("d", _) => "DEFAULT".to_owned(),
                ("f", _) => "FULL".to_owned(),
                ("i", Some(index)) => format!("USING INDEX {}", quote_identifier(&index)),
                (_, _) => "NOTHING".to_owned(),
            };
            let statements = format!(
                "ALTER TABLE ONLY {} REPLICA IDENTITY {statement}; {forget}",
                table.quoted()
            );
            let object = format!("the replica identity of {table}");
            let patience = LockPatience::default();
            let changed = patience
                .run(self.client, self.side, &object, &statements)
                .await;
            self.note(&format!("putting back {object}"), changed);
        }
    }

    async fn has_our_table(&mut self, table: &str) -> bool {
        let query =
            "SELECT pg_catalog.to_regclass('pointsman.' || $1::pg_catalog.text) IS NOT NULL";
        match self.client.query_one(query, &[&table]).await {
            Ok(row) => row.get(0),
            Err(error) => {
                self.note("looking for our tables", Err(SqlCause::from(error)));
                false
            }
        }
    }

    /// Whether something is still there on a side.
    pub(super) fn has_left(&self, side: Side) -> bool {
        let prefix = format!("{side}: ");
        let mut left = self.report.left.iter();
        left.any(|left| left.starts_with(&prefix))
    }

    /// Drops our schema, unless something is left that only it knows how to put back.
    pub(super) async fn drop_schema(&mut self) {
        if self.has_left(self.side) {
            return self
                .report
                .left(self.side, "the schema pointsman, needed for the rest");
        }
        if !self.has_our_table("migration").await {
            return;
        }
        let dropped = self
            .client
            .batch_execute("DROP SCHEMA IF EXISTS pointsman CASCADE")
            .await;
        self.note(
            "dropping the schema pointsman",
            dropped.map_err(SqlCause::from),
        );
    }
}

/// The fifth column is the statement that forgets the row.
const SAVED_ON_SOURCE: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, s.identity::pg_catalog.text,
       s.index_name,
       pg_catalog.format('DELETE FROM pointsman.saved_identity WHERE table_oid = %s', s.table_oid)
FROM pointsman.saved_identity s
JOIN pg_catalog.pg_class c ON c.oid = s.table_oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2";

const SAVED_ON_TARGET: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, s.identity::pg_catalog.text,
       s.index_name,
       pg_catalog.format('DELETE FROM pointsman.saved_identity
                          WHERE schema_name = %L AND table_name = %L', s.schema_name, s.table_name)
FROM pointsman.saved_identity s
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema_name
JOIN pg_catalog.pg_class c ON c.relname = s.table_name AND c.relnamespace = n.oid ORDER BY 1, 2";

/// Deletes a row of the undo list in the transaction of its statement.
pub(super) fn with_forgetting(statement: &str, position: i64) -> String {
    format!("BEGIN; {statement}; DELETE FROM pointsman.undo WHERE position = {position}; COMMIT")
}

/// A COMMENT statement's last word.
pub(super) fn comment_literal(comment: Option<&str>) -> String {
    comment.map_or_else(|| "NULL".to_owned(), quote_literal)
}

//! One server being cleaned.

use router::Side;

use super::{CleanupReport, FENCE_TIMEOUT};
use crate::movement::{events, fence};
use crate::name::quote_literal;
use crate::schema::structure;
use crate::wire::{SqlConn, SqlError};

/// An account that is gone already, and what it was granted: no such account, no such grant.
const GONE: [u16; 6] = [1396, 1141, 1147, 1403, 1959, 3523];

/// One server being cleaned.
pub(super) struct Cleaner<'a> {
    pub(super) client: &'a SqlConn,
    pub(super) side: Side,
    pub(super) report: &'a mut CleanupReport,
}

impl Cleaner<'_> {
    fn note(&mut self, what: &str, result: Result<(), impl std::error::Error>) {
        match result {
            Ok(()) => self.report.done(self.side, what),
            Err(error) => {
                let words = router::words(&error);
                self.report.left(self.side, format!("{what}: {words}"));
            }
        }
    }

    /// Whether something is left on this side.
    pub(super) fn has_left(&self, side: Side) -> bool {
        let prefix = format!("{side}: ");
        self.report
            .left
            .iter()
            .any(|left| left.starts_with(&prefix))
    }

    /// Lowers the fence, if there is one.
    pub(super) async fn lower_fence(&mut self) {
        let state = match fence::state(self.client).await {
            Ok(state) if state.is_fenced() => state,
            Ok(_) => return,
            Err(error) => return self.note("looking for the fence", Err(error)),
        };
        let epoch = state.row.map_or(0, |row| row.epoch.0);
        match fence::lower(self.client, FENCE_TIMEOUT).await {
            Ok(report) => {
                self.report
                    .done(self.side, format!("lowered the fence of epoch {epoch}"));
                for sentence in report.not_exact {
                    self.report.done(self.side, sentence);
                }
            }
            Err(error) => self.note("lowering the fence", Err(error)),
        }
    }

    /// Leaves the server read-only, for good.
    pub(super) async fn shut(&mut self) {
        let shut = self.client.execute("SET GLOBAL read_only = 1").await;
        self.note(
            "left read_only on, so that nobody writes there",
            shut.map(drop),
        );
    }

    /// Enables events that the switch did not get to.
    pub(super) async fn enable_events(&mut self) {
        match events::enable_saved(self.client).await {
            Ok(failed) => {
                for sentence in failed {
                    self.report.left(self.side, sentence);
                }
            }
            Err(error) => self.note("enabling events", Err(error)),
        }
    }

    /// Ends what of ours still works there: a server finishes a long statement (an index being
    /// built) without its client, and everything here would wait for its locks.
    ///
    /// Only MySQL with its performance schema tells which sessions are ours; elsewhere the locks are
    /// waited for.
    pub(super) async fn end_ours(&mut self, id: &str) {
        let query = format!(
            "SELECT PROCESSLIST_ID FROM performance_schema.session_connect_attrs
             WHERE ATTR_NAME = 'program_name' AND ATTR_VALUE LIKE {}
               AND PROCESSLIST_ID <> CONNECTION_ID()",
            quote_literal(&format!("pointsman\\_{id}%"))
        );
        let Ok(rows) = self.client.query(&query).await else {
            return;
        };
        for row in rows {
            let Ok(thread) = row.parse::<u64>(0) else {
                continue;
            };
            match self.client.execute(&format!("KILL {thread}")).await {
                Ok(_) => {}
                // It has ended by itself.
                Err(error) if error.code() == Some(1094) => {}
                Err(error) => self.note("ending statements of ours", Err(error)),
            }
        }
    }

    /// Drops what came from the source.
    pub(super) async fn empty(&mut self) {
        if !self.has_table("found_object").await {
            return;
        }
        match structure::empty(self.client).await {
            Ok(dropped) if dropped.is_empty() => {}
            Ok(dropped) => {
                let names = dropped.join(", ");
                self.report
                    .done(self.side, format!("dropped what was copied: {names}"));
            }
            Err(error) => self.note("dropping what was copied", Err(error)),
        }
    }

    /// Takes back what was done outside the databases, newest first.
    pub(super) async fn undo(&mut self) {
        if !self.has_table("undo").await {
            return;
        }
        let query = "SELECT position, statement FROM pointsman.undo ORDER BY position DESC";
        let rows = match self.client.query(query).await {
            Ok(rows) => rows,
            Err(error) => return self.note("looking what to take back", Err(error)),
        };
        let mut taken_back = 0_usize;
        for row in &rows {
            let statement = row.text(1).unwrap_or_default();
            let position = row.text(0).unwrap_or_default();
            match self.client.execute(statement).await {
                Err(error) if !is_gone(&error) => {
                    self.note(&format!("taking back: {statement}"), Err(error));
                    continue;
                }
                Ok(_) | Err(_) => taken_back += 1,
            }
            let forget = format!("DELETE FROM pointsman.undo WHERE position = {position}");
            if let Err(error) = self.client.execute(&forget).await {
                self.note("recording what was taken back", Err(error));
            }
        }
        if taken_back > 0 {
            self.report.done(
                self.side,
                format!("took back {taken_back} accounts, grants and settings"),
            );
        }
    }

    async fn has_table(&mut self, name: &str) -> bool {
        let query = format!(
            "SELECT 1 FROM information_schema.TABLES
             WHERE TABLE_SCHEMA = 'pointsman' AND TABLE_NAME = '{name}'"
        );
        match self.client.query_first(&query).await {
            Ok(row) => row.is_some(),
            Err(error) => {
                self.note("looking for our tables", Err(error));
                false
            }
        }
    }

    /// The last of ours.
    pub(super) async fn drop_schema(&mut self) {
        if self.has_left(self.side) {
            return self
                .report
                .left(self.side, "the database pointsman, until the rest is done");
        }
        // MariaDB forgets who may call a procedure with the procedure, but not with its database.
        // An account that may not drop one could not make it either.
        let proof = "DROP PROCEDURE IF EXISTS pointsman.proof";
        if let Err(error) = self.client.execute(proof).await
            && error.server().is_none()
        {
            return self.note("dropping the procedure of the proof", Err(error));
        }
        let dropped = self
            .client
            .execute("DROP DATABASE IF EXISTS pointsman")
            .await;
        self.note("dropped the database pointsman", dropped.map(drop));
    }
}

fn is_gone(error: &SqlError) -> bool {
    error.code().is_some_and(|code| GONE.contains(&code))
}

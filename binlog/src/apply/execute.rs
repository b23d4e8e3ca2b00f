//! The executing half: steps in, statements on the target out, one transaction a window.
//!
//! # What it guarantees
//!
//! * Per table: deletes, then updates in place, then inserts, so that no unique key is in the way
//!   (see `router::net`).
//! * A row that is missing or already there is an error, and nothing is committed then.
//! * A window that lost against another's lock is rolled back and run again whole.
//!
//! # Crash behaviour
//!
//! The window and its progress row are one transaction. Whatever ends the session in between, the
//! progress row says afterwards whether the window is applied.

mod explain;
mod probe;
mod rows;

use std::time::{Duration, Instant};

use router::failpoint::{self, Point};
use tokio::sync::mpsc;

use super::ddl;
use super::error::{ApplyError, Doing};
use super::failure;
use super::handle::{Shared, Work};
use super::session::Session;
use super::step::{Step, TableChange, WindowEnd};
use super::work::Pieces;
use crate::position::Position;
use crate::wire::Endpoint;

/// How often a window is run again after it lost against a lock, and the pauses between.
const ATTEMPTS_MAX: u32 = 10;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Executes steps on the session it borrows.
pub(super) struct Executor<'s> {
    target: &'s Endpoint,
    session: &'s mut Session,
    transaction: Transaction,
}

/// The transaction on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// None is open.
    Closed,
    /// Steps before this one are in it.
    Open,
}

impl<'s> Executor<'s> {
    pub(super) fn new(target: &'s Endpoint, session: &'s mut Session) -> Self {
        Self {
            target,
            session,
            transaction: Transaction::Closed,
        }
    }

    /// Executes steps until there are no more. A window that is not ended is rolled back.
    ///
    /// # Errors
    /// The first failure; the transaction is rolled back, unless the connection is lost.
    pub(super) async fn run(
        mut self,
        mut steps: mpsc::Receiver<Step>,
        shared: &Shared,
        on_durable: impl Fn(&Position),
    ) -> Result<(), ApplyError> {
        while let Some(step) = steps.recv().await {
            let started = Instant::now();
            match step {
                Step::Rows { changes, end } => {
                    let _working = shared.working(Work::Rows);
                    if let Err(error) = self.rows(&changes, end.as_ref()).await {
                        self.roll_back().await;
                        return Err(error);
                    }
                    if let Some(end) = end {
                        on_durable(&end.position);
                        shared.committed(&end, started.elapsed());
                    }
                }
                Step::Ddl { statement, done } => {
                    let _working = shared.working(Work::Definition);
                    Box::pin(ddl::carry_out(self.target, self.session, &statement)).await?;
                    // Nobody waits any more when the gathering half has ended.
                    let _told = done.send(());
                }
            }
        }
        if self.transaction != Transaction::Closed {
            self.roll_back().await;
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        changes: &[TableChange],
        end: Option<&WindowEnd>,
    ) -> Result<(), ApplyError> {
        let first = self.transaction == Transaction::Closed;
        let mut attempt = 1;
        loop {
            match self.try_rows(changes, end).await {
                Ok(()) => return Ok(()),
                // Earlier steps of the window are gone by now: such a one is read again.
                Err(error) if !first || attempt >= ATTEMPTS_MAX || !lost_to_a_lock(&error) => {
                    return Err(error);
                }
                Err(error) => tracing::info!(%error, attempt, "the window runs again"),
            }
            self.roll_back().await;
            tokio::time::sleep(RETRY_PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn try_rows(
        &mut self,
        changes: &[TableChange],
        end: Option<&WindowEnd>,
    ) -> Result<(), ApplyError> {
        let opened = self.transaction == Transaction::Closed;
        if opened {
            self.command("BEGIN").await?;
            self.transaction = Transaction::Open;
        }
        match end {
            Some(end) => self.session.move_progress(end).await?,
            None if opened => self.session.open_window().await?,
            None => {}
        }
        let (mut deletes, mut updates, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
        for part in changes {
            let mut pieces = Pieces::new(&part.table, &part.change, part.foreign_keys);
            deletes.append(&mut pieces.deletes);
            updates.append(&mut pieces.updates);
            inserts.append(&mut pieces.inserts);
        }
        deletes.append(&mut updates);
        deletes.append(&mut inserts);
        rows::apply(self.session, deletes, end).await?;
        if let Some(end) = end {
            failpoint::reach(Point::WindowApplied).await;
            self.command("COMMIT").await?;
            failpoint::reach(Point::WindowCommitted).await;
            self.session.progress = end.position.clone();
            self.transaction = Transaction::Closed;
        }
        Ok(())
    }

    async fn command(&self, sql: &str) -> Result<(), ApplyError> {
        let done = self.session.conn.execute(sql).await;
        done.map(drop).map_err(|source| ApplyError::Server {
            doing: Doing::Window,
            source,
        })
    }

    /// Gives up the transaction. A failure does not matter: what comes next on the session fails
    /// as well then.
    async fn roll_back(&mut self) {
        self.transaction = Transaction::Closed;
        if let Err(error) = self.command("ROLLBACK").await {
            tracing::debug!(%error, "could not roll back the window");
        }
    }
}

fn lost_to_a_lock(error: &ApplyError) -> bool {
    match error {
        ApplyError::Server { source, .. } => failure::lost_to_a_lock(source),
        ApplyError::Connect(_)
        | ApplyError::Stream(_)
        | ApplyError::Lanes { .. }
        | ApplyError::Lenient { .. }
        | ApplyError::Divergence(_)
        | ApplyError::Refused(_)
        | ApplyError::History { .. }
        | ApplyError::Value { .. }
        | ApplyError::RowTooLarge { .. }
        | ApplyError::Table(_)
        | ApplyError::Ddl(_)
        | ApplyError::ProgressMoved { .. }
        | ApplyError::ProgressMalformed
        | ApplyError::OutOfOrder { .. } => false,
    }
}

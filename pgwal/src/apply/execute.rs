//! The executing half: steps in, statements on the target out, one transaction a window.
//!
//! # What it guarantees
//!
//! * Per table: deletes, then moves, then updates in place, then inserts, so that no unique key is
//!   in the way (see `router::net`).
//! * Every statement's row count is what the changes ask for, or nothing is committed.
//! * COMMIT is sent only after every answer of the window has come and was right.
//!
//! # Crash behaviour
//!
//! The window and its progress row are one transaction. Whatever ends the session in between, the
//! progress row says afterwards whether the window is applied.

mod missing;
mod rows;

use std::time::Instant;

use router::Lsn;
use router::failpoint::{self, Point};
use tokio::sync::mpsc;

use super::error::{ApplyError, Doing, RowsMissing, ServerFailure};
use super::handle::Shared;
use super::pipeline::{Answered, Pipeline};
use super::session::Session;
use super::step::{Step, Truncate, TruncateHow, WindowEnd};
use super::target_table::TargetTable;
use super::work::Work;
use crate::name::QualifiedName;
use rows::{Hit, Planned};

/// Executes steps on the session it borrows.
pub(super) struct Executor<'s> {
    session: &'s mut Session,
    transaction: Transaction,
}

/// The transaction on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// None is open.
    Closed,
    /// Opened by the step that is being executed.
    Opened,
    /// Steps before this one are in it; this one has a savepoint.
    Continued,
}

/// What a statement's answer must be.
enum Expected<'w> {
    /// Success.
    Done(Doing),
    /// So and so many rows of a table.
    Rows(&'w TargetTable, Hit<'w>),
    /// One row: the progress, which must be at this position still.
    Progress(Lsn),
}

impl<'s> Executor<'s> {
    pub(super) fn new(session: &'s mut Session) -> Self {
        Self {
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
        acknowledge: impl Fn(Lsn),
    ) -> Result<(), ApplyError> {
        while let Some(step) = steps.recv().await {
            let started = Instant::now();
            if let Err(error) = self.step(&step).await {
                self.roll_back().await;
                return Err(error);
            }
            if let Some(end) = &step.end {
                acknowledge(end.end_lsn);
                shared.committed(end, started.elapsed());
            }
        }
        if self.transaction != Transaction::Closed {
            self.roll_back().await;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), ApplyError> {
        let mut works: Vec<_> = step
            .changes
            .iter()
            .map(|part| Work::new(&part.table, &part.change))
            .collect();
        let mut opening = Some(self.open());
        if works.iter().any(rows::needs_search)
            && let Some(sql) = opening.take()
        {
            self.window_command(&sql).await?;
            rows::divert_moving(self.session, &mut works).await?;
        }
        match self.execute(step, &works, opening).await {
            Ok(()) => {}
            Err(Fault::Error(error)) => return Err(error),
            Err(Fault::Count { table, hit, found }) => {
                return Err(self.explain_count(table, &hit, found).await);
            }
        }
        if let Some(end) = &step.end {
            failpoint::reach(Point::WindowApplied).await;
            self.window_command("COMMIT").await?;
            failpoint::reach(Point::WindowCommitted).await;
            self.session.progress = end.end_lsn;
            self.transaction = Transaction::Closed;
        }
        Ok(())
    }

    /// The command that begins this step.
    fn open(&mut self) -> String {
        let (next, command) = match self.transaction {
            Transaction::Closed => (Transaction::Opened, "BEGIN"),
            Transaction::Opened => (Transaction::Continued, "SAVEPOINT pointsman_step"),
            // The last step's savepoint goes only now: its answers had to be seen first.
            Transaction::Continued => (
                Transaction::Continued,
                "RELEASE SAVEPOINT pointsman_step; SAVEPOINT pointsman_step",
            ),
        };
        self.transaction = next;
        if self.session.plans_are_stale() {
            format!("{command}; DISCARD PLANS")
        } else {
            command.to_owned()
        }
    }

    /// Everything of the step but its COMMIT.
    async fn execute<'w>(
        &mut self,
        step: &Step,
        works: &'w [Work<'w>],
        opening: Option<String>,
    ) -> Result<(), Fault<'w>> {
        let plan = rows::plan(self.session, works).await?;
        let session = &*self.session;
        let mut answers = Answers {
            session,
            pipeline: Pipeline::new(),
        };
        if let Some(sql) = opening {
            answers.command(Doing::Window, sql).await?;
        }
        for planned in plan.statements {
            answers.rows(planned).await?;
        }
        if !plan.copies.is_empty() {
            answers.settle().await?;
            rows::copy_all(session, &plan.copies).await?;
        }
        if let Some(truncate) = &step.truncate {
            let doing = Doing::Truncate(first_name(truncate));
            answers.command(doing, truncate_sql(truncate)).await?;
        }
        if let Some(end) = &step.end {
            answers.end(end).await?;
        }
        answers.settle().await
    }

    async fn window_command(&self, sql: &str) -> Result<(), ApplyError> {
        self.session
            .client
            .batch_execute(sql)
            .await
            .map_err(|error| ApplyError::Server {
                doing: Doing::Window,
                failure: ServerFailure::of(&error),
            })
    }

    /// Gives up the transaction. A failure does not matter: the session is not used again then.
    async fn roll_back(&mut self) {
        self.transaction = Transaction::Closed;
        if let Err(error) = self.window_command("ROLLBACK").await {
            tracing::debug!(%error, "could not roll back the window");
        }
    }

    /// Names the first row that is missing: by its key, in the state before this step.
    async fn explain_count(
        &mut self,
        table: &TargetTable,
        hit: &Hit<'_>,
        found: u64,
    ) -> ApplyError {
        let back = match self.transaction {
            Transaction::Continued => "ROLLBACK TO SAVEPOINT pointsman_step",
            Transaction::Closed | Transaction::Opened => "ROLLBACK",
        };
        let key = match self.window_command(back).await {
            Ok(()) => missing::first_missing(self.session, table, hit).await,
            Err(_lost) => None,
        };
        ApplyError::RowsMissing(Box::new(RowsMissing {
            table: table.name.clone(),
            action: hit.action(),
            expected: hit.rows(),
            found,
            key_columns: table.key_column_names(),
            key,
        }))
    }
}

/// Why a step failed.
enum Fault<'w> {
    /// Something else than a row count.
    Error(ApplyError),
    /// A statement found another number of rows than it must.
    Count {
        table: &'w TargetTable,
        hit: Hit<'w>,
        found: u64,
    },
}

impl From<ApplyError> for Fault<'_> {
    fn from(error: ApplyError) -> Self {
        Self::Error(error)
    }
}

/// Statements on their way, and the judge of their answers.
struct Answers<'w, 's> {
    session: &'s Session,
    pipeline: Pipeline<'s, Expected<'w>>,
}

impl<'w> Answers<'w, '_> {
    async fn command(&mut self, doing: Doing, sql: String) -> Result<(), Fault<'w>> {
        let client = &self.session.client;
        let sent = async move { client.batch_execute(&sql).await.map(|()| 0) };
        let oldest = self.pipeline.add(Expected::Done(doing), sent).await;
        self.judge(oldest)
    }

    async fn rows(&mut self, planned: Planned<'w>) -> Result<(), Fault<'w>> {
        let client = &self.session.client;
        let Planned {
            table,
            hit,
            statement,
            parameters,
        } = planned;
        let sent = async move { client.execute_raw(&statement, parameters).await };
        let oldest = self.pipeline.add(Expected::Rows(table, hit), sent).await;
        self.judge(oldest)
    }

    /// Adds what is committed with the window.
    async fn end(&mut self, end: &WindowEnd) -> Result<(), Fault<'w>> {
        let session = self.session;
        let time = end.commit_time.map(|time| time.0);
        let (next, last) = (end.end_lsn.to_string(), session.progress.to_string());
        let position = next.clone();
        let sent = async move {
            let statement = session.progress_statement();
            session
                .client
                .execute(statement, &[&position, &time, &last])
                .await
        };
        let oldest = self
            .pipeline
            .add(Expected::Progress(session.progress), sent)
            .await;
        self.judge(oldest)?;
        if let Some(statement) = session.origin_statement() {
            let sent = async move { session.client.execute(statement, &[&next, &time]).await };
            let oldest = self.pipeline.add(Expected::Done(Doing::Window), sent).await;
            self.judge(oldest)?;
        }
        Ok(())
    }

    /// Waits for all answers.
    async fn settle(&mut self) -> Result<(), Fault<'w>> {
        while let Some(answer) = self.pipeline.next().await {
            self.judge(Some(answer))?;
        }
        Ok(())
    }

    fn judge(&self, answer: Option<Answered<Expected<'w>>>) -> Result<(), Fault<'w>> {
        let Some((expected, result)) = answer else {
            return Ok(());
        };
        match expected {
            Expected::Done(doing) => match result {
                Ok(_rows) => Ok(()),
                Err(error) => {
                    let failure = ServerFailure::of(&error);
                    Err(ApplyError::Server { doing, failure }.into())
                }
            },
            Expected::Progress(last) => match result {
                Ok(1) => Ok(()),
                Ok(_other) => Err(ApplyError::ProgressMoved { expected: last }.into()),
                Err(error) => {
                    let failure = ServerFailure::of(&error);
                    Err(ApplyError::Server {
                        doing: Doing::Window,
                        failure,
                    }
                    .into())
                }
            },
            Expected::Rows(table, hit) => match result {
                Ok(found) if found == hit.rows() => Ok(()),
                Ok(found) => Err(Fault::Count { table, hit, found }),
                Err(error) => Err(rows::refused(table, &error).into()),
            },
        }
    }
}

fn first_name(truncate: &Truncate) -> QualifiedName {
    truncate
        .tables
        .first()
        .map_or_else(|| QualifiedName::new("", ""), |table| table.name.clone())
}

fn truncate_sql(truncate: &Truncate) -> String {
    let names: Vec<_> = truncate
        .tables
        .iter()
        .map(|table| format!("ONLY {}", table.name.quoted()))
        .collect();
    match truncate.how {
        TruncateHow::Truncate => format!("TRUNCATE {}", names.join(", ")),
        TruncateHow::RestartIdentity => format!("TRUNCATE {} RESTART IDENTITY", names.join(", ")),
        TruncateHow::Delete => {
            let deletes: Vec<_> = names
                .iter()
                .map(|name| format!("DELETE FROM {name}"))
                .collect();
            deletes.join("; ")
        }
    }
}

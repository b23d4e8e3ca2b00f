//! The gathering half: events of the stream in, steps of windows out.
//!
//! [`router::window`] says when a window ends; this half keeps it, and counts and measures for it. A
//! transaction that is larger than a window's limits is handed on in several steps, which the
//! executing half keeps in one transaction. (At the source every unique constraint that is not
//! deferrable holds after each row, so it holds at each of these places as well.)

mod batch;

use std::sync::Arc;

use router::window::{Content, Target, Verdict, Window};
use router::{Cell, Change, Lsn};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::batch::Batch;
use super::ApplyOptions;
use super::error::ApplyError;
use super::events::{CommitTime, Events, EventsError, StreamEvent};
use super::handle::{Control, Order, RunState, Shared};
use super::relations::{Destination, Relations, Watermarks};
use super::step::{Step, Truncate, TruncateHow, WindowEnd};
use crate::wire::SqlConn;

/// Events taken without giving the executing half a turn.
const EVENTS_PER_TURN: u32 = 256;

/// Why the gathering half ended without an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    /// It was asked to stop, at a window boundary.
    Stopped,
    /// The executing half is gone; it says why.
    ExecutorGone,
}

/// Gathers windows from the stream.
pub(super) struct Gatherer<'a, S> {
    stream: S,
    client: Arc<SqlConn>,
    shared: &'a Shared,
    control: watch::Receiver<Control>,
    steps: mpsc::Sender<Step>,
    options: &'a ApplyOptions,
    relations: Relations<'a>,
    batch: Batch,
    place: Place,
    open: Option<OpenWindow>,
    /// What was applied when this run began.
    resumed_at: Lsn,
    /// End of the last window that was handed on, or of what was applied at the start.
    handed_on: Lsn,
    /// The beginning of a transaction that must wait, since it lies behind where it is to hold still.
    waiting: Option<StreamEvent>,
    events: u32,
}

/// Where in the stream the last event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between transactions.
    Outside,
    /// In a transaction that committed here.
    Applying(Lsn),
    /// In a transaction that came from the target; only its position counts.
    Ignoring,
    /// In a transaction that is applied already.
    Skipping,
}

/// A window that has transactions, or at least a position, to be committed.
#[derive(Debug)]
struct OpenWindow {
    since: Instant,
    content: Content,
    end: WindowEnd,
}

enum Next {
    Event(Result<StreamEvent, EventsError>),
    Close,
    Control,
    ExecutorGone,
}

impl<'a, S: Events> Gatherer<'a, S> {
    pub(super) fn new(
        stream: S,
        client: Arc<SqlConn>,
        shared: &'a Shared,
        steps: mpsc::Sender<Step>,
        options: &'a ApplyOptions,
        watermarks: &'a Watermarks,
    ) -> Self {
        let handed_on = *shared.applied().borrow();
        Self {
            stream,
            client,
            shared,
            control: shared.control(),
            steps,
            options,
            relations: Relations::new(watermarks),
            batch: Batch::default(),
            place: Place::Outside,
            open: None,
            resumed_at: handed_on,
            handed_on,
            waiting: None,
            events: 0,
        }
    }

    /// Gathers until it is asked to stop, the stream fails, or the executing half is gone.
    pub(super) async fn run(mut self) -> Result<Gathered, ApplyError> {
        loop {
            let next = match self.place {
                Place::Outside => {
                    if let Some(ended) = self.obey().await {
                        return Ok(ended);
                    }
                    self.next_outside().await
                }
                Place::Applying(_) | Place::Ignoring | Place::Skipping => self.next_inside().await,
            };
            let open = match next {
                Next::Event(event) => self.take(event.map_err(ApplyError::Stream)?).await?,
                Next::Close => self.close().await,
                Next::Control => Ok(()),
                Next::ExecutorGone => Err(ExecutorGone),
            };
            if open.is_err() {
                return Ok(Gathered::ExecutorGone);
            }
            self.events += 1;
            if self.events >= EVENTS_PER_TURN {
                self.events = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    async fn next_inside(&mut self) -> Next {
        tokio::select! {
            biased;
            event = self.stream.next() => Next::Event(event),
            () = self.steps.closed() => Next::ExecutorGone,
        }
    }

    async fn next_outside(&mut self) -> Next {
        let verdict = self.verdict();
        if verdict == Some(Verdict::End) {
            return Next::Close;
        }
        if let Some(event) = self.waiting.take() {
            return Next::Event(Ok(event));
        }
        tokio::select! {
            biased;
            event = self.stream.next() => Next::Event(event),
            _free = self.steps.reserve(), if verdict == Some(Verdict::EndWhenQuiet) => Next::Close,
            () = until(verdict) => Next::Close,
            _changed = self.control.changed() => Next::Control,
            () = self.steps.closed() => Next::ExecutorGone,
        }
    }

    /// What to do with the open window, if there is one.
    fn verdict(&self) -> Option<Verdict> {
        let open = self.open.as_ref()?;
        let window = Window {
            content: open.content,
            held: self.batch.volume(),
            age: open.since.elapsed(),
        };
        let target = if self.steps.capacity() > 0 {
            Target::Free
        } else {
            Target::Busy
        };
        Some(self.options.window.verdict(window, target))
    }

    /// Takes one event in.
    async fn take(&mut self, event: StreamEvent) -> Result<Result<(), ExecutorGone>, ApplyError> {
        match event {
            StreamEvent::Relation(relation) => self.relations.announce(relation),
            StreamEvent::Begin { commit_lsn, .. } if self.must_wait(commit_lsn) => {
                self.waiting = Some(event);
            }
            StreamEvent::Begin { commit_lsn, .. } => self.begin(commit_lsn)?,
            StreamEvent::Origin { name } => self.origin(&name)?,
            StreamEvent::Change { relation, change } => match self.place {
                Place::Skipping | Place::Ignoring => {}
                Place::Applying(commit_lsn) => {
                    return self.change(relation, change, commit_lsn).await;
                }
                Place::Outside => return Err(out_of_order("a change outside a transaction")),
            },
            StreamEvent::Truncate {
                relations,
                restart_identity,
                cascade: _,
            } => match self.place {
                Place::Skipping | Place::Ignoring => {}
                Place::Applying(commit_lsn) => {
                    return self
                        .truncate(&relations, restart_identity, commit_lsn)
                        .await;
                }
                Place::Outside => return Err(out_of_order("TRUNCATE outside a transaction")),
            },
            StreamEvent::Commit {
                end_lsn,
                commit_time,
                ..
            } => self.commit(end_lsn, commit_time)?,
            StreamEvent::Idle { wal_end } => {
                if wal_end > self.seen() {
                    self.window().end.end_lsn = wal_end;
                }
            }
        }
        Ok(Ok(()))
    }

    /// Whether a transaction that committed here lies behind where the applier is to hold still.
    fn must_wait(&self, commit_lsn: Lsn) -> bool {
        let control = self.control.borrow();
        let advance = control.advance.filter(|_to| control.pauses > 0);
        self.place == Place::Outside && advance.is_some_and(|to| commit_lsn >= to)
    }

    /// Whether everything that committed before this position is taken in.
    fn has_come_to(&self, place: Lsn) -> bool {
        self.waiting.is_some() || self.seen() >= place
    }

    fn begin(&mut self, commit_lsn: Lsn) -> Result<(), ApplyError> {
        if self.place != Place::Outside {
            return Err(out_of_order("BEGIN inside a transaction"));
        }
        // Transactions come in the order of their commit records, and a position that is written
        // down lies behind one of them: what ends at or before it also begins to commit before it.
        self.place = if commit_lsn < self.resumed_at {
            Place::Skipping
        } else if commit_lsn < self.seen() {
            return Err(out_of_order("a transaction committed before the last one"));
        } else {
            Place::Applying(commit_lsn)
        };
        Ok(())
    }

    fn origin(&mut self, name: &[u8]) -> Result<(), ApplyError> {
        let ours = self
            .options
            .ignored_origin
            .as_ref()
            .is_some_and(|own| own.as_bytes() == name);
        match self.place {
            Place::Outside => return Err(out_of_order("ORIGIN outside a transaction")),
            Place::Applying(_) if ours => self.place = Place::Ignoring,
            Place::Applying(_) | Place::Ignoring | Place::Skipping => {}
        }
        Ok(())
    }

    fn commit(&mut self, end_lsn: Lsn, commit_time: CommitTime) -> Result<(), ApplyError> {
        match self.place {
            Place::Skipping => {}
            Place::Applying(_) | Place::Ignoring => {
                let end = &mut self.window().end;
                end.end_lsn = end_lsn;
                end.commit_time = Some(commit_time);
                end.transactions += 1;
            }
            Place::Outside => return Err(out_of_order("COMMIT outside a transaction")),
        }
        self.place = Place::Outside;
        Ok(())
    }

    async fn change(
        &mut self,
        oid: u32,
        change: Change,
        commit_lsn: Lsn,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        match self
            .relations
            .destination(&self.client, oid, commit_lsn)
            .await?
        {
            Destination::InCopy => {}
            Destination::Marker(token) => {
                self.shared.gathers(commit_lsn);
                let token = token.and_then(|column| marker_token(&change, column));
                let window = self.window();
                window.content = Content::Changes;
                window.end.markers.extend(token);
            }
            Destination::Apply(table) => {
                self.shared.gathers(commit_lsn);
                if self.batch.has_other_shape(oid, &table)
                    || self.options.window.is_full(self.batch.volume())
                {
                    let step = Step {
                        changes: self.batch.take(),
                        ..Step::default()
                    };
                    if let Err(gone) = self.hand_on(step).await {
                        return Ok(Err(gone));
                    }
                }
                let bytes = self.batch.push(oid, &table, change)?;
                let window = self.window();
                window.content = Content::Changes;
                window.end.changes += 1;
                window.end.bytes += bytes;
            }
        }
        Ok(Ok(()))
    }

    async fn truncate(
        &mut self,
        oids: &[u32],
        restart_identity: bool,
        commit_lsn: Lsn,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        let mut how = if restart_identity {
            TruncateHow::RestartIdentity
        } else {
            TruncateHow::Truncate
        };
        let mut tables = Vec::with_capacity(oids.len());
        for &oid in oids {
            match self
                .relations
                .destination(&self.client, oid, commit_lsn)
                .await?
            {
                Destination::Apply(table) => tables.push(table),
                Destination::InCopy => how = TruncateHow::Delete,
                Destination::Marker(_) => {}
            }
        }
        if tables.is_empty() {
            return Ok(Ok(()));
        }
        self.shared.gathers(commit_lsn);
        self.window().content = Content::Changes;
        let truncate = Some(Truncate { tables, how });
        let step = Step {
            changes: self.batch.take(),
            truncate,
            end: None,
        };
        Ok(self.hand_on(step).await)
    }

    /// Up to where the stream was taken in.
    fn seen(&self) -> Lsn {
        self.open.as_ref().map_or(self.handed_on, |window| {
            window.end.end_lsn.max(self.handed_on)
        })
    }

    /// The open window; opens one if there is none.
    fn window(&mut self) -> &mut OpenWindow {
        self.open.get_or_insert_with(|| OpenWindow {
            since: Instant::now(),
            content: Content::Position,
            end: WindowEnd::default(),
        })
    }

    /// Ends the open window, if there is one.
    async fn close(&mut self) -> Result<(), ExecutorGone> {
        let Some(window) = self.open.take() else {
            return Ok(());
        };
        self.handed_on = window.end.end_lsn;
        let step = Step {
            changes: self.batch.take(),
            truncate: None,
            end: Some(window.end),
        };
        self.hand_on(step).await
    }

    async fn hand_on(&self, step: Step) -> Result<(), ExecutorGone> {
        self.steps.send(step).await.map_err(|_step| ExecutorGone)
    }

    /// Between transactions: pauses or stops if it is asked to.
    async fn obey(&mut self) -> Option<Gathered> {
        loop {
            let control = *self.control.borrow_and_update();
            let goes_on = match (control.pauses, control.advance) {
                (0, _) => true,
                (_, Some(to)) => !self.has_come_to(to),
                (_, None) => false,
            };
            if control.order == Order::Run && goes_on {
                return None;
            }
            if self.settle().await.is_err() {
                return Some(Gathered::ExecutorGone);
            }
            match control.order {
                Order::Stop => {
                    self.shared.order(Order::Run);
                    return Some(Gathered::Stopped);
                }
                Order::Run => {}
            }
            self.shared.holds_still(control.advance);
            let gone = tokio::select! {
                _changed = self.control.changed() => None,
                () = self.steps.closed() => Some(Gathered::ExecutorGone),
            };
            self.shared.set_run(RunState::Running);
            if gone.is_some() {
                return gone;
            }
        }
    }

    /// Ends the window and waits until everything handed on is committed.
    async fn settle(&mut self) -> Result<(), ExecutorGone> {
        self.close().await?;
        let mut applied = self.shared.applied();
        tokio::select! {
            _reached = applied.wait_for(|applied| *applied >= self.handed_on) => Ok(()),
            () = self.steps.closed() => Err(ExecutorGone),
        }
    }
}

/// The executing half ended; its own result says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExecutorGone;

/// Waits for the time that a verdict names, if it names one.
async fn until(verdict: Option<Verdict>) {
    match verdict {
        Some(Verdict::EndAfter(rest)) => tokio::time::sleep(rest).await,
        Some(Verdict::End | Verdict::EndWhenQuiet) | None => std::future::pending().await,
    }
}

fn out_of_order(what: &'static str) -> ApplyError {
    ApplyError::OutOfOrder { what }
}

/// The token that a marker's change tells.
fn marker_token(change: &Change, column: usize) -> Option<String> {
    let row = match change {
        Change::Insert { row } | Change::Update { row, .. } => row,
        Change::Delete { .. } => return None,
    };
    match row.cells().get(column) {
        Some(Cell::Value(token)) => Some(String::from_utf8_lossy(token).into_owned()),
        Some(Cell::Null | Cell::Unchanged) | None => None,
    }
}

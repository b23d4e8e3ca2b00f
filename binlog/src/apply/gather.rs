//! The gathering half: events of the stream in, steps of windows out.
//!
//! [`router::window`] says when a window ends; this half keeps it, and counts and measures for it. A
//! transaction that is larger than a window's limits is handed on in several steps, which the
//! executing half keeps in one transaction. (The servers check unique indexes after each row, so
//! they hold at each of these places as well.)
//!
//! Most changes are netted. Two kinds are not, and are steps by themselves inside the window's
//! transaction, in their place: changes whose cascades the source did not log, and changes of keys
//! or unique values of which a minimal row image leaves out the rest of the row. Definition
//! statements stand between windows.

mod batch;

use std::sync::Arc;

use router::window::{Content, Target, Verdict, Window};
use router::{Cell, Change, OldImage};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::batch::Batch;
use super::ApplyOptions;
use super::compose::ForeignKeys;
use super::ddl::Statement;
use super::documents;
use super::error::{ApplyError, TableError};
use super::events::{Ddl, Events, EventsError, StreamEvent};
use super::handle::{Control, Order, RunState, Shared};
use super::relations::{Destination, Relations, Token, Watermarks};
use super::session::Session;
use super::step::{Step, TableChange, WindowEnd};
use super::target_table::{TargetIdentity, TargetTable};
use crate::name::QualifiedName;
use crate::position::Position;
use crate::wire::SqlConn;

/// Events taken without giving the executing half a turn.
const EVENTS_PER_TURN: u32 = 256;

/// Flags of rows events: the source's session had foreign keys off, or logs its cascades itself.
const NO_FOREIGN_KEY_CHECKS: u16 = 2;
const CASCADES_LOGGED: u16 = 16;

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
    lookup: Arc<SqlConn>,
    shared: &'a Shared,
    control: watch::Receiver<Control>,
    steps: mpsc::Sender<Step>,
    options: &'a ApplyOptions,
    relations: Relations<'a>,
    batch: Batch,
    place: Place,
    open: Option<OpenWindow>,
    /// End of the last window that was handed on, or of what was applied at the start.
    handed_on: Position,
    /// The beginning of a transaction that must wait, since it lies behind where it is to hold still.
    waiting: Option<StreamEvent>,
    events: u32,
}

/// Where in the stream the last event was.
#[derive(Debug, Clone)]
enum Place {
    /// Between transactions.
    Outside,
    /// In a transaction that ends here.
    Applying {
        committed: Arc<Position>,
        /// Definition statements that it has had.
        ddl: u32,
        /// Whether it has changed rows.
        rows: Rows,
    },
    /// In a transaction that an applier of ours wrote; only its position counts.
    Ignoring,
    /// In a transaction that is applied already.
    Skipping,
}

/// Whether a transaction has changed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    None,
    Changed,
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
        session: &Session,
        shared: &'a Shared,
        steps: mpsc::Sender<Step>,
        options: &'a ApplyOptions,
        watermarks: &'a Watermarks,
    ) -> Self {
        let handed_on = shared.applied().borrow().clone();
        Self {
            stream,
            lookup: Arc::clone(&session.lookup),
            shared,
            control: shared.control(),
            steps,
            options,
            relations: Relations::new(watermarks, session.method),
            batch: Batch::default(),
            place: Place::Outside,
            open: None,
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
                Place::Applying { .. } | Place::Ignoring | Place::Skipping => {
                    self.next_inside().await
                }
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
        let content = if self.control.borrow().waiting > 0 {
            // A position may be what is waited for.
            Content::Changes
        } else {
            open.content
        };
        let window = Window {
            content,
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
            StreamEvent::Table { id, map } => self.relations.describe(id, map),
            StreamEvent::Begin { ref position, .. } if self.must_wait(position) => {
                self.waiting = Some(event);
            }
            StreamEvent::Begin { position, .. } => self.begin(position)?,
            StreamEvent::Change {
                table,
                change,
                flags,
            } => match &mut self.place {
                Place::Skipping | Place::Ignoring => {}
                Place::Applying {
                    committed, rows, ..
                } => {
                    *rows = Rows::Changed;
                    let committed = Arc::clone(committed);
                    return self.change(table, change, flags, &committed).await;
                }
                Place::Outside => return Err(out_of_order("a change outside a transaction")),
            },
            StreamEvent::Ddl(ddl) => match &mut self.place {
                Place::Skipping | Place::Ignoring => {}
                Place::Applying {
                    rows: Rows::Changed,
                    ..
                } => return Err(out_of_order("a definition behind changes of rows")),
                Place::Applying {
                    committed,
                    ddl: count,
                    ..
                } => {
                    let nth = *count;
                    *count += 1;
                    let committed = Arc::clone(committed);
                    return self.ddl(*ddl, &committed, nth).await;
                }
                Place::Outside => {
                    return Err(out_of_order("a definition outside a transaction"));
                }
            },
            StreamEvent::Commit {
                position,
                commit_time_us,
                ..
            } => self.commit(position, commit_time_us)?,
            StreamEvent::Idle { position } => {
                if position > *self.seen() {
                    self.window(&position);
                }
            }
        }
        Ok(Ok(()))
    }

    /// Whether a transaction that ends here lies behind where the applier is to hold still.
    fn must_wait(&self, position: &Position) -> bool {
        let outside = matches!(self.place, Place::Outside);
        let to = self.shared.advance();
        outside && to.is_some_and(|to| *position > to)
    }

    /// Whether everything up to this position is taken in.
    fn has_come_to(&self, place: &Position) -> bool {
        self.waiting.is_some() || self.seen() >= place
    }

    fn begin(&mut self, position: Position) -> Result<(), ApplyError> {
        if !matches!(self.place, Place::Outside) {
            return Err(out_of_order("a transaction inside a transaction"));
        }
        self.place = if position <= *self.seen() {
            Place::Skipping
        } else {
            Place::Applying {
                committed: Arc::new(position),
                ddl: 0,
                rows: Rows::None,
            }
        };
        Ok(())
    }

    fn commit(&mut self, position: Position, time: Option<u64>) -> Result<(), ApplyError> {
        match self.place {
            Place::Skipping => {}
            Place::Applying { .. } | Place::Ignoring => {
                let end = &mut self.window(&position).end;
                end.commit_time_us = time.or(end.commit_time_us);
                end.transactions += 1;
            }
            Place::Outside => return Err(out_of_order("COMMIT outside a transaction")),
        }
        self.place = Place::Outside;
        Ok(())
    }

    async fn change(
        &mut self,
        id: u64,
        change: Change,
        flags: u16,
        committed: &Position,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        let lookup = Arc::clone(&self.lookup);
        let cascades = |table: &TargetTable| {
            flags & (NO_FOREIGN_KEY_CHECKS | CASCADES_LOGGED) == 0 && table.cascades_from(&change)
        };
        match self.relations.destination(&lookup, id, committed).await? {
            Destination::InCopy(table) => {
                if cascades(&table) {
                    self.cascade(&table, committed, Parent::InCopy)?;
                }
            }
            Destination::Nothing => {}
            Destination::Applied => self.place = Place::Ignoring,
            Destination::Marker(token) => {
                self.gathers(committed);
                let token = token.and_then(|token| marker_token(&change, token));
                let window = self.changed_window();
                window.end.markers.extend(token);
            }
            Destination::Apply(table) => {
                self.gathers(committed);
                if cascades(&table)
                    && self.cascade(&table, committed, Parent::Changed)? == Cascade::ToCome
                {
                    return self.alone(&table, change, ForeignKeys::On).await;
                }
                return self.apply(id, &table, change).await;
            }
        }
        Ok(Ok(()))
    }

    async fn apply(
        &mut self,
        id: u64,
        table: &Arc<TargetTable>,
        change: Change,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        let change = documents::level(table, change)?;
        let parts = match split(table, change) {
            Split::Alone(change) => {
                return self.alone(table, change, ForeignKeys::Off).await;
            }
            Split::Netted(change) => [Some(change), None],
            Split::Moved { delete, insert } => [Some(delete), Some(insert)],
        };
        if (self.batch.has_other_shape(id, table)
            || self.options.window.is_full(self.batch.volume()))
            && let Err(gone) = self.flush().await
        {
            return Ok(Err(gone));
        }
        let mut bytes = 0;
        for part in parts.into_iter().flatten() {
            bytes += self.batch.push(id, table, part)?;
        }
        let window = self.changed_window();
        window.end.changes += 1;
        window.end.bytes += bytes;
        Ok(Ok(()))
    }

    /// Applies one change by itself, after everything before it.
    async fn alone(
        &mut self,
        table: &Arc<TargetTable>,
        change: Change,
        foreign_keys: ForeignKeys,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        let bytes = u64::try_from(batch::memory_bytes(&change)).unwrap_or(u64::MAX);
        let change = batch::alone(table, change, foreign_keys)?;
        let window = self.changed_window();
        window.end.changes += 1;
        window.end.bytes += bytes;
        if let Err(gone) = self.flush().await {
            return Ok(Err(gone));
        }
        Ok(self.hand_on_rows(vec![change], None).await)
    }

    /// Where a cascade is that the log does not tell: it must be in the copies of all that it
    /// reaches, or in none, and it cannot be had without its parent's change.
    fn cascade(
        &self,
        table: &TargetTable,
        committed: &Position,
        parent: Parent,
    ) -> Result<Cascade, ApplyError> {
        let descendants = &table.cascades.descendants;
        let in_copy = |table: &&QualifiedName| self.relations.is_in_copy(table, committed);
        let (copied, apart) = match parent {
            Parent::InCopy => (true, descendants.iter().find(|table| !in_copy(table))),
            Parent::Changed => {
                let copied = descendants.iter().find(in_copy);
                let all = descendants.iter().all(|table| in_copy(&table));
                (all, copied.filter(|_| !all))
            }
        };
        match apart {
            Some(child) => Err(TableError::CascadeInCopy {
                table: table.name.clone(),
                child: child.clone(),
            }
            .into()),
            // A table that refers only to itself has no others.
            None if copied && !descendants.is_empty() => Ok(Cascade::InCopies),
            None => Ok(Cascade::ToCome),
        }
    }

    /// Carries out a definition statement at its place: everything before it is committed first,
    /// and nothing after it is looked at before it is done.
    async fn ddl(
        &mut self,
        ddl: Ddl,
        committed: &Position,
        nth: u32,
    ) -> Result<Result<(), ExecutorGone>, ApplyError> {
        let in_copy = |table: &QualifiedName| self.relations.is_in_copy(table, committed);
        let statement = Statement::new(ddl, committed, nth);
        let Some(statement) = statement.wanted(&self.options.scope, in_copy)? else {
            return Ok(Ok(()));
        };
        self.shared.gathers(committed.clone());
        if let Err(gone) = self.close().await {
            return Ok(Err(gone));
        }
        let (done, carried_out) = oneshot::channel();
        let step = Step::Ddl {
            statement: Box::new(statement),
            done,
        };
        if let Err(gone) = self.hand_on(step).await {
            return Ok(Err(gone));
        }
        if carried_out.await.is_err() {
            return Ok(Err(ExecutorGone));
        }
        self.relations.forget();
        // Its position is to be written down soon: who waits for it sees it.
        self.changed_window();
        Ok(Ok(()))
    }

    /// Tells that something of the transaction that ends here goes to the target. A window is
    /// committed whole, so its first one stands for all.
    fn gathers(&self, committed: &Position) {
        let open = self.open.as_ref();
        if open.is_none_or(|window| window.content == Content::Position) {
            self.shared.gathers(committed.clone());
        }
    }

    /// Up to where the stream was taken in.
    fn seen(&self) -> &Position {
        match &self.open {
            Some(window) if window.end.position > self.handed_on => &window.end.position,
            Some(_) | None => &self.handed_on,
        }
    }

    /// The open window with changes in it; its end is not moved.
    fn changed_window(&mut self) -> &mut OpenWindow {
        let seen = self.seen().clone();
        let window = self.window(&seen);
        window.content = Content::Changes;
        window
    }

    /// The open window, ending here; opens one if there is none.
    fn window(&mut self, end: &Position) -> &mut OpenWindow {
        let window = self.open.get_or_insert_with(|| OpenWindow {
            since: Instant::now(),
            content: Content::Position,
            end: WindowEnd {
                position: end.clone(),
                commit_time_us: None,
                transactions: 0,
                changes: 0,
                bytes: 0,
                markers: Vec::new(),
            },
        });
        window.end.position = end.clone();
        window
    }

    /// Ends the open window, if there is one.
    async fn close(&mut self) -> Result<(), ExecutorGone> {
        let Some(window) = self.open.take() else {
            return Ok(());
        };
        self.handed_on = window.end.position.clone();
        let changes = self.batch.take();
        self.hand_on_rows(changes, Some(window.end)).await
    }

    /// Hands on what is gathered, without ending the window.
    async fn flush(&mut self) -> Result<(), ExecutorGone> {
        let changes = self.batch.take();
        if changes.is_empty() {
            return Ok(());
        }
        self.hand_on_rows(changes, None).await
    }

    async fn hand_on_rows(
        &self,
        changes: Vec<TableChange>,
        end: Option<WindowEnd>,
    ) -> Result<(), ExecutorGone> {
        self.hand_on(Step::Rows { changes, end }).await
    }

    async fn hand_on(&self, step: Step) -> Result<(), ExecutorGone> {
        self.steps.send(step).await.map_err(|_step| ExecutorGone)
    }

    /// Between transactions: pauses or stops if it is asked to.
    async fn obey(&mut self) -> Option<Gathered> {
        loop {
            let control = *self.control.borrow_and_update();
            let advance = self.shared.advance().filter(|_to| control.pauses > 0);
            let goes_on = match (control.pauses, &advance) {
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
            self.shared.holds_still(advance);
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
        let handed_on = &self.handed_on;
        tokio::select! {
            _reached = applied.wait_for(|applied| applied >= handed_on) => Ok(()),
            () = self.steps.closed() => Err(ExecutorGone),
        }
    }
}

/// Where a parent's change is whose cascade is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// In the parent's copy.
    InCopy,
    /// In the stream only.
    Changed,
}

/// Where a cascade is that the log does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cascade {
    /// In the copies of all tables that it reaches: it must not happen again.
    InCopies,
    /// In none of them.
    ToCome,
}

/// How a change goes into the window.
enum Split {
    /// With all others.
    Netted(Change),
    /// As a delete and an insert, so that it can be in no other row's way.
    Moved { delete: Change, insert: Change },
    /// It would have to be split, but its row is not known whole.
    Alone(Change),
}

/// How `change` goes into the window: updates of keys and unique values are split.
fn split(table: &TargetTable, change: Change) -> Split {
    let (old, mut row) = match change {
        Change::Update {
            old: Some(old),
            row,
        } => (old, row),
        Change::Insert { row } if !row.is_complete() => {
            return Split::Alone(Change::Insert { row });
        }
        Change::Insert { .. } | Change::Update { old: None, .. } | Change::Delete { .. } => {
            return Split::Netted(change);
        }
    };
    if !table.changes_watched(Some(old.row()), &row) {
        return Split::Netted(Change::Update {
            old: Some(old),
            row,
        });
    }
    match &old {
        OldImage::Full(old) => row.fill_unchanged_from(old),
        OldImage::Key(old) => {
            if let TargetIdentity::Key(columns) = &table.identity {
                for &column in columns {
                    if let (Some(cell @ Cell::Unchanged), Some(old)) =
                        (row.cells_mut().get_mut(column), old.cells().get(column))
                    {
                        cell.clone_from(old);
                    }
                }
            }
        }
    }
    if row.is_complete() {
        Split::Moved {
            delete: Change::Delete { old },
            insert: Change::Insert { row },
        }
    } else {
        Split::Alone(Change::Update {
            old: Some(old),
            row,
        })
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
fn marker_token(change: &Change, token: Token) -> Option<String> {
    let row = match change {
        Change::Insert { row } | Change::Update { row, .. } => row,
        Change::Delete { .. } => return None,
    };
    match row.cells().get(token.column) {
        Some(Cell::Value(field)) => {
            let text = token.framing.payload(field).ok()?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        Some(Cell::Null | Cell::Unchanged) | None => None,
    }
}

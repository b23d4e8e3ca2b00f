//! From events to whole transactions.
//!
//! The log holds committed transactions one after the other. A transaction begins with an event that
//! names it (or, on servers without GTIDs, with `BEGIN`) and ends with `Xid`, `COMMIT`, or a single
//! definition statement. An XA transaction has two such groups: what was prepared is kept until its
//! `XA COMMIT` comes, and positions meanwhile tell where reading must begin again.
//!
//! Nothing here does input or output but for large transactions' files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use bytes::Bytes;

use super::contiguity::{Contiguity, Skips, Stands};
use super::error::{EventError, StopReason, StreamError};
use super::format::{Event, Format};
use super::gtid::{self, MariaForm};
use super::kind::Kind;
use super::query::{Query, Statement};
use super::transaction::{Gathering, Kept, Transaction};
use super::{compressed, rows, table_map};
use crate::position::{BinlogFile, Gtid, Gtids, MariaGtid, Position, Reread};
use crate::schema::bookkeeping;
use crate::wire::{FieldError, Fields};

/// Which tables' rows are wanted, by database and name.
pub(super) type Wanted = Box<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// XA transactions that may be prepared at once.
const PREPARED_MAX: usize = 10_000;

/// What came of an event.
#[derive(Debug)]
pub(super) enum Output {
    /// A transaction is whole.
    Transaction(Box<Transaction>),
    /// There is nothing more before this position.
    Idle(Position),
}

impl Output {
    /// Bytes that it holds in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        const POSITION_BYTES: usize = 256;
        match self {
            Self::Transaction(transaction) => transaction.memory_bytes() + POSITION_BYTES,
            Self::Idle(_) => POSITION_BYTES,
        }
    }
}

/// How a transaction is named.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    None,
    MySql(Gtid),
    Maria(MariaGtid),
}

/// A group of events that is being read.
#[derive(Debug)]
struct Group {
    name: Name,
    /// Where it begins.
    start: Position,
    commit_time_us: Option<u64>,
    state: GroupState,
    events: Gathering,
    /// Tables of this group whose rows are not wanted.
    unwanted: HashSet<u64>,
}

/// What the next statement of a group may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupState {
    /// It was named; `BEGIN` or a definition follows.
    Named,
    /// It was named, and is one statement.
    Standalone,
    /// The same, and the statement does nothing yet or was undone.
    Announced,
    /// Inside a transaction.
    Begun,
}

/// An XA transaction that is prepared.
#[derive(Debug)]
struct Prepared {
    start: Position,
    name: Name,
    events: Gathering,
}

/// Puts events together.
pub(super) struct Assembler {
    format: Format,
    contiguity: Contiguity,
    /// Everything before it was read.
    position: Position,
    group: Option<Group>,
    /// By the name that the log gives them, in lower case.
    prepared: BTreeMap<String, Prepared>,
    wanted: Wanted,
    folder: PathBuf,
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Assembler {
    /// Begins behind `position`; `format` holds until the server describes its own.
    pub(super) fn new(
        position: Position,
        format: Format,
        skips: Skips,
        wanted: Wanted,
        folder: PathBuf,
    ) -> Self {
        Self {
            format,
            contiguity: Contiguity::new(skips),
            position,
            group: None,
            prepared: BTreeMap::new(),
            wanted,
            folder,
        }
    }

    /// Up to where it has read.
    pub(super) fn place(&self) -> &BinlogFile {
        &self.position.file
    }

    /// Takes an event as it came.
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<Option<Output>, StreamError> {
        let event = Event::parse(bytes, self.format.checksum);
        let taken = event
            .map_err(Failure::Event)
            .and_then(|event| self.take(event));
        taken.map_err(|failure| self.failed(failure))
    }

    fn failed(&self, failure: Failure) -> StreamError {
        match failure {
            Failure::Event(source) => StreamError::Event {
                file: self.position.file.clone(),
                source,
            },
            Failure::Disk(error) => StreamError::Disk(error),
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Output>, Failure> {
        match event.kind {
            Kind::Rotate => return self.rotate(&event),
            Kind::Format => {
                self.contiguity.format(&event);
                self.format = Format::parse(&event.body)?;
                if self.format.after_start {
                    // The server ended in the middle of a transaction, which then was undone.
                    self.group = None;
                }
                return Ok(None);
            }
            Kind::Heartbeat => return Ok(self.heartbeat(&event)),
            Kind::Query
            | Kind::CompressedQuery
            | Kind::Xid
            | Kind::XaPrepare
            | Kind::TableMap
            | Kind::Rows(_)
            | Kind::Gtid
            | Kind::TaggedGtid
            | Kind::AnonymousGtid
            | Kind::MariaGtid
            | Kind::Payload
            | Kind::Ignorable => {}
        }
        let start = self.position.clone();
        self.follow(&event)?;
        self.advance(&event)?;
        match event.kind {
            Kind::Gtid | Kind::AnonymousGtid | Kind::TaggedGtid => {
                let begin = match event.kind {
                    Kind::TaggedGtid => gtid::tagged(&event.body)?,
                    kind => gtid::mysql(&event.body, kind == Kind::Gtid)?,
                };
                let name = begin.gtid.map_or(Name::None, Name::MySql);
                self.open(name, GroupState::Named, start, begin.commit_time_us)?;
                Ok(None)
            }
            Kind::MariaGtid => {
                let begin = gtid::maria(&event.body, event.server_id)?;
                let state = match begin.form {
                    MariaForm::Standalone => GroupState::Standalone,
                    MariaForm::Announced => GroupState::Announced,
                    MariaForm::Transaction => GroupState::Begun,
                };
                self.contiguity.sent(begin.gtid.domain);
                let time = u64::from(event.timestamp) * 1_000_000;
                self.open(Name::Maria(begin.gtid), state, start, Some(time))?;
                Ok(None)
            }
            Kind::Payload => self.payload(&event),
            _inside => self.inside(&event, start),
        }
    }

    /// An event of a transaction, on its own or out of a payload.
    fn inside(&mut self, event: &Event, start: Position) -> Result<Option<Output>, Failure> {
        match event.kind {
            Kind::Query | Kind::CompressedQuery => self.query(event, start),
            Kind::TableMap | Kind::Rows(_) => {
                self.rows(event)?;
                Ok(None)
            }
            Kind::Xid => self.commit(),
            Kind::XaPrepare => self.prepare(&event.body),
            // At a file's beginning, they are all that there is of it.
            Kind::Ignorable if self.group.is_none() => {
                Ok(Some(Output::Idle(self.position_with_reread())))
            }
            Kind::Ignorable => Ok(None),
            Kind::Rotate
            | Kind::Format
            | Kind::Gtid
            | Kind::TaggedGtid
            | Kind::AnonymousGtid
            | Kind::MariaGtid
            | Kind::Payload
            | Kind::Heartbeat => Err(stop("an event has no place in a transaction")),
        }
    }

    /// The server goes on in another file, or tells which one it begins with.
    fn rotate(&mut self, event: &Event) -> Result<Option<Output>, Failure> {
        let mut fields = Fields::new(&event.body);
        let offset = fields.u64()?;
        let name = String::from_utf8_lossy(fields.rest()).into_owned();
        let next = BinlogFile::new(name, offset);
        if event.artificial || event.end == 0 {
            self.contiguity.file(offset);
            // Where the server begins to look; what it leaves out was read already.
            if self.position.file.name != next.name {
                self.position.file = next;
            }
            return Ok(None);
        }
        self.follow(event)?;
        if self.group.is_some() {
            return Err(stop("a file ends inside a transaction"));
        }
        self.contiguity.file(offset);
        self.position.file = next;
        Ok(Some(Output::Idle(self.position_with_reread())))
    }

    /// An idle server tells up to where it has sent: behind what it left out since we have it, or
    /// at the beginning of a file that it began when it was started.
    fn heartbeat(&mut self, event: &Event) -> Option<Output> {
        let name = std::str::from_utf8(&event.body).ok()?;
        let place = BinlogFile::new(name, event.end.into());
        if self.group.is_none() && place.name == self.position.file.name {
            self.contiguity.told(event.end);
        }
        let is_later = place.partial_cmp(&self.position.file) == Some(Ordering::Greater);
        if self.group.is_some() || !is_later {
            return None;
        }
        self.position.file = place;
        Some(Output::Idle(self.position_with_reread()))
    }

    /// Notices when something before an event is missing.
    fn follow(&mut self, event: &Event) -> Result<(), Failure> {
        if event.artificial {
            return Ok(());
        }
        let stands = match self.group.as_ref().map(|group| group.state) {
            None => Stands::Between,
            Some(GroupState::Standalone | GroupState::Announced) => Stands::Alone,
            Some(GroupState::Named | GroupState::Begun) => Stands::Inside,
        };
        let checksum = self.format.checksum;
        Ok(self.contiguity.follow(event, stands, checksum)?)
    }

    /// Moves the position behind an event.
    ///
    /// Events tell where they end by 32 bits, which a large file exceeds, and MariaDB's tell nothing
    /// inside of a group.
    fn advance(&mut self, event: &Event) -> Result<(), Failure> {
        if event.artificial {
            return Ok(());
        }
        const LOW: u64 = 0xffff_ffff;
        const QUARTER: u64 = 0x4000_0000;
        let here = self.position.file.offset;
        let end = match event.end {
            0 => here + u64::from(event.event_bytes),
            end => {
                let end = u64::from(end);
                let wrapped = here & LOW >= 3 * QUARTER && end < QUARTER;
                (here & !LOW) + end + if wrapped { LOW + 1 } else { 0 }
            }
        };
        if end > here {
            self.position.file.offset = end;
        }
        Ok(())
    }

    fn open(
        &mut self,
        name: Name,
        state: GroupState,
        start: Position,
        commit_time_us: Option<u64>,
    ) -> Result<(), Failure> {
        if self.group.is_some() {
            return Err(stop("a transaction begins inside another"));
        }
        self.group = Some(Group {
            name,
            start,
            commit_time_us,
            state,
            events: Gathering::default(),
            unwanted: HashSet::new(),
        });
        Ok(())
    }

    fn query(&mut self, event: &Event, start: Position) -> Result<Option<Output>, Failure> {
        let compressed = event.kind == Kind::CompressedQuery;
        let query = Query::parse(&event.body, event.timestamp, compressed)?;
        let statement = query.statement()?;
        let state = self.group.as_ref().map(|group| group.state);
        match statement {
            Statement::Begin | Statement::XaStart => {
                if state.is_none() {
                    let time = u64::from(event.timestamp) * 1_000_000;
                    self.open(Name::None, GroupState::Begun, start, Some(time))?;
                } else if let Some(group) = &mut self.group {
                    let begun = group.state == GroupState::Begun;
                    // MariaDB's name of a transaction begins it, and may be followed by `XA START`.
                    if begun && (group.name == Name::None || !group.events.is_empty()) {
                        return Err(stop("a transaction begins inside another"));
                    }
                    group.state = GroupState::Begun;
                }
                Ok(None)
            }
            Statement::Commit => self.commit(),
            Statement::Rollback => self.rolled_back(),
            Statement::RollbackTo => match &self.group {
                Some(group) if !group.events.is_empty() => Err(StopReason::RolledBack.into()),
                Some(_) | None => Ok(None),
            },
            Statement::Nothing if state == Some(GroupState::Standalone) => self.commit(),
            Statement::Nothing => Ok(None),
            Statement::XaCommit(name) => self.commit_prepared(&name, start),
            Statement::XaRollback(name) => {
                if let Some(prepared) = self.prepared.remove(&name) {
                    self.include(&prepared.name);
                }
                self.open_unless_named(start)?;
                self.commit()
            }
            Statement::Definition if state == Some(GroupState::Announced) => self.commit(),
            Statement::Definition => {
                self.open_unless_named(start)?;
                self.keep(event)?;
                if state == Some(GroupState::Begun) {
                    return Ok(None);
                }
                self.commit()
            }
        }
    }

    /// Servers without GTIDs do not name what is a single statement.
    fn open_unless_named(&mut self, start: Position) -> Result<(), Failure> {
        if self.group.is_some() {
            return Ok(());
        }
        self.open(Name::None, GroupState::Standalone, start, None)
    }

    fn keep(&mut self, event: &Event) -> Result<(), Failure> {
        let Some(group) = &mut self.group else {
            return Err(stop("a change stands outside of a transaction"));
        };
        let kept = Kept {
            code: event.code,
            timestamp: event.timestamp,
            body: event.body.clone(),
        };
        Ok(group.events.push(kept, &self.folder)?)
    }

    fn rows(&mut self, event: &Event) -> Result<(), Failure> {
        let short = self.format.short_table_ids;
        let Some(group) = &mut self.group else {
            return Err(stop("a change stands outside of a transaction"));
        };
        if group.state != GroupState::Begun {
            return Err(stop(
                "a change stands before the beginning of its transaction",
            ));
        }
        let wanted = if event.kind == Kind::TableMap {
            let (id, schema, table) = table_map::names(&event.body, short)?;
            let wanted = schema == bookkeeping::SCHEMA || (self.wanted)(&schema, &table);
            if wanted {
                group.unwanted.remove(&id);
            } else {
                group.unwanted.insert(id);
            }
            wanted
        } else {
            let head = rows::head(&event.body, short)?;
            !group.unwanted.contains(&head.table)
        };
        if wanted { self.keep(event) } else { Ok(()) }
    }

    /// The transaction is whole.
    fn commit(&mut self) -> Result<Option<Output>, Failure> {
        let Some(group) = self.group.take() else {
            return Err(stop("a transaction ends that did not begin"));
        };
        self.include(&group.name);
        let position = self.position_with_reread();
        self.hand_on(group.events, position, group.commit_time_us)
    }

    fn hand_on(
        &mut self,
        events: Gathering,
        position: Position,
        commit_time_us: Option<u64>,
    ) -> Result<Option<Output>, Failure> {
        if events.is_empty() {
            return Ok(Some(Output::Idle(position)));
        }
        let transaction = events.end(position, commit_time_us, self.format.short_table_ids)?;
        Ok(Some(Output::Transaction(Box::new(transaction))))
    }

    /// Only what has no transactions is logged with a rollback.
    fn rolled_back(&mut self) -> Result<Option<Output>, Failure> {
        match &self.group {
            Some(group) if !group.events.is_empty() => Err(StopReason::RolledBack.into()),
            Some(_) => self.commit(),
            None => Ok(None),
        }
    }

    /// The first half of an XA transaction, or the whole of one that was committed in one phase.
    fn prepare(&mut self, body: &[u8]) -> Result<Option<Output>, Failure> {
        let mut fields = Fields::new(body);
        if fields.u8()? != 0 {
            return self.commit();
        }
        let format = fields.u32()?;
        let (gtrid, bqual) = (fields.u32()?, fields.u32()?);
        let mut hex = |length: u32| {
            let bytes = fields.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
            Ok::<_, Failure>(
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>(),
            )
        };
        let name = format!("x'{}',x'{}',{format}", hex(gtrid)?, hex(bqual)?);
        let Some(group) = self.group.take() else {
            return Err(stop("an XA transaction ends that did not begin"));
        };
        if self.prepared.len() >= PREPARED_MAX {
            return Err(stop("more XA transactions are prepared than can be"));
        }
        if let Name::Maria(_) = group.name {
            // A domain has one last transaction; what is to be read again is told otherwise.
            self.include(&group.name);
        }
        let prepared = Prepared {
            start: group.start,
            name: group.name,
            events: group.events,
        };
        self.prepared.insert(name, prepared);
        Ok(Some(Output::Idle(self.position_with_reread())))
    }

    fn commit_prepared(&mut self, name: &str, start: Position) -> Result<Option<Output>, Failure> {
        let Some(prepared) = self.prepared.remove(name) else {
            return Err(StopReason::UnknownXa.into());
        };
        self.open_unless_named(start)?;
        let Some(group) = self.group.take() else {
            return Err(stop("an XA transaction ends that did not begin"));
        };
        self.include(&prepared.name);
        self.include(&group.name);
        let position = self.position_with_reread();
        self.hand_on(prepared.events, position, group.commit_time_us)
    }

    /// All events of a transaction in one.
    fn payload(&mut self, event: &Event) -> Result<Option<Output>, Failure> {
        let mut payload = compressed::Payload::begin(event.body.clone())?;
        let mut output = None;
        while let Some(bytes) = payload.next()? {
            if output.is_some() {
                return Err(stop("a payload goes on behind the end of its transaction"));
            }
            let event = Event::parse(bytes, super::format::Checksum::None)?;
            output = self.inside(&event, self.position.clone())?;
        }
        Ok(output)
    }

    fn include(&mut self, name: &Name) {
        match (name, &mut self.position.gtids) {
            (Name::MySql(gtid), Gtids::MySql(set)) => set.insert(gtid),
            (Name::Maria(gtid), Gtids::MariaDb(state)) if !state.contains(*gtid) => {
                state.advance(*gtid);
            }
            (Name::None | Name::MySql(_) | Name::Maria(_), _) => {}
        }
    }

    /// The position, with the place of the first prepared transaction where no GTID set tells it.
    fn position_with_reread(&self) -> Position {
        let mut position = self.position.clone();
        if !matches!(position.gtids, Gtids::MySql(_)) {
            let first = self.prepared.values().map(|prepared| &prepared.start);
            let first = first.reduce(|first, other| match other.partial_cmp(first) {
                Some(Ordering::Less) => other,
                Some(_) | None => first,
            });
            position.reread = first.map(|start| {
                Box::new(Reread {
                    file: start.file.clone(),
                    gtids: start.gtids.clone(),
                })
            });
        }
        position
    }
}

/// Why an event was not taken.
#[derive(Debug)]
enum Failure {
    Event(EventError),
    Disk(std::io::Error),
}

fn stop(why: &'static str) -> Failure {
    Failure::Event(StopReason::OutOfOrder(why).into())
}

impl From<EventError> for Failure {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl From<StopReason> for Failure {
    fn from(reason: StopReason) -> Self {
        Self::Event(reason.into())
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self::Event(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

#[cfg(test)]
mod tests;

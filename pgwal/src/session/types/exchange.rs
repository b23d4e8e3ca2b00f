//! Which rows and which parameters have which types, for a session whose server numbers types
//! otherwise than its client knows them.
//!
//! Rows do not say of which types they are. So it is followed which answer belongs to which message
//! of the client's, from the messages that ask for descriptions, rows and an end. Of statements that the
//! client prepared before it came here the types are known from when they were prepared again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use router::Side;

use super::catalog::TypeCatalog;
use super::messages::{self, Column};
use super::numbers::Numbers;
use super::values::{Reader, Renumber};
use crate::wire::Fields;

/// Statements and portals of which the types are kept. Values of those beyond are not translated.
const STATEMENTS_MAX: usize = 10_000;
const PORTALS_MAX: usize = 1_000;

/// The translation for one session and one server.
#[derive(Debug)]
pub(in crate::session) struct Exchange {
    side: Side,
    catalog: Arc<TypeCatalog>,
    statements: HashMap<Bytes, Shared<Shape>>,
    portals: HashMap<Bytes, Shared<Portal>>,
    /// What the server is still to answer.
    asked: VecDeque<Asked>,
    /// The server ignores everything up to the next Sync.
    is_skipping: bool,
    rows: Rows,
}

type Shared<T> = Arc<Mutex<T>>;

/// The types of a statement, as its server calls them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::session) struct Shape {
    pub(in crate::session) parameters: Vec<u32>,
    /// `None` as long as they are not known.
    pub(in crate::session) columns: Option<Vec<u32>>,
}

/// A statement with its values.
#[derive(Debug, Default)]
struct Portal {
    statement: Option<Shared<Shape>>,
    formats: Vec<u16>,
    /// As described for itself.
    columns: Option<Vec<Column>>,
}

/// What a message of the client asks for.
#[derive(Debug)]
enum Asked {
    Statement(Option<Shared<Shape>>),
    Portal(Option<Shared<Portal>>),
    Rows(Option<Shared<Portal>>),
    Query,
    Sync,
}

/// How much of a client's message must be there before it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// All of it, unless it is longer than what is kept: then it passes as it comes.
    WholeIfShort,
    /// All of it.
    Whole,
}

/// What is known of the rows that come now.
#[derive(Debug, Default)]
enum Rows {
    /// Nothing was looked up yet.
    #[default]
    New,
    /// There is nothing to translate in them.
    Pass,
    /// These are their columns.
    Translated(Vec<Column>),
}

impl Exchange {
    pub(in crate::session) fn new(
        side: Side,
        catalog: Arc<TypeCatalog>,
        statements: HashMap<Bytes, Shape>,
    ) -> Self {
        let shared = |(name, shape)| (name, Arc::new(Mutex::new(shape)));
        Self {
            side,
            catalog,
            statements: statements.into_iter().map(shared).collect(),
            portals: HashMap::new(),
            asked: VecDeque::new(),
            is_skipping: false,
            rows: Rows::New,
        }
    }

    fn holds_numbers(&self, of: u32) -> bool {
        self.catalog.holds_numbers(self.side, of)
    }

    /// How much of a client's message must be there. `there` is the beginning of its body.
    pub(super) fn need(&self, tag: u8, there: &[u8]) -> Need {
        match tag {
            b'D' | b'E' | b'C' => Need::Whole,
            b'P' => Need::WholeIfShort,
            b'B' => {
                let Some((_portal, statement)) = messages::bind_names(there) else {
                    return Need::Whole;
                };
                let Some(statement) = self.statements.get(statement) else {
                    return Need::Nothing;
                };
                let statement = statement.lock();
                let mut columns = statement.columns.iter().flatten();
                if statement
                    .parameters
                    .iter()
                    .any(|of| self.holds_numbers(*of))
                {
                    Need::Whole
                } else if statement.columns.is_none() || columns.any(|of| self.holds_numbers(*of)) {
                    // For the formats of the columns, which are its last bytes.
                    Need::WholeIfShort
                } else {
                    Need::Nothing
                }
            }
            _other => Need::Nothing,
        }
    }

    /// The client read a number from the catalog, or one that is of something else.
    pub(super) fn note_read(&self, number: u32, numbers: &mut Numbers) {
        numbers.note_read(number, self.side, &self.catalog);
    }

    /// Notes a message of the client and translates it. `body` is whole if it was needed, else as much
    /// as there is of it.
    pub(super) fn client(&mut self, tag: u8, body: &mut [u8], numbers: &mut Numbers) {
        let mut renumber = Renumber {
            numbers,
            catalog: &self.catalog,
            side: self.side,
            reader: Reader::Server,
        };
        match tag {
            b'P' => {
                if let Some((name, parameters)) = messages::parse(body, &mut renumber)
                    && (self.statements.len() < STATEMENTS_MAX
                        || self.statements.contains_key(name))
                {
                    let shape = Shape {
                        parameters: worth_keeping(&self.catalog, self.side, parameters),
                        columns: None,
                    };
                    let shape = Arc::new(Mutex::new(shape));
                    self.statements.insert(Bytes::copy_from_slice(name), shape);
                }
            }
            b'B' => {
                let Some((portal, statement)) = messages::bind_names(body) else {
                    return;
                };
                let statement = self.statements.get(statement).cloned();
                let portal = Bytes::copy_from_slice(portal);
                let parameters = statement.as_ref().map(|one| one.lock().parameters.clone());
                let parameters = parameters.unwrap_or_default();
                let bound = messages::bind(body, &parameters, &mut renumber);
                let is_known = portal.is_empty() || self.portals.contains_key(&portal);
                if is_known || self.portals.len() < PORTALS_MAX {
                    let bound = Portal {
                        statement,
                        formats: bound.map(|bound| bound.formats).unwrap_or_default(),
                        columns: None,
                    };
                    self.portals.insert(portal, Arc::new(Mutex::new(bound)));
                }
            }
            b'D' => {
                let asked = match body.split_first() {
                    Some((b'S', name)) => {
                        Asked::Statement(self.statements.get(text(name)).cloned())
                    }
                    Some((_portal, name)) => Asked::Portal(self.portals.get(text(name)).cloned()),
                    None => return,
                };
                self.ask(asked);
            }
            b'E' => {
                let portal = self.portals.get(text(body)).cloned();
                self.ask(Asked::Rows(portal));
            }
            b'C' => match body.split_first() {
                Some((b'S', name)) => drop(self.statements.remove(text(name))),
                Some((_portal, name)) => drop(self.portals.remove(text(name))),
                None => {}
            },
            b'Q' => self.ask(Asked::Query),
            b'F' => self.ask(Asked::Sync),
            b'S' => {
                self.is_skipping = false;
                self.asked.push_back(Asked::Sync);
            }
            _other => {}
        }
    }

    fn ask(&mut self, asked: Asked) {
        if !self.is_skipping {
            self.asked.push_back(asked);
        }
    }

    /// Notes an answer that holds no numbers.
    #[inline]
    pub(super) fn server(&mut self, tag: u8) {
        match (tag, self.asked.front()) {
            (b'n', Some(Asked::Statement(shape))) => {
                if let Some(shape) = shape {
                    shape.lock().columns = Some(Vec::new());
                }
                self.asked.pop_front();
            }
            (b'n', Some(Asked::Portal(_))) => {
                self.described(Vec::new());
                self.rows = Rows::New;
            }
            (b'C' | b'I' | b's', Some(Asked::Rows(_))) => {
                self.asked.pop_front();
                self.rows = Rows::New;
            }
            (b'C' | b'I', Some(Asked::Query)) => self.rows = Rows::New,
            (b'E', Some(Asked::Query | Asked::Sync)) => {}
            (b'E', _) => {
                let ends = |asked: &Asked| matches!(asked, Asked::Sync);
                let ignored = self.asked.iter().position(ends);
                self.is_skipping = ignored.is_none();
                self.asked.drain(..ignored.unwrap_or(self.asked.len()));
                self.rows = Rows::New;
            }
            (b'Z', _) => {
                let ends = |asked: &Asked| matches!(asked, Asked::Sync | Asked::Query);
                let ended = self.asked.iter().position(ends);
                self.asked
                    .drain(..ended.map_or(self.asked.len(), |place| place + 1));
                self.rows = Rows::New;
            }
            _other => {}
        }
    }

    /// Whether there is something to translate in the rows that come now.
    pub(super) fn row_is_translated(&mut self) -> bool {
        if matches!(self.rows, Rows::New) {
            let columns = match self.asked.front() {
                Some(Asked::Rows(Some(portal))) => portal.lock().columns(),
                _unknown => Vec::new(),
            };
            self.rows = self.rows_of(columns);
        }
        matches!(self.rows, Rows::Translated(_))
    }

    fn rows_of(&self, columns: Vec<Column>) -> Rows {
        let is_one = |column: &Column| column.is_binary && self.holds_numbers(column.of);
        if columns.iter().any(is_one) {
            Rows::Translated(columns)
        } else {
            Rows::Pass
        }
    }

    /// Notes and translates a `RowDescription`, `ParameterDescription` or `DataRow`.
    pub(super) fn answer(&mut self, tag: u8, body: &mut [u8], numbers: &mut Numbers) {
        let mut renumber = Renumber {
            numbers,
            catalog: &self.catalog,
            side: self.side,
            reader: Reader::Client,
        };
        match tag {
            b't' => {
                let types = messages::parameter_description(body, &mut renumber);
                if let Some(Asked::Statement(Some(shape))) = self.asked.front() {
                    shape.lock().parameters = worth_keeping(&self.catalog, self.side, types);
                }
            }
            b'T' => {
                let columns = messages::row_description(body, &mut renumber);
                self.described(columns);
            }
            _row => {
                if let Rows::Translated(columns) = &self.rows {
                    messages::data_row(body, columns, &mut renumber);
                }
            }
        }
    }

    fn described(&mut self, columns: Vec<Column>) {
        let types = columns.iter().map(|column| column.of).collect();
        let types = worth_keeping(&self.catalog, self.side, types);
        match self.asked.front() {
            Some(Asked::Statement(shape)) => {
                if let Some(shape) = shape {
                    shape.lock().columns = Some(types);
                }
                self.asked.pop_front();
            }
            Some(Asked::Portal(portal)) => {
                if let Some(portal) = portal {
                    let mut portal = portal.lock();
                    if let Some(statement) = &portal.statement {
                        statement.lock().columns.get_or_insert(types);
                    }
                    portal.columns = Some(columns);
                }
                self.asked.pop_front();
            }
            Some(Asked::Query) => self.rows = self.rows_of(columns),
            Some(Asked::Rows(_) | Asked::Sync) | None => {}
        }
    }

    /// Everything is answered. What is still waited for then never comes: a server ignores a Sync that
    /// it gets while it reads the rows of a COPY.
    pub(super) fn answered(&mut self) {
        self.asked.clear();
        self.is_skipping = false;
        self.rows = Rows::New;
    }

    /// The server is idle, outside of a transaction: it has no portals.
    pub(super) fn settle(&mut self) {
        self.answered();
        self.portals.clear();
    }
}

/// These types, if values of any of them can hold numbers.
fn worth_keeping(catalog: &TypeCatalog, side: Side, types: Vec<u32>) -> Vec<u32> {
    match types.iter().any(|of| catalog.holds_numbers(side, *of)) {
        true => types,
        false => Vec::new(),
    }
}

impl Portal {
    /// The columns of its rows, as far as they are known.
    fn columns(&self) -> Vec<Column> {
        if let Some(columns) = &self.columns {
            return columns.clone();
        }
        let Some(statement) = &self.statement else {
            return Vec::new();
        };
        let statement = statement.lock();
        let types = statement.columns.iter().flatten().enumerate();
        let column = |(place, of): (usize, &u32)| Column {
            of: *of,
            is_binary: messages::format_of(&self.formats, place) == 1,
        };
        types.map(column).collect()
    }
}

/// A name up to its zero byte.
fn text(bytes: &[u8]) -> &[u8] {
    Fields::new(bytes).string().unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! The client's protocol-level prepared statements, so that a twin can prepare them too.
//!
//! Kept are the Parse messages as they came, since the server tells only resolved parameter types
//! and never the unnamed statement. Which of the named ones still exist is asked of the server when
//! it matters: one that is dropped here too early only makes the session unmovable.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::cached_plan;
use super::columns::{Columns, Statement};
use super::limits::{STATEMENT_BYTES_MAX, UNNAMED_BYTES_MAX};
use crate::wire::Fields;

/// The Parse messages of one session.
#[derive(Debug, Default)]
pub(super) struct Statements {
    named: HashMap<Bytes, Named>,
    named_bytes: usize,
    /// The body of the last unnamed Parse; the buffer is reused.
    unnamed: BytesMut,
    unnamed_kept: Kept,
    /// Whether a named one was parsed or closed since the server was asked which there are.
    changed: bool,
    /// A Parse that came in pieces.
    partial: BytesMut,
    missing: usize,
}

/// What is kept of a named statement.
#[derive(Debug)]
struct Named {
    /// The body of its Parse.
    parse: Bytes,
    /// What it gives, once that was asked. It never changes: the server sees to that.
    columns: Option<Columns>,
}

/// What is known of the unnamed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kept {
    /// There is none.
    #[default]
    None,
    /// It is kept.
    Whole,
    /// It was too long to keep.
    TooLong,
}

impl Statements {
    /// Whether the rest of a Parse message is awaited.
    #[inline]
    pub(super) fn wants_more(&self) -> bool {
        self.missing > 0
    }

    /// Begins a Parse message of which `have` came so far.
    pub(super) fn begin(&mut self, have: &[u8], body_bytes: u32) {
        let body_bytes = usize::try_from(body_bytes).unwrap_or(usize::MAX);
        if have.len() >= body_bytes {
            self.note(have.get(..body_bytes).unwrap_or(have));
        } else if body_bytes > STATEMENT_BYTES_MAX {
            if have.first() == Some(&0) {
                self.unnamed_kept = Kept::TooLong;
            } else {
                self.changed = true;
            }
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(have);
            self.missing = body_bytes - have.len();
        }
    }

    /// Takes more of the message that was begun.
    pub(super) fn more(&mut self, bytes: &[u8]) {
        let take = self.missing.min(bytes.len());
        self.partial
            .extend_from_slice(bytes.get(..take).unwrap_or(bytes));
        self.missing -= take;
        if self.missing == 0 {
            let body = self.partial.split().freeze();
            self.note(&body);
        }
    }

    fn note(&mut self, body: &[u8]) {
        if body.first() == Some(&0) {
            if body.len() > UNNAMED_BYTES_MAX {
                self.unnamed_kept = Kept::TooLong;
                return;
            }
            self.unnamed.clear();
            self.unnamed.extend_from_slice(body);
            self.unnamed_kept = Kept::Whole;
            return;
        }
        self.changed = true;
        let Ok(name) = Fields::new(body).string() else {
            return;
        };
        if let Some(former) = self.named.remove(name) {
            self.named_bytes -= former.parse.len();
        }
        if self.named_bytes + body.len() <= STATEMENT_BYTES_MAX {
            self.named_bytes += body.len();
            let kept = Named {
                parse: Bytes::copy_from_slice(body),
                columns: None,
            };
            self.named.insert(Bytes::copy_from_slice(name), kept);
        }
    }

    /// Notes a Close message that came whole.
    pub(super) fn close(&mut self, body: &[u8]) {
        let Some((b'S', name)) = body.split_first() else {
            return;
        };
        match name.strip_suffix(&[0]) {
            Some([]) => self.unnamed_kept = Kept::None,
            Some(name) => {
                self.changed = true;
                if let Some(closed) = self.named.remove(name) {
                    self.named_bytes -= closed.parse.len();
                }
            }
            None => {}
        }
    }

    /// A simple query destroys the unnamed statement.
    #[inline]
    pub(super) fn forget_unnamed(&mut self) {
        self.unnamed_kept = Kept::None;
    }

    /// The unnamed statement's Parse.
    pub(super) fn unnamed(&self) -> Option<&[u8]> {
        (self.unnamed_kept == Kept::Whole).then_some(&self.unnamed)
    }

    /// What is known of the unnamed statement.
    pub(super) fn unnamed_kept(&self) -> Kept {
        self.unnamed_kept
    }

    /// A named statement whose text is still this one, or which the server refuses in its place.
    pub(super) fn named(&self, name: &[u8], text: &[u8]) -> Option<Statement> {
        let (name, kept) = self.named.get_key_value(name)?;
        let mut fields = Fields::new(&kept.parse);
        fields.string().ok()?;
        let is_same = fields.string().ok()? == text || text == cached_plan::TEXT.as_bytes();
        is_same.then(|| Statement {
            name: name.clone(),
            parse: kept.parse.clone(),
            columns: kept.columns,
        })
    }

    /// Keeps what a named statement gives.
    pub(super) fn note_columns(&mut self, name: &[u8], columns: Columns) {
        if let Some(kept) = self.named.get_mut(name) {
            kept.columns = Some(columns);
        }
    }

    /// Whether a named one was parsed or closed since [`Statements::retain`].
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Keeps only the statements that exist, as the server said.
    pub(super) fn retain(&mut self, exists: impl Fn(&[u8]) -> bool) {
        self.changed = false;
        self.named.retain(|name, _| exists(name));
        self.named_bytes = self.named.values().map(|kept| kept.parse.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Vec<u8> {
        let mut body = format!("{name}\0{text}\0").into_bytes();
        body.extend([0, 0]);
        body
    }

    fn feed(statements: &mut Statements, body: &[u8], piece: usize) {
        let (head, rest) = body.split_at(piece.min(body.len()));
        statements.begin(head, u32::try_from(body.len()).unwrap());
        for piece in rest.chunks(piece.max(1)) {
            assert!(statements.wants_more());
            statements.more(piece);
        }
        assert!(!statements.wants_more());
    }

    #[test]
    fn statements_are_kept_whole_however_they_are_cut() {
        for piece in [0, 1, 3, 100] {
            let mut statements = Statements::default();
            feed(&mut statements, &parse("a", "select 1"), piece);
            feed(&mut statements, &parse("", "select 2"), piece);
            assert!(statements.named(b"a", b"select 1").is_some());
            assert!(statements.named(b"a", b"select 3").is_none());
            assert_eq!(statements.unnamed(), Some(parse("", "select 2").as_slice()));
            statements.forget_unnamed();
            assert_eq!(statements.unnamed(), None);
        }
    }

    #[test]
    fn a_closed_statement_gives_its_memory_back() {
        let mut statements = Statements::default();
        feed(&mut statements, &parse("a", "select 1"), 100);
        feed(&mut statements, &parse("", "select 2"), 100);
        statements.close(b"Pa\0");
        statements.close(b"Sb\0");
        assert!(statements.named(b"a", b"select 1").is_some());
        statements.close(b"Sa\0");
        statements.close(b"S\0");
        assert!(statements.named(b"a", b"select 1").is_none());
        assert_eq!((statements.named_bytes, statements.unnamed()), (0, None));
    }

    #[test]
    fn memory_is_bounded_and_a_statement_that_is_not_kept_is_not_claimed() {
        let mut statements = Statements::default();
        let text = "x".repeat(STATEMENT_BYTES_MAX / 2);
        for name in ["a", "b", "c"] {
            feed(&mut statements, &parse(name, &text), 1000);
        }
        assert!(statements.named_bytes <= STATEMENT_BYTES_MAX);
        assert!(statements.named(b"c", text.as_bytes()).is_none());
        let long = parse("", &"x".repeat(UNNAMED_BYTES_MAX));
        feed(&mut statements, &long, 5000);
        assert_eq!(statements.unnamed_kept(), Kept::TooLong);
    }
}

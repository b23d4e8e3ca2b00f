//! What a prepared statement takes and gives: the types of its parameters, the names and types of its
//! result columns, compared across two servers.
//!
//! A client keeps what it was told when it prepared a statement, and reads rows by it. On one
//! server that never changes: a statement whose columns would be others is refused with "cached plan
//! must not change result type". So that this holds across two servers, a statement is described
//! on both when it is prepared again. Types that the servers number each in its own way are compared
//! by name.
//!
//! The types of parameters never change on one server either. On another one the same bytes could mean
//! another value; such a statement is refused likewise.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::type_names::{FIXED_TYPES, TypeName};
use super::types::exchange::Shape;
use crate::wire::{FieldError, Fields, Message, ServerError};

/// A statement as a twin prepares it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) name: Bytes,
    /// The body of the Parse message that prepares it, or that runs its `PREPARE`.
    pub(super) parse: Bytes,
    /// What the client was told of it; `None` when the server does not say.
    pub(super) columns: Option<Columns>,
}

/// Types of parameters, names and types of result columns, as a digest: all that is ever asked is whether two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns([u8; 32]);

/// What a server says of a prepared statement.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// The types of its parameters.
    pub(super) parameters: Vec<u32>,
    columns: Vec<(Bytes, u32)>,
}

/// The answer, while it comes.
#[derive(Debug, Default)]
pub(super) struct Answer {
    described: Described,
    refusal: Option<Box<ServerError>>,
}

/// Most statements that are asked for at once: neither side may wait for the other to read.
pub(super) const AT_ONCE: usize = 64;

/// Asks what these statements are; each question ends in a Sync of its own.
pub(super) fn question<'a>(names: impl IntoIterator<Item = &'a Bytes>) -> BytesMut {
    let mut out = BytesMut::new();
    for name in names {
        out.put_u8(b'D');
        out.put_i32(i32::try_from(name.len() + 6).unwrap_or(i32::MAX));
        out.put_u8(b'S');
        out.put_slice(name);
        out.put_u8(0);
        out.put_slice(&[b'S', 0, 0, 0, 4]);
    }
    out
}

impl Answer {
    /// Takes a message of the answer.
    pub(super) fn take(&mut self, message: Message) -> Result<(), FieldError> {
        match message.tag {
            b't' => self.described.parameters = parameters(&message.body)?,
            b'T' => self.described.columns = columns(&message.body)?,
            b'E' => self.refusal = Some(Box::new(ServerError::parse(message.body)?)),
            _of_no_interest => {}
        }
        Ok(())
    }

    /// What was said, or the server's refusal.
    pub(super) fn end(self) -> Result<Described, Box<ServerError>> {
        self.refusal.map_or(Ok(self.described), Err)
    }
}

impl Described {
    /// Its types, as its server calls them.
    pub(super) fn shape(&self) -> Shape {
        let columns = self.columns.iter().map(|(_, of_type)| *of_type);
        Shape {
            parameters: self.parameters.clone(),
            columns: Some(columns.collect()),
        }
    }

    /// The types that have to be compared by name.
    pub(super) fn named_types(&self) -> impl Iterator<Item = u32> + '_ {
        let columns = self.columns.iter().map(|(_, of_type)| of_type);
        let types = self.parameters.iter().chain(columns).copied();
        types.filter(|of_type| *of_type >= FIXED_TYPES)
    }

    /// What can be compared; `None` when a type is not among those that have a name.
    pub(super) fn columns(&self, names: &HashMap<u32, TypeName>) -> Option<Columns> {
        let mut digest = Sha256::new();
        let parameters = self.parameters.iter().map(|of_type| (&b"$"[..], of_type));
        let columns = self
            .columns
            .iter()
            .map(|(name, of_type)| (name.as_ref(), of_type));
        digest.update(self.parameters.len().to_be_bytes());
        for (name, of_type) in parameters.chain(columns) {
            digest.update(name);
            if *of_type < FIXED_TYPES {
                digest.update([0, 0]);
                digest.update(of_type.to_be_bytes());
            } else {
                digest.update([0, 1]);
                digest.update(names.get(of_type)?.as_bytes());
                digest.update([0]);
            }
        }
        Some(Columns(digest.finalize().into()))
    }
}

fn parameters(body: &Bytes) -> Result<Vec<u32>, FieldError> {
    let mut fields = Fields::new(body);
    // Without a sign: there may be 65535.
    let count = u16::from_be_bytes(fields.i16()?.to_be_bytes());
    (0..count).map(|_parameter| fields.u32()).collect()
}

fn columns(body: &Bytes) -> Result<Vec<(Bytes, u32)>, FieldError> {
    let mut fields = Fields::new(body);
    let count = u16::from_be_bytes(fields.i16()?.to_be_bytes());
    let mut columns = Vec::new();
    for _column in 0..count {
        let name = Bytes::copy_from_slice(fields.string()?);
        let (_table, _number) = (fields.u32()?, fields.i16()?);
        let of_type = fields.u32()?;
        let (_length, _modifier, _format) = (fields.i16()?, fields.i32()?, fields.i16()?);
        columns.push((name, of_type));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row_description(columns: &[(&str, u32)]) -> Message {
        let mut body = BytesMut::new();
        body.put_i16(i16::try_from(columns.len()).unwrap());
        for (name, of_type) in columns {
            body.put_slice(name.as_bytes());
            body.put_slice(&[0; 7]);
            body.put_u32(*of_type);
            body.put_slice(&[0; 8]);
        }
        Message {
            tag: b'T',
            body: body.freeze(),
        }
    }

    fn of(columns: &[(&str, u32)], names: &[(u32, &str)]) -> Option<Columns> {
        let mut answer = Answer::default();
        answer.take(row_description(columns)).unwrap();
        let names = names
            .iter()
            .map(|(of_type, name)| (*of_type, TypeName::new("s", name, false)))
            .collect();
        answer.end().unwrap().columns(&names)
    }

    #[test]
    fn types_are_compared_by_number_where_it_is_fixed_and_by_name_where_it_is_not() {
        let one = of(&[("a", 23), ("b", 20_000)], &[(20_000, "mood")]);
        assert!(one.is_some());
        assert_eq!(of(&[("a", 23), ("b", 30_000)], &[(30_000, "mood")]), one);
        for (columns, names) in [
            (&[("a", 23), ("b", 20_000)][..], &[(20_000, "other")][..]),
            (&[("a", 20), ("b", 20_000)], &[(20_000, "mood")]),
            (&[("b", 20_000), ("a", 23)], &[(20_000, "mood")]),
            (&[("a", 23)], &[]),
            (&[], &[]),
        ] {
            let other = of(columns, names);
            assert!(other.is_some());
            assert_ne!(other, one, "{columns:?}");
        }
        assert_eq!(of(&[("a", 20_000)], &[]), None);
    }

    #[test]
    fn parameters_are_told_from_columns() {
        let with = |parameters: &[u8], columns: &[(&str, u32)]| {
            let mut answer = Answer::default();
            let body = Bytes::copy_from_slice(parameters);
            answer.take(Message { tag: b't', body }).unwrap();
            answer.take(row_description(columns)).unwrap();
            answer.end().unwrap().columns(&HashMap::new()).unwrap()
        };
        let none = with(&[0, 0], &[("$", 23)]);
        let one = with(&[0, 1, 0, 0, 0, 23], &[]);
        assert_ne!(none, one);
        assert_ne!(one, with(&[0, 1, 0, 0, 0, 20], &[]));
        assert_eq!(one, with(&[0, 1, 0, 0, 0, 23], &[]));
    }

    #[test]
    fn the_question_asks_for_each_statement_by_itself() {
        let names = [Bytes::from_static(b"a"), Bytes::from_static(b"")];
        let expected = b"D\0\0\0\x07Sa\0S\0\0\0\x04D\0\0\0\x06S\0S\0\0\0\x04";
        assert_eq!(question(&names), expected.as_slice());
    }

    proptest! {
        #[test]
        fn no_answer_is_believed_beyond_its_end(
            tag in prop_oneof![Just(b't'), Just(b'T'), Just(b'E')],
            body in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let body = Bytes::from(body);
            let _whatever = Answer::default().take(Message { tag, body });
        }

        #[test]
        fn a_cut_answer_is_an_error(cut in 0_usize..37) {
            let Message { tag, body } = row_description(&[("ab", 1), ("c", 70_000)]);
            prop_assume!(cut < body.len());
            let cut = Message { tag, body: body.slice(..cut) };
            prop_assert!(Answer::default().take(cut).is_err());
        }
    }
}

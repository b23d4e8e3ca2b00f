//! Changes of parts of a document (`binlog_row_value_options=PARTIAL_JSON`): a row's image after its
//! change holds not the value, but what makes it of the value before.
//!
//! A vector of diffs is an operation, a path and a value each, one behind the other; they are
//! carried out in this order.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classJson__diff.html>

use std::borrow::Cow;

use super::document::{Node, place_of};
use super::path::{self, Leg};
use super::read::DEPTH_MAX;
use crate::wire::{FieldError, Fields};

/// What a diff does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Another value in the same place.
    Replace,
    /// A new member, or a new cell that moves those behind it.
    Insert,
    Remove,
}

const MALFORMED: FieldError = FieldError("a part of a JSON value cannot be read");
const NOT_A_DOCUMENT: FieldError = FieldError("a JSON value cannot be read");
const NO_SUCH_PLACE: FieldError =
    FieldError("a part of a JSON value is changed that its old value does not have");
const TOO_DEEP: FieldError = FieldError("a JSON value becomes larger or deeper than one can be");

/// The document after the diffs; both are binary, `diffs` without their length.
///
/// # Errors
/// When either cannot be read, or the document does not have what a diff changes.
pub(crate) fn apply(document: &[u8], diffs: &[u8]) -> Result<Vec<u8>, FieldError> {
    let mut root = Node::of(document).map_err(|_bad| NOT_A_DOCUMENT)?;
    let mut fields = Fields::new(diffs);
    while !fields.is_empty() {
        let operation = match fields.u8()? {
            0 => Operation::Replace,
            1 => Operation::Insert,
            2 => Operation::Remove,
            _unknown => return Err(MALFORMED),
        };
        let legs = path::parse(fields.lenenc_bytes()?).ok_or(MALFORMED)?;
        let value = match operation {
            Operation::Replace | Operation::Insert => {
                let depth = u32::try_from(legs.len()).unwrap_or(u32::MAX).min(DEPTH_MAX);
                let mut value = Node::of(fields.lenenc_bytes()?).map_err(|_bad| MALFORMED)?;
                value.open_all(depth).map_err(|_bad| MALFORMED)?;
                Some(value)
            }
            Operation::Remove => None,
        };
        change(&mut root, operation, &legs, value)?;
    }
    root.binary().map_err(|_deep| TOO_DEEP)
}

/// Carries out one diff.
fn change<'a>(
    root: &mut Node<'a>,
    operation: Operation,
    legs: &[Leg],
    value: Option<Node<'a>>,
) -> Result<(), FieldError> {
    let Some((last, before)) = legs.split_last() else {
        // Servers log the whole value then.
        return Err(MALFORMED);
    };
    let mut parent = root;
    for leg in before {
        parent = step(parent, leg)?;
    }
    match (operation, value) {
        (Operation::Replace, Some(value)) => *step(parent, last)? = value,
        (Operation::Insert, Some(value)) => insert(parent, last, value)?,
        (Operation::Remove, _) => remove(parent, last)?,
        (Operation::Replace | Operation::Insert, None) => return Err(MALFORMED),
    }
    Ok(())
}

/// What a step leads to. A value that is no array is not taken for one of a single cell: servers
/// leave such steps out.
fn step<'n, 'a>(node: &'n mut Node<'a>, leg: &Leg) -> Result<&'n mut Node<'a>, FieldError> {
    let node = node.open().map_err(|_bad| NOT_A_DOCUMENT)?;
    let found = match leg {
        Leg::Member(name) => node.member(name.as_bytes()),
        Leg::Cell(_) | Leg::CellFromLast(_) => match node {
            Node::Array(cells) => {
                let place = cell(cells.len(), leg);
                place.ok().and_then(|place| cells.get_mut(place))
            }
            Node::Packed(_) | Node::Object(_) => None,
        },
    };
    found.ok_or(NO_SUCH_PLACE)
}

/// The place of a cell in an array of so many; where it would be put if it is not there.
fn cell(count: usize, leg: &Leg) -> Result<usize, usize> {
    match leg {
        Leg::Cell(place) if *place < count => Ok(*place),
        Leg::CellFromLast(from_last) if *from_last < count => Ok(count - 1 - from_last),
        Leg::Cell(_) => Err(count),
        Leg::CellFromLast(_) | Leg::Member(_) => Err(0),
    }
}

fn insert<'a>(parent: &mut Node<'a>, leg: &Leg, value: Node<'a>) -> Result<(), FieldError> {
    let parent = parent.open().map_err(|_bad| NOT_A_DOCUMENT)?;
    match (parent, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            let key = name.as_bytes();
            let place = place_of(members, key).err().ok_or(NO_SUCH_PLACE)?;
            members.insert(place, (Cow::Owned(key.to_vec()), value));
            Ok(())
        }
        (Node::Array(cells), Leg::Cell(_) | Leg::CellFromLast(_)) => {
            let place = cell(cells.len(), leg).unwrap_or_else(|place| place);
            cells.insert(place, value);
            Ok(())
        }
        (Node::Packed(_) | Node::Object(_) | Node::Array(_), _) => Err(NO_SUCH_PLACE),
    }
}

fn remove(parent: &mut Node<'_>, leg: &Leg) -> Result<(), FieldError> {
    let parent = parent.open().map_err(|_bad| NOT_A_DOCUMENT)?;
    match (parent, leg) {
        (Node::Object(members), Leg::Member(name)) => {
            let place = place_of(members, name.as_bytes());
            members.remove(place.map_err(|_absent| NO_SUCH_PLACE)?);
            Ok(())
        }
        (Node::Array(cells), Leg::Cell(_) | Leg::CellFromLast(_)) => {
            let place = cell(cells.len(), leg);
            cells.remove(place.map_err(|_absent| NO_SUCH_PLACE)?);
            Ok(())
        }
        (Node::Packed(_) | Node::Object(_) | Node::Array(_), _) => Err(NO_SUCH_PLACE),
    }
}

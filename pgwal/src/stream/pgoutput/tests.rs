//! The decoder against an encoder of its own, and against broken messages.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use router::{Cell, Change, Lsn, OldImage, Row};

use super::*;
use crate::stream::event::{CommitTime, RelationColumn, ReplicaIdentity};

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

fn put_row(out: &mut BytesMut, row: &Row) {
    out.put_u16(u16::try_from(row.cells().len()).unwrap());
    for cell in row.cells() {
        match cell {
            Cell::Null => out.put_u8(b'n'),
            Cell::Unchanged => out.put_u8(b'u'),
            Cell::Value(value) => {
                out.put_u8(b't');
                out.put_u32(u32::try_from(value.len()).unwrap());
                out.put_slice(value);
            }
        }
    }
}

fn put_old(out: &mut BytesMut, old: &OldImage) {
    match old {
        OldImage::Key(row) => {
            out.put_u8(b'K');
            put_row(out, row);
        }
        OldImage::Full(row) => {
            out.put_u8(b'O');
            put_row(out, row);
        }
    }
}

fn put_change(out: &mut BytesMut, relation: u32, change: &Change) {
    out.put_u32(relation);
    match change {
        Change::Insert { row } => {
            out.put_u8(b'N');
            put_row(out, row);
        }
        Change::Update { old, row } => {
            if let Some(old) = old {
                put_old(out, old);
            }
            out.put_u8(b'N');
            put_row(out, row);
        }
        Change::Delete { old } => put_old(out, old),
    }
}

fn put_relation(out: &mut BytesMut, relation: &Relation) {
    out.put_u32(relation.oid);
    put_text(out, relation.schema.as_bytes());
    put_text(out, relation.name.as_bytes());
    out.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(u16::try_from(relation.columns.len()).unwrap());
    for column in &relation.columns {
        out.put_u8(u8::from(column.part_of_key));
        put_text(out, column.name.as_bytes());
        out.put_u32(column.type_oid);
        out.put_i32(column.type_modifier);
    }
}

fn tag(message: &Message) -> u8 {
    match message {
        Message::Begin(_) => b'B',
        Message::Commit(_) => b'C',
        Message::Origin { .. } => b'O',
        Message::Relation(_) => b'R',
        Message::Type { .. } => b'Y',
        Message::Change {
            change: Change::Insert { .. },
            ..
        } => b'I',
        Message::Change {
            change: Change::Update { .. },
            ..
        } => b'U',
        Message::Change {
            change: Change::Delete { .. },
            ..
        } => b'D',
        Message::Truncate { .. } => b'T',
        Message::Logical { .. } => b'M',
        Message::StreamStart { .. } => b'S',
        Message::StreamStop => b'E',
        Message::StreamCommit(_) => b'c',
        Message::StreamAbort(_) => b'A',
    }
}

/// Encodes a message the way the server does.
pub(crate) fn encode(decoded: &Decoded) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(tag(&decoded.message));
    if let Some(xid) = decoded.xid {
        out.put_u32(xid);
    }
    match &decoded.message {
        Message::Begin(begin) => return begin.encode(),
        Message::Commit(commit) => return commit.encode(),
        Message::Origin { lsn, name } => {
            out.put_u64(lsn.0);
            put_text(&mut out, name);
        }
        Message::Relation(relation) => put_relation(&mut out, relation),
        Message::Type { oid, schema, name } => {
            out.put_u32(*oid);
            put_text(&mut out, schema.as_bytes());
            put_text(&mut out, name.as_bytes());
        }
        Message::Change { relation, change } => put_change(&mut out, *relation, change),
        Message::Truncate {
            relations,
            cascade,
            restart_identity,
        } => {
            out.put_u32(u32::try_from(relations.len()).unwrap());
            out.put_u8(u8::from(*cascade) | u8::from(*restart_identity) << 1);
            relations.iter().for_each(|relation| out.put_u32(*relation));
        }
        Message::Logical {
            transactional,
            lsn,
            prefix,
            content,
        } => {
            out.put_u8(u8::from(*transactional));
            out.put_u64(lsn.0);
            put_text(&mut out, prefix.as_bytes());
            out.put_u32(u32::try_from(content.len()).unwrap());
            out.put_slice(content);
        }
        Message::StreamStart { xid, first } => {
            out.put_u32(*xid);
            out.put_u8(u8::from(*first));
        }
        Message::StreamStop => {}
        Message::StreamCommit(StreamCommit { xid, commit }) => {
            out.put_u32(*xid);
            out.put_slice(&commit.encode()[1..]);
        }
        Message::StreamAbort(StreamAbort { xid, subxid }) => {
            out.put_u32(*xid);
            out.put_u32(*subxid);
        }
    }
    out.freeze()
}

fn any_row() -> impl Strategy<Value = Row> {
    let cell = prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unchanged),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|value| Cell::Value(value.into())),
    ];
    prop::collection::vec(cell, 0..12).prop_map(Row::new)
}

fn any_change() -> impl Strategy<Value = Change> {
    let old = || {
        prop_oneof![
            any_row().prop_map(OldImage::Key),
            any_row().prop_map(OldImage::Full)
        ]
    };
    prop_oneof![
        any_row().prop_map(|row| Change::Insert { row }),
        (prop::option::of(old()), any_row()).prop_map(|(old, row)| Change::Update { old, row }),
        old().prop_map(|old| Change::Delete { old }),
    ]
}

fn any_relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    let column = ("[^\0]{1,9}", any::<u32>(), any::<i32>(), any::<bool>()).prop_map(
        |(name, type_oid, type_modifier, part_of_key)| RelationColumn {
            name,
            type_oid,
            type_modifier,
            part_of_key,
        },
    );
    (
        any::<u32>(),
        "[^\0]{1,9}",
        "[^\0]{1,9}",
        identity,
        prop::collection::vec(column, 0..9),
    )
        .prop_map(|(oid, schema, name, replica_identity, columns)| Relation {
            oid,
            schema,
            name,
            replica_identity,
            columns,
        })
}

fn any_commit() -> impl Strategy<Value = Commit> {
    any::<(u64, u64, i64)>().prop_map(|(commit, end, time)| Commit {
        commit_lsn: Lsn(commit),
        end_lsn: Lsn(end),
        commit_time: CommitTime(time),
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<(u64, i64, u32)>().prop_map(|(lsn, time, xid)| Message::Begin(Begin {
            commit_lsn: Lsn(lsn),
            commit_time: CommitTime(time),
            xid,
        })),
        any_commit().prop_map(Message::Commit),
        (any::<u64>(), "[^\0]{0,20}").prop_map(|(lsn, name)| Message::Origin {
            lsn: Lsn(lsn),
            name: name.into_bytes().into(),
        }),
        any_relation().prop_map(|relation| Message::Relation(Arc::new(relation))),
        (any::<u32>(), "[^\0]{1,9}", "[^\0]{1,9}").prop_map(|(oid, schema, name)| Message::Type {
            oid,
            schema,
            name
        }),
        (any::<u32>(), any_change())
            .prop_map(|(relation, change)| Message::Change { relation, change }),
        (
            prop::collection::vec(any::<u32>(), 0..9),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(relations, cascade, restart_identity)| Message::Truncate {
                relations,
                cascade,
                restart_identity,
            }),
        (
            any::<bool>(),
            any::<u64>(),
            "[^\0]{0,9}",
            prop::collection::vec(any::<u8>(), 0..40)
        )
            .prop_map(|(transactional, lsn, prefix, content)| Message::Logical {
                transactional,
                lsn: Lsn(lsn),
                prefix,
                content: content.into(),
            }),
        any::<(u32, bool)>().prop_map(|(xid, first)| Message::StreamStart { xid, first }),
        Just(Message::StreamStop),
        (any::<u32>(), any_commit())
            .prop_map(|(xid, commit)| Message::StreamCommit(StreamCommit { xid, commit })),
        any::<(u32, u32)>()
            .prop_map(|(xid, subxid)| Message::StreamAbort(StreamAbort { xid, subxid })),
    ]
}

fn any_decoded() -> impl Strategy<Value = (Decoded, Framing)> {
    (any_message(), any::<u32>(), any::<bool>()).prop_map(|(message, xid, streamed)| {
        let carries = carries_xid(Tag(tag(&message)));
        let xid = (streamed && carries).then_some(xid);
        let framing = if streamed {
            Framing::Streamed
        } else {
            Framing::Plain
        };
        (Decoded { xid, message }, framing)
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again((decoded, framing) in any_decoded()) {
        prop_assert_eq!(decode(encode(&decoded), framing), Ok(decoded));
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_and_never_another_message(
        (decoded, framing) in any_decoded(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&decoded);
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(decode(cut, framing).is_err());
    }

    #[test]
    fn a_message_with_a_tail_is_an_error((decoded, framing) in any_decoded(), tail in any::<u8>()) {
        let mut bytes = BytesMut::from(&encode(&decoded)[..]);
        bytes.put_u8(tail);
        prop_assert!(decode(bytes.freeze(), framing).is_err());
    }

    #[test]
    fn garbage_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        tag in prop::sample::select(b"BCORYIUDTMSEcAbPKrp".to_vec()),
    ) {
        let mut message = vec![tag];
        message.extend(bytes);
        for framing in [Framing::Plain, Framing::Streamed] {
            drop(decode(message.clone().into(), framing));
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(
        (decoded, framing) in any_decoded(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = BytesMut::from(&encode(&decoded)[..]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        drop(decode(bytes.freeze(), framing));
    }
}

#[test]
fn messages_of_prepared_transactions_are_unexpected_and_unknown_ones_unknown() {
    for tag in *b"bPKrp" {
        let decoded = decode(Bytes::copy_from_slice(&[tag, 0, 0, 0]), Framing::Plain);
        assert!(
            matches!(decoded, Err(DecodeError::Unexpected { .. })),
            "{decoded:?}"
        );
    }
    assert_eq!(
        decode(Bytes::from_static(b"Zxx"), Framing::Plain),
        Err(DecodeError::Unknown { tag: Tag(b'Z') })
    );
    assert_eq!(
        decode(Bytes::new(), Framing::Plain),
        Err(DecodeError::Empty)
    );
}

#[test]
fn a_stream_abort_of_parallel_streaming_carries_position_and_time() {
    let mut bytes = BytesMut::from(&b"A\0\0\0\x01\0\0\0\x02"[..]);
    bytes.put_u64(77);
    bytes.put_i64(88);
    let decoded = decode(bytes.freeze(), Framing::Plain).unwrap();
    assert_eq!(
        decoded.message,
        Message::StreamAbort(StreamAbort { xid: 1, subxid: 2 })
    );
}

#[test]
fn a_binary_value_is_unexpected() {
    let message = Bytes::from_static(b"I\0\0\0\x01N\0\x01b\0\0\0\x01x");
    let decoded = decode(message, Framing::Plain);
    assert!(matches!(
        decoded,
        Err(DecodeError::Unexpected {
            what: "a binary value",
            ..
        })
    ));
}

#[test]
fn values_are_slices_of_the_message() {
    let message = Bytes::from_static(b"I\0\0\0\x01N\0\x01t\0\0\0\x03abc");
    let decoded = decode(message.clone(), Framing::Plain).unwrap();
    let Message::Change {
        change: Change::Insert { row },
        ..
    } = decoded.message
    else {
        panic!("an insert was sent");
    };
    let Cell::Value(value) = &row.cells()[0] else {
        panic!("a value was sent")
    };
    assert_eq!(value.as_ptr(), message[message.len() - 3..].as_ptr());
}

//! A session of the source that goes on with the target, which numbers its types otherwise.

use bytes::BufMut;
use proptest::prelude::*;

use super::super::catalog::{Kind, OfType};
use super::*;

/// Types of the tests: number on the source, number on the target, and what they hold there.
const MOOD: (u32, u32) = (16_400, 16_501);
const MOODS: (u32, u32) = (16_401, 16_502);
const PAIR: (u32, u32) = (16_402, 16_503);
const SPAN: (u32, u32) = (16_403, 16_504);
const SPANS: (u32, u32) = (16_404, 16_505);
const NICE: (u32, u32) = (16_405, 16_506);
/// On the target it has the number of `MOOD` on the source.
const OTHER: (u32, u32) = (16_600, 16_400);

fn catalog() -> Arc<TypeCatalog> {
    let types = |pick: fn((u32, u32)) -> u32| {
        let kinds = [
            (MOOD, Kind::Plain),
            (MOODS, Kind::Array),
            (PAIR, Kind::Composite),
            (SPAN, Kind::Range(pick(PAIR))),
            (SPANS, Kind::Multirange(pick(PAIR))),
            (NICE, Kind::Domain(pick(MOODS))),
            (OTHER, Kind::Plain),
        ];
        let each = kinds.into_iter().map(|(one, kind)| OfType {
            number: pick(one),
            name: Bytes::from(one.0.to_string()),
            kind,
            inner: Vec::new(),
        });
        each.collect()
    };
    Arc::new(TypeCatalog::new(types(|one| one.0), types(|one| one.1)))
}

fn array(of: u32, elements: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut value = Vec::new();
    value.put_u32(1);
    value.put_u32(1);
    value.put_u32(of);
    value.put_u32(u32::try_from(elements.len()).unwrap());
    value.put_u32(1);
    for element in elements {
        put_value(element.as_deref(), &mut value);
    }
    value
}

fn put_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            out.put_i32(i32::try_from(value.len()).unwrap());
            out.put_slice(value);
        }
    }
}

fn composite(columns: &[(u32, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut value = Vec::new();
    value.put_u32(u32::try_from(columns.len()).unwrap());
    for (of, column) in columns {
        value.put_u32(*of);
        put_value(column.as_deref(), &mut value);
    }
    value
}

fn range(flags: u8, bounds: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![flags];
    for bound in bounds {
        put_value(Some(bound), &mut value);
    }
    value
}

/// A value of every shape, by the numbers of one server.
fn values(pick: fn((u32, u32)) -> u32) -> Vec<(u32, Vec<u8>)> {
    let pair = || {
        composite(&[
            (23, Some(vec![0, 0, 0, 7])),
            (pick(MOOD), Some(b"sad".to_vec())),
            (
                pick(MOODS),
                Some(array(pick(MOOD), &[None, Some(b"ok".to_vec())])),
            ),
            (pick(MOOD), None),
        ])
    };
    vec![
        (pick(MOOD), b"sad".to_vec()),
        (
            pick(MOODS),
            array(pick(MOOD), &[Some(b"sad".to_vec()), None]),
        ),
        (pick(PAIR), pair()),
        (pick(SPAN), range(0x02, &[pair(), pair()])),
        (pick(SPAN), range(0x08, &[pair()])),
        (pick(SPAN), range(0x01, &[])),
        (pick(SPANS), {
            let mut ranges = vec![0, 0, 0, 2];
            put_value(Some(&range(0x10, &[pair()])), &mut ranges);
            put_value(Some(&range(0x02, &[pair(), pair()])), &mut ranges);
            ranges
        }),
        (pick(NICE), array(pick(MOOD), &[Some(b"sad".to_vec())])),
        // Columns of no named type, and an array of such.
        (2249, pair()),
        (2287, array(2249, &[Some(pair()), None, Some(pair())])),
        (1009, array(25, &[Some(b"text".to_vec())])),
    ]
}

fn row_description(columns: &[(u32, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(u16::try_from(columns.len()).unwrap());
    for (of, format) in columns {
        body.put_slice(b"name\0\0\0\0\x01\0\x02");
        body.put_u32(*of);
        body.put_slice(&[0; 6]);
        body.put_u16(*format);
    }
    body
}

fn row(values: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(u16::try_from(values.len()).unwrap());
    for (_of, value) in values {
        put_value(Some(value), &mut body);
    }
    body
}

fn parse(name: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0select 1\0").into_bytes();
    body.put_u16(u16::try_from(types.len()).unwrap());
    types.iter().for_each(|of| body.put_u32(*of));
    body
}

fn bind(statement: &str, values: &[(u32, Vec<u8>)], formats: &[u16]) -> Vec<u8> {
    let mut body = format!("\0{statement}\0").into_bytes();
    body.put_slice(&[0, 1, 0, 1]);
    body.extend(row(values));
    body.put_u16(u16::try_from(formats.len()).unwrap());
    formats.iter().for_each(|format| body.put_u16(*format));
    body
}

struct Talk {
    exchange: Exchange,
    numbers: Numbers,
}

impl Talk {
    fn new() -> Self {
        let mut numbers = Numbers::default();
        for one in [MOOD, MOODS, PAIR, SPAN, SPANS, NICE] {
            numbers.note(one.0, Side::Source);
        }
        Self {
            exchange: Exchange::new(Side::Target, catalog(), HashMap::new()),
            numbers,
        }
    }

    fn client(&mut self, tag: u8, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        self.exchange.client(tag, &mut body, &mut self.numbers);
        body
    }

    fn server(&mut self, tag: u8, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        match tag {
            b'D' if !self.exchange.row_is_translated() => {}
            b'T' | b't' | b'D' => self.exchange.answer(tag, &mut body, &mut self.numbers),
            tag => self.exchange.server(tag),
        }
        body
    }
}

fn types(values: &[(u32, Vec<u8>)]) -> Vec<u32> {
    values.iter().map(|(of, _)| *of).collect()
}

fn columns(values: &[(u32, Vec<u8>)], format: u16) -> Vec<(u32, u16)> {
    values.iter().map(|(of, _)| (*of, format)).collect()
}

#[test]
fn every_value_is_translated_in_both_directions() {
    let (theirs, ours) = (values(|one| one.0), values(|one| one.1));
    let mut talk = Talk::new();
    assert_eq!(
        talk.client(b'P', &parse("a", &types(&theirs))),
        parse("a", &types(&ours))
    );
    talk.client(b'D', b"Sa\0");
    talk.client(b'S', b"");
    talk.server(b'1', b"");
    let told = talk.server(b't', &parse("", &types(&ours))[10..]);
    assert_eq!(told, parse("", &types(&theirs))[10..]);
    assert_eq!(
        talk.server(b'T', &row_description(&columns(&ours, 0))),
        row_description(&columns(&theirs, 0))
    );
    talk.server(b'Z', b"I");
    assert_ne!(talk.exchange.need(b'B', b"\0a\0"), Need::Nothing);
    assert_eq!(
        talk.client(b'B', &bind("a", &theirs, &[1])),
        bind("a", &ours, &[1])
    );
    talk.client(b'E', b"\0\0\0\0\0");
    talk.client(b'S', b"");
    talk.server(b'2', b"");
    for _row in 0..2 {
        assert_eq!(talk.server(b'D', &row(&ours)), row(&theirs));
    }
    talk.server(b'C', b"");
    talk.server(b'Z', b"I");
}

#[test]
fn a_portal_that_is_described_for_itself_is_translated_too() {
    let (theirs, ours) = (values(|one| one.0), values(|one| one.1));
    let mut talk = Talk::new();
    for (tag, body) in [
        (b'P', parse("", &[])),
        (b'B', bind("", &[], &[1])),
        (b'D', b"P\0".to_vec()),
        (b'E', b"\0\0\0\0\0".to_vec()),
        (b'S', Vec::new()),
    ] {
        assert_eq!(talk.client(tag, &body), body);
    }
    talk.server(b'1', b"");
    talk.server(b'2', b"");
    talk.server(b'T', &row_description(&columns(&ours, 1)));
    assert_eq!(talk.server(b'D', &row(&ours)), row(&theirs));
    talk.server(b'C', b"");
    talk.server(b'Z', b"I");
}

#[test]
fn a_portal_that_was_described_tells_of_its_statement() {
    let (theirs, ours) = (values(|one| one.0), values(|one| one.1));
    let mut talk = Talk::new();
    talk.client(b'P', &parse("a", &[]));
    talk.client(b'B', &bind("a", &[], &[1]));
    talk.client(b'D', b"P\0");
    talk.client(b'S', b"");
    talk.server(b'T', &row_description(&columns(&ours, 1)));
    talk.server(b'Z', b"I");
    talk.client(b'B', &bind("a", &[], &[1]));
    talk.client(b'E', b"\0\0\0\0\0");
    assert_eq!(talk.server(b'D', &row(&ours)), row(&theirs));
}

#[test]
fn a_sync_that_the_server_ignores_in_a_copy_leaves_nothing_behind() {
    let (theirs, ours) = (values(|one| one.0), values(|one| one.1));
    let mut talk = Talk::new();
    for (tag, body) in [
        (b'B', bind("", &[], &[])),
        (b'E', b"\0\0\0\0\0".to_vec()),
        (b'S', Vec::new()),
        (b'c', Vec::new()),
        (b'S', Vec::new()),
    ] {
        talk.client(tag, &body);
    }
    talk.server(b'C', b"");
    talk.server(b'Z', b"T");
    talk.exchange.answered();
    talk.client(b'P', &parse("a", &[]));
    talk.client(b'D', b"Sa\0");
    talk.client(b'S', b"");
    talk.server(b'T', &row_description(&columns(&ours, 0)));
    talk.server(b'Z', b"T");
    talk.exchange.answered();
    talk.client(b'B', &bind("a", &[], &[1]));
    talk.client(b'E', b"\0\0\0\0\0");
    assert_eq!(talk.server(b'D', &row(&ours)), row(&theirs));
}

#[test]
fn rows_in_text_and_rows_without_such_types_are_left_alone() {
    let ours = values(|one| one.1);
    let mut talk = Talk::new();
    talk.client(b'Q', b"");
    talk.server(b'T', &row_description(&columns(&ours, 0)));
    assert!(!talk.exchange.row_is_translated());
    talk.server(b'C', b"");
    // From a cursor they come in binary format even so.
    talk.server(b'T', &row_description(&columns(&ours, 1)));
    assert!(talk.exchange.row_is_translated());
    talk.server(b'C', b"");
    talk.server(b'T', &row_description(&[(23, 1), (MOOD.1, 1)]));
    assert!(!talk.exchange.row_is_translated());
}

#[test]
fn answers_find_their_questions_after_an_error() {
    let (theirs, ours) = (values(|one| one.0), values(|one| one.1));
    let mut talk = Talk::new();
    talk.client(b'P', &parse("bad", &[]));
    talk.client(b'D', b"Sbad\0");
    talk.server(b'E', b"");
    // The server ignores this one.
    talk.client(b'D', b"Sbad\0");
    talk.client(b'S', b"");
    talk.client(b'P', &parse("a", &[]));
    talk.client(b'D', b"Sa\0");
    talk.client(b'B', &bind("a", &[], &[1]));
    talk.client(b'E', b"\0\0\0\0\0");
    talk.client(b'S', b"");
    talk.server(b'Z', b"I");
    talk.server(b'1', b"");
    talk.server(b't', &[0, 0]);
    talk.server(b'T', &row_description(&columns(&ours, 0)));
    talk.server(b'2', b"");
    assert_eq!(talk.server(b'D', &row(&ours)), row(&theirs));
}

#[test]
fn another_type_under_a_known_number_is_given_another_one() {
    let mut talk = Talk::new();
    let told = talk.server(b'T', &row_description(&[(OTHER.1, 0), (MOOD.1, 0)]));
    let mut said = Vec::new();
    messages::each_column(&told, |_table, of| said.push(of));
    assert_eq!(said[1], MOOD.0);
    assert_ne!(said[0], MOOD.0);
    assert_eq!(
        talk.client(b'P', &parse("", &said)),
        parse("", &[OTHER.1, MOOD.1])
    );
}

#[test]
fn a_bind_of_a_statement_without_such_types_need_not_be_whole() {
    let mut talk = Talk::new();
    talk.client(b'P', &parse("a", &[23]));
    assert_ne!(talk.exchange.need(b'B', b"\0a\0"), Need::Nothing);
    talk.client(b'D', b"Sa\0");
    talk.server(b't', &[0, 1, 0, 0, 0, 23]);
    talk.server(b'n', b"");
    assert_eq!(talk.exchange.need(b'B', b"\0a\0"), Need::Nothing);
    assert_eq!(talk.exchange.need(b'B', b"\0"), Need::Whole);
}

proptest! {
    #[test]
    fn whatever_comes_keeps_its_length_and_ends_in_no_panic(
        messages in proptest::collection::vec(
            (any::<bool>(), proptest::sample::select(b"PBDECQSTtDCnEZIs".to_vec()),
             proptest::collection::vec(any::<u8>(), 0..60)),
            0..40,
        ),
    ) {
        let mut talk = Talk::new();
        for (from_client, tag, body) in messages {
            let after = if from_client { talk.client(tag, &body) } else { talk.server(tag, &body) };
            prop_assert_eq!(after.len(), body.len());
        }
    }

    /// What is damaged is passed on, no longer and no shorter.
    #[test]
    fn a_damaged_value_is_no_harm(which in 0..11_usize, at in 0..200_usize, byte in any::<u8>()) {
        let ours = values(|one| one.1);
        let (of, mut value) = ours[which].clone();
        let at = at % value.len();
        value[at] = byte;
        let mut talk = Talk::new();
        talk.client(b'Q', b"");
        talk.server(b'T', &row_description(&[(of, 1)]));
        let body = row(&[(of, value)]);
        prop_assert_eq!(talk.server(b'D', &body).len(), body.len());
    }
}

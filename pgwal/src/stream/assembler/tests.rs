//! The assembler against messages made by hand, and against random histories.

use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::stream::consumer::{Next, Replay};
use crate::stream::event::CommitTime;
use crate::stream::pgoutput::{Begin, Commit};

fn commit(end: u64) -> Commit {
    Commit {
        commit_lsn: Lsn(end - 1),
        end_lsn: Lsn(end),
        commit_time: CommitTime(0),
    }
}

fn begin(xid: u32, end: u64) -> Bytes {
    Begin {
        commit_lsn: Lsn(end - 1),
        commit_time: CommitTime(0),
        xid,
    }
    .encode()
}

fn control(tag: u8, xid: u32, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(tag);
    out.put_u32(xid);
    out.put_slice(rest);
    out.freeze()
}

fn start(xid: u32, first: bool) -> Bytes {
    control(b'S', xid, &[u8::from(first)])
}

fn stop() -> Bytes {
    Bytes::from_static(b"E")
}

fn stream_commit(xid: u32, end: u64) -> Bytes {
    control(b'c', xid, &commit(end).encode()[1..])
}

fn abort(xid: u32, subxid: u32) -> Bytes {
    control(b'A', xid, &subxid.to_be_bytes())
}

/// A message of a row, which only has to look like one from outside.
fn row(number: u32) -> Bytes {
    control(b'I', number, b"row")
}

/// The same inside a block.
fn row_of(xid: u32, number: u32) -> Bytes {
    let mut rest = BytesMut::new();
    rest.put_u32(number);
    rest.put_slice(b"row");
    control(b'I', xid, &rest)
}

/// Everything that the items bring, with the transactions' files read.
fn messages(items: &[Item]) -> Vec<Bytes> {
    let mut all = Vec::new();
    for item in items {
        match &item.content {
            Content::Message(message) => all.push(message.clone()),
            Content::File(file) => {
                let mut replay = Replay::new(Arc::clone(file));
                loop {
                    match replay.next() {
                        Next::Message(message) => all.push(message),
                        Next::OnDisk => replay.read().unwrap(),
                        Next::Over => break,
                    }
                }
            }
            Content::Idle => {}
        }
    }
    all
}

fn assemble(dir: &Path, memory: usize, input: &[Bytes]) -> Result<Vec<Item>, StreamError> {
    let mut assembler = Assembler::new(dir.to_owned(), Lsn(0));
    assembler.running_bytes_max = memory;
    let mut items = Vec::new();
    for message in input {
        assembler.accept(message.clone(), &mut items)?;
        assembler.relieve()?;
        assert!(assembler.running_bytes <= memory);
    }
    Ok(items)
}

#[test]
fn interleaved_streamed_transactions_come_out_whole_in_commit_order() {
    let dir = tempfile::tempdir().unwrap();
    let input = [
        start(7, true),
        row_of(7, 1),
        stop(),
        start(8, true),
        row_of(8, 2),
        stop(),
        begin(9, 10),
        row(3),
        commit(10).encode(),
        start(7, false),
        row_of(7, 4),
        stop(),
        stream_commit(8, 20),
        stream_commit(7, 30),
    ];
    let expected = [
        begin(9, 10),
        row(3),
        commit(10).encode(),
        begin(8, 20),
        row(2),
        commit(20).encode(),
        begin(7, 30),
        row(1),
        row(4),
        commit(30).encode(),
    ];
    for memory in [0, 1_000_000] {
        let items = assemble(dir.path(), memory, &input).unwrap();
        assert_eq!(messages(&items), expected);
        let ends: Vec<_> = items.iter().filter_map(|item| item.ends_at).collect();
        assert_eq!(ends, [Lsn(10), Lsn(20), Lsn(30)]);
    }
}

#[test]
fn aborted_transactions_leave_nothing_and_aborted_subtransactions_only_their_relations() {
    let dir = tempfile::tempdir().unwrap();
    let relation = control(b'R', 7001, b"\0\0\0\x05s\0t\0d\0\0");
    let input = [
        start(7, true),
        row_of(7, 1),
        relation,
        row_of(7001, 2),
        stop(),
        start(8, true),
        row_of(8, 9),
        stop(),
        abort(7, 7001),
        abort(8, 8),
        start(7, false),
        row_of(7, 3),
        stop(),
        stream_commit(7, 30),
    ];
    let plain_relation = Bytes::from_static(b"R\0\0\0\x05s\0t\0d\0\0");
    let expected = [
        begin(7, 30),
        row(1),
        plain_relation,
        row(3),
        commit(30).encode(),
    ];
    for memory in [0, 1_000_000] {
        let items = assemble(dir.path(), memory, &input).unwrap();
        assert_eq!(messages(&items), expected);
    }
    let left = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.collect();
    assert_eq!(left, ["transaction-000000000000001e.rows"]);
}

#[test]
fn the_origin_is_told_once_although_each_block_repeats_it() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Bytes::from_static(b"O\0\0\0\0\0\0\0\0elsewhere\0");
    let input = [
        start(7, true),
        origin.clone(),
        row_of(7, 1),
        stop(),
        start(7, false),
        origin.clone(),
        row_of(7, 2),
        stop(),
        stream_commit(7, 30),
    ];
    let items = assemble(dir.path(), 1_000, &input).unwrap();
    assert_eq!(
        messages(&items),
        [begin(7, 30), origin, row(1), row(2), commit(30).encode()]
    );
}

#[test]
fn messages_in_the_wrong_place_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [&[Bytes]; 11] = [
        &[row(1)],
        &[stop()],
        &[commit(10).encode()],
        &[begin(1, 10), begin(2, 20)],
        &[begin(1, 10), start(7, true)],
        &[start(7, true), begin(1, 10)],
        &[start(7, true), start(8, true)],
        &[start(7, false)],
        &[start(7, true), stop(), start(7, true)],
        &[stream_commit(7, 10)],
        &[begin(1, 10), Bytes::from_static(b"P")],
    ];
    for input in wrong {
        assert!(assemble(dir.path(), 0, input).is_err(), "{input:?}");
    }
    let unknown = assemble(dir.path(), 0, &[Bytes::from_static(b"Z")]);
    assert!(matches!(
        unknown,
        Err(StreamError::Decode(DecodeError::Unknown { .. }))
    ));
    let back = [
        begin(1, 20),
        commit(20).encode(),
        begin(2, 10),
        commit(10).encode(),
    ];
    assert!(matches!(
        assemble(dir.path(), 0, &back),
        Err(StreamError::Order { .. })
    ));
}

#[test]
fn a_keepalive_moves_the_position_only_between_transactions_and_only_forward() {
    let dir = tempfile::tempdir().unwrap();
    let mut assembler = Assembler::new(dir.path().to_owned(), Lsn(5));
    let mut items = Vec::new();
    assert!(assembler.keepalive(Lsn(5)).is_none());
    assert!(assembler.keepalive(Lsn(6)).is_some());
    assembler.accept(begin(1, 10), &mut items).unwrap();
    assert!(assembler.keepalive(Lsn(8)).is_none());
    assembler.accept(commit(10).encode(), &mut items).unwrap();
    assembler.accept(start(7, true), &mut items).unwrap();
    assert!(assembler.keepalive(Lsn(12)).is_none());
    assembler.accept(stop(), &mut items).unwrap();
    let idle = assembler.keepalive(Lsn(12)).unwrap();
    assert_eq!(idle.ends_at, Some(Lsn(12)));
}

/// One step of a random history of up to four streamed transactions.
#[derive(Debug, Clone)]
enum Step {
    Block { slot: usize, rows: Vec<bool> },
    Plain { rows: u8 },
    AbortSub { slot: usize },
    End { slot: usize, commits: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4_usize, prop::collection::vec(any::<bool>(), 0..30))
            .prop_map(|(slot, rows)| Step::Block { slot, rows }),
        2 => (0..5_u8).prop_map(|rows| Step::Plain { rows }),
        2 => (0..4_usize).prop_map(|slot| Step::AbortSub { slot }),
        2 => (0..4_usize, any::<bool>()).prop_map(|(slot, commits)| Step::End { slot, commits }),
    ]
}

/// A running transaction as the model sees it: its rows, and those of its open subtransaction.
#[derive(Default, Clone)]
struct ModelTransaction {
    xid: u32,
    subxid: u32,
    rows: Vec<(u32, u32)>,
}

#[derive(Default)]
struct Model {
    input: Vec<Bytes>,
    expected: Vec<Bytes>,
    running: [Option<ModelTransaction>; 4],
    next_xid: u32,
    next_row: u32,
    end: u64,
}

impl Model {
    fn xid(&mut self) -> u32 {
        self.next_xid += 1;
        self.next_xid
    }

    fn row(&mut self) -> u32 {
        self.next_row += 1;
        self.next_row
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Block { slot, rows } => {
                let first = self.running[slot].is_none();
                let fresh = ModelTransaction {
                    xid: self.xid(),
                    subxid: self.xid(),
                    rows: vec![],
                };
                let mut running = self.running[slot].take().unwrap_or(fresh);
                self.input.push(start(running.xid, first));
                for in_sub in rows {
                    let number = self.row();
                    let xid = if in_sub { running.subxid } else { running.xid };
                    self.input.push(row_of(xid, number));
                    running.rows.push((xid, number));
                }
                self.input.push(stop());
                self.running[slot] = Some(running);
            }
            Step::Plain { rows } => {
                self.end += 10;
                let mut messages = vec![begin(self.xid(), self.end)];
                messages.extend((0..rows).map(|_| row(self.row())).collect::<Vec<_>>());
                messages.push(commit(self.end).encode());
                self.input.extend(messages.clone());
                self.expected.extend(messages);
            }
            Step::AbortSub { slot } => {
                let next = self.xid();
                if let Some(running) = &mut self.running[slot] {
                    self.input.push(abort(running.xid, running.subxid));
                    running.rows.retain(|(xid, _)| *xid != running.subxid);
                    running.subxid = next;
                }
            }
            Step::End { slot, commits } => {
                let Some(running) = self.running[slot].take() else {
                    return;
                };
                if commits {
                    self.end += 10;
                    self.input.push(stream_commit(running.xid, self.end));
                    self.expected.push(begin(running.xid, self.end));
                    self.expected
                        .extend(running.rows.iter().map(|(_, number)| row(*number)));
                    self.expected.push(commit(self.end).encode());
                } else {
                    self.input.push(abort(running.xid, running.xid));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_history_comes_out_as_its_committed_transactions(
        steps in prop::collection::vec(any_step(), 0..60),
        memory in prop::sample::select(vec![0, 100, 1_000, 1_000_000]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        steps.into_iter().for_each(|step| model.step(step));
        let items = assemble(dir.path(), memory, &model.input).unwrap();
        prop_assert_eq!(messages(&items), model.expected);
    }
}

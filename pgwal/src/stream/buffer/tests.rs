//! The queue against a plain list, with restarts.

use std::path::Path;

use proptest::prelude::*;
use router::spool::{Recovered, SpoolOptions};

use super::*;

const MEMORY: usize = 3_000;

fn spool_options(dir: &Path, limit_bytes: u64) -> SpoolOptions {
    SpoolOptions {
        dir: dir.to_owned(),
        limit_bytes,
        segment_bytes: 4_000,
    }
}

fn fresh(dir: &Path, limit_bytes: u64, start: Lsn) -> Buffer {
    let spool = Recovered::read(spool_options(dir, limit_bytes)).unwrap();
    let spool = spool.discard(start.0).unwrap();
    Buffer::new(dir.to_owned(), MEMORY, spool, BTreeMap::new())
}

/// The rows of a unit: what they say and how long they are does not matter to the queue.
fn unit(end: u64, rows: u8, size: usize) -> Vec<Item> {
    let mut items = Vec::new();
    for row in 0..rows {
        let mut message = format!("I{end} {row} ").into_bytes();
        message.resize(message.len() + size, b'x');
        items.push(Item {
            content: Content::Message(message.into()),
            ends_at: None,
        });
    }
    let message = Bytes::from(format!("C{end}"));
    items.push(Item {
        content: Content::Message(message),
        ends_at: Some(Lsn(end)),
    });
    items
}

fn idle(end: u64) -> Item {
    Item {
        content: Content::Idle,
        ends_at: Some(Lsn(end)),
    }
}

fn message(item: &Item) -> Option<Bytes> {
    match &item.content {
        Content::Message(message) => Some(message.clone()),
        Content::File(_) | Content::Idle => None,
    }
}

fn push_all(buffer: &mut Buffer, items: Vec<Item>) {
    let mut items = VecDeque::from(items);
    assert!(matches!(buffer.push(&mut items).unwrap(), Pushed::All));
    assert!(items.is_empty());
}

fn take_all(buffer: &mut Buffer) -> Vec<Item> {
    let mut all = Vec::new();
    while let Taken::Items(items) = buffer.take(1_000).unwrap() {
        all.extend(items);
    }
    all
}

fn sync(buffer: &mut Buffer) {
    if let Some(ticket) = buffer.start_sync().unwrap() {
        let outcome = ticket.run();
        buffer.finish_sync(outcome).unwrap();
    }
}

#[test]
fn what_is_in_memory_must_be_applied_before_the_spool_may_be_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = fresh(dir.path(), 1 << 20, Lsn(0));
    for end in 1..=100 {
        push_all(&mut buffer, unit(end * 10, 1, 200));
    }
    sync(&mut buffer);
    assert_eq!(buffer.acknowledgeable(Lsn(0)), Lsn(0));
    assert_eq!(buffer.acknowledgeable(Lsn(20)), Lsn(20));
    assert_eq!(buffer.acknowledgeable(Lsn(500)), Lsn(1000));
    // Positions without changes count too.
    push_all(&mut buffer, vec![idle(2000)]);
    sync(&mut buffer);
    assert_eq!(buffer.acknowledgeable(Lsn(500)), Lsn(2000));
    let taken = take_all(&mut buffer);
    assert_eq!(taken.iter().filter_map(message).count(), 200);
    assert_eq!(taken.last().unwrap().ends_at, Some(Lsn(2000)));
}

#[test]
fn a_full_queue_leaves_the_rest_in_the_callers_hands_and_takes_it_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = fresh(dir.path(), 8_000, Lsn(0));
    // One unit that is larger than memory and spool together.
    let noise = |row: u32| {
        let bytes = (0..2_000_u32).map(|i| (i ^ row).wrapping_mul(2_654_435_761).to_be_bytes()[0]);
        Bytes::from(bytes.collect::<Vec<_>>())
    };
    let mut items: VecDeque<Item> = (0..500)
        .map(|row| Item {
            content: Content::Message(noise(row)),
            ends_at: None,
        })
        .collect();
    items.push_back(unit(10, 0, 0).remove(0));
    let expected: Vec<_> = items.iter().filter_map(message).collect();
    let mut got = Vec::new();
    let mut waits = 0;
    loop {
        match buffer.push(&mut items).unwrap() {
            Pushed::All => break,
            Pushed::Full(error) => assert!(error.is_full()),
        }
        waits += 1;
        // The consumer takes a little; nothing is applied before the unit's end.
        if let Taken::Items(items) = buffer.take(1_000).unwrap() {
            got.extend(items.iter().filter_map(message));
        }
    }
    got.extend(take_all(&mut buffer).iter().filter_map(message));
    assert!(waits > 5);
    assert!(got == expected);
}

#[test]
fn a_reader_after_a_restart_is_told_the_relations_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = fresh(dir.path(), 1 << 20, Lsn(0));
    let relation = Bytes::from_static(b"R\0\0\0\x05s\0t\0d\0\0");
    let mut first = unit(10, 1, 10);
    first.insert(
        0,
        Item {
            content: Content::Message(relation.clone()),
            ends_at: None,
        },
    );
    push_all(&mut buffer, first);
    for end in 2..=300 {
        push_all(&mut buffer, unit(end * 10, 1, 200));
    }
    sync(&mut buffer);
    take_all(&mut buffer);
    buffer.trim(Lsn(2000)).unwrap();
    drop(buffer);
    let recovered = Recovered::read(spool_options(dir.path(), 1 << 20)).unwrap();
    assert!(recovered.covers(2000).is_some());
    let spool = recovered.resume(2000).unwrap();
    let mut buffer = Buffer::new(dir.path().to_owned(), MEMORY, spool, BTreeMap::new());
    let taken = take_all(&mut buffer);
    assert_eq!(message(&taken[0]), Some(relation));
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        rows: u8,
        size: usize,
    },
    /// Part of a unit, then a crash.
    Crash {
        rows: u8,
    },
    Idle,
    Take,
    Apply,
    Sync,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u8, 0..600_usize).prop_map(|(rows, size)| Step::Push { rows, size }),
        1 => (0..3_u8).prop_map(|rows| Step::Crash { rows }),
        1 => Just(Step::Idle),
        4 => Just(Step::Take),
        2 => Just(Step::Apply),
        2 => Just(Step::Sync),
    ]
}

/// The end of the unit that a message belongs to.
fn unit_of(message: &Bytes) -> u64 {
    let text = String::from_utf8(message.slice(1..).to_vec()).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

struct Model {
    buffer: Buffer,
    /// Every unit that was ever pushed, by its end.
    history: BTreeMap<u64, Vec<Bytes>>,
    end: u64,
    taken: Vec<Bytes>,
    /// The end of the last whole unit that was taken.
    taken_end: u64,
    applied: u64,
    acknowledged: u64,
}

impl Model {
    /// What the source sends again after a crash: everything after the later of the two.
    fn crash(mut self, dir: &Path, rows: u8) -> Self {
        let mut open = unit(self.end + 10, rows, 100);
        open.pop();
        push_all(&mut self.buffer, open);
        drop(self.buffer);
        let recovered = Recovered::read(spool_options(dir, 1 << 30)).unwrap();
        let held = recovered.covers(self.applied).unwrap_or(self.applied);
        assert!(held >= self.acknowledged, "acknowledged, and gone");
        let spool = recovered.resume(self.applied).unwrap();
        let mut buffer = Buffer::new(dir.to_owned(), MEMORY, spool, BTreeMap::new());
        for (end, messages) in self.history.range(held + 1..) {
            let part = |message: &Bytes| Item {
                content: Content::Message(message.clone()),
                ends_at: None,
            };
            let mut items: Vec<_> = messages.iter().map(part).collect();
            match items.last_mut() {
                Some(last) => last.ends_at = Some(Lsn(*end)),
                None => items.push(idle(*end)),
            }
            push_all(&mut buffer, items);
        }
        self.taken.clear();
        self.taken_end = self.applied;
        Self { buffer, ..self }
    }

    /// Takes something; says whether there was anything.
    fn take(&mut self) -> bool {
        let Taken::Items(items) = self.buffer.take(2_000).unwrap() else {
            return false;
        };
        for item in items {
            self.taken
                .extend(message(&item).filter(|message| unit_of(message) > self.applied));
            if let Some(end) = item.ends_at {
                self.taken_end = self.taken_end.max(end.0);
            }
        }
        true
    }

    fn check(&self) {
        let expected: Vec<_> = self
            .history
            .range(self.applied + 1..)
            .flat_map(|(_, unit)| unit.clone())
            .collect();
        assert!(
            expected.starts_with(&self.taken),
            "{:?} in {expected:?}",
            self.taken
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_mix_of_pushes_takes_and_crashes_gives_everything_in_order(
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model {
            buffer: fresh(dir.path(), 1 << 30, Lsn(0)),
            history: BTreeMap::new(),
            end: 0,
            taken: Vec::new(),
            taken_end: 0,
            applied: 0,
            acknowledged: 0,
        };
        for step in steps {
            match step {
                Step::Push { rows, size } => {
                    model.end += 10;
                    let items = unit(model.end, rows, size);
                    model.history.insert(model.end, items.iter().filter_map(message).collect());
                    push_all(&mut model.buffer, items);
                }
                Step::Crash { rows } => model = model.crash(dir.path(), rows),
                Step::Idle => {
                    model.end += 10;
                    model.history.insert(model.end, Vec::new());
                    push_all(&mut model.buffer, vec![idle(model.end)]);
                }
                Step::Take => {
                    model.take();
                }
                Step::Apply => {
                    model.applied = model.taken_end;
                    let applied = model.applied;
                    model.taken.retain(|message| unit_of(message) > applied);
                    model.buffer.trim(Lsn(applied)).unwrap();
                }
                Step::Sync => sync(&mut model.buffer),
            }
            model.check();
            let safe = model.buffer.acknowledgeable(Lsn(model.applied)).0;
            model.acknowledged = model.acknowledged.max(safe);
            prop_assert!(model.acknowledged <= model.end);
        }
        while model.take() {}
        prop_assert_eq!(model.taken_end.max(model.applied), model.end);
        let rest = model.history.range(model.applied + 1..).flat_map(|(_, unit)| unit.clone());
        prop_assert_eq!(model.taken.clone(), rest.collect::<Vec<_>>());
        model.check();
        prop_assert!(matches!(model.buffer.take(1).unwrap(), Taken::Nothing));
    }
}

//! The spool against a plain list: any mix of pushes, pops, trims and restarts gives the same
//! records in order.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions {
        dir: dir.to_owned(),
        limit_bytes: 1 << 30,
        segment_bytes: 2_000,
    }
}

fn fresh(dir: &Path, start: u64) -> Spool {
    Recovered::read(options(dir))
        .unwrap()
        .discard(start)
        .unwrap()
}

fn push(spool: &mut Spool, kind: RecordKind, payload: &[u8]) {
    spool.push(kind, payload, || b"preamble".to_vec()).unwrap();
}

/// A byte that looks like chance, so that it does not compress.
fn noise(i: u32) -> u8 {
    i.wrapping_mul(2_654_435_761).to_be_bytes()[1]
}

fn at(units: usize) -> u64 {
    u64::try_from(units).unwrap()
}

/// Pushes a unit of one record whose payload names it.
fn push_unit(spool: &mut Spool, position: u64) {
    push(
        spool,
        RecordKind::UnitEnd(position),
        format!("unit {position}").as_bytes(),
    );
}

fn pop_text(spool: &mut Spool) -> Option<String> {
    spool
        .pop()
        .unwrap()
        .map(|record| String::from_utf8(record.payload).unwrap())
}

fn sync(spool: &mut Spool) {
    if let Some(ticket) = spool.start_sync() {
        spool.finish_sync(ticket.run()).unwrap();
    }
}

fn last_segment(dir: &Path) -> PathBuf {
    let paths = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| segment::seq_of(path).is_some())
        .max()
        .unwrap()
}

#[test]
fn records_come_back_in_order_over_many_segments_and_trimming_frees_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    let big = vec![7; 5_000];
    for position in 1..=100 {
        push(&mut spool, RecordKind::Part, &big);
        push_unit(&mut spool, position);
    }
    for position in 1..=100 {
        assert_eq!(spool.pop().unwrap().unwrap().payload, big);
        assert_eq!(pop_text(&mut spool), Some(format!("unit {position}")));
    }
    assert!(spool.is_drained());
    let full = spool.bytes();
    spool.trim(50).unwrap();
    assert!(spool.bytes() < full && spool.bytes() > 0);
    spool.trim(100).unwrap();
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn trimming_never_takes_what_was_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    push_unit(&mut spool, 1);
    spool.trim(1).unwrap();
    assert_eq!(pop_text(&mut spool), Some("unit 1".into()));
}

#[test]
fn a_unit_over_several_segments_keeps_them_all_until_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    for part in 0..10_u8 {
        let noise: Vec<u8> = (0..3_000_u32).map(|i| noise(i) ^ part).collect();
        push(&mut spool, RecordKind::Part, &noise);
    }
    push_unit(&mut spool, 9);
    while spool.pop().unwrap().is_some() {}
    let full = spool.bytes();
    spool.trim(8).unwrap();
    assert_eq!(spool.bytes(), full);
    spool.trim(9).unwrap();
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn the_limit_is_an_error_that_leaves_the_spool_usable() {
    let dir = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        limit_bytes: 5_000,
        ..options(dir.path())
    };
    let mut spool = Recovered::read(options).unwrap().discard(0).unwrap();
    let mut pushed = 0;
    let error = loop {
        match spool.push(RecordKind::UnitEnd(pushed + 1), b"small", Vec::new) {
            Ok(()) => pushed += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full() && pushed > 50);
    for _ in 0..pushed {
        assert_eq!(pop_text(&mut spool), Some("small".into()));
    }
    spool.trim(pushed).unwrap();
    push_unit(&mut spool, pushed + 1);
    assert_eq!(pop_text(&mut spool), Some(format!("unit {}", pushed + 1)));
}

#[test]
fn a_full_disk_is_an_error_that_leaves_the_spool_usable() {
    // `/dev/full` refuses every write with "no space left on device".
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    push_unit(&mut spool, 1);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let good = spool.writer.replace(Arc::new(full));
    let error = spool
        .push(RecordKind::UnitEnd(2), b"unit 2", Vec::new)
        .unwrap_err();
    // A device cannot be cut back to a length, which a file can.
    assert!(matches!(
        error,
        SpoolError::Io { .. } | SpoolError::DiskFull { .. }
    ));
    spool.writer = good;
    push_unit(&mut spool, 2);
    assert_eq!(pop_text(&mut spool), Some("unit 1".into()));
    assert_eq!(pop_text(&mut spool), Some("unit 2".into()));
    assert_eq!(pop_text(&mut spool), None);
}

#[test]
fn a_restart_goes_on_after_what_is_done_and_cuts_off_an_open_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 10);
    for position in 11..=20 {
        push_unit(&mut spool, position);
    }
    push(&mut spool, RecordKind::Part, b"of a unit that never ended");
    drop(spool);
    let recovered = Recovered::read(options(dir.path())).unwrap();
    assert_eq!(recovered.covers(9), None);
    assert_eq!(recovered.covers(10), Some(20));
    assert_eq!(recovered.covers(20), Some(20));
    assert_eq!(recovered.covers(21), None);
    let mut spool = recovered.resume(15).unwrap();
    assert_eq!(spool.position(), 20);
    push_unit(&mut spool, 21);
    let mut texts = Vec::new();
    while let Some(text) = pop_text(&mut spool) {
        texts.push(text);
    }
    let first = texts.iter().position(|text| text == "unit 16").unwrap();
    let expected: Vec<_> = (16..=21)
        .map(|position| format!("unit {position}"))
        .collect();
    assert_eq!(texts[0], "preamble");
    assert_eq!(texts[first..], expected);
}

#[test]
fn recovery_stops_at_the_first_torn_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    for position in 1..=5 {
        push_unit(&mut spool, position);
    }
    drop(spool);
    let path = last_segment(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let record = 24 + "unit 5".len();
    for cut in 1..record {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let recovered = Recovered::read(options(dir.path())).unwrap();
        assert_eq!(recovered.covers(0), Some(4), "cut by {cut}");
    }
    for flipped in whole.len() - record..whole.len() {
        let mut bytes = whole.clone();
        bytes[flipped] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let recovered = Recovered::read(options(dir.path())).unwrap();
        assert_eq!(recovered.covers(0), Some(4), "byte {flipped} flipped");
    }
}

#[test]
fn what_is_pushed_after_a_restart_that_dropped_segments_is_held_over_the_next_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    push_unit(&mut spool, 10);
    spool.passed(RecordKind::UnitEnd(20));
    push_unit(&mut spool, 30);
    sync(&mut spool);
    drop(spool);
    // 20 went past and is not done: what is behind it is of no use.
    let recovered = Recovered::read(options(dir.path())).unwrap();
    assert_eq!(recovered.covers(0), Some(10));
    let mut spool = recovered.resume(0).unwrap();
    // In its own segment.
    spool.writer = None;
    push_unit(&mut spool, 20);
    push_unit(&mut spool, 30);
    sync(&mut spool);
    assert_eq!(spool.durable_end(0), 30);
    drop(spool);
    let recovered = Recovered::read(options(dir.path())).unwrap();
    assert_eq!(recovered.covers(0), Some(30));
}

#[test]
fn what_follows_a_hole_is_only_used_when_the_hole_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    push_unit(&mut spool, 1);
    while spool.pop().unwrap().is_some() {}
    // Units 2 and half of 3 go through memory.
    spool.passed(RecordKind::UnitEnd(2));
    spool.passed(RecordKind::Part);
    push_unit(&mut spool, 3);
    push_unit(&mut spool, 4);
    assert_eq!(spool.durable_end(0), 0);
    sync(&mut spool);
    assert_eq!(spool.durable_end(0), 1);
    assert_eq!(spool.durable_end(2), 2);
    assert_eq!(spool.durable_end(3), 4);
    drop(spool);
    let covers = |done| Recovered::read(options(dir.path())).unwrap().covers(done);
    let covered: Vec<_> = (0..=5).map(covers).collect();
    assert_eq!(covered, [Some(1), Some(1), None, Some(4), Some(4), None]);
    let recovered = Recovered::read(options(dir.path())).unwrap();
    let mut spool = recovered.resume(3).unwrap();
    assert_eq!(pop_text(&mut spool), Some("preamble".into()));
    assert_eq!(pop_text(&mut spool), Some("unit 3".into()));
    assert_eq!(pop_text(&mut spool), Some("unit 4".into()));
}

#[test]
fn a_damaged_record_is_an_error_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = fresh(dir.path(), 0);
    push_unit(&mut spool, 1);
    let path = last_segment(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.pop(), Err(SpoolError::Damaged { .. })));
}

#[test]
fn a_folder_belongs_to_one_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = fresh(dir.path(), 0);
    assert!(matches!(
        Recovered::read(options(dir.path())),
        Err(SpoolError::InUse { .. })
    ));
    drop(spool);
    assert!(Recovered::read(options(dir.path())).unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    /// A unit of this many records of this size into the spool.
    Unit {
        parts: u8,
        size: u16,
    },
    /// A unit past the spool; only when it is drained, as the buffer does it.
    Past,
    Pop(u8),
    /// Everything that was read is done.
    Trim,
    Sync,
    /// A restart, after an open unit was begun or not.
    Restart {
        open_unit: bool,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..3_000_u16).prop_map(|(parts, size)| Step::Unit { parts, size }),
        1 => Just(Step::Past),
        3 => any::<u8>().prop_map(Step::Pop),
        2 => Just(Step::Trim),
        1 => Just(Step::Sync),
        1 => any::<bool>().prop_map(|open_unit| Step::Restart { open_unit }),
    ]
}

/// What the spool must do, told with a list.
struct Model {
    spool: Spool,
    /// Every unit's records, by its position minus 1.
    units: Vec<Vec<Vec<u8>>>,
    /// Units read wholly, in the spool or past it.
    read: usize,
    /// Records read of the unit that follows.
    read_records: usize,
    /// Units that are done.
    done: usize,
}

impl Model {
    fn unit(&mut self, parts: u8, size: u16) {
        let position = at(self.units.len()) + 1;
        let record = |part: u8| {
            let noise = (0..size).map(|i| noise(u32::from(i)) ^ part);
            let mut payload = format!("{position} {part} ").into_bytes();
            payload.extend(noise);
            payload
        };
        let records: Vec<_> = (0..=parts).map(record).collect();
        for payload in &records[..usize::from(parts)] {
            push(&mut self.spool, RecordKind::Part, payload);
        }
        push(
            &mut self.spool,
            RecordKind::UnitEnd(position),
            &records[usize::from(parts)],
        );
        self.units.push(records);
    }

    fn pop(&mut self) {
        let record = self.spool.pop().unwrap();
        if self.read == self.units.len() {
            assert!(record.is_none());
            return;
        }
        let record = record.unwrap();
        assert!(record.payload == self.units[self.read][self.read_records]);
        self.read_records += 1;
        if self.read_records == self.units[self.read].len() {
            self.read += 1;
            self.read_records = 0;
        }
    }

    fn past(&mut self) {
        if self.read < self.units.len() {
            return;
        }
        self.units.push(vec![Vec::new()]);
        self.spool.passed(RecordKind::UnitEnd(at(self.units.len())));
        self.read += 1;
    }

    fn restart(self, dir: &Path, open_unit: bool) -> Self {
        let Self {
            mut spool,
            mut units,
            done,
            ..
        } = self;
        if open_unit {
            push(&mut spool, RecordKind::Part, b"open");
        }
        drop(spool);
        let recovered = Recovered::read(options(dir)).unwrap();
        let Some(end) = recovered.covers(at(done)) else {
            // The source sends everything after `done` again.
            units.truncate(done);
            let spool = recovered.discard(at(done)).unwrap();
            return Self {
                spool,
                units,
                read: done,
                read_records: 0,
                done,
            };
        };
        units.truncate(usize::try_from(end).unwrap());
        let mut spool = recovered.resume(at(done)).unwrap();
        let mut read = done;
        // Records before `done` may come again, behind the preamble.
        let mut skipped = Vec::new();
        while read < units.len() {
            let record = spool.pop().unwrap().unwrap();
            if record.payload == units[read][0] {
                let mut model = Self {
                    spool,
                    units,
                    read,
                    read_records: 1,
                    done,
                };
                if model.units[read].len() == 1 {
                    model.read += 1;
                    model.read_records = 0;
                }
                return model;
            }
            skipped.push(record);
            assert!(skipped.len() < 10_000);
        }
        while spool.pop().unwrap().is_some() {}
        read = units.len();
        Self {
            spool,
            units,
            read,
            read_records: 0,
            done,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_mix_of_push_pop_trim_and_restart_gives_the_same_records_in_order(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let spool = fresh(dir.path(), 0);
        let mut model = Model { spool, units: Vec::new(), read: 0, read_records: 0, done: 0 };
        for step in steps {
            match step {
                Step::Unit { parts, size } => model.unit(parts, size),
                Step::Past => model.past(),
                Step::Pop(count) => (0..count % 16).for_each(|_| model.pop()),
                Step::Trim => {
                    model.done = model.read;
                    model.spool.trim(at(model.done)).unwrap();
                }
                Step::Sync => sync(&mut model.spool),
                Step::Restart { open_unit } => model = model.restart(dir.path(), open_unit),
            }
        }
        while model.read < model.units.len() {
            model.pop();
        }
        prop_assert!(model.spool.pop().unwrap().is_none());
    }
}

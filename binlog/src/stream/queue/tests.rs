use std::path::Path;

use bytes::Bytes;

use super::super::transaction::{Gathering, Kept};
use super::*;
use crate::position::{BinlogFile, Gtids, Position};

fn options(folder: &Path, memory_bytes: usize, disk_bytes: u64) -> QueueOptions {
    QueueOptions {
        memory_bytes,
        folder: folder.to_owned(),
        disk_bytes,
    }
}

fn place(number: u64) -> Position {
    Position::new(BinlogFile::new("b.000001", number), Gtids::None)
}

/// A transaction of one event of so many bytes, which do not compress.
fn transaction(number: u64, bytes: usize, folder: &Path) -> Output {
    let mut body = vec![0; bytes];
    getrandom::fill(&mut body).unwrap();
    let mut gathering = Gathering::default();
    for part in body.chunks(1024 * 1024) {
        let kept = Kept {
            code: 2,
            timestamp: 7,
            body: Bytes::copy_from_slice(part),
        };
        gathering.push(kept, folder).unwrap();
    }
    let transaction = gathering.end(place(number), Some(number), false).unwrap();
    Output::Transaction(Box::new(transaction))
}

fn number(output: &Output) -> u64 {
    match output {
        Output::Idle(position) => position.file.offset,
        Output::Transaction(transaction) => {
            assert_eq!(
                transaction.commit_time_us,
                Some(transaction.position.file.offset)
            );
            transaction.position.file.offset
        }
    }
}

#[test]
fn everything_comes_back_in_order_from_memory_spool_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path(), 4096, u64::MAX)).unwrap();
    let mut next = 0;
    for round in 0..3 {
        let first = round * 100;
        for place_number in first..first + 100 {
            let output = match place_number % 10 {
                3 => Output::Idle(place(place_number)),
                7 if round == 1 && place_number < 130 => {
                    transaction(place_number, 17 * 1024 * 1024, folder.path())
                }
                _other => transaction(place_number, 200, folder.path()),
            };
            assert!(matches!(queue.push(output).unwrap(), Pushed::Taken));
        }
        while let Some(mut taken) = queue.try_pop().unwrap() {
            assert_eq!(number(&taken.output), next);
            if let Output::Transaction(transaction) = &mut taken.output {
                let mut bytes = 0;
                while let Some(kept) = transaction.next().unwrap() {
                    assert_eq!((kept.code, kept.timestamp), (2, 7));
                    bytes += kept.body.len();
                }
                assert!(bytes == 200 || bytes == 17 * 1024 * 1024);
            }
            next += 1;
        }
        assert_eq!(next, first + 100);
        let state = queue.state.lock();
        assert_eq!((state.memory_bytes, state.spool.bytes()), (0, 0));
    }
}

#[test]
fn what_does_not_fit_is_given_back_and_fits_when_something_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path(), 4096, 64 * 1024)).unwrap();
    let mut pushed = 0;
    let (mut waiting, error) = loop {
        match queue
            .push(transaction(pushed, 1000, folder.path()))
            .unwrap()
        {
            Pushed::Taken => pushed += 1,
            Pushed::Full(output, error) => break (output, error),
        }
    };
    assert!((30..80).contains(&pushed), "{pushed}");
    assert!(error.is_full());
    // Everything that comes is taken in turn, however small the room.
    for expected in 0..pushed + 200 {
        let taken = queue.try_pop().unwrap().unwrap();
        assert_eq!(number(&taken.output), expected);
        drop(taken);
        waiting = match queue.push(waiting).unwrap() {
            Pushed::Taken => {
                pushed += 1;
                transaction(pushed, 1000, folder.path())
            }
            Pushed::Full(output, _) => output,
        };
    }
}

#[test]
fn one_that_is_larger_than_everything_passes_an_empty_queue() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path(), 100, 100)).unwrap();
    for place_number in 0..3 {
        let output = transaction(place_number, 5000, folder.path());
        assert!(matches!(queue.push(output).unwrap(), Pushed::Taken));
        let taken = queue.try_pop().unwrap().unwrap();
        // While the consumer holds it, there is no room for another.
        let another = transaction(9, 5000, folder.path());
        assert!(matches!(queue.push(another).unwrap(), Pushed::Full(..)));
        drop(taken);
    }
}

#[tokio::test]
async fn the_end_comes_behind_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(folder.path(), 4096, u64::MAX)).unwrap();
    assert!(matches!(
        queue.push(Output::Idle(place(1))).unwrap(),
        Pushed::Taken
    ));
    queue.end(Some(StreamError::NoLog));
    queue.end(None);
    assert!(queue.has_ended());
    assert_eq!(number(&queue.pop().await.unwrap().output), 1);
    assert!(matches!(queue.pop().await, Err(StreamError::NoLog)));
    assert!(matches!(queue.pop().await, Err(StreamError::Ended)));
}

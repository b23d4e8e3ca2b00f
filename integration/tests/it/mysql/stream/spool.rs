//! A target that is slow does not keep the log from being read, up to the limit.

use std::path::Path;
use std::time::{Duration, Instant};

use binlog::position::Position;
use binlog::stream::{StreamHandle, StreamOptions};
use integration::mysql::Version;
use integration::small_disk::SmallDisk;

use super::fixture::{Kind, Source};

const KIND: Kind = Kind::Gtids(Version::MariaDb118);

/// Waits for a state of the stream.
async fn until(handle: &StreamHandle, state: impl Fn(&StreamHandle) -> bool) {
    let begun = Instant::now();
    while !state(handle) {
        let late = begun.elapsed() > Duration::from_secs(120);
        assert!(!late, "{:?} {:?}", handle.lag(), handle.waits_for_space());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// So many characters, which hardly compress.
fn noise(seed: u32, bytes: usize) -> String {
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let mut state = u64::from(seed) + 1;
    let mut digit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(digits[usize::try_from(state >> 58).unwrap()])
    };
    (0..bytes).map(|_| digit()).collect()
}

/// Transactions of one row, of so many bytes each, and what the stream must give for them.
async fn fill(source: &Source, rows: u32, bytes: usize) -> Vec<String> {
    source.run("ALTER TABLE t MODIFY v VARCHAR(4000)").await;
    let mut expected = vec!["d: ALTER TABLE t MODIFY v VARCHAR(4000)".to_owned()];
    for id in 0..rows {
        let value = noise(id, bytes);
        source
            .run(&format!("INSERT INTO t VALUES ({id}, '{value}')"))
            .await;
        expected.push(format!("+ t {id},{value}"));
    }
    expected
}

/// Little memory, so that the rest goes to the spool.
fn options(source: &Source, start: Position, folder: &Path, limit_bytes: u64) -> StreamOptions {
    StreamOptions {
        memory_bytes: 4096,
        folder: folder.to_owned(),
        spool_limit_bytes: limit_bytes,
        ..source.options(start)
    }
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn reading_goes_on_while_nobody_takes_and_a_new_stream_begins_with_an_empty_spool() {
    let source = Source::start(KIND).await;
    let folder = tempfile::tempdir().unwrap();
    let start = source.position().await;
    let open = |start: &Position| options(&source, start.clone(), folder.path(), u64::MAX);
    let mut lines = source.try_open(open(&start)).await.unwrap();
    let expected = fill(&source, 400, 100).await;
    let end = source.position().await;
    let handle = lines.stream.handle();
    until(&handle, |handle| handle.received() >= end).await;
    assert_eq!(handle.waits_for_space(), None);
    assert_eq!(handle.lag().transactions, 401);
    assert!(size(folder.path()) > 40_000);

    let mut at = start;
    let mut came = Vec::new();
    for _ in 0..100 {
        let one = lines.transaction().await;
        came.extend(one.lines);
        at = one.position;
    }
    drop(lines);
    let mut lines = source.try_open(open(&at)).await.unwrap();
    came.extend(
        lines
            .until(&end)
            .await
            .into_iter()
            .flat_map(|one| one.lines),
    );
    assert_eq!(came, expected);
    until(&lines.stream.handle(), |_handle| size(folder.path()) == 0).await;
}

#[tokio::test]
async fn a_spool_at_its_limit_is_told_and_nothing_is_lost() {
    const LIMIT_BYTES: u64 = 32 * 1024;
    let source = Source::start(KIND).await;
    let folder = tempfile::tempdir().unwrap();
    let start = source.position().await;
    let options = options(&source, start, folder.path(), LIMIT_BYTES);
    let mut lines = source.try_open(options).await.unwrap();
    let expected = fill(&source, 200, 1000).await;
    let end = source.position().await;
    let handle = lines.stream.handle();
    until(&handle, |handle| handle.waits_for_space().is_some()).await;
    let told = handle.waits_for_space().unwrap();
    assert!(told.contains("32768"), "{told}");
    assert!(handle.received() < end);
    assert!(size(folder.path()) <= LIMIT_BYTES);
    let came: Vec<_> = lines
        .until(&end)
        .await
        .into_iter()
        .flat_map(|one| one.lines)
        .collect();
    assert_eq!(came, expected);
    assert_eq!(handle.waits_for_space(), None);
}

#[tokio::test]
async fn a_full_disk_is_told_and_waited_for() {
    let Some(disk) = SmallDisk::mount(1).unwrap() else {
        return;
    };
    let source = Source::start(KIND).await;
    let start = source.position().await;
    let options = options(&source, start, &disk.path().join("spool"), u64::MAX);
    let mut lines = source.try_open(options).await.unwrap();
    let expected = fill(&source, 1000, 4000).await;
    let end = source.position().await;
    let handle = lines.stream.handle();
    until(&handle, |handle| handle.waits_for_space().is_some()).await;
    let told = handle.waits_for_space().unwrap();
    assert!(told.contains("no space is left"), "{told}");
    // With space, all of it is read though nobody takes anything.
    disk.grow(20).unwrap();
    until(&handle, |handle| handle.received() >= end).await;
    until(&handle, |handle| handle.waits_for_space().is_none()).await;
    let came: Vec<_> = lines
        .until(&end)
        .await
        .into_iter()
        .flat_map(|one| one.lines)
        .collect();
    assert_eq!(came, expected);
}

//! What a server leaves out by itself is no hole in its log.

use binlog::position::{GtidSet, Gtids, MariaGtid, MariaGtidState, Position};
use integration::mysql::Version;

use super::fixture::{Kind, Source};

async fn insert(source: &Source, id: u32) {
    source
        .run(&format!("INSERT INTO t VALUES ({id}, 'x')"))
        .await;
}

/// The row that ends the history.
const LAST: u32 = 99;

/// Exactly these rows come behind a position, and then the last one.
async fn rows_come(source: &Source, start: Position, ids: &[u32]) {
    let expected = ids.iter().chain([&LAST]).map(|id| format!("+ t {id},x"));
    let mut lines = source.open(&start).await;
    for expected in expected {
        let came = lines.transaction().await.lines;
        assert_eq!(came, [expected], "{:?} {start}", source.kind);
    }
}

#[tokio::test]
async fn transactions_that_we_have_are_left_out_anywhere_by_mysql() {
    for version in [Version::MySql97, Version::MySql56] {
        let source = Source::start(Kind::Gtids(version)).await;
        let start = source.position().await;
        for id in 1..=8 {
            insert(&source, id).await;
            if id == 4 {
                source.run("FLUSH BINARY LOGS").await;
            }
        }
        insert(&source, LAST).await;
        let uuid = source.one("SELECT @@server_uuid").await;
        let Gtids::MySql(before) = &start.gtids else {
            panic!("{:?}", start.gtids);
        };
        let before = before.to_string();
        let last = before.rsplit([':', '-']).next().unwrap();
        let last: u64 = last.parse().unwrap();
        // Without the second, the third and the seventh; in the second case without the fifth too.
        for (has, missing) in [
            (vec![(1, 1), (4, 6), (8, 8)], vec![2, 3, 7]),
            (vec![(1, 1), (4, 4), (6, 6), (8, 8)], vec![2, 3, 5, 7]),
            (vec![(1, 7)], vec![8]),
            (vec![(2, 8)], vec![1]),
        ] {
            let mut set: GtidSet = before.parse().unwrap();
            for (from, to) in has {
                let more = format!("{uuid}:{}-{}", last + from, last + to);
                set = set.union(&more.parse().unwrap());
            }
            let place = Position::new(start.file.clone(), Gtids::MySql(set));
            rows_come(&source, place, &missing).await;
        }
    }
}

#[tokio::test]
async fn domains_that_are_at_different_places_are_no_hole() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let source = Source::start(Kind::Gtids(version)).await;
        let start = source.position().await;
        let mut gtids = Vec::new();
        for (id, domain) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 0), (6, 1), (7, 0)] {
            source
                .run(&format!("SET SESSION gtid_domain_id = {domain}"))
                .await;
            insert(&source, id).await;
            let gtid = source.one("SELECT @@last_gtid").await;
            let parts: Vec<u64> = gtid.split('-').map(|part| part.parse().unwrap()).collect();
            gtids.push(MariaGtid {
                domain: u32::try_from(parts[0]).unwrap(),
                server: u32::try_from(parts[1]).unwrap(),
                sequence: parts[2],
            });
            if id == 5 {
                source.run("FLUSH BINARY LOGS").await;
            }
        }
        insert(&source, LAST).await;
        for (has, rest) in [
            (vec![1, 4], vec![2, 5, 6, 7]),
            (vec![5, 3], vec![4, 6, 7]),
            (vec![2], vec![3, 4, 5, 6, 7]),
            (vec![5], vec![3, 4, 6, 7]),
            (vec![5, 6], vec![7]),
            (vec![7, 3], vec![4, 6]),
        ] {
            let mut state = MariaGtidState::new();
            for id in has {
                state.advance(gtids[id - 1]);
            }
            let place = Position::new(start.file.clone(), Gtids::MariaDb(state));
            rows_come(&source, place, &rest).await;
        }
    }
}

/// Transactions of all forms, in two files, read from the beginning and from each place. One has
/// three texts of so many bytes.
async fn is_read(source: &Source, bytes: u32) {
    let start = source.position().await;
    let large = |id: u32| format!("INSERT INTO w VALUES ({id}, REPEAT('a', {bytes}))");
    for sql in [
        "INSERT INTO t VALUES (1, 'x'), (2, 'x')",
        "BEGIN",
        "INSERT INTO t VALUES (3, 'x')",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (4, 'x')",
        "COMMIT",
        "CREATE TABLE u AS SELECT id FROM t",
        "DROP TABLE u",
        "FLUSH BINARY LOGS",
        "CREATE TABLE w (id INT, v LONGTEXT)",
        "BEGIN",
        &large(1),
        &large(2),
        &large(3),
        "COMMIT",
        "INSERT INTO t VALUES (5, 'x')",
        "DELETE FROM w",
        "INSERT INTO t VALUES (6, 'x')",
    ] {
        source.run(sql).await;
    }
    let mut stream = source.open(&start).await;
    let end = source.position().await;
    let all = stream.until(&end).await;
    let small = |line: &&String| line.starts_with("+ t");
    let count = |lines: &[String]| lines.iter().filter(small).count();
    let total: usize = all.iter().map(|one| count(&one.lines)).sum();
    assert_eq!(total, 6, "{:?}", source.kind);
    for (nth, one) in all.iter().enumerate() {
        let rest = all[nth + 1..].iter().map(|one| one.lines.clone());
        let came = source.since(&one.position).await;
        assert!(came == rest.collect::<Vec<_>>(), "{:?}", source.kind);
    }
}

#[tokio::test]
async fn a_large_transaction_that_becomes_a_file_of_the_log_is_read() {
    let settings = [("binlog-large-commit-threshold", "10485760")];
    let source = Source::start_with(Kind::Gtids(Version::MariaDb118), &settings).await;
    is_read(&source, 4_000_000).await;
}

#[tokio::test]
async fn events_that_tell_their_places_inside_of_transactions_are_read() {
    let settings = [("binlog-legacy-event-pos", "ON")];
    let source = Source::start_with(Kind::Gtids(Version::MariaDb118), &settings).await;
    is_read(&source, 40_000).await;
}

#[tokio::test]
async fn a_log_without_checksums_is_read() {
    for kind in [
        Kind::Gtids(Version::MariaDb1011),
        Kind::Gtids(Version::MariaDb118),
        Kind::Gtids(Version::MySql97),
        Kind::Files(Version::MySql56),
    ] {
        let source = Source::start_with(kind, &[("binlog-checksum", "NONE")]).await;
        is_read(&source, 40_000).await;
    }
}

#[tokio::test]
async fn an_encrypted_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "1;000102030405060708090a0b0c0d0e0f\n").unwrap();
    // The server is another user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let settings = [
            ("plugin-load-add", "file_key_management"),
            ("file-key-management-filename", keys.to_str().unwrap()),
            ("encrypt-binlog", "ON"),
        ];
        let source = Source::start_with(Kind::Gtids(version), &settings).await;
        is_read(&source, 40_000).await;
    }
}

//! XA transactions: what was prepared comes when it is committed, over reconnects too.

use std::time::{Duration, Instant};

use integration::mysql::Version;

use super::fixture::{Kind, Source};

/// Prepares on a connection of its own, which then ends.
async fn prepare(source: &Source, name: &str, id: u32) {
    let client = source.server.connect().await.unwrap();
    for sql in [
        format!("XA START '{name}'"),
        format!("INSERT INTO d.t VALUES ({id}, '{name}')"),
        format!("XA END '{name}'"),
        format!("XA PREPARE '{name}'"),
    ] {
        client.execute(&sql).await.unwrap();
    }
    client.close().await;
}

/// Commits or rolls back what was prepared, as soon as the connection that prepared it is gone.
async fn decide(source: &Source, sql: &str) {
    const UNKNOWN_XID: u16 = 1397;
    let begun = Instant::now();
    loop {
        match source.sql.execute(sql).await {
            Ok(_) => return,
            Err(error) => {
                let attached = error
                    .server()
                    .is_some_and(|error| error.code == UNKNOWN_XID);
                let waits = attached && begun.elapsed() < Duration::from_secs(120);
                assert!(waits, "{:?}: {sql}: {error:?}", source.kind);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Versions whose log has both halves; 5.6 loses what was prepared with its connection.
const KINDS: [Kind; 4] = [
    Kind::Gtids(Version::MySql97),
    Kind::Files(Version::MySql97),
    Kind::Gtids(Version::MariaDb1011),
    Kind::Gtids(Version::MariaDb118),
];

#[tokio::test]
async fn what_is_prepared_comes_with_its_commit() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        for sql in [
            "XA START 'a'",
            "INSERT INTO t VALUES (1, 'a')",
            "XA END 'a'",
            "XA PREPARE 'a'",
            "XA COMMIT 'a'",
            "XA START 'b'",
            "INSERT INTO t VALUES (2, 'b')",
            "XA END 'b'",
            "XA PREPARE 'b'",
            "XA ROLLBACK 'b'",
            "XA START 'c', 'branch', 7",
            "INSERT INTO t VALUES (3, 'c')",
            "XA END 'c', 'branch', 7",
            "XA COMMIT 'c', 'branch', 7 ONE PHASE",
            "XA START 'd'",
            "XA END 'd'",
            "XA PREPARE 'd'",
            "XA COMMIT 'd'",
        ] {
            source.run(sql).await;
        }
        let came = source.since(&start).await;
        assert_eq!(came, [["+ t 1,a"], ["+ t 3,c"]], "{kind:?}");
    }
}

#[tokio::test]
async fn between_prepare_and_commit_reading_may_begin_again_anywhere() {
    for kind in KINDS {
        let mut source = Source::start(kind).await;
        let start = source.position().await;
        let mut places = vec![start.clone()];
        let mut lines = source.open(&start).await;
        let mut all = Vec::new();
        for step in 0..5 {
            match step {
                0 => prepare(&source, "a", 1).await,
                1 => prepare(&source, "b", 2).await,
                2 => decide(&source, "XA COMMIT 'b'").await,
                3 => source.crash().await,
                _last => decide(&source, "XA COMMIT 'a'").await,
            }
            source
                .run(&format!("INSERT INTO t VALUES (10 + {step}, 'x')"))
                .await;
            if step == 3 {
                lines = source.open(places.last().unwrap()).await;
            }
            let end = source.position().await;
            let behind = places.last().unwrap().clone();
            let came = lines.until(&end).await;
            // Whoever applies leaves out what it has.
            for one in came.into_iter().filter(|one| one.position > behind) {
                places.push(one.position);
                all.extend(one.lines);
            }
        }
        let expected = [
            "+ t 10,x", "+ t 11,x", "+ t 2,b", "+ t 12,x", "+ t 13,x", "+ t 1,a", "+ t 14,x",
        ];
        assert_eq!(all, expected, "{kind:?}");
        let end = source.position().await;
        for (index, place) in places.iter().enumerate() {
            let mut lines = source.open(&place.to_string().parse().unwrap()).await;
            let rest = match *place < end {
                true => lines.until(&end).await,
                false => Vec::new(),
            };
            let new = rest.into_iter().filter(|one| one.position > *place);
            let new: Vec<String> = new.flat_map(|one| one.lines).collect();
            assert_eq!(new, expected[index..], "{kind:?} from {place}");
        }
    }
}

#[tokio::test]
async fn what_was_rolled_back_leaves_no_gap() {
    for kind in KINDS {
        let source = Source::start(kind).await;
        let start = source.position().await;
        prepare(&source, "a", 1).await;
        decide(&source, "XA ROLLBACK 'a'").await;
        source.run("INSERT INTO t VALUES (2, 'x')").await;
        let end = source.position().await;
        let mut lines = source.open(&start).await;
        let last = lines.until(&end).await.pop().unwrap().position;
        assert_eq!(last.to_string(), end.to_string(), "{kind:?}");
    }
}

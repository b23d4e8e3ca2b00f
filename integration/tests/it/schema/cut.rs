//! A copy that is cut goes on where it was; what is finished is not done again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgwal::schema::initial::{InitialCopy, InitialError, InitialStep};
use router::Lsn;

use super::{KITCHEN_SINK, Pair, run, same, told};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs until `enough` says so, then drops the run as a crash of the program would.
/// `false` when it was done before.
async fn run_until(copy: &InitialCopy, enough: impl Fn(&InitialCopy) -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let watch = async {
        while !enough(copy) {
            assert!(Instant::now() < deadline, "still at {:?}", copy.step());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = watch => true,
        done = copy.run() => {
            if let Err(error) = done {
                panic!("at {:?}: {}", copy.step(), told(&error));
            }
            false
        }
    }
}

#[tokio::test]
async fn a_copy_cut_at_any_step_is_finished_by_the_next_run() {
    let steps = [
        InitialStep::Target,
        InitialStep::Source,
        InitialStep::Slot,
        InitialStep::Roles,
        InitialStep::Structure,
        InitialStep::Rows,
        InitialStep::Indexes,
        InitialStep::Vacuum,
        InitialStep::Views,
        InitialStep::Sequences,
    ];
    let pair = Pair::start(14, 17).await;
    pair.source.execute("postgres", KITCHEN_SINK).await.unwrap();
    for step in steps {
        // A little into the step, and right at its beginning.
        for delay_ms in [0, 30] {
            let copy = pair.copy(pair.options());
            run_until(&copy, |copy| copy.step() >= step).await;
            let copy = pair.copy(pair.options());
            let until = Instant::now() + Duration::from_millis(delay_ms);
            run_until(&copy, |copy| {
                copy.step() > step || (copy.step() == step && Instant::now() > until)
            })
            .await;
        }
    }
    let done = run(&pair.copy(pair.options())).await;
    same::assert_same_rows(&pair, &done).await;
    same::assert_same_things(&pair).await;
}

#[tokio::test]
async fn indexes_of_a_cut_restore_are_kept_and_the_others_made() {
    let pair = Pair::start(14, 17).await;
    let tables: String = (0..30)
        .map(|n| {
            format!(
                "CREATE TABLE t{n} (id integer PRIMARY KEY, a integer UNIQUE, b integer);
                 CREATE INDEX \"t {n} b\" ON t{n} (b);
                 INSERT INTO t{n} SELECT i, i, i FROM generate_series(1, 2000) i;"
            )
        })
        .collect();
    pair.source.execute("postgres", &tables).await.unwrap();
    let mut options = pair.options();
    options.workers = 2;
    let copy = pair.copy(options.clone());
    let cut = run_until(&copy, |copy| {
        copy.step() == InitialStep::Indexes && copy.restored().0 >= 10
    })
    .await;
    assert!(cut);
    let (source, target) = pair.clients().await;
    // A statement that was on its way may still end; the next run ends it, or finds its index.
    let made = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE c.relnamespace = 'public'::regnamespace";
    let before: i64 = target.query_one(made, &[]).await.unwrap().get(0);
    assert!((1..90).contains(&before), "{before}");
    let kept: Vec<u32> = list_oids(&target).await;
    let done = run(&pair.copy(options)).await;
    assert_eq!(done.watermarks.len(), 30);
    let after: Vec<u32> = list_oids(&target).await;
    assert_eq!(after.len(), 90);
    assert!(
        kept.iter().all(|oid| after.contains(oid)),
        "an index was made twice"
    );
    let there: i64 = source.query_one(made, &[]).await.unwrap().get(0);
    assert_eq!(there, 90);
}

async fn list_oids(client: &tokio_postgres::Client) -> Vec<u32> {
    let query = "SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 WHERE c.relnamespace = 'public'::regnamespace";
    client
        .query(query, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[tokio::test]
async fn finished_tables_keep_their_watermark_and_the_others_get_a_new_snapshot() {
    let pair = Pair::start(14, 17).await;
    let tables: String = (0..8)
        .map(|n| {
            format!(
                "CREATE TABLE t{n} (id integer PRIMARY KEY, x text);
                 INSERT INTO t{n} SELECT i, repeat('x', 100) FROM generate_series(1, {rows}) i;",
                rows = 20_000 - n * 1_000
            )
        })
        .collect();
    pair.source.execute("postgres", &tables).await.unwrap();
    let mut options = pair.options();
    options.workers = 1;
    options.bytes_per_second = Some(4_000_000);
    let copy = pair.copy(options.clone());
    let done_tables = |copy: &InitialCopy| copy.rows().tables().iter().filter(|t| t.done).count();
    assert!(run_until(&copy, |copy| done_tables(copy) >= 3).await);
    let (source, target) = pair.clients().await;
    let watermarks = |rows: Vec<tokio_postgres::Row>| -> HashMap<String, Lsn> {
        rows.iter()
            .map(|row| (row.get(0), row.get::<_, &str>(1).parse().unwrap()))
            .collect()
    };
    let query = "SELECT table_name, watermark::text FROM pointsman.table_copy WHERE copied";
    let first = watermarks(target.query(query, &[]).await.unwrap());
    assert!((3..8).contains(&first.len()), "{first:?}");
    // Rows of the second snapshot: they are in the tables that are left, and only in these.
    let more: String = (0..8)
        .map(|n| format!("INSERT INTO t{n} VALUES (0, 'late');"))
        .collect();
    source.batch_execute(&more).await.unwrap();
    options.bytes_per_second = None;
    let done = run(&pair.copy(options)).await;
    let second = watermarks(target.query(query, &[]).await.unwrap());
    assert_eq!(second.len(), 8);
    for (table, watermark) in &second {
        let sql = format!("SELECT count(*) FROM {table} WHERE id = 0");
        let late: i64 = target.query_one(&sql, &[]).await.unwrap().get(0);
        match first.get(table) {
            Some(kept) => assert_eq!((kept, late), (watermark, 0), "{table}"),
            None => {
                assert!(*watermark > done.start.consistent_point, "{table}");
                assert_eq!(late, 1, "{table}");
            }
        }
    }
    let slots: i64 = source
        .query_one("SELECT count(*) FROM pg_replication_slots", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(slots, 1);
}

#[tokio::test]
async fn a_target_that_crashes_during_the_rows_is_copied_to_again() {
    let mut pair = Pair::start(14, 17).await;
    pair.source
        .execute(
            "postgres",
            "CREATE TABLE big (id integer PRIMARY KEY, x text);
             INSERT INTO big SELECT i, repeat('x', 200) FROM generate_series(1, 60000) i;
             CREATE TABLE small (id integer PRIMARY KEY);
             INSERT INTO small SELECT generate_series(1, 100)",
        )
        .await
        .unwrap();
    let mut options = pair.options();
    options.bytes_per_second = Some(6_000_000);
    options.range_bytes = 1 << 20;
    options.workers = 3;
    let (source, target) = pair.endpoints();
    let copy = InitialCopy::new(source, target, options.clone());
    let mut running = Box::pin(copy.run());
    let deadline = Instant::now() + PATIENCE;
    let rows = |copy: &InitialCopy| copy.rows().tables().iter().map(|t| t.rows).sum::<u64>();
    while rows(&copy) < 10_000 {
        assert!(Instant::now() < deadline);
        tokio::select! {
            ended = &mut running => panic!("{:?}", ended.map(drop)),
            () = tokio::time::sleep(Duration::from_millis(2)) => {}
        }
    }
    pair.target.kill9().unwrap();
    let (ended, restarted) = tokio::join!(running, pair.target.restart());
    restarted.unwrap();
    // The bookkeeping's own connection broke too; the rows may have been finished or not.
    let done = match ended {
        Ok(done) => done,
        Err(error) => {
            assert!(error.may_pass(), "{}", told(&error));
            run(&pair.copy(options)).await
        }
    };
    same::assert_same_rows(&pair, &done).await;
}

#[tokio::test]
async fn a_table_rewritten_during_the_copy_is_read_under_a_new_snapshot() {
    let pair = Pair::start(14, 17).await;
    pair.source
        .execute(
            "postgres",
            "CREATE TABLE a_first (id integer PRIMARY KEY, x text);
             INSERT INTO a_first SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i;
             CREATE TABLE rewritten (id integer PRIMARY KEY, x text);
             INSERT INTO rewritten SELECT i, 'y' FROM generate_series(1, 1000) i;",
        )
        .await
        .unwrap();
    let mut options = pair.options();
    options.workers = 1;
    options.bytes_per_second = Some(800_000);
    let copy = pair.copy(options);
    let source = pair.source.client("postgres").await.unwrap();
    let rewrite = async {
        let deadline = Instant::now() + PATIENCE;
        while copy.rows().tables().iter().all(|table| table.rows == 0) {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Rewrites the table without changing what a catalog shows of it.
        source
            .batch_execute(
                "ALTER TABLE rewritten ADD COLUMN z float8 DEFAULT random();
                 ALTER TABLE rewritten DROP COLUMN z",
            )
            .await
            .unwrap();
    };
    let (done, ()) = tokio::join!(run(&copy), rewrite);
    let key = |name: &str| ("public".to_owned(), name.to_owned());
    assert_eq!(
        done.watermarks[&key("a_first")],
        done.start.consistent_point
    );
    assert!(done.watermarks[&key("rewritten")] > done.start.consistent_point);
    same::assert_same_rows(&pair, &done).await;
}

#[tokio::test]
async fn a_column_that_appears_during_the_copy_stops_it_with_its_name() {
    let pair = Pair::start(14, 17).await;
    pair.source
        .execute(
            "postgres",
            "CREATE TABLE t (id integer PRIMARY KEY, x text);
             INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i",
        )
        .await
        .unwrap();
    let mut options = pair.options();
    options.bytes_per_second = Some(3_000_000);
    let copy = pair.copy(options);
    assert!(run_until(&copy, |copy| copy.step() == InitialStep::Rows).await);
    let source = pair.source.client("postgres").await.unwrap();
    let ddl = "ALTER TABLE t ADD COLUMN fresh integer; CREATE TABLE u (id integer)";
    source.batch_execute(ddl).await.unwrap();
    let error = pair.copy(pair.options()).run().await.unwrap_err();
    assert!(matches!(error, InitialError::Drift(_)), "{}", told(&error));
    let text = told(&error);
    assert!(
        text.contains("column fresh of table public.t is new"),
        "{text}"
    );
    assert!(text.contains("table public.u is new"), "{text}");
    assert!(!error.may_pass());
}

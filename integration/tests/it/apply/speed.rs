//! How fast a backlog is worked off; run by hand.

use std::time::Instant;

use anyhow::Result;

use super::pair::Pair;
use super::streamed::until_marker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn a_backlog_of_pgbench_transactions_is_worked_off() -> Result<()> {
    let ddl = "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));
        CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));
        CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));
        CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
        INSERT INTO pgbench_accounts SELECT n, n / 100000, 0, '' FROM generate_series(1, 1000000) n;
        INSERT INTO pgbench_tellers SELECT n, n / 10, 0, '' FROM generate_series(1, 100) n;
        INSERT INTO pgbench_branches SELECT n, 0, '' FROM generate_series(1, 10) n;
        ANALYZE";
    let pair = Pair::new(14, 17, ddl).await?;
    pair.on_source(
        "CREATE PROCEDURE work(times int) LANGUAGE plpgsql AS $$
         DECLARE a int; t int; b int; d int;
         BEGIN FOR n IN 1..times LOOP
           a := 1 + random() * 999999; t := 1 + random() * 99; b := 1 + random() * 9; d := random() * 100;
           UPDATE pgbench_accounts SET abalance = abalance + d WHERE aid = a;
           UPDATE pgbench_tellers SET tbalance = tbalance + d WHERE tid = t;
           UPDATE pgbench_branches SET bbalance = bbalance + d WHERE bid = b;
           INSERT INTO pgbench_history VALUES (t, b, a, d, clock_timestamp());
           COMMIT;
         END LOOP; END $$",
    )
    .await?;
    pair.on_source("CALL work(40000)").await?;
    pair.on_source("INSERT INTO pointsman.marker VALUES (1, 'end')")
        .await?;
    let mut applier = pair.applier().await?;
    let dir = tempfile::tempdir()?;
    let started = Instant::now();
    until_marker(&pair, &mut applier, dir.path(), "end").await??;
    println!("{:?} {:?}", started.elapsed(), applier.handle().status());
    pair.compare().await
}

//! sysbench's read-write transactions, prepared statements and all, across the cutover.

use std::time::Duration;

use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use integration::mysql::sysbench::{Sysbench, Until};

use super::stage::{DATABASE, Stage};

async fn runs_across_the_cutover(from: Version, to: Version) {
    let stage = Stage::new(from, to).await;
    let sysbench = Sysbench {
        port: stage.proxy.port(),
        login: ("app".to_owned(), "secret".to_owned()),
        database: DATABASE.to_owned(),
        tables: 4,
        rows: 5000,
        threads: 4,
    };
    sysbench.prepare().await.unwrap();
    stage.stream().await;

    let cutover = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        stage.cutover_once_current().await;
    };
    let run = sysbench.run("oltp_read_write", Until::Seconds(12));
    let (run, ()) = tokio::join!(run, cutover);
    let run = run.unwrap();
    assert_eq!(run.reconnects, 0, "{}", run.text);
    stage.assert_same_contents_but("sbtest").await;

    // Each transaction deletes a row and inserts it again.
    let count = "SELECT count(*) FROM sbtest1";
    assert_eq!(stage.target.sql_in(DATABASE, count).unwrap(), "5000");
    assert_eq!(stage.source.sql_in(DATABASE, count).unwrap(), "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn sysbench_sees_no_error_across_a_cutover_of_mysql() {
    runs_across_the_cutover(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sysbench_sees_no_error_across_a_cutover_of_mariadb() {
    runs_across_the_cutover(MariaDb1011, MariaDb118).await;
}

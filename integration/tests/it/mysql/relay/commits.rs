//! A commit whose answer is lost: nobody but the client can know whether to send it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integration::mysql::Version;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::house::{House, PATIENCE, ask};
use crate::mysql::cut::{Cut, wire};

/// A client counts by one statement after the other; at the last of them the server is lost.
async fn counts(version: Version, statements: &[&str], cut: Cut, counted: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap().port();
    let is_armed = Arc::new(AtomicBool::new(false));
    let last = (*statements.last().unwrap()).to_owned();
    let at = {
        let is_armed = Arc::clone(&is_armed);
        move |sql: &str| {
            let is_here = sql == last && is_armed.swap(false, Ordering::SeqCst);
            if is_here { cut } else { Cut::Nowhere }
        }
    };
    let mut wires = JoinSet::new();
    let house = House::over(version, None, |options| {
        let port = options.source.port;
        let url = format!("mysql://root@127.0.0.1:{ours}/?ssl-mode=DISABLED");
        options.source = url.parse().unwrap();
        wires.spawn(async move {
            wire(&listener, port, at).await;
            // For whoever comes afterwards.
            wire(&listener, port, |_sql: &str| Cut::Nowhere).await;
        });
    })
    .await;
    house
        .source
        .sql("CREATE TABLE shop.c (n INT) ENGINE=InnoDB; INSERT INTO shop.c VALUES (0)")
        .unwrap();
    let client = house.client().await;
    let (last, before) = statements.split_last().unwrap();
    for sql in before {
        client.execute(sql).await.unwrap();
    }
    is_armed.store(true, Ordering::SeqCst);
    let lost = tokio::time::timeout(PATIENCE, client.execute(last)).await;
    assert!(lost.expect("the client is told").is_err());
    assert!(!is_armed.load(Ordering::SeqCst));

    // Others go on, and it was carried out once or not at all.
    house.wait_until_alone("app").await;
    let client = tokio::time::timeout(PATIENCE, house.client())
        .await
        .unwrap();
    assert_eq!(ask(&client, "SELECT n FROM c").await, counted);
}

const IN_A_TRANSACTION: &[&str] = &["BEGIN", "UPDATE c SET n = n + 1", "COMMIT"];
const BY_ITSELF: &[&str] = &["UPDATE c SET n = n + 1"];

async fn is_never_sent_again(version: Version) {
    counts(version, IN_A_TRANSACTION, Cut::Behind, "1").await;
    counts(version, IN_A_TRANSACTION, Cut::Before, "0").await;
    counts(version, BY_ITSELF, Cut::Behind, "1").await;
    counts(version, BY_ITSELF, Cut::Before, "0").await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_never_sent_again_on_mysql_9_7() {
    is_never_sent_again(Version::MySql97).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_never_sent_again_on_mysql_5_6() {
    is_never_sent_again(Version::MySql56).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_never_sent_again_on_mariadb_11_8() {
    is_never_sent_again(Version::MariaDb118).await;
}

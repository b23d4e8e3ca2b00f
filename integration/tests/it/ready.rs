//! What is found right before the hold, on real servers.

use std::time::Duration;

use pgwal::movement::ready::{self, Asked, Findings, Lag, Lines, Obstacle, PrepareError, Prepared};
use pgwal::wire::SqlConn;
use router::{Epoch, Side};

use crate::fence_fixture::{Acl, Shop, patient, until};

const SMALL: Lag = Lag {
    bytes: Some(10),
    bytes_max: 1000,
};

/// To the target, which has the journal.
fn lines<'a>(from: &'a SqlConn, to: &'a SqlConn) -> Lines<'a> {
    Lines {
        leave: from,
        arrive: to,
        journal: to,
    }
}

async fn prepared(from: &SqlConn, to: &SqlConn) -> Prepared {
    ready::prepare(lines(from, to), Side::Target, patient(), |_, _| true)
        .await
        .unwrap()
}

async fn check(
    prepared: &Prepared,
    (from, to): (&SqlConn, &SqlConn),
    lag: Lag,
    drift: &[String],
) -> Findings {
    let asked = Asked {
        to: Side::Target,
        fence: &prepared.fence,
        ours: &[],
        lag,
        drift,
        long_after: Duration::from_millis(50),
    };
    ready::check(from, to, asked).await.unwrap()
}

#[tokio::test]
async fn a_movement_that_is_prepared_meets_no_obstacle() {
    let (source, target) = (
        Shop::open(14, Acl::Granted).await,
        Shop::open_target(17).await,
    );
    let (from, to) = (
        source.connect("postgres").await,
        target.connect("postgres").await,
    );
    let prepared = prepared(&from, &to).await;
    let findings = check(&prepared, (&from, &to), SMALL, &[]).await;
    assert!(findings.obstacles.is_empty(), "{findings:?}");
    assert!(findings.long_transactions.is_empty(), "{findings:?}");
    pgwal::movement::journal::begin(&to, Epoch(1), Side::Target)
        .await
        .unwrap();
    prepared.fence.raise(&from, &[], Epoch(1)).await.unwrap();
    prepared.marker.write(&from).await.unwrap();
    let values = prepared.sequences.read(&from).await.unwrap();
    prepared.promote.run(&to, Epoch(1), &values).await.unwrap();
}

#[tokio::test]
async fn what_would_make_a_movement_fail_is_listed_before_anybody_waits() {
    let (source, target) = (
        Shop::open(14, Acl::Granted).await,
        Shop::open_target(17).await,
    );
    let (from, to) = (
        source.connect("postgres").await,
        target.connect("postgres").await,
    );
    let prepared = prepared(&from, &to).await;
    let app = source.connect("app").await;
    app.batch_execute("BEGIN; INSERT INTO public.entry DEFAULT VALUES; PREPARE TRANSACTION 'tpc'")
        .await
        .unwrap();
    app.batch_execute("BEGIN; INSERT INTO public.entry DEFAULT VALUES")
        .await
        .unwrap();
    let _root2 = source.connect("root2").await;
    to.batch_execute("SET default_transaction_read_only = on")
        .await
        .unwrap();
    until("the transaction is old enough", || async {
        let found = ready::long_transactions(&from, Duration::from_millis(60)).await;
        !found.unwrap().is_empty()
    })
    .await;
    let unknown = Lag {
        bytes: None,
        bytes_max: 1000,
    };
    let drift = ["table public.new appeared".to_owned()];
    let findings = check(&prepared, (&from, &to), unknown, &drift).await;
    let texts: Vec<_> = findings.obstacles.iter().map(Obstacle::to_string).collect();
    for words in [
        "tpc of app",
        "root2",
        "takes no writes",
        "lag is not known",
        "public.new",
    ] {
        let found = texts.iter().filter(|text| text.contains(words)).count();
        assert_eq!(found, 1, "{words} in {texts:?}");
    }
    let long: Vec<_> = findings.long_transactions.iter().collect();
    assert_eq!(long.len(), 1, "{long:?}");
    assert!(long[0].writes && long[0].pid == app.backend_pid());
    let text = long[0].to_string();
    assert!(
        text.contains("user app") && text.contains("idle in transaction"),
        "{text}"
    );
    let behind = Lag {
        bytes: Some(2000),
        bytes_max: 1000,
    };
    let findings = check(&prepared, (&from, &to), behind, &[]).await;
    let behind = |one: &Obstacle| matches!(one, Obstacle::Lag(_));
    assert!(findings.obstacles.iter().any(behind), "{findings:?}");
}

#[tokio::test]
async fn a_target_without_our_tables_or_sequences_cannot_be_prepared() {
    let (source, target) = (
        Shop::open(14, Acl::Granted).await,
        Shop::open_target(17).await,
    );
    let (from, to) = (
        source.connect("postgres").await,
        target.connect("postgres").await,
    );
    to.batch_execute("DROP SCHEMA pointsman CASCADE")
        .await
        .unwrap();
    let options = patient();
    let error = ready::prepare(lines(&from, &to), Side::Target, options.clone(), |_, _| {
        true
    })
    .await;
    assert!(matches!(error, Err(PrepareError::Journal(_))), "{error:?}");
    from.batch_execute("CREATE SEQUENCE public.more")
        .await
        .unwrap();
    let error = ready::prepare(lines(&from, &to), Side::Target, options, |_, _| true).await;
    assert!(
        matches!(error, Err(PrepareError::Sequences(_))),
        "{error:?}"
    );
}

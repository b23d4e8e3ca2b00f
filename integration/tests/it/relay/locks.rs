//! Advisory locks of sessions over the switch: nobody loses one, and nobody gets one in between.

use integration::server::PgClient;
use pgwal::session::Unmovable;
use router::Side;

use super::house::{House, PATIENCE};

const MINE: &str = "SELECT coalesce(string_agg(concat_ws(' ', mode, classid, objid, objsubid), ',' \
    ORDER BY mode, classid::int8, objid::int8, objsubid), '') FROM pg_locks \
    WHERE locktype = 'advisory' AND pid = pg_backend_pid()";

async fn value(client: &PgClient, sql: &str) -> String {
    client.value(sql).await.unwrap()
}

async fn locks_are_carried(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    let (client, other) = (house.client().await, house.client().await);
    client
        .batch_execute(
            "SELECT pg_advisory_lock(7), pg_advisory_lock(7), pg_advisory_lock(7), \
             pg_advisory_lock_shared(7), pg_advisory_lock(1, -2), pg_advisory_lock_shared(-5), \
             pg_advisory_lock(-9223372036854775808), pg_advisory_lock_shared(-5)",
        )
        .await
        .unwrap();
    other
        .batch_execute("SELECT pg_advisory_lock_shared(-5), pg_advisory_lock(8)")
        .await
        .unwrap();
    let before = value(&client, MINE).await;
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (2, 0), "{report:?}");
    let target = house.target.as_ref().unwrap();
    let all = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(
        target.psql("postgres", all).unwrap(),
        "0",
        "none before the hold"
    );

    house.move_to(Side::Target).await;
    assert_eq!(value(&client, MINE).await, before);
    assert_eq!(
        value(&other, "SELECT pg_try_advisory_lock(7)").await,
        "f",
        "it is still somebody else's"
    );
    for (held, times) in [
        ("pg_advisory_unlock(7)", 3),
        ("pg_advisory_unlock_shared(7)", 1),
        ("pg_advisory_unlock(1, -2)", 1),
        ("pg_advisory_unlock_shared(-5)", 2),
        ("pg_advisory_unlock(-9223372036854775808)", 1),
    ] {
        for _time in 0..times {
            assert_eq!(value(&client, &format!("SELECT {held}")).await, "t");
        }
        assert_eq!(value(&client, &format!("SELECT {held}")).await, "f");
    }
    assert_eq!(value(&other, "SELECT pg_try_advisory_lock(7)").await, "t");
    assert_eq!(value(&client, "SELECT pg_try_advisory_lock(8)").await, "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_carried_with_their_counts_from_14_to_17() {
    locks_are_carried(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_carried_with_their_counts_from_12_to_18() {
    locks_are_carried(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_sessions_exchanged_since_an_aborted_hold_are_taken_by_their_new_owners() {
    let house = House::pair(14, 17).await;
    let (one, two) = (house.client().await, house.client().await);
    one.batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    two.batch_execute("SELECT pg_advisory_lock(2)")
        .await
        .unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    held.drain().await;
    let report = house.relay.refresh_changed(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (2, 0), "{report:?}");
    drop(held);
    // What was counted is still held by its owner.
    assert_eq!(value(&two, "SELECT pg_try_advisory_lock(1)").await, "f");

    one.batch_execute("SELECT pg_advisory_unlock(1)")
        .await
        .unwrap();
    two.batch_execute("SELECT pg_advisory_unlock(2), pg_advisory_lock(1)")
        .await
        .unwrap();
    one.batch_execute("SELECT pg_advisory_lock(2)")
        .await
        .unwrap();
    house.move_to(Side::Target).await;
    let sessions = [(&one, 2, 1), (&two, 1, 2)];
    for (client, _own, foreign) in sessions {
        let lock = format!("SELECT pg_try_advisory_lock({foreign})");
        assert_eq!(value(client, &lock).await, "f");
    }
    for (client, own, _foreign) in sessions {
        let unlock = format!("SELECT pg_advisory_unlock({own})");
        assert_eq!(value(client, &unlock).await, "t");
        assert_eq!(value(client, &unlock).await, "f");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_aborted_hold_nothing_of_it_is_left_on_the_target() {
    let house = House::pair(14, 17).await;
    let client = house.client().await;
    client
        .batch_execute("SELECT pg_advisory_lock(1); LISTEN news")
        .await
        .unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    held.drain().await;
    house.relay.refresh_changed(PATIENCE).await;
    let target = house.target.as_ref().unwrap();
    let all = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(target.psql("postgres", all).unwrap(), "1");
    drop(held);
    house.relay.relax_twins(PATIENCE).await;
    assert_eq!(target.psql("postgres", all).unwrap(), "0");
    assert!(house.relay.sessions().iter().all(|one| one.twin_ready));
    house.move_to(Side::Target).await;
    assert_eq!(value(&client, "SELECT pg_advisory_unlock(1)").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_holds_on_the_target_is_named() {
    let house = House::pair(14, 17).await;
    let client = house.client().await;
    client
        .batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    let target = house.target.as_ref().unwrap();
    let foreign = target.client("postgres").await.unwrap();
    foreign
        .batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    held.drain().await;
    let report = house.relay.refresh_changed(PATIENCE).await;
    let reasons: Vec<_> = report
        .unmovable
        .into_iter()
        .flat_map(|(_id, all)| all)
        .collect();
    assert_eq!(reasons, [Unmovable::AdvisoryLock]);
    drop(held);
    assert_eq!(value(&client, "SELECT pg_advisory_unlock(1)").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_locks_leaves_the_unnamed_statement_and_the_session_as_they_were() {
    let house = House::pair(12, 17).await;
    let client = house.client().await;
    client
        .batch_execute("SELECT pg_advisory_lock(1); SET default_transaction_read_only = on")
        .await
        .unwrap();
    for _round in 0..3 {
        house.relay.prepare_twins(PATIENCE).await;
        let mut held = house.switch.hold(Side::Target).unwrap();
        held.drain().await;
        house.relay.refresh_changed(PATIENCE).await;
        drop(held);
    }
    let ours = "SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'pointsman_%'";
    assert_eq!(value(&client, ours).await, "0");
    house.move_to(Side::Target).await;
    assert_eq!(value(&client, "SELECT pg_advisory_unlock(1)").await, "t");
    assert_eq!(value(&client, "SELECT pg_advisory_unlock(1)").await, "f");
}

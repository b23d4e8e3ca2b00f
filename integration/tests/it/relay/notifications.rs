//! Notifications over the switch: each arrives once, those of the source first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use integration::server::PgClient;
use pgwal::wire::{Fields, Message};
use router::Side;

use super::house::{House, PATIENCE, Raw};

/// The payloads of the notifications that came before an answer.
async fn heard(raw: &mut Raw) -> Vec<String> {
    let said = raw.query("SELECT 1").await;
    payloads(&said)
}

fn payloads(said: &[Message]) -> Vec<String> {
    let notifications = said.iter().filter(|message| message.tag == b'A');
    notifications
        .map(|message| {
            let mut fields = Fields::new(&message.body);
            fields.i32().unwrap();
            let channel = String::from_utf8_lossy(fields.string().unwrap()).into_owned();
            let payload = String::from_utf8_lossy(fields.string().unwrap()).into_owned();
            format!("{channel} {payload}")
        })
        .collect()
}

async fn notify(client: &PgClient, payload: &str) {
    client
        .batch_execute(&format!("NOTIFY news, '{payload}'"))
        .await
        .unwrap();
}

async fn every_notification_arrives_once(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    let mut raw = house.raw().await;
    let client = house.client().await;
    let (on_source, on_target) = (
        house.source.client("postgres").await.unwrap(),
        target.client("postgres").await.unwrap(),
    );
    raw.query("LISTEN news; LISTEN gone; LISTEN \"Odd \"\"name\"")
        .await;
    notify(&client, "first").await;
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (2, 0), "{report:?}");
    // What the changes cause when they are applied was heard from the source.
    notify(&on_target, "before the hold").await;
    notify(&client, "second").await;
    let mut arrived = payloads(&raw.query("UNLISTEN gone; LISTEN late").await);

    let mut held = house.switch.hold(Side::Target).unwrap();
    held.drain().await;
    let report = house.relay.refresh_changed(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (2, 0), "{report:?}");
    notify(&on_source, "before the fence").await;
    let waiting = notify(&client, "in the hold");
    let release = async {
        house
            .until("it waits", |relay| {
                let sessions = relay.sessions();
                let mut states = sessions.iter().map(|session| session.state);
                states.any(|state| state == pgwal::session::SessionState::Waiting)
            })
            .await;
        let drained = held.into_drained().unwrap();
        drained.fenced().caught_up().switch().release();
    };
    tokio::join!(waiting, release);
    on_target
        .batch_execute("NOTIFY gone; NOTIFY late; NOTIFY \"Odd \"\"name\", 'x'")
        .await
        .unwrap();
    house.relay.close_source_connections(PATIENCE).await;
    notify(&client, "after").await;
    let expected = [
        "news first",
        "news second",
        "news before the fence",
        "news in the hold",
        "late ",
        "Odd \"name x",
        "news after",
    ];
    arrived.extend(heard(&mut raw).await);
    assert_eq!(arrived, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_notification_arrives_once_from_14_to_17() {
    every_notification_arrives_once(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_notification_arrives_once_from_12_to_18() {
    every_notification_arrives_once(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_own_changes_notify_of_on_the_target_is_not_heard_twice() {
    let house = House::pair(14, 17).await;
    let mut raw = house.raw().await;
    raw.query("LISTEN news").await;
    house.relay.prepare_twins(PATIENCE).await;
    let target = house.target.as_ref().unwrap();
    let (applier, foreign) = (
        target.client("postgres").await.unwrap(),
        target.client("postgres").await.unwrap(),
    );
    applier
        .batch_execute("SET application_name = 'pointsman_0123abcd apply'")
        .await
        .unwrap();
    let mut held = house.switch.hold(Side::Target).unwrap();
    held.drain().await;
    house.relay.refresh_changed(PATIENCE).await;
    notify(&applier, "ours").await;
    notify(&foreign, "foreign").await;
    let drained = held.into_drained().unwrap();
    drained.fenced().caught_up().switch().release();
    assert_eq!(heard(&mut raw).await, ["news foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_notifications_has_no_gap_over_many_movements() {
    let house = House::pair(14, 17).await;
    let mut raw = house.raw().await;
    raw.query("LISTEN news").await;
    let client = house.client().await;
    let sent = AtomicUsize::new(0);
    let ended = AtomicBool::new(false);
    let sending = async {
        while !ended.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            notify(&client, &number.to_string()).await;
        }
    };
    let moving = async {
        for _movement in 0..6 {
            let before = sent.load(Ordering::Relaxed);
            house
                .until("some more are sent", |_relay| {
                    sent.load(Ordering::Relaxed) > before + 20
                })
                .await;
            house.relay.prepare_twins(PATIENCE).await;
            house.relay.refresh_changed(PATIENCE).await;
            house.move_to(house.switch.serving().unwrap().other()).await;
            house.relay.close_source_connections(PATIENCE).await;
        }
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(sending, moving);
    let sent = sent.into_inner();
    let expected: Vec<_> = (0..sent).map(|number| format!("news {number}")).collect();
    assert_eq!(heard(&mut raw).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_knows_its_own_notifications_after_the_switch() {
    let house = House::pair(14, 17).await;
    let mut raw = house.raw().await;
    let said = raw.query("SELECT pg_backend_pid()").await;
    let row = said.iter().find(|message| message.tag == b'D').unwrap();
    let pid = std::str::from_utf8(row.body.get(6..).unwrap())
        .unwrap()
        .to_owned();
    let mut other = house.raw().await;
    for one in [&mut raw, &mut other] {
        one.query("LISTEN news").await;
    }
    house.relay.prepare_twins(PATIENCE).await;
    house.move_to(Side::Target).await;
    house.relay.close_source_connections(PATIENCE).await;
    let said = raw.query("NOTIFY news, 'own'").await;
    let sender = |said: &[Message]| {
        let own = said.iter().find(|message| message.tag == b'A').unwrap();
        Fields::new(&own.body).i32().unwrap().to_string()
    };
    assert_eq!(sender(&said), pid);
    assert_ne!(sender(&other.query("SELECT 1").await), pid);
}

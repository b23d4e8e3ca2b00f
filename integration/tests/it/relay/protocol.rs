//! Versions, options, and peers that do not keep to the rules.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use integration::server::{PgOptions, PgServer};
use pgwal::wire::frontend::{self, PROTOCOL_3_0, PROTOCOL_3_2};
use tokio::io::AsyncReadExt;

use super::house::{House, PATIENCE, Raw, query, startup, tags};

/// Another client that must notice nothing.
async fn still_serves(house: &House) {
    let client = house.client().await;
    assert_eq!(client.value("SELECT 'fine'").await.unwrap(), "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_impossible_lengths_are_refused_while_others_go_on() {
    let house = House::new(14).await;
    let mut bystander = house.raw().await;
    let two_gib = [0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0];
    let openings: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &two_gib,
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[0xff; 64],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        &[0, 0, 0, 9, 0, 3, 0, 0, 1],
    ];
    for opening in openings {
        let mut raw = Raw::connect(house.address).await;
        raw.send(opening).await;
        let error = raw.error().await;
        assert!(
            error.starts_with("FATAL 08P01: invalid"),
            "{opening:?}: {error}"
        );
        assert!(raw.next().await.is_none());
        assert_eq!(tags(&bystander.query("SELECT 1").await), "TDCZ");
    }
    for header in [
        [b'Q', 0x7f, 0xff, 0xff, 0xff],
        [b'Q', 0, 0, 0, 3],
        [b'Q', 0xff, 0, 0, 0],
    ] {
        let mut raw = house.raw().await;
        raw.send(&header).await;
        let error = raw.error().await;
        assert!(error.starts_with("FATAL 08P01: invalid message"), "{error}");
        assert_eq!(tags(&bystander.query("SELECT 1").await), "TDCZ");
    }
    still_serves(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_requests_are_answered_and_nothing_may_be_stuffed_behind_them() {
    let house = House::new(18).await;
    let mut raw = Raw::connect(house.address).await;
    for code in [frontend::GSSENC_REQUEST, frontend::SSL_REQUEST] {
        let mut request = BytesMut::new();
        request.put_u32(8);
        request.put_u32(code);
        raw.send(&request).await;
        assert_eq!(raw.stream.read_u8().await.unwrap(), b'N');
    }
    raw.send(&startup(PROTOCOL_3_0)).await;
    assert!(tags(&raw.until_ready().await).ends_with("KZ"));

    let mut stuffed = BytesMut::new();
    stuffed.put_u32(8);
    stuffed.put_u32(frontend::SSL_REQUEST);
    stuffed.put_slice(&startup(PROTOCOL_3_0));
    let mut raw = Raw::connect(house.address).await;
    raw.send(&stuffed).await;
    assert!(raw.error().await.starts_with("FATAL 08P01"));
}

async fn a_client_of_3_2_gets_a_long_key_that_works(major: u32) {
    let house = House::new(major).await;
    for (protocol, key_bytes) in [(PROTOCOL_3_0, 4), (PROTOCOL_3_2, 32)] {
        let mut raw = Raw::connect(house.address).await;
        raw.send(&startup(protocol)).await;
        let welcome = raw.until_ready().await;
        assert!(!tags(&welcome).contains('v'));
        let key = welcome.iter().find(|message| message.tag == b'K').unwrap();
        let (pid, key) = key.body.split_at(4);
        assert_eq!(key.len(), key_bytes);
        let pid = i32::from_be_bytes(pid.try_into().unwrap());
        raw.send(&query("SELECT pg_sleep(60)")).await;
        let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)' \
            AND state = 'active'";
        while house.source.psql("postgres", active).unwrap() == "0" {}
        let mut request = BytesMut::new();
        frontend::cancel_request(pid, key, &mut request).unwrap();
        Raw::connect(house.address).await.send(&request).await;
        assert!(raw.error().await.starts_with("ERROR 57014"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_3_2_gets_a_long_key_that_works_in_front_of_14() {
    a_client_of_3_2_gets_a_long_key_that_works(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_3_2_gets_a_long_key_that_works_in_front_of_18() {
    a_client_of_3_2_gets_a_long_key_that_works(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_minors_and_unknown_options_are_negotiated_and_other_majors_refused() {
    let house = House::new(18).await;
    let mut raw = Raw::connect(house.address).await;
    let mut newer = BytesMut::new();
    let parameters = [("user", "postgres"), ("_pq_.teleport", "on")];
    frontend::startup(0x0003_270f, parameters, &mut newer).unwrap();
    raw.send(&newer).await;
    let welcome = raw.until_ready().await;
    let negotiated = welcome.first().unwrap();
    assert_eq!(negotiated.tag, b'v');
    assert_eq!(
        negotiated.body.as_ref(),
        b"\x00\x03\x00\x02\x00\x00\x00\x01_pq_.teleport\x00"
    );
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");

    let mut raw = Raw::connect(house.address).await;
    raw.send(&startup(0x0002_0000)).await;
    let error = raw.error().await;
    assert!(
        error.starts_with("FATAL 0A000: unsupported frontend protocol 2.0"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_startup_in_the_middle_of_a_login_is_refused() {
    let options = PgOptions::default().without_fsync().with_scram();
    let server = PgServer::start(14, options).await.unwrap();
    server
        .execute("postgres", "CREATE ROLE app LOGIN PASSWORD 'x'")
        .await
        .unwrap();
    let house = House::over(server, None, |_options| {}).await;
    let mut hello = BytesMut::new();
    frontend::startup(
        PROTOCOL_3_0,
        [("user", "app"), ("database", "postgres")],
        &mut hello,
    )
    .unwrap();
    let attacks = [
        startup(PROTOCOL_3_0).to_vec(),
        query("SELECT 1").to_vec(),
        vec![b'p', 0, 0, 0, 3],
    ];
    for attack in attacks {
        let mut raw = Raw::connect(house.address).await;
        raw.send(&hello).await;
        assert_eq!(raw.next().await.unwrap().tag, b'R');
        raw.send(&attack).await;
        let error = raw.error().await;
        assert!(error.starts_with("FATAL 08P01"), "{error}");
        assert!(raw.next().await.is_none());
    }
    still_serves(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_sent_away_and_too_many_are_turned_away() {
    let options = PgOptions::default().without_fsync();
    let server = PgServer::start(17, options).await.unwrap();
    let house = House::over(server, None, |options| {
        options.login_timeout = Duration::from_secs(1);
    })
    .await;
    let mut silent = Raw::connect(house.address).await;
    assert!(
        silent
            .error()
            .await
            .starts_with("FATAL 57014: canceling authentication")
    );
    drop(silent);
    house
        .until("the silent client is gone", |relay| relay.clients() == 0)
        .await;

    // With all the time that a starved machine needs for a log-in.
    let House { source, .. } = house;
    let house = House::over(source, None, |options| options.clients_max = 2).await;

    let first = house.client().await;
    let _second = house.client().await;
    let mut third = Raw::connect(house.address).await;
    let refusal = third.error().await;
    assert_eq!(refusal, "FATAL 53300: sorry, too many clients already");
    assert_eq!(first.value("SELECT 1").await.unwrap(), "1");
    drop(first);
    house
        .until("there is room again", |relay| relay.clients() == 1)
        .await;
    still_serves(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cleartext_method_is_refused_with_a_clear_error() {
    let options = PgOptions::default()
        .without_fsync()
        .hba("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n");
    let server = PgServer::start(14, options).await.unwrap();
    server
        .execute("postgres", "CREATE ROLE app LOGIN PASSWORD 'right'")
        .await
        .unwrap();
    let house = House::over(server, None, |_options| {}).await;
    let url = house.url("app", "right");
    let Err(error) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
        panic!("a password was sent in clear");
    };
    let message = error.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("never sends"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_ends_its_sessions_when_the_program_ends() {
    let house = House::new(18).await;
    let mut idle = house.raw().await;
    let mut busy = house.raw().await;
    busy.query("BEGIN").await;
    let drain = house.relay.drain(Duration::from_millis(300));
    let (idle, (), busy) = tokio::join!(idle.error(), drain, busy.error());
    for error in [idle, busy] {
        assert!(error.starts_with("FATAL 57P01"), "{error}");
    }
    house
        .until("nobody is left", |relay| relay.sessions().is_empty())
        .await;
    let _patience = PATIENCE;
}

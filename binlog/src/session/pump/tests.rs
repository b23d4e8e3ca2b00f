//! The hot loop between two sockets, with every way to cut the bytes.

use std::future::poll_fn;
use std::time::Duration;

use proptest::prelude::*;
use router::Switch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::packet;
use super::super::registry::{LegKey, NewEntry, SessionId};
use super::*;

struct Fixture {
    pump: Pump,
    gate: Gate,
    switch: Arc<Switch>,
    client: UnixStream,
    server: UnixStream,
    requests: mpsc::Sender<Request>,
}

fn fixture() -> Fixture {
    let switch = Switch::new(1, Side::Source);
    let (client, client_leg) = UnixStream::pair().unwrap();
    let (server, server_leg) = UnixStream::pair().unwrap();
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let entry = Arc::new(Entry::new(NewEntry {
        id: SessionId(1),
        client: ([127, 0, 0, 1], 1).into(),
        user: String::new(),
        database: String::new(),
        application: String::new(),
        leg: LegKey {
            side: Side::Source,
            id: 1,
        },
        requests: sender.clone(),
    }));
    let pump = Pump::new(Beginning {
        database: None,
        client: Socket::Unix(client_leg),
        welcome: BytesMut::new(),
        server: Present {
            leg: Socket::Unix(server_leg),
            read: BytesMut::new(),
            side: Side::Source,
            status_flags: 2,
        },
        eof: EofStyle::Deprecated,
        local_file: LocalFile::MustNotAsk,
        entry,
        requests,
        turns: Arc::new(Semaphore::new(1)),
    });
    Fixture {
        pump,
        gate: Gate::new(&switch, 0),
        switch,
        client,
        server,
        requests: sender,
    }
}

fn put(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) {
    let mut frame = BytesMut::new();
    packet::put(payload, sequence, &mut frame);
    out.extend_from_slice(&frame);
}

/// What a client says, and what its server answers.
type Round = (Vec<u8>, Vec<u8>);

fn any_round() -> impl Strategy<Value = Round> {
    let body = proptest::collection::vec(any::<u8>(), 1..300);
    let query = (body.clone(), body.clone()).prop_map(|(text, row)| {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        let mut payload = vec![3];
        // Words that mean something would only be noticed, not changed, but for KILL.
        payload.push(b'x');
        payload.extend(&text);
        put(&mut client, 0, &payload);
        put(&mut server, 1, &[1]);
        put(&mut server, 2, b"\x03def");
        let mut payload = vec![0xfc, 0, 1];
        payload.extend(&row);
        put(&mut server, 3, &payload);
        put(&mut server, 4, &[0xfe, 0, 0, 2, 0, 0, 0]);
        (client, server)
    });
    let change = body.prop_map(|text| {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        let mut payload = vec![3, b'x'];
        payload.extend(&text);
        put(&mut client, 0, &payload);
        put(&mut server, 1, &[0, 1, 5, 2, 0, 0, 0]);
        (client, server)
    });
    prop_oneof![query, change]
}

async fn write_cut(stream: &mut UnixStream, bytes: &[u8], cuts: &mut impl Iterator<Item = usize>) {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + cuts.next().unwrap());
        stream.write_all(&bytes[at..end]).await.unwrap();
        tokio::task::yield_now().await;
        at = end;
    }
}

async fn expect(stream: &mut UnixStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert!(got == bytes, "the bytes changed on the way");
}

async fn carry(fixture: Fixture, rounds: Vec<Round>, cuts: Vec<usize>) {
    let Fixture {
        mut pump,
        mut gate,
        switch,
        mut client,
        mut server,
        requests,
    } = fixture;
    let mut cuts = cuts.into_iter().cycle();
    let traffic = async {
        for (asked, answered) in &rounds {
            write_cut(&mut client, asked, &mut cuts).await;
            expect(&mut server, asked).await;
            assert_eq!(switch.running(), 1);
            write_cut(&mut server, answered, &mut cuts).await;
            expect(&mut client, answered).await;
        }
        while switch.running() > 0 {
            tokio::task::yield_now().await;
        }
        requests.send(Request::EndWhenIdle).await.unwrap();
    };
    let run = async {
        let stop = poll_fn(|cx| pump.poll(cx, &mut gate)).await;
        assert!(matches!(stop, Stop::Request(_)), "{stop:?}");
    };
    let both = async { tokio::join!(traffic, run) };
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap();
    assert!(pump.is_quiet());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn bytes_pass_unchanged_however_they_are_cut(
        rounds in proptest::collection::vec(any_round(), 1..8),
        cuts in proptest::collection::vec(1_usize..60, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { carry(fixture(), rounds, cuts).await });
    }
}

#[tokio::test]
async fn the_question_for_the_status_after_an_error_is_seen_by_the_server_only() {
    let Fixture {
        mut pump,
        mut gate,
        switch,
        mut client,
        mut server,
        requests,
    } = fixture();
    let traffic = async {
        let (mut asked, mut error) = (Vec::new(), Vec::new());
        put(&mut asked, 0, b"\x03x");
        put(&mut error, 1, b"\xff\x48\x04#42000oops");
        client.write_all(&asked).await.unwrap();
        expect(&mut server, &asked).await;
        server.write_all(&error).await.unwrap();
        expect(&mut client, &error).await;
        let (mut ping, mut status) = (Vec::new(), Vec::new());
        put(&mut ping, 0, &[0x0e]);
        expect(&mut server, &ping).await;
        assert_eq!(switch.running(), 1);
        put(&mut status, 1, &[0, 0, 0, 2, 0, 0, 0]);
        for byte in status {
            server.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        while switch.running() > 0 {
            tokio::task::yield_now().await;
        }
        requests.send(Request::EndWhenIdle).await.unwrap();
    };
    let run = poll_fn(|cx| pump.poll(cx, &mut gate));
    let both = async { tokio::join!(traffic, run) };
    let ended = tokio::time::timeout(Duration::from_secs(20), both).await;
    assert!(ended.is_ok());
    drop(ended);
    let mut rest = [0; 1];
    assert!(client.try_read(&mut rest).is_err(), "nothing else was said");
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_sender_and_memory_stays_bounded() {
    let Fixture {
        mut pump,
        mut gate,
        switch: _switch,
        mut client,
        mut server,
        requests: _requests,
    } = fixture();
    let mut asked = Vec::new();
    put(&mut asked, 0, b"\x03x");
    client.write_all(&asked).await.unwrap();
    let mut written = 0_usize;
    let flood = async {
        let mut begin = Vec::new();
        put(&mut begin, 1, &[1]);
        put(&mut begin, 2, b"\x03def");
        server.write_all(&begin).await.unwrap();
        let mut block = vec![0xff, 0xff, 0xff, 3];
        block.resize(4 + 0xff_ffff, 7);
        loop {
            written += server.write(&block[..64 * 1024]).await.unwrap();
        }
    };
    let run = poll_fn(|cx| pump.poll(cx, &mut gate));
    let both = async { tokio::join!(flood, run) };
    assert!(
        tokio::time::timeout(Duration::from_millis(200), both)
            .await
            .is_err()
    );
    assert!(written < 8 * 1024 * 1024, "{written} bytes were taken");
    assert!(pump.down.backlog.len() + pump.down.held.len() <= 2 * SCRATCH_BYTES);
}

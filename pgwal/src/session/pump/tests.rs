//! The hot loop between two sockets, with every way to cut the bytes.

use std::future::poll_fn;
use std::time::Duration;

use bytes::BufMut;
use proptest::prelude::*;
use router::Switch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

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
            pid: 1,
            cancel_key: Bytes::new(),
        },
        requests: sender.clone(),
    }));
    let pump = Pump::new(Beginning {
        client: Socket::Unix(client_leg),
        client_sent: BytesMut::new(),
        welcome: BytesMut::new(),
        server: ConnParts {
            socket: Socket::Unix(server_leg),
            read: BytesMut::new(),
            write: BytesMut::new(),
        },
        side: Side::Source,
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

fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).unwrap());
    out.put_slice(body);
}

/// What a client says, and what its server answers.
type Round = (Vec<u8>, Vec<u8>);

fn any_round() -> impl Strategy<Value = Round> {
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    let query = (body.clone(), body.clone()).prop_map(|(asked, answered)| {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        put(&mut client, b'Q', &asked);
        put(&mut server, b'S', b"name\0value\0");
        put(&mut server, b'D', &answered);
        put(&mut server, b'C', b"SELECT 1\0");
        put(&mut server, b'Z', b"I");
        (client, server)
    });
    let extended = (body.clone(), body).prop_map(|(asked, answered)| {
        let (mut client, mut server) = (Vec::new(), Vec::new());
        let mut parse = b"name\0".to_vec();
        parse.extend_from_slice(&asked);
        put(&mut client, b'P', &parse);
        put(&mut client, b'B', &asked);
        put(&mut client, b'E', b"\0\0\0\0\0");
        put(&mut client, b'S', b"");
        put(&mut server, b'1', b"");
        put(&mut server, b'2', b"");
        put(&mut server, b'D', &answered);
        put(&mut server, b'C', b"SELECT 1\0");
        put(&mut server, b'Z', b"I");
        (client, server)
    });
    prop_oneof![query, extended]
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
    assert_eq!(pump.oddities(), 0);
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
    put(&mut asked, b'Q', b"x\0");
    client.write_all(&asked).await.unwrap();
    let mut header = vec![b'D'];
    header.put_u32(64 * 1024 * 1024);
    let mut written = 0_usize;
    let flood = async {
        server.write_all(&header).await.unwrap();
        let block = vec![7; 64 * 1024];
        loop {
            written += server.write(&block).await.unwrap();
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

//! A server whose log lies about lengths: a middleman between the program and a real source that
//! changes what the source sends.

use std::time::Duration;

use integration::mysql::Version;
use integration::proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::log_file::checksum;
use super::{DATABASE, PATIENCE, assert_says, configured, notes, pair, stopped, usual};

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// The event's header tells another length than it has.
    Event,
    /// The rows event tells more columns than the table has.
    Columns,
    /// The text in a row is longer than the event.
    Text,
    /// The event ends in the middle of the row, with a checksum that fits.
    Cut,
    /// An event of rows does not come.
    Rows,
    /// The event that names a transaction does not come.
    Name,
    /// The packet is longer than what comes before the connection ends.
    Packet,
}

/// The middleman.
pub(super) struct Liar {
    pub(super) port: u16,
    lie: watch::Sender<Lie>,
    _tasks: JoinSet<()>,
}

impl Liar {
    /// In front of the server on `port`, whose greeting tells `version` when one is given.
    pub(super) async fn before(port: u16, version: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (lie, lies) = watch::channel(Lie::None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let lies = lies.clone();
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                    relays.spawn(relay(client, server, lies, version));
                }
                while relays.try_join_next().is_some() {}
            }
        });
        Self {
            port: own,
            lie,
            _tasks: tasks,
        }
    }

    pub(super) fn tell(&self, lie: Lie) {
        self.lie.send_replace(lie);
    }

    /// A URL of the server behind it; what is encrypted could not be changed.
    pub(super) fn url(&self) -> String {
        format!(
            "mysql://root@127.0.0.1:{}/{DATABASE}?ssl-mode=DISABLED",
            self.port
        )
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    lies: watch::Receiver<Lie>,
    version: Option<&'static str>,
) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ended = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ended = answers(from_server, to_client, lies, version) => {}
    }
}

/// Passes packets on, changed where the lie says so.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    lies: watch::Receiver<Lie>,
    version: Option<&'static str>,
) -> std::io::Result<()> {
    let mut greeting = true;
    // Packets that were kept back: the numbers of those behind them are lower.
    let mut kept_back = 0_u8;
    loop {
        let mut head = [0; 4];
        from.read_exact(&mut head).await?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        from.read_exact(&mut body).await?;
        if let (true, Some(version)) = (greeting, version) {
            let end = body.iter().position(|byte| *byte == 0).unwrap();
            body.splice(1..end, version.bytes());
        }
        greeting = false;
        let lie = *lies.borrow();
        if lie == Lie::Rows && is_insert(&body) || lie == Lie::Name && is_event(&body, &[33, 162]) {
            kept_back = kept_back.wrapping_add(1);
            continue;
        }
        head[3] = head[3].wrapping_sub(kept_back);
        if is_insert(&body) {
            change(lie, &mut body);
        }
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        head[..3].copy_from_slice(&length[..3]);
        if lie == Lie::Packet && is_insert(&body) {
            head[1] += 1;
            to.write_all(&[&head[..], &body].concat()).await?;
            return Ok(());
        }
        to.write_all(&[&head[..], &body].concat()).await?;
    }
}

/// An event of the log that inserts one row of a small table: no answer to a question looks so.
fn is_insert(packet: &[u8]) -> bool {
    is_event(packet, &[23, 30])
}

/// An event of one of these types.
fn is_event(packet: &[u8], codes: &[u8]) -> bool {
    let told = packet
        .get(10..14)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
    let has = u32::try_from(packet.len() - 1).ok();
    let is_one = packet.get(5).is_some_and(|code| codes.contains(code));
    packet.first() == Some(&0) && is_one && told == has
}

fn change(lie: Lie, packet: &mut Vec<u8>) {
    // Behind the packet's first byte and the event's header: table, flags, extra data of version 2.
    let columns = match packet[5] {
        30 => 1 + 19 + 6 + 2 + 2,
        _version_1 => 1 + 19 + 6 + 2,
    };
    match lie {
        Lie::None | Lie::Packet | Lie::Rows | Lie::Name => return,
        Lie::Event => packet[10..14].copy_from_slice(&0xffff_fff0_u32.to_le_bytes()),
        Lie::Columns => packet[columns] = 0xfa,
        // Behind two bitmaps and an INT.
        Lie::Text => packet[columns + 1 + 1 + 1 + 4] = 0xfa,
        Lie::Cut => {
            let end = packet.len() - 4;
            packet.drain(end - 2..end);
            let length = u32::try_from(packet.len() - 1).unwrap();
            packet[10..14].copy_from_slice(&length.to_le_bytes());
        }
    }
    checksum(&mut packet[1..]);
}

async fn lies_stop_the_stream(version: Version, lies: &[Lie]) {
    let (source, target) = pair(version, usual()).await;
    let liar = Liar::before(source.port(), None).await;
    let options = configured(&source, &target).urls(liar.url(), target.url("root", DATABASE));
    let proxy = Proxy::start(options).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    let mut had = notes(&target);
    for (number, lie) in (2..).zip(lies.iter().copied()) {
        liar.tell(lie);
        let sql = format!("INSERT INTO note VALUES ({number}, 'text {number}')");
        source.sql_in(DATABASE, &sql).unwrap();
        if lie == Lie::Packet {
            let broke = |status: &serde_json::Value| !status["trouble"].is_null();
            proxy
                .wait_for("the trouble is told", PATIENCE, broke)
                .await
                .unwrap();
        } else {
            let said = stopped(&proxy).await;
            assert_says(&said, &["binlog.0", "source", "pointsman"]);
        }
        assert_eq!(notes(&target), had, "{lie:?}");

        liar.tell(Lie::None);
        if lie != Lie::Packet {
            proxy.done(&["start"]).await.unwrap();
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while notes(&target) != notes(&source) {
            assert!(
                std::time::Instant::now() < deadline,
                "{lie:?} {}",
                proxy.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        had = notes(&target);
    }
    proxy.wait_for_phase("streaming").await.unwrap();
}

const EVERY: &[Lie] = &[Lie::Event, Lie::Columns, Lie::Text, Lie::Cut, Lie::Packet];

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_stream_that_lacks_an_event_stops_there() {
    lies_stop_the_stream(Version::MySql97, &[Lie::Rows, Lie::Name]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_stream_that_lacks_an_event_stops_there() {
    lies_stop_the_stream(Version::MariaDb118, &[Lie::Rows, Lie::Name]).await;
    lies_stop_the_stream(Version::MariaDb1011, &[Lie::Name, Lie::Rows]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_stream_that_lies_about_lengths_stops_at_the_lie() {
    lies_stop_the_stream(Version::MySql97, EVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_stream_that_lies_about_lengths_stops_at_the_lie() {
    lies_stop_the_stream(Version::MariaDb118, EVERY).await;
}

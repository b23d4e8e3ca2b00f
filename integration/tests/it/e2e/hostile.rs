//! Garbage from outside: the one who sends it is refused, the others are served.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use integration::proxy::Proxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::stage::{PATIENCE, Stage};

/// Sends bytes and reads until the other side closes, which it must do in time.
async fn send_and_read(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut answer));
    // A reset is an end too.
    end.await
        .expect("the connection is closed")
        .unwrap_or_default();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_listener_is_closed_and_others_are_served() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0, b'u'],
        &[0xff; 64],
        &[0, 0, 0, 4],
        &[0, 0, 0, 12, 0, 9, 0, 0, 0, 0, 0, 0],
        &[
            0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
        ],
    ];
    for bytes in garbage {
        send_and_read(&stage.proxy, bytes).await;
    }
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_2_gib_length_after_the_login_takes_no_memory_and_harms_nobody() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    // The superuser is trusted, so the session is ready without a password exchange.
    let mut startup = vec![0, 0, 0, 0, 0, 3, 0, 0];
    startup.extend(b"user\0postgres\0database\0shop\0\0");
    let length = u32::try_from(startup.len()).unwrap().to_be_bytes();
    startup.splice(0..4, length);
    let mut stream = TcpStream::connect(("127.0.0.1", stage.proxy.port()))
        .await
        .unwrap();
    stream.write_all(&startup).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(read > 0);
    stream
        .write_all(&[b'Q', 0x7f, 0xff, 0xff, 0xff])
        .await
        .unwrap();
    stream
        .write_all(&vec![b'x'; 1 << 20])
        .await
        .unwrap_or_default();
    load.more_commits(50, PATIENCE).await.unwrap();
    drop(stream);
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_admin_socket_is_answered_and_the_next_command_works() {
    let stage = Stage::new(14, 17).await;
    let mut long = vec![b'['; 1 << 20];
    long.push(b'\n');
    // Half a request, whose other half never comes, keeps nobody else waiting.
    let mut half = UnixStream::connect(stage.proxy.socket_path())
        .await
        .unwrap();
    half.write_all(b"{\"command\":").await.unwrap();
    let garbage: [&[u8]; 6] = [
        b"{\"command\":",
        b"\n",
        b"status\n",
        b"{\"command\":\"drop\"}\n",
        b"\xff\xfe\x00\n",
        &long,
    ];
    for bytes in garbage {
        let mut socket = UnixStream::connect(stage.proxy.socket_path())
            .await
            .unwrap();
        socket.write_all(bytes).await.unwrap_or_default();
        socket.shutdown().await.unwrap_or_default();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(120), socket.read_to_end(&mut answer));
        end.await.expect("the socket is closed").unwrap_or_default();
    }
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "proxying");
    assert_eq!(stage.serving_major(), 14);
    drop(half);
}

/// All below a folder that others than its user may read, write or enter.
fn open_to_others(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(path.display().to_string());
        }
        if metadata.is_dir() {
            open_to_others(&path, found);
        }
    }
}

/// The spool holds rows.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_proxy_writes_is_for_its_own_user_alone() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    stage.stream().await;
    // Changes that nobody takes go to files.
    stage.target.pause().unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    let spool = stage.proxy.config_path().with_file_name("spool");
    let mut found = Vec::new();
    let mut entries = 0;
    for entry in fs::read_dir(&spool).unwrap() {
        entries += 1;
        assert!(entry.unwrap().path().exists());
    }
    open_to_others(&spool, &mut found);
    stage.target.resume().unwrap();
    assert!(entries > 0, "nothing is in {}", spool.display());
    assert_eq!(found, Vec::<String>::new());
    let mode = fs::metadata(&spool).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    let limits =
        fs::read_to_string(format!("/proc/{}/limits", stage.proxy.pid().unwrap())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core:?}");
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}

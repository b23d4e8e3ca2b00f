//! Servers that number themselves in ways that nobody has seen.

use integration::mysql::Version;
use integration::proxy::Proxy;

use super::liar::Liar;
use super::{DATABASE, assert_says, configured, finding, notes, pair, refused, usual};

/// Years instead of versions: newer than everything that was tried, and not older than 9.7.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_version_26_is_warned_of_and_moves() {
    let (source, target) = pair(Version::MySql97, usual()).await;
    let from = Liar::before(source.port(), Some("26.10.0.1")).await;
    let to = Liar::before(target.port(), Some("26.10.0.1")).await;
    let options = configured(&source, &target).urls(from.url(), to.url());
    let proxy = Proxy::start(options).await.unwrap();
    let check = proxy.cli(&["check"]).await.unwrap();
    assert_eq!(check.code, 0, "{check}");
    let found = finding(
        &check.to_string(),
        "26.10.0 is newer than the servers that were tried",
    );
    assert!(found.starts_with("warn"), "{found}");
    assert_says(&found, &["source: ", "nothing is skipped", "fix: "]);
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    source
        .sql_in(DATABASE, "INSERT INTO note VALUES (2, 'second')")
        .unwrap();
    let status = proxy.wait_for("the target is current", super::PATIENCE, |status| {
        status["lag"]["transactions"] == 0 && status["lag"]["bytes"] == 0
    });
    status.await.unwrap();
    proxy.done(&["cutover"]).await.unwrap();
    assert_eq!(notes(&target), "1\tfirst\n2\tsecond");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_back_from_version_26_is_refused() {
    let (source, target) = pair(Version::MySql97, usual()).await;
    let from = Liar::before(source.port(), Some("26.10.0.1")).await;
    let options = configured(&source, &target).urls(from.url(), target.url("root", DATABASE));
    let check = refused(options).await;
    let found = finding(&check, "is older than the source's");
    assert_says(
        &found,
        &[
            "FAIL",
            "target: ",
            "26.10.0",
            "use a target of the source's version",
        ],
    );
}

/// The proxy cannot even ask who serves; it says so, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_version_cannot_be_read_is_refused_by_its_text() {
    let (source, target) = pair(Version::MySql97, usual()).await;
    for (text, says) in [
        ("next", "the server calls its version \"next\""),
        ("8.0.11-TiDB-v8.5.0", "the server is TiDB"),
    ] {
        let to = Liar::before(target.port(), Some(text)).await;
        let options = configured(&source, &target).urls(source.url("root", DATABASE), to.url());
        let mut proxy = Proxy::prepare(options).unwrap();
        proxy.launch().await.unwrap();
        let check = proxy.cli(&["check"]).await.unwrap();
        assert_eq!(check.code, 1, "{check}");
        let found = finding(&check.to_string(), says);
        assert_says(&found, &["FAIL", "target", "127.0.0.1:", "fix: "]);
        let start = proxy.cli(&["start"]).await.unwrap();
        assert_eq!(start.code, 1, "{start}");
    }
}

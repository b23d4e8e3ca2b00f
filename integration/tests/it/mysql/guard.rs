//! What the program does about a source that it has left.

use std::time::{Duration, Instant};

use integration::mysql::Version::{MariaDb118, MariaDb1011};
use integration::mysql::{MySqlOptions, MySqlServer};
use integration::proxy::{Proxy, ProxyOptions};

const PATIENCE: Duration = Duration::from_secs(120);

/// P3: the fence of these servers is a setting that a restart loses.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_left_and_restarts_is_closed_again() {
    let options = MySqlOptions::default().set("local-infile", "1");
    let (source, target) = tokio::join!(
        MySqlServer::start(MariaDb1011, options.clone()),
        MySqlServer::start(MariaDb118, options),
    );
    let (mut source, target) = (source.unwrap(), target.unwrap());
    source
        .sql("CREATE DATABASE shop; CREATE TABLE shop.t (id int PRIMARY KEY); INSERT INTO shop.t VALUES (1)")
        .unwrap();
    let proxy = Proxy::start(
        ProxyOptions::between_mysql(&source, &target, "shop")
            .key("cutover.drain_timeout = \"30s\"")
            .key("cutover.max_pause = \"60s\""),
    )
    .await
    .unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    proxy.done(&["cutover"]).await.unwrap();
    let closed = "SELECT @@GLOBAL.read_only";
    assert_eq!(source.sql(closed).unwrap(), "1");

    source.restart().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while source.sql(closed).unwrap() != "1" {
        assert!(Instant::now() < deadline, "{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.done(&["finish", "--lift-fence"]).await.unwrap();
    assert_eq!(source.sql(closed).unwrap(), "0");
    assert_eq!(target.sql("SELECT COUNT(*) FROM shop.t").unwrap(), "1");
}

//! A log file that is damaged on the source's disk, and an event that nobody knows.

use integration::mysql::{MySqlServer, Version};
use integration::proxy::Proxy;

use super::log_file::{Event, last_insert};
use super::{DATABASE, PATIENCE, assert_says, configured, notes, pair, stopped, usual};

struct Moving {
    source: MySqlServer,
    target: MySqlServer,
    proxy: Proxy,
    /// The insert of the second row.
    insert: Event,
}

/// A migration that streams, is stopped, and has two rows before it in the log.
async fn two_rows_behind(version: Version) -> Moving {
    let (source, target) = pair(version, usual()).await;
    let mut proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    proxy.kill9().unwrap();
    let insert = |sql| source.sql_in(DATABASE, sql).unwrap();
    insert("INSERT INTO note VALUES (2, 'second')");
    let event = last_insert(&source);
    insert("INSERT INTO note VALUES (3, 'third')");
    Moving {
        source,
        target,
        proxy,
        insert: event,
    }
}

impl Moving {
    /// It stops at the event, by file and offset, and neither that row nor the one behind it is on
    /// the target.
    async fn stops_at_the_event(&mut self) -> String {
        self.proxy.launch().await.unwrap();
        let said = stopped(&self.proxy).await;
        assert_says(&said, &["source", "pointsman"]);
        let (_, told) = said.split_once(&format!("{}:", self.insert.file)).unwrap();
        let told: String = told.chars().take_while(char::is_ascii_digit).collect();
        let told: usize = told.parse().unwrap();
        match self.source.version() {
            // It tells no positions inside of a transaction and does not send all of its events.
            Version::MariaDb118 => {
                let inside = self.insert.transaction..=self.insert.offset;
                assert!(inside.contains(&told), "{said}: {inside:?}");
            }
            Version::MySql97 | Version::MySql56 | Version::MariaDb1011 => {
                assert_eq!(told, self.insert.offset, "{said}");
            }
        }
        assert_eq!(notes(&self.target), "1\tfirst");
        said
    }

    /// With the event as it was, everything comes, and the cutover too.
    async fn goes_on_when_mended(&self) {
        self.insert.restore();
        self.proxy.done(&["start"]).await.unwrap();
        self.proxy.wait_for_phase("streaming").await.unwrap();
        let current = self
            .proxy
            .wait_for("the target is current", PATIENCE, |status| {
                status["lag"]["transactions"] == 0 && status["lag"]["bytes"] == 0
            });
        current.await.unwrap();
        self.proxy.done(&["cutover"]).await.unwrap();
        let all = "1\tfirst\n2\tsecond\n3\tthird";
        assert_eq!(
            (notes(&self.source).as_str(), notes(&self.target).as_str()),
            (all, all)
        );
    }
}

async fn a_flipped_bit_stops_the_stream(version: Version) {
    let mut moving = two_rows_behind(version).await;
    moving.insert.flip();
    let said = moving.stops_at_the_event().await;
    assert_says(&said, &["checksum", "damaged"]);
    moving.goes_on_when_mended().await;
}

async fn an_unknown_event_stops_the_stream(version: Version) {
    let mut moving = two_rows_behind(version).await;
    moving.insert.become_type(200);
    let said = moving.stops_at_the_event().await;
    assert_says(&said, &["event type 200"]);
    moving.goes_on_when_mended().await;
}

macro_rules! on_each_version {
    ($($name:ident: $test:ident($version:ident)),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $test(Version::$version).await;
        })*
    };
}

on_each_version! {
    a_flipped_bit_in_the_log_of_mysql_9_7_stops_the_stream_at_its_place:
        a_flipped_bit_stops_the_stream(MySql97),
    a_flipped_bit_in_the_log_of_mysql_5_6_stops_the_stream_at_its_place:
        a_flipped_bit_stops_the_stream(MySql56),
    a_flipped_bit_in_the_log_of_mariadb_10_11_stops_the_stream_at_its_place:
        a_flipped_bit_stops_the_stream(MariaDb1011),
    a_flipped_bit_in_the_log_of_mariadb_11_8_stops_the_stream_at_its_place:
        a_flipped_bit_stops_the_stream(MariaDb118),
    an_unknown_event_of_mysql_9_7_stops_the_stream_at_its_place:
        an_unknown_event_stops_the_stream(MySql97),
    an_unknown_event_of_mysql_5_6_stops_the_stream_at_its_place:
        an_unknown_event_stops_the_stream(MySql56),
    an_unknown_event_of_mariadb_10_11_stops_the_stream_at_its_place:
        an_unknown_event_stops_the_stream(MariaDb1011),
    an_unknown_event_of_mariadb_11_8_stops_the_stream_at_its_place:
        an_unknown_event_stops_the_stream(MariaDb118),
}

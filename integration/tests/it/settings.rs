//! The settings of our own sessions, against databases that are set otherwise.

use integration::server::{PgOptions, PgServer};
use pgwal::wire::{Conn, Endpoint, SESSION_SETTINGS};

/// Read as one text, so that every kind of connection can be asked.
const SHOWN: &str = "SELECT pg_catalog.string_agg(name || '=' || setting, ' ' ORDER BY name) \
    FROM pg_catalog.pg_settings WHERE name IN ('DateStyle', 'IntervalStyle', 'TimeZone', \
    'bytea_output', 'client_encoding', 'extra_float_digits', 'idle_session_timeout', \
    'lc_monetary', 'search_path', 'statement_timeout', 'transaction_timeout', 'xmloption')";

async fn every_kind_of_session_has_the_same_settings(major: u32, timeouts: &[&str]) {
    let server = PgServer::start(major, PgOptions::default()).await.unwrap();
    let others = [
        ("DateStyle", "German"),
        ("IntervalStyle", "sql_standard"),
        ("TimeZone", "Asia/Tokyo"),
        ("bytea_output", "escape"),
        ("client_encoding", "LATIN1"),
        ("extra_float_digits", "-5"),
        ("lc_monetary", "C.UTF-8"),
        ("search_path", "public"),
        ("statement_timeout", "5min"),
        ("xmloption", "document"),
    ];
    let timeouts = timeouts.iter().map(|name| (*name, "5min"));
    for (name, value) in others.into_iter().chain(timeouts.clone()) {
        let sql = format!("ALTER DATABASE postgres SET {name} = '{value}'");
        server.execute("postgres", &sql).await.unwrap();
    }
    let mut expected = "DateStyle=ISO, YMD IntervalStyle=postgres TimeZone=UTC bytea_output=hex \
                        client_encoding=UTF8 extra_float_digits=1"
        .to_owned();
    let mut timeouts = timeouts.map(|(name, _)| name);
    let timeout = |name: Option<&str>| name.map_or(String::new(), |name| format!(" {name}=0"));
    expected += &timeout(timeouts.next());
    expected += " lc_monetary=C search_path= statement_timeout=0";
    expected += &timeout(timeouts.next());
    expected += " xmloption=content";

    let endpoint: Endpoint = server.url("postgres", "postgres").parse().unwrap();
    let sql = endpoint.connect_sql("settings").await.unwrap();
    let shown: String = sql.query_one(SHOWN, &[]).await.unwrap().get(0);
    assert_eq!(shown, expected, "a control connection");

    // The copy's connections, and the stream's, whose server reads commands by a grammar of its own.
    let replication = ("replication".to_owned(), "database".to_owned());
    for parameters in [Vec::new(), vec![replication]] {
        let mut conn = Conn::connect_own(&endpoint, &parameters).await.unwrap();
        conn.query(SESSION_SETTINGS).await.unwrap();
        let rows = conn.query(SHOWN).await.unwrap();
        let shown = rows[0][0].as_deref();
        assert_eq!(shown, Some(expected.as_bytes()), "with {parameters:?}");
    }
}

#[tokio::test]
async fn every_kind_of_session_has_the_same_settings_on_12() {
    every_kind_of_session_has_the_same_settings(12, &[]).await;
}

#[tokio::test]
async fn every_kind_of_session_has_the_same_settings_on_16() {
    every_kind_of_session_has_the_same_settings(16, &["idle_session_timeout"]).await;
}

#[tokio::test]
async fn every_kind_of_session_has_the_same_settings_on_18() {
    let timeouts = ["idle_session_timeout", "transaction_timeout"];
    every_kind_of_session_has_the_same_settings(18, &timeouts).await;
}

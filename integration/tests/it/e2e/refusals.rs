//! Bad inputs: each a clear error that says what, where and what to do, and nothing is changed.

use integration::catalog::{self, Facts};
use integration::proxy::{Proxy, ProxyOptions};
use integration::server::{PgOptions, PgServer};

use super::stage::{DATABASE, PATIENCE, configured, empty_target, filled_source, usual};

/// What a role that may nothing is told. It cannot look up passwords either, so nobody can log in
/// through a proxy that has only this role.
const LACKING_REPLICATION: &[&str] = &["replication"];

struct Pair {
    source: PgServer,
    target: PgServer,
    facts: (Facts, Facts),
}

impl Pair {
    async fn new(source: PgServer, target: PgServer) -> Self {
        let facts = (facts(&source).await, facts(&target).await);
        Self {
            source,
            target,
            facts,
        }
    }

    async fn usual() -> Self {
        Self::new(
            filled_source(14, usual()).await,
            empty_target(17, usual()).await,
        )
        .await
    }

    /// `check` and `start` fail and say these words; nothing is changed; the proxy serves.
    async fn is_refused(&self, options: ProxyOptions, words: &[&str]) {
        let proxy = Proxy::start(options).await.unwrap();
        for command in ["check", "start"] {
            let said = proxy.cli(&[command]).await.unwrap();
            assert_eq!(said.code, 1, "{command}: {said}");
            let text = said.to_string().to_lowercase();
            for word in words {
                assert!(
                    text.contains(&word.to_lowercase()),
                    "{command}: no {word:?} in {said}"
                );
            }
        }
        let status = proxy.status().await.unwrap();
        assert_eq!(status["phase"], "proxying", "{status:#}");
        if words != LACKING_REPLICATION {
            let url = proxy.url("app:secret", DATABASE);
            assert_eq!(integration::server::psql(&url, "SELECT 1").unwrap(), "1");
        }
        let after = (facts(&self.source).await, facts(&self.target).await);
        assert_eq!(
            catalog::differences(&self.facts.0, &after.0),
            Vec::<String>::new()
        );
        assert_eq!(
            catalog::differences(&self.facts.1, &after.1),
            Vec::<String>::new()
        );
    }
}

async fn facts(server: &PgServer) -> Facts {
    catalog::read(&server.client(DATABASE).await.unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_logical_wal_is_refused() {
    let source = filled_source(14, usual().set("wal_level", "replica")).await;
    let pair = Pair::new(source, empty_target(17, usual()).await).await;
    pair.is_refused(
        configured(&pair.source, &pair.target),
        &["wal_level", "logical"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_a_free_slot_is_refused() {
    let source = filled_source(14, usual().set("max_replication_slots", "1")).await;
    let slot = "SELECT pg_create_physical_replication_slot('taken')";
    source.execute(DATABASE, slot).await.unwrap();
    let pair = Pair::new(source, empty_target(17, usual()).await).await;
    let options = configured(&pair.source, &pair.target);
    pair.is_refused(options, &["slot", "max_replication_slots"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_refused_and_kept() {
    let target = empty_target(17, usual()).await;
    target
        .execute(DATABASE, "CREATE TABLE precious (id int)")
        .await
        .unwrap();
    let pair = Pair::new(filled_source(14, usual()).await, target).await;
    let options = configured(&pair.source, &pair.target);
    pair.is_refused(options, &["empty", "precious"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_target_is_refused() {
    let pair = Pair::new(
        filled_source(17, usual()).await,
        empty_target(14, usual()).await,
    )
    .await;
    let options = configured(&pair.source, &pair.target);
    pair.is_refused(options, &["14", "17"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_for_the_target_is_refused_and_never_shown() {
    let pair = Pair::usual().await;
    pair.target
        .execute("postgres", "CREATE ROLE mover SUPERUSER LOGIN PASSWORD 'x'")
        .await
        .unwrap();
    let pair = Pair::new(pair.source, pair.target).await;
    let target = pair
        .target
        .url_with_password("mover", "quite-wrong", DATABASE);
    let options = ProxyOptions::new(pair.source.url("postgres", DATABASE), Some(target));
    pair.is_refused(options.clone(), &["password", "target"])
        .await;
    let proxy = Proxy::start(options).await.unwrap();
    let said = proxy.cli(&["start"]).await.unwrap();
    assert!(!said.to_string().contains("quite-wrong"), "{said}");
    assert!(!proxy.log().contains("quite-wrong"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_for_the_source_is_told_and_never_shown() {
    let source = filled_source(14, usual()).await;
    let role = "CREATE ROLE mover SUPERUSER LOGIN PASSWORD 'x'";
    source.execute("postgres", role).await.unwrap();
    let target = empty_target(17, usual()).await;
    let wrong = source.url_with_password("mover", "quite-wrong", DATABASE);
    let options = ProxyOptions::new(wrong, Some(target.url("postgres", DATABASE)));
    let mut proxy = Proxy::prepare(options).unwrap();
    proxy.launch().await.unwrap();
    let told = proxy
        .wait_for("the wrong password", PATIENCE, |status| {
            status["trouble"]
                .as_str()
                .is_some_and(|text| text.contains("password") && text.contains("source"))
        })
        .await
        .unwrap();
    assert!(told["serving"].is_null(), "{told:#}");
    assert!(!told.to_string().contains("quite-wrong"), "{told:#}");
    assert!(!proxy.log().contains("quite-wrong"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_is_refused() {
    let pair = Pair::usual().await;
    let nowhere = integration::port::Port::reserve().unwrap();
    let target = format!(
        "postgres://postgres@127.0.0.1:{}/{DATABASE}",
        nowhere.number()
    );
    let options = ProxyOptions::new(pair.source.url("postgres", DATABASE), Some(target));
    let port = nowhere.number().to_string();
    pair.is_refused(options, &["target", &port]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_privileges_is_refused_and_told_what_it_lacks() {
    let source = filled_source(14, usual()).await;
    source
        .execute("postgres", "CREATE ROLE mover LOGIN PASSWORD 'x'")
        .await
        .unwrap();
    let pair = Pair::new(source, empty_target(17, usual()).await).await;
    let from = pair.source.url_with_password("mover", "x", DATABASE);
    let options = ProxyOptions::new(from, Some(pair.target.url("postgres", DATABASE)));
    pair.is_refused(options, LACKING_REPLICATION).await;
}

/// P7: refused before the start, unless the operator accepts it.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_refused_unless_accepted() {
    let source = filled_source(14, usual()).await;
    source
        .execute(DATABASE, "SELECT lo_create(0)")
        .await
        .unwrap();
    let pair = Pair::new(source, empty_target(17, usual()).await).await;
    let options = configured(&pair.source, &pair.target);
    pair.is_refused(options.clone(), &["large object", "--accept"])
        .await;
    let proxy = Proxy::start(options).await.unwrap();
    proxy
        .done(&["check", "--accept", "large-objects"])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_source_is_waited_for_and_clients_are_told() {
    let mut source = filled_source(14, usual()).await;
    let target = empty_target(17, usual()).await;
    source.stop().unwrap();
    let mut proxy = Proxy::prepare(configured(&source, &target)).unwrap();
    proxy.launch().await.unwrap();
    let status = proxy.status().await.unwrap();
    assert!(status["serving"].is_null(), "{status:#}");
    source.restart().await.unwrap();
    proxy.wait_until_serving().await.unwrap();
    let url = proxy.url("app:secret", DATABASE);
    assert_eq!(integration::server::psql(&url, "SELECT 1").unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_ends_with_2_and_names_the_key() {
    let pair = Pair::usual().await;
    for (line, words) in [
        ("cutover.max_pauze = \"1s\"", ["max_pauze", "max_pause"]),
        ("cutover.max_pause = \"soon\"", ["max_pause", "soon"]),
        ("copy.workers = 0", ["copy.workers", "between"]),
    ] {
        let options = configured(&pair.source, &pair.target)
            .without_keys()
            .key(line);
        let mut proxy = Proxy::prepare(options).unwrap();
        let error = format!("{:#}", proxy.launch().await.unwrap_err());
        assert!(error.contains("exit status: 2"), "{error}");
        for word in words {
            assert!(error.contains(word), "no {word:?} in {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_proxy_says_so() {
    let pair = Pair::usual().await;
    let proxy = Proxy::prepare(configured(&pair.source, &pair.target)).unwrap();
    let said = proxy.cli(&["status"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("admin.sock"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fsyncs_is_no_different() {
    let options = PgOptions::default().with_scram();
    let stage = super::stage::Stage::with(16, 17, options, |options| options).await;
    stage.stream().await;
    stage.cutover().await;
    stage.assert_same_contents().await;
}

//! Cutovers that are given up: the source serves on as if nothing had happened, and the next one
//! succeeds.

use integration::load::Load;
use integration::proxy::Said;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage};

struct Tried {
    stage: Stage,
    load: Load,
}

impl Tried {
    async fn new(key: &str) -> Self {
        let configure = |options: integration::proxy::ProxyOptions| options.key(key);
        let stage = Stage::with(14, 17, super::stage::usual(), configure).await;
        let load = stage.load(4).await;
        stage.stream().await;
        Self { stage, load }
    }

    async fn cutover(&self, arguments: &[&str]) -> Said {
        let arguments: Vec<&str> = ["cutover"].iter().chain(arguments).copied().collect();
        self.stage.proxy.cli(&arguments).await.unwrap()
    }

    /// The status names the one session whose transaction does not end.
    async fn names_the_long_one(&self) {
        let status = self.stage.proxy.status().await.unwrap();
        let running = status["last_cutover"]["still_running"].as_array();
        let long = |session: &&Value| session["state"] == "idle in transaction";
        let named = running.unwrap().iter().find(long).unwrap();
        assert_eq!(named["user"], "app", "{status:#}");
        assert_eq!(named["database"], DATABASE, "{status:#}");
        assert!(named["age_seconds"].as_f64().unwrap() > 0.2, "{status:#}");
        let client = named["client"].as_str().unwrap();
        assert!(client.starts_with("127.0.0.1:"), "{status:#}");
    }

    /// The source serves and takes writes; afterwards a cutover succeeds and nobody saw anything.
    async fn ends_well(self) {
        assert_eq!(self.stage.serving_major(), 14);
        self.load.more_commits(50, PATIENCE).await.unwrap();
        self.stage.proxy.wait_for_phase("streaming").await.unwrap();
        self.stage.cutover().await;
        self.load.more_commits(50, PATIENCE).await.unwrap();
        let report = self.load.stop().await.unwrap();
        self.stage.assert_perfect(&report, &self.stage.target).await;
        self.stage.assert_same_contents().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_past_the_drain_deadline_refuses_the_cutover() {
    let tried = Tried::new("cutover.drain_timeout = \"300ms\"").await;
    let long = tried.stage.client().await;
    long.batch_execute("BEGIN; INSERT INTO load_event (id, client, note) VALUES (-1, 900, '')")
        .await
        .unwrap();
    let said = tried.cutover(&[]).await;
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("still running"), "{said}");
    assert!(said.to_string().contains(" app@shop, idle in"), "{said}");
    tried.names_the_long_one().await;
    long.batch_execute("ROLLBACK").await.unwrap();
    tried.ends_well().await;
}

/// One that begins when everything is prepared is found by the drain itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_outlasts_the_drain_is_named() {
    let tried = Tried::new("cutover.drain_timeout = \"3s\"").await;
    let long = tried.stage.client().await;
    let sql = "BEGIN; INSERT INTO load_event (id, client, note) VALUES (-1, 900, '')";
    let begin = tried.stage.begin_when_prepared(&long, sql);
    let (said, ()) = tokio::join!(tried.cutover(&[]), begin);
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("drain deadline"), "{said}");
    assert!(said.to_string().contains(" app@shop, idle in"), "{said}");
    tried.names_the_long_one().await;
    long.batch_execute("ROLLBACK").await.unwrap();
    tried.ends_well().await;
}

/// P4: the budget is a hard limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_would_be_too_long_gives_the_cutover_up() {
    let tried = Tried::new("").await;
    let said = tried.cutover(&["--max-pause", "1ms"]).await;
    assert_eq!(said.code, 1, "{said}");
    tried.ends_well().await;
}

/// P4: the source serves on, within the pause budget.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_answer_gives_the_cutover_up_within_the_pause_budget() {
    let tried = Tried::new("").await;
    tried.stage.target.pause().unwrap();
    tried.load.reset_gap();
    let said = tried.cutover(&["--max-pause", "2s"]).await;
    assert_eq!(said.code, 1, "{said}");
    tried.load.more_commits(50, PATIENCE).await.unwrap();
    let gap = tried.load.longest_gap().length;
    // What a starved machine adds included; the target is silent until later.
    assert!(gap.as_secs() < 60, "{gap:?}");
    tried.stage.target.resume().unwrap();
    tried.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_refuses_the_cutover() {
    let tried = Tried::new("").await;
    let client = tried.stage.source.client(DATABASE).await.unwrap();
    client
        .batch_execute("BEGIN; CREATE TEMP TABLE x (i int); DROP TABLE x; ROLLBACK")
        .await
        .unwrap();
    let sql =
        "BEGIN; INSERT INTO \"Odd schema\".\"No key\" VALUES ('p', 1); PREPARE TRANSACTION 'p'";
    client.batch_execute(sql).await.unwrap();
    let said = tried.cutover(&[]).await;
    assert_eq!(said.code, 1, "{said}");
    client.batch_execute("COMMIT PREPARED 'p'").await.unwrap();
    tried.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmovable_session_refuses_the_cutover_and_is_named() {
    let tried = Tried::new("").await;
    let client = tried.stage.client().await;
    client
        .batch_execute("CREATE TEMP TABLE mine (id int)")
        .await
        .unwrap();
    let said = tried.cutover(&[]).await;
    assert_eq!(said.code, 1, "{said}");
    let status = tried.stage.proxy.status().await.unwrap();
    let unmovable = &status["sessions"]["unmovable"][0];
    assert_eq!(unmovable["user"], "app", "{status:#}");
    assert!(
        unmovable["reasons"].to_string().contains("temp"),
        "{status:#}"
    );
    client.batch_execute("DROP TABLE mine").await.unwrap();
    tried.ends_well().await;
}

//! The preflight check on real servers: every finding once, found by its words, and no change made.

mod custom;
mod objects;
mod privileges;
mod servers;
mod sessions;

use integration::server::{PgOptions, PgServer};
use pgwal::check::{self, CheckOptions, Finding, Level};
use pgwal::wire::Endpoint;

fn options() -> PgOptions {
    PgOptions::default()
        .without_fsync()
        .set("max_prepared_transactions", "10")
}

async fn start(major: u32) -> PgServer {
    PgServer::start(major, options()).await.unwrap()
}

/// Two servers with an empty database `shop` each.
async fn pair(from: u32, to: u32) -> (PgServer, PgServer) {
    let (source, target) = (start(from).await, start(to).await);
    for server in [&source, &target] {
        let create = "CREATE DATABASE shop TEMPLATE template0";
        server.execute("postgres", create).await.unwrap();
    }
    (source, target)
}

fn endpoint(url: &str) -> Endpoint {
    url.parse().unwrap()
}

async fn run(source: &PgServer, target: &PgServer, options: &CheckOptions) -> Vec<Finding> {
    run_as("postgres", source, target, options).await
}

async fn run_as(
    user: &str,
    source: &PgServer,
    target: &PgServer,
    options: &CheckOptions,
) -> Vec<Finding> {
    let (from, to) = (source.url(user, "shop"), target.url(user, "shop"));
    check::run(&endpoint(&from), &endpoint(&to), options).await
}

/// The one finding of this level that has all these words.
#[track_caller]
fn has<'a>(findings: &'a [Finding], level: Level, words: &[&str]) -> &'a Finding {
    let all = |finding: &&Finding| {
        let text = finding.to_string();
        finding.level == level && words.iter().all(|word| text.contains(word))
    };
    let found: Vec<_> = findings.iter().filter(all).collect();
    assert!(
        found.len() == 1,
        "{level:?} {words:?}: {} in\n{}",
        found.len(),
        text(findings)
    );
    let finding = found[0];
    if level != Level::Ok {
        assert!(
            !finding.why.is_empty() && !finding.fix.is_empty(),
            "{finding}"
        );
    }
    finding
}

#[track_caller]
fn has_not(findings: &[Finding], word: &str) {
    assert!(
        !text(findings).contains(word),
        "{word} in\n{}",
        text(findings)
    );
}

fn text(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap()
}

async fn sql(server: &PgServer, statements: &str) {
    server.execute("shop", statements).await.unwrap();
}

/// A logical slot of somebody else.
async fn slot(server: &PgServer, name: &str) {
    let create = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    server.execute("shop", &create).await.unwrap();
}

//! Bad input, as the operator meets it: each is refused or stops the migration with a sentence that
//! names server, object and next step; nothing is skipped, nothing is lost.

mod damage;
mod liar;
mod log_file;
mod numbers;
mod privileges;
mod purged;
mod settings;
mod versions;

use integration::mysql::{MySqlOptions, MySqlServer, Version};
use integration::proxy::{Proxy, ProxyOptions};
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, configured, usual};

/// A source with one table and an empty target of the same version.
async fn pair(version: Version, source: MySqlOptions) -> (MySqlServer, MySqlServer) {
    let (source, target) = tokio::join!(
        MySqlServer::start(version, source),
        MySqlServer::start(version, usual()),
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    let sql = "CREATE DATABASE shop;
        CREATE TABLE shop.note (id INT PRIMARY KEY, text VARCHAR(10)) ENGINE = InnoDB;
        INSERT INTO shop.note VALUES (1, 'first')";
    source.sql(sql).unwrap();
    (source, target)
}

/// The lines of the one finding that says this.
fn finding(check: &str, words: &str) -> String {
    let lines: Vec<&str> = check.lines().collect();
    let at = lines.iter().position(|line| line.contains(words));
    let at = at.unwrap_or_else(|| panic!("nothing says {words:?}: {check}"));
    let more = lines[at + 1..]
        .iter()
        .take_while(|line| line.starts_with(' '));
    std::iter::once(&lines[at])
        .chain(more)
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

/// `check` and `start` refuse with exit code 1, and nothing was begun; gives what `check` said.
async fn refused(options: ProxyOptions) -> String {
    let proxy = Proxy::start(options).await.unwrap();
    let check = proxy.cli(&["check"]).await.unwrap();
    assert_eq!(check.code, 1, "{check}");
    let start = proxy.cli(&["start"]).await.unwrap();
    assert_eq!(start.code, 1, "{start}");
    let status = proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"proxying".into(), &"source".into())
    );
    check.to_string()
}

/// The FAIL on the source that says this, with its advice.
async fn refused_with(source: &MySqlServer, target: &MySqlServer, words: &str) -> String {
    let check = refused(configured(source, target)).await;
    let found = finding(&check, words);
    assert!(found.starts_with("FAIL"), "{found}");
    assert!(
        found.contains("why: ") && found.contains("fix: "),
        "{found}"
    );
    found
}

/// Waits until the migration has stopped; gives the sentence.
async fn stopped(proxy: &Proxy) -> String {
    let status = proxy
        .wait_for("the migration has failed", 2 * PATIENCE, |status| {
            status["phase"] == "failed"
        })
        .await
        .unwrap();
    assert_eq!(status["serving"], "source");
    let cutover = proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(cutover.code, 1, "{cutover}");
    let failure = &status["failure"];
    let text = |name: &str| match &failure[name] {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => panic!("{name} is {other}"),
    };
    format!("{}: {} ({})", text("what"), text("detail"), text("hint"))
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

fn notes(server: &MySqlServer) -> String {
    server
        .sql_in(DATABASE, "SELECT id, text FROM note ORDER BY id")
        .unwrap()
}

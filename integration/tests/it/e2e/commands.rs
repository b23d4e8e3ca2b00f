//! The commands as a script or a person at a terminal sees them.

use std::process::Stdio;

use integration::proxy::{Proxy, program_path};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::stage::{DATABASE, PATIENCE, Stage};

pub(crate) fn command(proxy: &Proxy, arguments: &[&str]) -> Child {
    Command::new(program_path().unwrap())
        .args(arguments)
        .arg("-c")
        .arg(proxy.config_path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, lines.next_line()).await;
    line.unwrap()
        .unwrap()
        .unwrap_or_else(|| panic!("the command ended"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_tells_again_and_again_until_the_proxy_ends() {
    let mut stage = Stage::new(14, 17).await;
    let mut json = command(&stage.proxy, &["status", "--watch", "--json"]);
    let mut json_lines = BufReader::new(json.stdout.take().unwrap()).lines();
    let mut screen = command(&stage.proxy, &["status", "--watch"]);
    let mut screen_lines = BufReader::new(screen.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let status: Value = serde_json::from_str(&next(&mut json_lines).await).unwrap();
        assert_eq!(status["phase"], "proxying", "{status}");
    }
    stage.stream().await;
    loop {
        let status: Value = serde_json::from_str(&next(&mut json_lines).await).unwrap();
        if status["phase"] == "streaming" {
            break;
        }
    }
    loop {
        let line = next(&mut screen_lines).await;
        assert!(!line.contains('\x1b'), "no terminal, so nothing is cleared");
        if line.starts_with("phase") && line.ends_with("streaming") {
            break;
        }
    }
    stage.proxy.kill9().unwrap();
    for child in [&mut json, &mut screen] {
        let ended = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
        // Asked in the moment of the kill, the answer is lost; the next second nobody is there.
        assert!(matches!(ended.code(), Some(1 | 3)), "{ended}");
    }
}

/// What was asked may have happened or not: a script must be able to tell that from a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_whose_answer_is_lost_ends_with_3_and_says_what_to_do() {
    let mut stage = Stage::new(14, 17).await;
    stage.stream().await;
    let client = stage.client().await;
    let sql = "BEGIN; INSERT INTO load_event (id, client, note) VALUES (-1, 900, '')";
    client.batch_execute(sql).await.unwrap();
    let cutover = command(&stage.proxy, &["cutover"]);
    let begun = |status: &Value| status["step"].is_string();
    let what = "the cutover is under way";
    let waited = stage.proxy.wait_for(what, PATIENCE, begun).await;
    waited.unwrap();
    stage.proxy.kill9().unwrap();
    let ended = timeout(PATIENCE, cutover.wait_with_output()).await;
    let ended = ended.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("pointsman status"), "{said}");

    // And that is what the operator does.
    stage.proxy.restart().await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    stage.cutover().await;
    let count = "SELECT count(*) FROM load_event WHERE client = 900";
    assert_eq!(stage.target.psql(DATABASE, count).unwrap(), "0");
    stage.assert_same_contents().await;
}

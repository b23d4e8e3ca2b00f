//! What tests have the program do where it could fail: only in programs that are not built for
//! production.
//!
//! `POINTSMAN_FAILPOINTS` names a folder. A file there with the name of a
//! [point](router::failpoint::Point) says what happens when the program comes there next: `kill`, it
//! dies at once; `wait`, it goes on when the file is gone. Either way the file is renamed to
//! `NAME.reached` first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use router::failpoint::{self, Point};
use tracing::warn;

const VARIABLE: &str = "POINTSMAN_FAILPOINTS";

/// How often it is looked whether the program may go on.
const LOOK_PERIOD: Duration = Duration::from_millis(2);

/// Obeys the folder that the environment names, if it does.
pub(crate) fn obey_environment() {
    if let Some(folder) = std::env::var_os(VARIABLE) {
        let folder = PathBuf::from(folder);
        failpoint::set_hook(Box::new(move |point| {
            Box::pin(come_to(point, folder.clone()))
        }));
    }
}

async fn come_to(point: Point, folder: PathBuf) {
    let file = folder.join(point.name());
    let Ok(what) = std::fs::read_to_string(&file) else {
        return;
    };
    let reached = folder.join(format!("{}.reached", point.name()));
    // Of several that come here at once one is it.
    if std::fs::rename(&file, &reached).is_err() {
        return;
    }
    warn!(
        point = point.name(),
        what = what.trim(),
        "a failpoint is reached"
    );
    match what.trim() {
        "kill" => {
            let killed = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            warn!(?killed, "the program outlives its own kill");
        }
        _wait => until_gone(&reached).await,
    }
}

async fn until_gone(file: &Path) {
    while file.exists() {
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

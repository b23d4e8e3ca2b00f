//! The commands `finish` and `abort`: nothing of ours stays on either server.

use std::io::ErrorKind;
use std::path::Path;

use tracing::warn;

use crate::admin::protocol::Response;
use crate::engine::{Cleanup, Engine};

/// Removes everything of ours after the switch.
pub(super) async fn finish<E: Engine>(engine: &E, lift_fence: bool) -> Response {
    let fence = match lift_fence {
        true => "applications may connect to the old server again",
        false => "the old server stays closed to applications (--lift-fence would have opened it)",
    };
    match engine.finish(lift_fence).await {
        Ok(report) => answer(
            &report,
            &format!(
                "finished: nothing of pointsman is left on either server; {fence}\nnext      set \
                 `source` to the new server in the configuration before the next restart"
            ),
        ),
        Err(why) => Response::refused(format!("cannot finish: {why}")),
    }
}

/// Removes every trace before the switch.
pub(super) async fn abort<E: Engine>(engine: &E, spool: &Path) -> Response {
    match engine.abort().await {
        Ok(report) => {
            if let Err(error) = remove_spool(spool, E::is_spool) {
                warn!(folder = %spool.display(), %error, "cannot remove the spool");
            }
            answer(
                &report,
                "aborted: nothing of pointsman is left on either server",
            )
        }
        Err(why) => Response::refused(format!("cannot abort: {why}")),
    }
}

/// Removes what we made in the spool's folder, and the folder if nothing else is in it: it may be
/// one that the operator keeps other things in.
fn remove_spool(folder: &Path, is_ours: impl Fn(&str) -> bool) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

/// What was done, or what is left to do.
fn answer(report: &Cleanup, done: &str) -> Response {
    let mut lines = report.done.clone();
    if report.left.is_empty() {
        lines.push(done.to_owned());
        Response::done(lines.join("\n"))
    } else {
        lines.extend(
            report
                .left
                .iter()
                .map(|left| format!("still there: {left}")),
        );
        lines.push("not everything could be removed; mend the reason and run it again".to_owned());
        Response::refused(lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_keep_in_the_spools_folder_stays() {
        let is_ours = |name: &str| name.starts_with("pointsman_");
        let folder = std::env::temp_dir().join(format!("pointsman-ending-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("pointsman_0a1b2c3d/segments")).unwrap();
        std::fs::write(folder.join("precious"), "data").unwrap();
        remove_spool(&folder, is_ours).unwrap();
        assert!(folder.join("precious").exists());
        assert!(!folder.join("pointsman_0a1b2c3d").exists());
        std::fs::remove_file(folder.join("precious")).unwrap();
        remove_spool(&folder, is_ours).unwrap();
        assert!(!folder.exists(), "an empty folder is no trace to leave");
        remove_spool(&folder, is_ours).unwrap();
    }
}

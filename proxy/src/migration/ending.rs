//! The commands `finish` and `abort`: nothing of ours stays on either server.

use std::path::Path;

use pgwal::schema::cleanup::{self, CleanupReport, FenceFate};
use pgwal::wire::Endpoint;
use tracing::warn;

use crate::admin::protocol::Response;
use router::words;

/// Removes everything of ours after the switch.
pub(super) async fn finish(source: &Endpoint, target: &Endpoint, lift_fence: bool) -> Response {
    let fate = if lift_fence {
        FenceFate::Lift
    } else {
        FenceFate::Keep
    };
    let fence = match fate {
        FenceFate::Lift => "applications may connect to the old server again",
        FenceFate::Keep => {
            "the old server stays closed to applications (--lift-fence would have opened it)"
        }
    };
    match cleanup::finish(source, target, fate).await {
        Ok(report) => answer(
            &report,
            &format!(
                "finished: nothing of pointsman is left on either server; {fence}\nnext      set \
                 `source` to the new server in the configuration before the next restart"
            ),
        ),
        Err(error) => Response::refused(format!("cannot finish: {}", words(&error))),
    }
}

/// Removes every trace before the switch.
pub(super) async fn abort(source: &Endpoint, target: &Endpoint, spool: &Path) -> Response {
    match cleanup::abort(source, target).await {
        Ok(report) => {
            if let Err(error) = remove_spool(spool) {
                warn!(folder = %spool.display(), %error, "cannot remove the spool");
            }
            answer(
                &report,
                "aborted: nothing of pointsman is left on either server",
            )
        }
        Err(error) => Response::refused(format!("cannot abort: {}", words(&error))),
    }
}

fn remove_spool(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What was done, or what is left to do.
fn answer(report: &CleanupReport, done: &str) -> Response {
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

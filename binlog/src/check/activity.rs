//! What is going on in the source right now that a migration would have to wait for or could not
//! stop.

use std::time::Duration;

use router::Side;

use super::CheckOptions;
use super::report::{Advice, Report, listed};
use super::server::Server;
use crate::movement::error::Failed;
use crate::movement::fence::{self, FenceError, FenceOptions};
use crate::movement::ready;

/// Transactions that are open for longer are named.
const LONG: Duration = Duration::from_secs(60);

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), Failed> {
    let fence_options = FenceOptions {
        nologin: options.nologin.clone(),
        trusted_roles: options.trusted_roles.clone(),
        ..FenceOptions::default()
    };
    let mut ours = options.ours.clone();
    ours.push(source.conn.thread_id());
    match fence::obstacles_now(&source.conn, &fence_options, &ours).await {
        Ok(passes) => {
            if passes.is_empty() {
                report.ok(Side::Source, "nothing is there that would pass a fence");
            }
            for error in &passes {
                passing(error, report);
            }
        }
        // What it lacks is named with the privileges.
        Err(_not_allowed) => {}
    }
    long(source, report).await;
    lost_at_restart(source, report);
    Ok(())
}

fn passing(error: &FenceError, report: &mut Report) {
    let advice = Advice {
        why: "no setting stops it, so the cutover would be refused",
        fix: "do what it says before the cutover",
    };
    match error {
        FenceError::PreparedTransactions { .. } => {
            let what = error.to_string();
            report.fail(Side::Source, &what, advice);
        }
        // Replication is a finding of the log.
        FenceError::Replication { .. } => {}
        other => report.warn(Side::Source, &other.to_string(), advice),
    }
}

async fn long(source: &Server, report: &mut Report) {
    let Ok(found) = ready::long_transactions(&source.conn, LONG).await else {
        return;
    };
    if found.is_empty() {
        return;
    }
    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
    let advice = Advice {
        why: "a snapshot's lock waits for statements, and a cutover for transactions",
        fix: "let them end before the start and before the cutover",
    };
    let what = format!("long transactions: {}", listed(&names));
    report.warn(Side::Source, &what, advice);
}

/// A fence that a restart would take away.
fn lost_at_restart(source: &Server, report: &mut Report) {
    if source.version.is_mysql_at_least(8, 0, 11) {
        if source.is_on("persisted_globals_load") {
            return;
        }
        let advice = Advice {
            why: "the fence is a persisted setting; a fenced source that is restarted would come \
                  up writable",
            fix: "start the source with persisted_globals_load=ON, and not with --no-defaults",
        };
        report.warn(Side::Source, "persisted_globals_load is off", advice);
        return;
    }
    let advice = Advice {
        why: "this version cannot persist settings: a source that is restarted after the switch \
              takes writes of applications that pass the proxy by, until the proxy shuts it again",
        fix: "write read_only = 1 into the [mysqld] section of the source's option file before \
              the cutover: it takes effect at a restart only",
    };
    report.warn(
        Side::Source,
        "the fence would not survive a restart of the server",
        advice,
    );
}

//! The status screen: one calm page of text.

use std::fmt::{Display, Write as _};

use super::{
    CutoverReport, Phase, RunningSession, Status, TableStatus, WayBackState, WayBackStatus,
};

/// Tables shown at most; the rest is counted.
const TABLES_MAX: usize = 12;

/// Unmovable sessions shown at most.
const SESSIONS_MAX: usize = 10;

/// Characters of a bar.
const BAR_WIDTH: usize = 24;

/// The screen as text, ending with the next step.
#[must_use]
pub(crate) fn render(status: &Status) -> String {
    let mut out = String::new();
    let serving = status
        .serving
        .as_deref()
        .unwrap_or("nobody yet (asking the servers)");
    line(&mut out, "phase", phase_words(status.phase));
    if let Some(step) = &status.step {
        line(&mut out, "step", step);
    }
    line(&mut out, "serving", serving);
    if let Some(failure) = &status.failure {
        line(&mut out, "failed", &failure.what);
        line(&mut out, "", &failure.detail);
    }
    if let Some(trouble) = &status.trouble {
        line(&mut out, "trouble", trouble);
    }
    for warning in &status.warnings {
        line(&mut out, "note", warning);
    }
    lag(&mut out, status);
    tables(&mut out, status);
    sessions(&mut out, status);
    way_back(&mut out, status);
    for report in status.last_cutover.iter().chain(&status.last_rollback) {
        cutover(&mut out, report);
    }
    if let Some(report) = &status.last_verify {
        line(&mut out, "verify", &report.summary());
    }
    line(&mut out, "next", &next_step(status));
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    let _cannot_fail = writeln!(out, "{name:<9} {value}");
}

/// So many of something: `1 session`, `2 sessions`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(number: N, one: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {one}{plural}")
}

fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Proxying => "proxying (no migration)",
        Phase::Copying => "copying",
        Phase::Streaming => "streaming",
        Phase::CuttingOver => "cutting over",
        Phase::Switched => "switched",
        Phase::RollingBack => "rolling back",
        Phase::Finished => "finished",
        Phase::Failed => "failed",
    }
}

fn lag(out: &mut String, status: &Status) {
    let mut parts = Vec::new();
    if let Some(bytes) = status.lag.bytes {
        parts.push(bytesize::ByteSize::b(bytes).to_string());
    }
    if let Some(transactions) = status.lag.transactions {
        parts.push(counted(transactions, "transaction"));
    }
    if let Some(seconds) = status.lag.seconds {
        parts.push(format!("{seconds:.1} s"));
    }
    if !parts.is_empty() {
        line(out, "lag", &parts.join(", "));
    }
}

/// Whether `rollback` could lead back.
fn way_back(out: &mut String, status: &Status) {
    let Some(WayBackStatus { state, reason }) = &status.way_back else {
        return;
    };
    let words = match (state, reason) {
        (WayBackState::Open, _) => "open: changes flow back to the source".to_owned(),
        (WayBackState::Opening, _) => "being opened".to_owned(),
        (WayBackState::Closed, reason) => {
            let reason = reason.as_deref().unwrap_or("not known why");
            format!("none, rollback is refused: {reason}")
        }
    };
    line(out, "way back", &words);
}

fn tables(out: &mut String, status: &Status) {
    let tables = &status.copy.tables;
    if tables.is_empty() {
        return;
    }
    let done = tables.iter().filter(|table| table.done).count();
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    let eta = status
        .copy
        .eta_seconds
        .map_or(String::new(), |s| format!(", about {s:.0} s left"));
    let size = bytesize::ByteSize::b(bytes);
    let count = tables.len();
    line(
        out,
        "copy",
        &format!(
            "{done} of {}, {}, {size}{eta}",
            counted(count, "table"),
            counted(rows, "row")
        ),
    );
    if status.phase != Phase::Copying {
        return;
    }
    let mut open: Vec<_> = tables.iter().filter(|table| !table.done).collect();
    open.sort_by_key(|table| std::cmp::Reverse((table.bytes > 0, table.bytes_expected)));
    for table in open.iter().take(TABLES_MAX) {
        line(out, "", &format!("{} {}", bar(table), table.name));
    }
    if open.len() > TABLES_MAX {
        line(
            out,
            "",
            &format!("and {} more to copy", open.len() - TABLES_MAX),
        );
    }
}

fn bar(table: &TableStatus) -> String {
    let total = table.bytes_expected.max(1);
    // The expectation is an estimate, so a table that is not done never shows a full bar.
    let share = (table.bytes.saturating_mul(100) / total).min(99);
    let filled = usize::try_from(share).unwrap_or(0) * BAR_WIDTH / 100;
    format!(
        "[{}{}] {share:>2} %",
        "#".repeat(filled),
        ".".repeat(BAR_WIDTH - filled)
    )
}

fn sessions(out: &mut String, status: &Status) {
    let sessions = &status.sessions;
    let twins = match status.phase {
        Phase::Streaming | Phase::CuttingOver | Phase::RollingBack => {
            format!(", {} ready to move", sessions.twins)
        }
        Phase::Proxying | Phase::Copying | Phase::Switched | Phase::Finished | Phase::Failed => {
            String::new()
        }
    };
    let text = format!(
        "{}, {} in a transaction{twins}",
        sessions.total, sessions.active
    );
    line(out, "sessions", &text);
    for session in sessions.unmovable.iter().take(SESSIONS_MAX) {
        let reasons = session.reasons.join(", ");
        let who = format!("{} {}@{}", session.client, session.user, session.database);
        let age = session.age_seconds;
        line(
            out,
            "",
            &format!(
                "cannot move: #{} {who}, {age:.0} s old: {reasons} ({})",
                session.id,
                at_cutover(&session.policy)
            ),
        );
    }
    if sessions.unmovable.len() > SESSIONS_MAX {
        let more = sessions.unmovable.len() - SESSIONS_MAX;
        line(
            out,
            "",
            &format!("and {more} more that cannot move (status --json lists all)"),
        );
    }
}

/// What a cutover does with a session, from the name of the policy.
fn at_cutover(policy: &str) -> &'static str {
    match policy {
        "end" => "a cutover ends it",
        "wait" => "a cutover waits for it",
        _ => "refuses a cutover",
    }
}

/// The lines about a movement, also printed by `cutover` and `rollback` themselves.
pub(crate) fn cutover(out: &mut String, report: &CutoverReport) {
    let reason = report
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    let name = match report.to.as_str() {
        "source" => "rollback",
        _target => "cutover",
    };
    line(out, name, &format!("{}{reason}", report.outcome));
    if !report.steps.is_empty() {
        let steps: Vec<_> = report
            .steps
            .iter()
            .map(|step| format!("{} {:.1}", step.step, step.ms))
            .collect();
        line(
            out,
            "pause",
            &format!("{:.1} ms = {}", report.pause_ms, steps.join(" + ")),
        );
        let counts = format!(
            "{} moved, {} ended, {} ended",
            counted(report.sessions_moved, "session"),
            report.sessions_ended,
            counted(report.foreign_ended, "foreign connection")
        );
        line(out, "", &counts);
    }
    if let Some(why) = &report.no_way_back {
        let words = match report.to.as_str() {
            "source" => format!("another cutover would need a new copy: {why}"),
            _target => format!("none, there will be no rollback: {why}"),
        };
        line(out, "way back", &words);
    }
    let mut word = "replicas";
    for sentence in &report.for_replicas {
        line(out, word, sentence);
        word = "";
    }
    still_running(out, report);
    for would in &report.would {
        line(out, "", would);
    }
}

fn still_running(out: &mut String, report: &CutoverReport) {
    for session in report.still_running.iter().take(SESSIONS_MAX) {
        let RunningSession {
            id,
            client,
            user,
            database,
            state,
            age_seconds,
        } = session;
        let words = format!(
            "still running: #{id} {client} {user}@{database}, {state}, open for {age_seconds:.1} s"
        );
        line(out, "", &words);
    }
    let more = report.still_running.len().saturating_sub(SESSIONS_MAX);
    if more > 0 {
        line(out, "", &format!("and {more} more (--json lists all)"));
    }
}

fn has_way_back(status: &Status) -> bool {
    let way_back = status.way_back.as_ref();
    way_back.is_some_and(|way_back| way_back.state == WayBackState::Open)
}

fn next_step(status: &Status) -> String {
    if let Some(failure) = &status.failure {
        return failure.hint.clone();
    }
    let unmovable = status.sessions.unmovable.iter();
    let refusing = unmovable.filter(|one| one.policy == "refuse").count();
    let text = match status.phase {
        Phase::Proxying => "pointsman check, then pointsman start",
        Phase::Copying => "wait for the copy; pointsman status --watch shows it move",
        Phase::Streaming if refusing == 0 => "pointsman cutover --dry-run, then pointsman cutover",
        Phase::Streaming => {
            "end the sessions above, or set cutover.on_unmovable_session, then pointsman cutover"
        }
        Phase::CuttingOver | Phase::RollingBack => "wait",
        Phase::Switched if has_way_back(status) => {
            "when you are sure: pointsman finish; to go back to the source: pointsman rollback"
        }
        Phase::Switched => "when you are sure: pointsman finish",
        Phase::Finished => "set `source` to the new server in the configuration",
        Phase::Failed => "see the log",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{CopyStatus, Failure, Lag, Sessions};

    fn status(phase: Phase) -> Status {
        Status {
            phase,
            serving: Some("source".to_owned()),
            step: None,
            failure: None,
            trouble: None,
            warnings: Vec::new(),
            lag: Lag::default(),
            copy: CopyStatus::default(),
            sessions: Sessions::default(),
            last_cutover: None,
            last_rollback: None,
            last_verify: None,
            way_back: None,
        }
    }

    #[test]
    fn every_screen_ends_with_the_next_step() {
        for phase in [
            Phase::Proxying,
            Phase::Copying,
            Phase::Streaming,
            Phase::Switched,
        ] {
            let screen = render(&status(phase));
            assert!(
                screen.lines().last().unwrap().starts_with("next "),
                "{screen}"
            );
        }
    }

    #[test]
    fn a_failure_shows_its_own_hint_as_the_next_step() {
        let mut failed = status(Phase::Failed);
        failed.failure = Some(Failure {
            what: "the stream stopped".to_owned(),
            detail: "table shop.orders has a new column".to_owned(),
            hint: "pointsman abort, then start again".to_owned(),
        });
        let screen = render(&failed);
        assert!(screen.contains("shop.orders"), "{screen}");
        assert!(
            screen.ends_with("pointsman abort, then start again\n"),
            "{screen}"
        );
    }

    #[test]
    fn one_of_something_is_not_many() {
        assert_eq!(counted(0_u64, "session"), "0 sessions");
        assert_eq!(counted(1_u64, "session"), "1 session");
        assert_eq!(counted(2_u64, "session"), "2 sessions");
    }

    #[test]
    fn a_table_that_is_not_done_never_shows_a_full_bar() {
        let table = TableStatus {
            name: "shop.orders".to_owned(),
            rows: 10,
            bytes: 500,
            bytes_expected: 100,
            done: false,
        };
        assert!(bar(&table).contains("99 %"));
    }
}

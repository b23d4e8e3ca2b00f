//! What a cutover has to say for itself.

use std::time::Duration;

use router::Side;
use router::cutover::{Cause, Ended};

use super::Scene;
use crate::admin::protocol::Response;
use crate::config::Policy;
use crate::engine::{Clients as _, Engine};
use crate::migration::mover::Moved;
use crate::status::{CutoverReport, RunningSession, StepTime, render_cutover};

/// The report of a movement that was driven to its end.
pub(super) fn of<E: Engine>(
    scene: &Scene<'_, E>,
    moved: &Moved,
    foreign_ended: usize,
    sessions_ended: usize,
) -> CutoverReport {
    let switched = moved.ended == Ended::Switched;
    let reason = match moved.ended {
        Ended::Switched => None,
        Ended::GivenUp(Cause::DrainDeadline) if moved.still_running.is_empty() => {
            let why = "no transaction was running any more, but not all sessions could be read \
                       again before cutover.drain_timeout; raise it, or try again when less is \
                       running";
            Some(why.to_owned())
        }
        Ended::GivenUp(cause) => Some(because(cause, &moved.errors)),
        Ended::Contradiction => Some("the journal contradicts this proxy".to_owned()),
    };
    let steps = moved.timeline.steps().into_iter();
    CutoverReport {
        to: scene.to.to_string(),
        outcome: match (switched, scene.to) {
            (true, Side::Target) => "switched",
            (true, Side::Source) => ROLLED_BACK,
            (false, Side::Target | Side::Source) => "aborted",
        }
        .to_owned(),
        no_way_back: None,
        reason,
        pause_ms: milliseconds(moved.timeline.pause().unwrap_or_default()),
        steps: steps
            // What comes before the hold is no part of the pause.
            .filter(|step| !matches!(step.name, "begin" | "hold"))
            .map(|step| StepTime {
                step: step.name.to_owned(),
                ms: milliseconds(step.took),
            })
            .collect(),
        sessions_moved: if switched {
            scene.engine.clients().count()
        } else {
            0
        },
        sessions_ended,
        foreign_ended,
        still_running: match moved.ended {
            Ended::GivenUp(Cause::DrainDeadline) => moved.still_running.clone(),
            Ended::GivenUp(_) | Ended::Switched | Ended::Contradiction => Vec::new(),
        },
        for_replicas: Vec::new(),
        would: Vec::new(),
    }
}

fn because(cause: Cause, errors: &[String]) -> String {
    match errors.first() {
        Some(error) => format!("{cause} ({error})"),
        None => cause.to_string(),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The report of a movement that was refused before anybody had to wait.
pub(super) fn refused(
    to: Side,
    reason: String,
    still_running: Vec<RunningSession>,
) -> CutoverReport {
    CutoverReport {
        to: to.to_string(),
        no_way_back: None,
        outcome: "refused".to_owned(),
        reason: Some(reason),
        pause_ms: 0.0,
        steps: Vec::new(),
        sessions_moved: 0,
        sessions_ended: 0,
        foreign_ended: 0,
        still_running,
        for_replicas: Vec::new(),
        would: Vec::new(),
    }
}

/// The outcome of a rollback that was carried out.
const ROLLED_BACK: &str = "rolled_back";

/// The command's name.
fn name(to: Side) -> &'static str {
    match to {
        Side::Target => "cutover",
        Side::Source => "rollback",
    }
}

/// The answer to the command.
pub(super) fn answer(report: CutoverReport) -> Response {
    let mut text = String::new();
    render_cutover(&mut text, &report);
    let response = match report.outcome.as_str() {
        "switched" => {
            text.push_str("next      when you are sure: pointsman finish");
            if report.no_way_back.is_none() {
                text.push_str("; to go back to the source: pointsman rollback");
            }
            Response::done(text)
        }
        ROLLED_BACK => {
            text.push_str("next      pointsman cutover, or pointsman abort");
            Response::done(text)
        }
        _given_up => {
            let serves = match report.to.as_str() {
                "source" => Side::Target,
                _target => Side::Source,
            };
            text.push_str(&format!(
                "the {serves} serves on; mend the reason and try again"
            ));
            Response::refused(text)
        }
    };
    response.with_result(report)
}

/// What would happen to each session and each long transaction.
pub(super) fn would<E: Engine>(scene: &Scene<'_, E>, long_transactions: &[String]) -> Vec<String> {
    let policies = &scene.config.cutover;
    let movement = name(scene.to);
    let mut lines = Vec::new();
    for session in scene.engine.clients().sessions() {
        let reasons = session.reasons();
        let what = match policies.policy_for(&session) {
            None if session.twin_ready => "moves".to_owned(),
            None => format!(
                "moves; its connection to the {} is opened at the switch",
                scene.to
            ),
            Some(Policy::Refuse) => format!("refuses the {movement}: {reasons}"),
            Some(Policy::Wait) => format!(
                "is waited for, up to {} (cutover.wait_timeout): {reasons}",
                policies.wait_timeout
            ),
            Some(Policy::End) => format!("is ended: {reasons}"),
        };
        let (id, client) = (session.id, session.client);
        lines.push(format!(
            "session #{id} {client} {}@{}: {what}",
            session.user, session.database
        ));
    }
    for transaction in long_transactions {
        lines.push(format!("the drain would wait for {transaction}"));
    }
    lines
}

/// The answer to `--dry-run`.
pub(super) fn dry_run(
    to: Side,
    obstacles: &[String],
    still_running: Vec<RunningSession>,
    would: Vec<String>,
    no_way_back: Option<String>,
) -> Response {
    let reason = if obstacles.is_empty() {
        None
    } else {
        Some(obstacles.join("; "))
    };
    let report = CutoverReport {
        outcome: "dry_run".to_owned(),
        reason,
        would,
        no_way_back,
        ..refused(to, String::new(), still_running)
    };
    let mut text = String::new();
    render_cutover(&mut text, &report);
    if obstacles.is_empty() {
        text.push_str("nothing stands in the way; nothing was changed");
        Response::done(text).with_result(report)
    } else {
        let movement = name(to);
        text.push_str(&format!(
            "the {movement} would be refused; nothing was changed"
        ));
        Response::refused(text).with_result(report)
    }
}

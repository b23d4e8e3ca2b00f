//! What the command line prints.

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use crate::admin::client::{self, ClientError};
use crate::admin::protocol::{Request, Response};
use crate::cli::Command;
use crate::exit::Exit;
use crate::status::{Phase, Status, render};

/// How often `--watch` and `--wait` ask.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// A command that takes longer shows what it does.
const FIRST_STEP_AFTER: Duration = Duration::from_secs(2);

/// Prints an error with its causes on standard error.
pub(crate) fn error(error: &dyn Error) {
    let mut text = format!("pointsman: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    line(&mut std::io::stderr(), &text);
}

/// A closed pipe (`pointsman status | head -1`) is no failure of ours.
fn line(out: &mut dyn std::io::Write, text: &str) {
    let _closed = writeln!(out, "{}", text.trim_end_matches('\n'));
}

/// Asks the proxy for what the command wants, and prints the answer.
pub(crate) fn carry_out(command: &Command, socket: &Path) -> Exit {
    let outcome = match command {
        Command::Run { .. } => return Exit::Usage,
        Command::Check { accept, json, .. } => once(
            socket,
            &Request::Check {
                accept: accept.clone(),
            },
            *json,
        ),
        Command::Start { accept, wait, .. } => {
            let started = once(
                socket,
                &Request::Start {
                    accept: accept.clone(),
                },
                false,
            );
            match started {
                Ok(Exit::Done) if *wait => wait_for_streaming(socket),
                other => other,
            }
        }
        Command::Status { json, watch, .. } => {
            if *watch {
                self::watch(socket, *json)
            } else {
                show_status(socket, *json)
            }
        }
        Command::Verify { json, .. } => once(socket, &Request::Verify {}, *json),
        Command::Cutover {
            max_pause,
            dry_run,
            json,
            ..
        } => once(
            socket,
            &Request::Cutover {
                max_pause_ms: max_pause.map(milliseconds),
                dry_run: *dry_run,
            },
            *json,
        ),
        Command::Rollback {
            max_pause,
            dry_run,
            json,
            ..
        } => once(
            socket,
            &Request::Rollback {
                max_pause_ms: max_pause.map(milliseconds),
                dry_run: *dry_run,
            },
            *json,
        ),
        Command::Finish { lift_fence, .. } => once(
            socket,
            &Request::Finish {
                lift_fence: *lift_fence,
            },
            false,
        ),
        Command::Abort { .. } => once(socket, &Request::Abort {}, false),
    };
    outcome.unwrap_or_else(|lost| failed(&lost))
}

fn milliseconds(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

/// What a proxy that does not answer means for the exit code: before the command was sent nothing
/// has happened, afterwards nobody knows.
fn failed(lost: &ClientError) -> Exit {
    error(lost);
    match lost {
        ClientError::Connect { .. } => Exit::Refused,
        ClientError::Lost { .. } | ClientError::Answer { .. } => {
            let advice = "what to do: run `pointsman status`; the proxy decides from what the \
                          two servers say, also after a restart";
            line(&mut std::io::stderr(), advice);
            Exit::Unknown
        }
    }
}

fn once(socket: &Path, request: &Request, json: bool) -> Result<Exit, ClientError> {
    let response = ask_showing_steps(socket, request)?;
    print(&response, json);
    Ok(response.exit)
}

/// Asks, and shows a person who waits for longer what is being done.
fn ask_showing_steps(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    if !std::io::stderr().is_terminal() {
        return client::ask(socket, request);
    }
    let (answer, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        // Its end is seen by the answer that it sends.
        let _asking = scope.spawn(|| answer.send(client::ask(socket, request)));
        let mut shown = String::new();
        let mut patience = FIRST_STEP_AFTER;
        loop {
            match answered.recv_timeout(patience) {
                Ok(response) => return response,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let source = std::io::ErrorKind::Other.into();
                    return Err(ClientError::Lost { source });
                }
            }
            patience = WATCH_PERIOD;
            let step = status(socket).ok().and_then(|(_, status)| status.step);
            if let Some(step) = step.filter(|step| *step != shown) {
                line(&mut std::io::stderr(), &format!("... {step}"));
                shown = step;
            }
        }
    })
}

fn print(response: &Response, json: bool) {
    if json {
        let value = match &response.result {
            Value::Null => serde_json::json!({ "text": response.text }),
            result => result.clone(),
        };
        line(&mut std::io::stdout(), &format!("{value:#}"));
    } else if response.exit == Exit::Done {
        line(&mut std::io::stdout(), &response.text);
    } else {
        line(&mut std::io::stderr(), &response.text);
    }
}

fn status(socket: &Path) -> Result<(Response, Status), ClientError> {
    let response = client::ask(socket, &Request::Status {})?;
    let status = serde_json::from_value(response.result.clone())
        .map_err(|source| ClientError::Answer { source })?;
    Ok((response, status))
}

fn show_status(socket: &Path, json: bool) -> Result<Exit, ClientError> {
    let (response, status) = status(socket)?;
    if json {
        print(&response, true);
    } else {
        line(&mut std::io::stdout(), &render(&status));
    }
    Ok(response.exit)
}

/// One JSON object a line, or a screen that is redrawn, until interrupted or the proxy ends.
fn watch(socket: &Path, json: bool) -> Result<Exit, ClientError> {
    let redraw = std::io::stdout().is_terminal();
    loop {
        let (response, status) = status(socket)?;
        if json {
            line(&mut std::io::stdout(), &response.result.to_string());
        } else {
            let clear = if redraw { "\x1b[H\x1b[2J" } else { "" };
            line(
                &mut std::io::stdout(),
                &format!("{clear}{}", render(&status)),
            );
        }
        pause();
    }
}

/// Shows each new step until the target is current or the migration has stopped.
fn wait_for_streaming(socket: &Path) -> Result<Exit, ClientError> {
    let mut shown = String::new();
    loop {
        let (_, status) = status(socket)?;
        let done = status.copy.tables.iter().filter(|table| table.done).count();
        let step = status.step.clone().unwrap_or_default();
        let now = format!("{step} ({done} of {} tables)", status.copy.tables.len());
        if now != shown && status.phase == Phase::Copying {
            line(&mut std::io::stdout(), &now);
            shown = now;
        }
        match status.phase {
            Phase::Copying => pause(),
            Phase::Failed | Phase::Proxying => {
                line(&mut std::io::stderr(), &render(&status));
                return Ok(Exit::Refused);
            }
            Phase::Streaming
            | Phase::CuttingOver
            | Phase::Switched
            | Phase::RollingBack
            | Phase::Finished => {
                line(&mut std::io::stdout(), &render(&status));
                return Ok(Exit::Done);
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a screen that refreshes by the clock"
)]
fn pause() {
    std::thread::sleep(WATCH_PERIOD);
}

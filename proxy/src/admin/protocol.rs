//! What goes over the admin socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;

/// Bytes of one line at most.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// A command, as one line of JSON: `{"command":"cutover","dry_run":true}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Look at both servers.
    Check {
        /// What is accepted although it would refuse the migration.
        #[serde(default)]
        accept: Vec<String>,
    },
    /// Begin the migration.
    Start {
        /// What is accepted although it would refuse the migration.
        #[serde(default)]
        accept: Vec<String>,
    },
    /// Where things stand.
    Status {},
    /// Compare both sides.
    Verify {},
    /// Move the clients to the target.
    Cutover {
        /// Longest pause, instead of the configured one.
        #[serde(default)]
        max_pause_ms: Option<u64>,
        /// Only say what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Move the clients back to the source.
    Rollback {
        /// Longest pause, instead of the configured one.
        #[serde(default)]
        max_pause_ms: Option<u64>,
        /// Only say what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Remove everything of ours after the switch.
    Finish {
        /// Let applications connect to the source again.
        #[serde(default)]
        lift_fence: bool,
    },
    /// Remove every trace before the switch.
    Abort {},
}

impl Request {
    /// The command's name, for the audit log.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Start { .. } => "start",
            Self::Status {} => "status",
            Self::Verify {} => "verify",
            Self::Cutover { .. } => "cutover",
            Self::Rollback { .. } => "rollback",
            Self::Finish { .. } => "finish",
            Self::Abort {} => "abort",
        }
    }
}

/// The answer, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Response {
    /// The exit code for the command line.
    pub exit: Exit,
    /// What to tell the operator.
    pub text: String,
    /// The same for machines.
    #[serde(default)]
    pub result: Value,
}

impl Response {
    /// A command that did what it was asked to.
    #[must_use]
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Done,
            text: text.into(),
            result: Value::Null,
        }
    }

    /// A command that was refused or failed, with the old side serving.
    #[must_use]
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            text: text.into(),
            result: Value::Null,
        }
    }

    /// Adds the answer for machines.
    #[must_use]
    pub(crate) fn with_result(self, result: impl Serialize) -> Self {
        let result = serde_json::to_value(result).unwrap_or(Value::Null);
        Self { result, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_the_contract_says() {
        let parse = serde_json::from_str::<Request>;
        assert_eq!(
            parse(r#"{"command":"status"}"#).unwrap(),
            Request::Status {}
        );
        assert_eq!(
            parse(r#"{"command":"cutover","max_pause_ms":500}"#).unwrap(),
            Request::Cutover {
                max_pause_ms: Some(500),
                dry_run: false
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"command":"drop"}"#,
            r#"{"command":"abort","now":1}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}

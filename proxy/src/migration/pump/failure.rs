//! What an error means for the migration: try again, or stop with a sentence that says what to do.
//!
//! The one place that decides it.

use std::path::Path;

use pgwal::apply::ApplyError;
use pgwal::schema::initial::InitialError;
use pgwal::stream::StreamError;
use router::words;

use crate::status::Failure;

/// What is known of an error whose cause the operator must mend.
const MEND: &str = "mend it and run `pointsman start` to go on, or `pointsman abort` to remove \
                    every trace";

/// What no waiting mends.
const BEGIN_AGAIN: &str = "`pointsman abort`, then `pointsman start` again; the source serves on \
                           meanwhile";

/// How one attempt of the pump ended.
pub(super) enum Attempt {
    /// It was asked to stop.
    Stopped,
    /// It may pass: try again.
    Again {
        /// Why.
        why: String,
        /// Whether something was applied since the attempt before.
        progressed: bool,
    },
    /// It cannot pass.
    Failed(Failure),
}

impl Attempt {
    /// Notes whether something was applied.
    pub(super) fn progressed(self, progressed: bool) -> Self {
        match self {
            Self::Again { why, .. } => Self::Again { why, progressed },
            Self::Stopped | Self::Failed(_) => self,
        }
    }

    fn of(may_pass: bool, what: &str, error: &dyn std::error::Error, hint: &str) -> Self {
        let detail = words(error);
        if may_pass {
            return Self::Again {
                why: format!("{what}: {detail}"),
                progressed: false,
            };
        }
        Self::Failed(Failure {
            what: what.to_owned(),
            detail,
            hint: hint.to_owned(),
        })
    }
}

/// An initial copy that ended early.
pub(super) fn of_copy(error: InitialError) -> Attempt {
    let hint = match &error {
        InitialError::Drift(_) => BEGIN_AGAIN,
        InitialError::Schema(_)
        | InitialError::Dump(_)
        | InitialError::Copy(_)
        | InitialError::Snapshot(_) => MEND,
    };
    Attempt::of(error.may_pass(), "the copy stopped", &error, hint)
}

/// A stream that cannot be opened.
pub(super) fn of_stream(error: StreamError) -> Attempt {
    Attempt::of(
        error.is_transient(),
        "the stream cannot be opened",
        &error,
        BEGIN_AGAIN,
    )
}

/// A spool whose folder cannot be made.
pub(super) fn of_spool(folder: &Path, error: &std::io::Error) -> Attempt {
    Attempt::Failed(Failure {
        what: "the spool cannot be used".to_owned(),
        detail: format!("cannot make the folder {}: {error}", folder.display()),
        hint: "set `spool.dir` to a folder that the proxy may write to, restart the proxy, and \
               `pointsman start`"
            .to_owned(),
    })
}

/// An applier that ended, by itself or with the stream it read from.
pub(super) fn of_apply(error: ApplyError) -> Attempt {
    let may_pass = error.is_transient();
    let mut attempt = Attempt::of(may_pass, "applying changes stopped", &error, BEGIN_AGAIN);
    if let (Attempt::Failed(failure), Some(key)) = (&mut attempt, error.key()) {
        let values: Vec<_> = key
            .values()
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .collect();
        failure
            .detail
            .push_str(&format!(" (key: {})", values.join(", ")));
    }
    attempt
}

/// A schema that is another on the source now.
pub(super) fn of_drift(drift: &[String]) -> Failure {
    Failure {
        what: "the schema of the source has changed".to_owned(),
        detail: drift.join("; "),
        hint: format!(
            "changes to the schema are not replicated: undo them on the source, or {BEGIN_AGAIN}"
        ),
    }
}

//! How an attempt of the pump ends, and what is wrong with what is not an engine's.

use std::path::Path;

use router::Side;

use crate::engine::{BEGIN_AGAIN, Interruption};
use crate::status::Failure;

/// How one attempt of the pump ended.
pub(in super::super) enum Attempt {
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
}

impl From<Interruption> for Attempt {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::MayPass(why) => Self::Again {
                why,
                progressed: false,
            },
            Interruption::Definite(failure) => Self::Failed(failure),
        }
    }
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

/// A schema that is another on the serving side now.
pub(super) fn of_drift(serving: Side, drift: &[String]) -> Failure {
    Failure {
        what: format!("the schema of the {serving} has changed"),
        detail: drift.join("; "),
        hint: format!(
            "changes to the schema are not replicated: undo them on the {serving}, or {BEGIN_AGAIN}"
        ),
    }
}

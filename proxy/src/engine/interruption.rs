//! What an error means for the migration: try again, or stop with a sentence that says what to do.

use std::error::Error;

use router::words;

use crate::status::Failure;

/// What is known of an error whose cause the operator must mend.
pub(crate) const MEND: &str = "mend it and run `pointsman start` to go on, or `pointsman abort` \
                               to remove every trace";

/// What no waiting mends.
pub(crate) const BEGIN_AGAIN: &str = "`pointsman abort`, then `pointsman start` again; the source \
                                      serves on meanwhile";

/// What the operator does when changes do not flow back to the source.
pub(crate) const NO_WAY_BACK: &str = "the target serves on, and rollback is refused; when you are \
                                      sure of the target: pointsman finish";

/// Why the copy or the stream has ended, though nobody asked it to.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// It may pass; the reason.
    MayPass(String),
    /// It cannot pass.
    Definite(Failure),
}

impl Interruption {
    /// The one place that decides it.
    pub(crate) fn of(may_pass: bool, what: &str, error: &dyn Error, hint: &str) -> Self {
        let detail = words(error);
        if may_pass {
            return Self::MayPass(format!("{what}: {detail}"));
        }
        Self::Definite(Failure {
            what: what.to_owned(),
            detail,
            hint: hint.to_owned(),
        })
    }

    /// The same of the stream that comes back from the target: engines call the server that gets
    /// changes the target, and nothing of what helps before the switch helps here.
    #[must_use]
    pub(crate) fn on_the_way_back(self) -> Self {
        let note =
            "on the way back, where \"the target\" is the source and \"the source\" the target";
        match self {
            Self::MayPass(why) => Self::MayPass(format!("{note}: {why}")),
            Self::Definite(failure) => Self::Definite(Failure {
                what: "changes no longer flow back".to_owned(),
                detail: format!("{note}: {}: {}", failure.what, failure.detail),
                hint: NO_WAY_BACK.to_owned(),
            }),
        }
    }

    /// Adds the key of the row that is concerned, if it is known.
    #[must_use]
    pub(crate) fn with_key(mut self, key: Option<Vec<String>>) -> Self {
        if let (Self::Definite(failure), Some(key)) = (&mut self, key) {
            failure
                .detail
                .push_str(&format!(" (key: {})", key.join(", ")));
        }
        self
    }
}

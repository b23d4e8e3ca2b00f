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

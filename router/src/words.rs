//! An error and its causes as one sentence.

use std::error::Error;

/// The error and all its causes, joined by colons.
#[must_use]
pub fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors print their cause themselves.
        if !words.ends_with(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Layer {
        says: &'static str,
        source: io::Error,
    }

    fn layer(says: &'static str) -> Layer {
        let source = io::Error::other("the disk is full");
        Layer { says, source }
    }

    #[test]
    fn causes_follow_behind_colons() {
        let error = layer("cannot write");
        assert_eq!(words(&error), "cannot write: the disk is full");
    }

    #[test]
    fn a_cause_that_was_printed_already_is_not_repeated() {
        let error = layer("cannot write: the disk is full");
        assert_eq!(words(&error), "cannot write: the disk is full");
    }
}

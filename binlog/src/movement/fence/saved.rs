//! What the fence's row keeps of the time before: a `name=value` line for each in
//! `pointsman.fence.saved`.

use super::FenceError;

/// The settings before the fence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// `read_only`.
    pub read_only: bool,
    /// `super_read_only`; off where the server has none.
    pub super_read_only: bool,
    /// `event_scheduler`: `ON`, `OFF` or `DISABLED`.
    pub event_scheduler: String,
    /// What SET PERSIST had of `super_read_only`; `None` if nothing.
    pub persisted: Option<String>,
    /// Accounts that were locked, as SQL.
    pub locked: Vec<String>,
}

impl Saved {
    /// No value has a line break: the settings are words, and accounts with one are not locked.
    pub(super) fn to_text(&self) -> String {
        let word = |on| if on { "ON" } else { "OFF" };
        let mut lines = vec![
            format!("read_only={}", word(self.read_only)),
            format!("super_read_only={}", word(self.super_read_only)),
            format!("event_scheduler={}", self.event_scheduler),
        ];
        lines.extend(
            self.persisted
                .iter()
                .map(|value| format!("persisted={value}")),
        );
        lines.extend(self.locked.iter().map(|value| format!("locked={value}")));
        lines.join("\n")
    }

    pub(super) fn parse(text: &str) -> Result<Self, FenceError> {
        let mut saved = Self::default();
        for line in text.lines() {
            match line.split_once('=') {
                Some(("read_only", value)) => saved.read_only = value == "ON",
                Some(("super_read_only", value)) => saved.super_read_only = value == "ON",
                Some(("event_scheduler", value)) => value.clone_into(&mut saved.event_scheduler),
                Some(("persisted", value)) => saved.persisted = Some(value.to_owned()),
                Some(("locked", value)) => saved.locked.push(value.to_owned()),
                Some(_) | None => {
                    return Err(FenceError::UnknownRow {
                        column: "saved",
                        value: line.to_owned(),
                    });
                }
            }
        }
        Ok(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_back() {
        let saved = Saved {
            read_only: true,
            super_read_only: false,
            event_scheduler: "ON".to_owned(),
            persisted: Some("OFF".to_owned()),
            locked: vec!["'it''s=x'@'%'".to_owned(), "'b'@'h'".to_owned()],
        };
        assert_eq!(Saved::parse(&saved.to_text()).unwrap(), saved);
        let least = Saved {
            event_scheduler: "DISABLED".to_owned(),
            ..Saved::default()
        };
        assert_eq!(Saved::parse(&least.to_text()).unwrap(), least);
        assert!(Saved::parse("read_only").is_err());
        assert!(Saved::parse("other=1").is_err());
    }
}

//! `[cutover]`: how long anybody may wait, and what happens with whom it would have to wait for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Period};
use crate::engine::{Kind, Session};

/// What happens with a session that stands in the way of a cutover. The later ones are the more
/// careful ones: of several that concern one session, the last is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// The session is ended with the server's own "terminating connection" error.
    End,
    /// Nobody is held before it is out of the way, for `wait_timeout` at most; then the cutover is
    /// refused.
    Wait,
    /// The cutover is refused; the source serves on.
    #[default]
    #[serde(alias = "abort")]
    Refuse,
}

impl Policy {
    /// As it stands in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Wait => "wait",
            Self::Refuse => "refuse",
        }
    }
}

/// Whether a movement prepares that another one may lead back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WayBack {
    /// Where it can be; where it cannot, the cutover goes on and says so.
    #[default]
    Prefer,
    /// A cutover without is refused.
    Require,
    /// Never: nothing is streamed back, and there is no rollback.
    Off,
}

/// `[cutover]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cutover {
    /// How long running transactions may take to end once new ones are held.
    pub drain_timeout: Period,
    /// Longest pause; passing it gives the cutover up with the source serving.
    pub max_pause: Period,
    /// How long sessions and transactions are waited for whose policy is to wait, and a side that is
    /// behind. No pause yet.
    pub wait_timeout: Period,
    /// Transactions past `drain_timeout`.
    pub on_long_transaction: Policy,
    /// Sessions whose state cannot be moved.
    pub on_unmovable_session: Policy,
    /// The same for single kinds of state, by their names.
    pub on_unmovable: BTreeMap<String, Policy>,
    /// Whether reads go on while writes wait; not in this version.
    pub reads_during_hold: bool,
    /// Whether what is written on the target after the switch is streamed back to the source.
    pub way_back: WayBack,
}

impl Default for Cutover {
    fn default() -> Self {
        Self {
            drain_timeout: Period::from_millis(1_000),
            max_pause: Period::from_millis(2_000),
            wait_timeout: Period::from_millis(60_000),
            on_long_transaction: Policy::default(),
            on_unmovable_session: Policy::default(),
            on_unmovable: BTreeMap::new(),
            reads_during_hold: false,
            way_back: WayBack::default(),
        }
    }
}

impl Cutover {
    /// What happens with a session; nothing for one that can be moved.
    pub(crate) fn policy_for(&self, session: &Session) -> Option<Policy> {
        let by_kind = |kind| self.on_unmovable.get(kind).copied();
        let policies = session
            .unmovable
            .iter()
            .map(|reason| by_kind(reason.kind).unwrap_or(self.on_unmovable_session));
        policies.max()
    }

    pub(super) fn check(&self, engine: Kind) -> Result<(), ConfigError> {
        let invalid = |key: &str, reason: String| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                reason,
            })
        };
        let kinds = engine.unmovable_kinds();
        let unknown = |kind: &&String| !kinds.contains(&kind.as_str());
        if let Some(kind) = self.on_unmovable.keys().find(unknown) {
            let (name, known) = (engine.name(), kinds.join(", "));
            let reason = format!("the kinds of {name} are: {known}");
            return invalid(&format!("cutover.on_unmovable.{kind}"), reason);
        }
        if self.reads_during_hold {
            let reason = "not in this version; set it to false".to_owned();
            return invalid("cutover.reads_during_hold", reason);
        }
        if self.max_pause.0.is_zero() {
            return invalid("cutover.max_pause", "must be more than 0".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{Activity, Reason};

    fn session(kinds: &[&'static str]) -> Session {
        let reason = |kind: &&'static str| Reason {
            kind,
            text: (*kind).to_owned(),
        };
        Session {
            id: 1,
            client: ([127, 0, 0, 1], 1).into(),
            user: String::new(),
            database: String::new(),
            activity: Activity::Quiet,
            age: Duration::ZERO,
            twin_ready: false,
            unmovable: kinds.iter().map(reason).collect(),
        }
    }

    #[test]
    fn the_most_careful_policy_of_a_sessions_kinds_is_followed() {
        let cutover: Cutover = toml::from_str(
            "on_unmovable_session = \"wait\"\n\
             on_unmovable = { temporary-table = \"end\", listen = \"refuse\" }",
        )
        .unwrap();
        let of = |kinds: &[&'static str]| cutover.policy_for(&session(kinds));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["temporary-table"]), Some(Policy::End));
        assert_eq!(of(&["temporary-table", "setting"]), Some(Policy::Wait));
        assert_eq!(of(&["setting", "listen"]), Some(Policy::Refuse));
    }

    #[test]
    fn a_kind_that_the_engine_does_not_have_is_refused_with_those_it_has() {
        let mut cutover = Cutover::default();
        cutover
            .on_unmovable
            .insert("table-lock".to_owned(), Policy::End);
        cutover.check(Kind::MySql).unwrap();
        let error = cutover.check(Kind::Postgres).unwrap_err().to_string();
        assert!(error.contains("cutover.on_unmovable.table-lock"), "{error}");
        assert!(error.contains("advisory-lock"), "{error}");
    }
}

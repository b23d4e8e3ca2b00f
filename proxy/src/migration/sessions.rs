//! The clients' sessions as a movement sees them.

use std::sync::Arc;
use std::time::Duration;

use pgwal::session::{Relay, SessionState};

use super::mover::Sessions;
use crate::config::OnUnmovableSession;

/// How long sessions may take inside the hold to be read again; the pause has a limit of its own.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);

/// The relay's sessions, with the operator's policy for those that cannot be moved.
pub(super) struct RelaySessions<'a> {
    relay: &'a Arc<Relay>,
    policy: OnUnmovableSession,
}

impl<'a> RelaySessions<'a> {
    /// The sessions of this relay.
    pub(super) fn new(relay: &'a Arc<Relay>, policy: OnUnmovableSession) -> Self {
        Self { relay, policy }
    }
}

impl Sessions for RelaySessions<'_> {
    async fn settle(&self) -> Result<(), String> {
        self.relay.refresh_changed(REFRESH_PATIENCE).await;
        let unmovable: Vec<_> = self
            .relay
            .sessions()
            .into_iter()
            .filter(|one| !one.unmovable.is_empty())
            .collect();
        match (unmovable.first(), self.policy) {
            (None, _) => Ok(()),
            (Some(first), OnUnmovableSession::Refuse) => {
                let reasons: Vec<_> = first.unmovable.iter().map(ToString::to_string).collect();
                let (count, id, client) = (unmovable.len(), first.id.0, first.client);
                let reasons = reasons.join(", ");
                Err(format!(
                    "{count} sessions cannot be moved; #{id} from {client}: {reasons}"
                ))
            }
            (Some(_), OnUnmovableSession::End) => {
                for session in &unmovable {
                    self.relay.end_session(session.id).await;
                }
                Ok(())
            }
        }
    }

    async fn end_running(&self) {
        for session in self.relay.sessions() {
            match session.state {
                SessionState::Active | SessionState::IdleInTransaction => {
                    self.relay.end_session(session.id).await;
                }
                SessionState::Idle | SessionState::Waiting | SessionState::Ours => {}
            }
        }
    }
}

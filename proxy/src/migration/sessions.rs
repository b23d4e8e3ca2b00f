//! The clients' sessions as a movement sees them.

use std::time::Duration;

use super::mover::Sessions;
use crate::config::OnUnmovableSession;
use crate::engine::Clients;
use crate::status::counted;

/// How long sessions may take inside the hold to be read again; the pause has a limit of its own.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);

/// The relay's sessions, with the operator's policy for those that cannot be moved.
pub(super) struct RelaySessions<'a, C> {
    relay: &'a C,
    policy: OnUnmovableSession,
}

impl<'a, C: Clients> RelaySessions<'a, C> {
    /// The sessions of this relay.
    pub(super) fn new(relay: &'a C, policy: OnUnmovableSession) -> Self {
        Self { relay, policy }
    }
}

impl<C: Clients> Sessions for RelaySessions<'_, C> {
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
                let (id, client, reasons) = (first.id, first.client, first.unmovable.join(", "));
                let count = counted(unmovable.len(), "session");
                Err(format!(
                    "{count} cannot be moved; #{id} from {client}: {reasons}"
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
            if session.transaction_age().is_some() {
                self.relay.end_session(session.id).await;
            }
        }
    }
}

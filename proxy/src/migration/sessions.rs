//! The clients' sessions as a movement sees them.

use std::time::Duration;

use super::mover::Sessions;
use crate::config::OnUnmovableSession;
use crate::engine::{Activity, Clients, Session};
use crate::status::{RunningSession, counted};

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
        let unmovable = unmovable(self.relay);
        match (in_words(&unmovable), self.policy) {
            (None, _) => Ok(()),
            (Some(words), OnUnmovableSession::Refuse) => Err(words),
            (Some(_), OnUnmovableSession::End) => {
                for session in &unmovable {
                    self.relay.end_session(session.id).await;
                }
                Ok(())
            }
        }
    }

    fn running(&self) -> Vec<RunningSession> {
        running_for(self.relay, Duration::ZERO)
    }

    async fn end_running(&self) {
        for session in self.relay.sessions() {
            if session.transaction_age().is_some() {
                self.relay.end_session(session.id).await;
            }
        }
    }
}

/// The sessions whose state cannot be moved.
pub(super) fn unmovable<C: Clients>(clients: &C) -> Vec<Session> {
    let mut sessions = clients.sessions();
    sessions.retain(|one| !one.unmovable.is_empty());
    sessions
}

/// How many there are, and the first of them with its reasons; nothing of none.
pub(super) fn in_words(unmovable: &[Session]) -> Option<String> {
    let first = unmovable.first()?;
    let (id, client, reasons) = (first.id, first.client, first.unmovable.join(", "));
    let count = counted(unmovable.len(), "session");
    Some(format!(
        "{count} cannot be moved; #{id} from {client}: {reasons}"
    ))
}

/// The sessions that have been in the transaction that they are in for at least so long.
pub(super) fn running_for<C: Clients>(clients: &C, at_least: Duration) -> Vec<RunningSession> {
    let sessions = clients.sessions();
    let running = |session: &Session| match session.activity {
        Activity::InTransaction { word, age } if age >= at_least => Some(RunningSession {
            id: session.id,
            client: session.client.to_string(),
            user: session.user.clone(),
            database: session.database.clone(),
            state: word.to_owned(),
            age_seconds: age.as_secs_f64(),
        }),
        Activity::InTransaction { .. } | Activity::Quiet => None,
    };
    sessions.iter().filter_map(running).collect()
}

//! The clients' sessions as a movement sees them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::mover::Sessions;
use crate::config::{Cutover, Policy};
use crate::engine::{Activity, Clients, Session};
use crate::status::{RunningSession, counted};

/// How long sessions may take inside the hold to be read again; the pause has a limit of its own.
const REFRESH_PATIENCE: Duration = Duration::from_secs(2);

/// How long those sessions may take, behind the switch and before the release, that must have their
/// locks or channels there before anybody else.
const ARRIVE_PATIENCE: Duration = Duration::from_secs(1);

/// The relay's sessions, with the operator's policies for those that cannot be moved.
pub(super) struct RelaySessions<'a, C> {
    relay: &'a C,
    policies: &'a Cutover,
    ended: AtomicUsize,
}

impl<'a, C: Clients> RelaySessions<'a, C> {
    /// The sessions of this relay.
    pub(super) fn new(relay: &'a C, policies: &'a Cutover) -> Self {
        Self {
            relay,
            policies,
            ended: AtomicUsize::new(0),
        }
    }

    /// How many were ended so far.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    async fn end(&self, session: &Session) {
        self.relay.end_session(session.id).await;
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl<C: Clients> Sessions for RelaySessions<'_, C> {
    async fn begin_to_settle(&self) {
        self.relay.refresh_idle(REFRESH_PATIENCE).await;
    }

    async fn settle(&self) -> Result<(), String> {
        self.relay.refresh_changed(REFRESH_PATIENCE).await;
        let Unmovable { end, wait, refuse } = unmovable(self.relay, self.policies);
        // Nobody waits inside the hold: who was to be waited for came too late.
        let in_the_way: Vec<Session> = refuse.into_iter().chain(wait).collect();
        match in_words(&in_the_way) {
            Some(words) => Err(words),
            None => {
                for session in &end {
                    self.end(session).await;
                }
                Ok(())
            }
        }
    }

    async fn arrive(&self) {
        self.relay.prepare_late(ARRIVE_PATIENCE).await;
    }

    fn running(&self) -> Vec<RunningSession> {
        running_for(self.relay, Duration::ZERO)
    }

    async fn end_running(&self) {
        for session in self.relay.sessions() {
            if session.transaction_age().is_some() {
                self.end(&session).await;
            }
        }
    }
}

/// The sessions whose state cannot be moved, by what happens with them.
#[derive(Debug, Default)]
pub(super) struct Unmovable {
    /// They are ended.
    pub end: Vec<Session>,
    /// They are waited for.
    pub wait: Vec<Session>,
    /// They refuse the cutover.
    pub refuse: Vec<Session>,
}

/// Asks every session.
pub(super) fn unmovable<C: Clients>(clients: &C, policies: &Cutover) -> Unmovable {
    let mut unmovable = Unmovable::default();
    for session in clients.sessions() {
        match policies.policy_for(&session) {
            None => {}
            Some(Policy::End) => unmovable.end.push(session),
            Some(Policy::Wait) => unmovable.wait.push(session),
            Some(Policy::Refuse) => unmovable.refuse.push(session),
        }
    }
    unmovable
}

/// How many there are, and the first of them with its reasons; nothing of none.
pub(super) fn in_words(unmovable: &[Session]) -> Option<String> {
    let first = unmovable.first()?;
    let (id, client, reasons) = (first.id, first.client, first.reasons());
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

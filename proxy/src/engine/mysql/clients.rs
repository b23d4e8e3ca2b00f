//! The relay of MySQL's clients, as the proxy sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use binlog::session::{Relay, SessionId, SessionInfo, SessionState, Unmovable};
use router::Switch;
use tokio::net::TcpStream;

use crate::engine::{Activity, Clients, Reason, Session};

impl Clients for Relay {
    fn accept(self: &Arc<Self>, client: TcpStream, address: SocketAddr) {
        Self::accept(self, client, address);
    }

    fn count(&self) -> usize {
        self.clients()
    }

    fn switch(&self) -> &Arc<Switch> {
        Self::switch(self)
    }

    fn sessions(&self) -> Vec<Session> {
        Self::sessions(self).into_iter().map(session).collect()
    }

    async fn prepare_twins(&self, patience: Duration) {
        let _report = Self::prepare_twins(self, patience).await;
    }

    async fn refresh_changed(&self, patience: Duration) {
        let _report = Self::refresh_changed(self, patience).await;
    }

    /// They get nothing inside the hold that they could not have had before it.
    async fn relax_twins(&self, _patience: Duration) {}

    fn changed(&self) -> usize {
        Self::changed(self)
    }

    fn set_late(&self, _late: bool) {
        // A server that is read-only lets clients in: theirs are opened beforehand.
    }

    async fn prepare_late(&self, _patience: Duration) {}

    async fn close_source_connections(&self, patience: Duration) {
        let _late = Self::close_source_connections(self, patience).await;
    }

    async fn drop_twins(&self, patience: Duration) {
        Self::drop_twins(self, patience).await;
    }

    async fn end_session(&self, id: u64) {
        let _was_there = Self::end_session(self, SessionId(id)).await;
    }

    async fn drain(&self, patience: Duration) {
        Self::drain(self, patience).await;
    }
}

fn session(info: SessionInfo) -> Session {
    let word = info.state.as_str();
    let activity = match info.state {
        SessionState::Active | SessionState::IdleInTransaction => Activity::InTransaction {
            word,
            age: info.transaction_age.unwrap_or(info.state_age),
        },
        SessionState::Idle | SessionState::Waiting | SessionState::Ours => Activity::Quiet,
    };
    Session {
        id: info.id.0,
        client: info.client,
        user: info.user,
        database: info.database,
        activity,
        age: info.age,
        twin_ready: info.twin_ready,
        unmovable: info.unmovable.iter().map(reason).collect(),
    }
}

fn reason(unmovable: &Unmovable) -> Reason {
    Reason {
        kind: unmovable.kind(),
        text: unmovable.to_string(),
    }
}

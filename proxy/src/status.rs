//! What `status --json` says: a contract that dashboards build on.

mod render;
mod verify;

use serde::{Deserialize, Serialize};

pub(crate) use render::{counted, cutover as render_cutover, render};
pub(crate) use verify::VerifyReport;

/// Where the migration stands, as the operator's contract names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// No migration: the proxy serves the source.
    Proxying,
    /// Schema and data are on their way.
    Copying,
    /// The copy is complete, changes flow.
    Streaming,
    /// A cutover is under way.
    CuttingOver,
    /// The target serves.
    Switched,
    /// A rollback is under way.
    RollingBack,
    /// The target serves, and nothing of ours is left on either server.
    Finished,
    /// The migration stopped; `failure` says why and what to do.
    Failed,
}

/// The answer of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Where the migration stands.
    pub phase: Phase,
    /// `source` or `target`; `null` while the servers have not answered who serves.
    pub serving: Option<String>,
    /// What is being done within the phase, in words.
    pub step: Option<String>,
    /// Why the migration stopped.
    pub failure: Option<Failure>,
    /// Something that is tried again until it works.
    pub trouble: Option<String>,
    /// What the operator should know of the copy: roles that could not be carried as they are, ...
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    /// How far the side that does not serve is behind the one that does.
    pub lag: Lag,
    /// The initial copy.
    pub copy: CopyStatus,
    /// Client connections.
    pub sessions: Sessions,
    /// The last cutover that was tried.
    pub last_cutover: Option<CutoverReport>,
    /// The last rollback that was tried.
    #[serde(default)]
    pub last_rollback: Option<CutoverReport>,
    /// The last comparison that came to its end; of its tables only those that are not equal.
    #[serde(default)]
    pub last_verify: Option<VerifyReport>,
    /// Whether `rollback` could lead back; `null` while the source serves.
    #[serde(default)]
    pub way_back: Option<WayBackStatus>,
}

/// Whether `rollback` could lead back to the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WayBackStatus {
    /// How it stands.
    pub state: WayBackState,
    /// Why it is closed.
    pub reason: Option<String>,
}

/// How the way back stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WayBackState {
    /// The stream from the target is being opened, or is tried again.
    Opening,
    /// Changes flow back to the source.
    Open,
    /// They do not, and `rollback` is refused.
    Closed,
}

/// Why the migration stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What failed.
    pub what: String,
    /// Where and why.
    pub detail: String,
    /// What the operator does next.
    pub hint: String,
}

/// How far the side that does not serve is behind the other; each is `null` where it is not known.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lag {
    /// Bytes of log.
    pub bytes: Option<u64>,
    /// Transactions that have arrived here and are not yet on the other side.
    pub transactions: Option<u64>,
    /// Age of the oldest change that is not yet there.
    pub seconds: Option<f64>,
}

/// The initial copy.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CopyStatus {
    /// The tables, in the order of their names.
    pub tables: Vec<TableStatus>,
    /// Seconds that the rest may take, where it can be told.
    pub eta_seconds: Option<f64>,
}

/// One table of the copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TableStatus {
    /// `schema.table`.
    pub name: String,
    /// Rows copied.
    pub rows: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes expected, from the source's statistics.
    pub bytes_expected: u64,
    /// Whether the table is complete.
    pub done: bool,
}

/// Client connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// All of them.
    pub total: usize,
    /// Those in a transaction.
    pub active: usize,
    /// Those whose connection to the target is ready.
    pub twins: usize,
    /// Those whose state cannot be moved.
    pub unmovable: Vec<UnmovableSession>,
}

/// A session whose state cannot be moved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UnmovableSession {
    /// Our number of it.
    pub id: u64,
    /// The client's address.
    pub client: String,
    /// The database user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Age of the connection.
    pub age_seconds: f64,
    /// What cannot be moved.
    pub reasons: Vec<String>,
    /// What happens with it at a cutover: `end`, `wait` or `refuse`.
    pub policy: String,
}

/// A session whose transaction runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunningSession {
    /// Our number of it.
    pub id: u64,
    /// The client's address.
    pub client: String,
    /// The database user.
    pub user: String,
    /// The database.
    pub database: String,
    /// `active`, or `idle in transaction` when its server waits for the client.
    pub state: String,
    /// Age of the transaction.
    pub age_seconds: f64,
}

/// How a cutover or a rollback went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CutoverReport {
    /// The side that it led to: `target` for a cutover, `source` for a rollback.
    #[serde(default = "to_target")]
    pub to: String,
    /// `switched` (`rolled_back` for a rollback), `aborted`, `refused` or `dry_run`.
    pub outcome: String,
    /// Why it was given up.
    pub reason: Option<String>,
    /// From hold to release.
    pub pause_ms: f64,
    /// The steps within the pause, in their order.
    pub steps: Vec<StepTime>,
    /// Sessions that went over.
    pub sessions_moved: usize,
    /// Sessions that were ended.
    pub sessions_ended: usize,
    /// Connections to the side that was left that were not ours and were ended by the fence.
    pub foreign_ended: usize,
    /// Whose transactions ran past the drain deadline, if that is why it was given up.
    #[serde(default)]
    pub still_running: Vec<RunningSession>,
    /// Why no movement can lead back from there; nothing where one can.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub no_way_back: Option<String>,
    /// Where other replicas of the servers go on, a sentence each (MySQL and MariaDB).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub for_replicas: Vec<String>,
    /// What would happen to each session (`--dry-run`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub would: Vec<String>,
}

fn to_target() -> String {
    "target".to_owned()
}

/// One step of a cutover.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepTime {
    /// The step's name.
    pub step: String,
    /// Its length.
    pub ms: f64,
}

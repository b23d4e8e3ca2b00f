//! The fence: the server itself refuses the application, whatever road it comes by.
//!
//! `super_read_only` where the server has it (MySQL 5.7 and later): then nobody writes, not even
//! root. Elsewhere `read_only`, which lets accounts with a bypassing privilege pass: sessions of
//! such accounts refuse the movement by name, unless the operator has named them as to be locked
//! or as trusted. The event scheduler is switched off. What a setting cannot stop is refused before
//! anything is changed: prepared XA transactions and replication that writes into the server.
//! Transactions that had written before the setting are ended behind it: their COMMIT would be
//! refused, but MySQL lets an XA PREPARE and XA COMMIT of them pass.
//!
//! # The row and the settings
//!
//! A setting is no part of a transaction, and `super_read_only` stops our own row too. So the row
//! in `pointsman.fence` becomes `raising`, with the settings of before in it and durable, *before*
//! the first setting is changed, and `down` *after* the last one is put back. It says `raising` all
//! the time that the fence is up, since nobody can write `up` behind it. A crash in between:
//!
//! * before `raising` is committed: nothing was changed.
//! * after it: the row says that the fence may be up and what to put back; [`lower_epoch`] does, in
//!   whatever state the settings are, and may be cut off and repeated any number of times.
//! * while lowering, before `down` is committed: the row still says `raising`, the settings may be
//!   back already. That is only ever so after the journal gave the movement up, so that the source
//!   serves anyway; lowering is asked for again.
//!
//! # Late statements
//!
//! A statement on a connection that we lost may still run. Raising and lowering happen only on the
//! connection that holds the user-level lock `pointsman.fence`. Who wants it while another holds it
//! ends that session on the server and has the lock when the session is gone, with everything it
//! was still doing. So nothing of an earlier attempt can land after a later one began. The epochs
//! in the row close what remains: a raise for an epoch that is not greater than the row's fails.
//!
//! # A server that restarts
//!
//! Settings are lost at a restart. From MySQL 8.0 on `super_read_only` is set with SET PERSIST, so a
//! fenced source comes up fenced (unless it is started with `--no-defaults` or
//! `persisted_globals_load=OFF`). On older MySQL and on MariaDB it comes up writable, and the row
//! says `raising`: [`reassert`] shuts it again and is asked as soon as the proxy sees the server,
//! see [`FenceState::is_open`]. In between only applications that pass the proxy by could write. To
//! close that gap as well, `read_only = 1` belongs into the option file of such a source before the
//! cutover: it takes effect at a restart only. `check` says so.

mod error;
mod lock;
mod lower;
mod proof;
mod replication;
mod saved;
mod sessions;
mod settings;
mod state;
pub(super) mod transactions;

use std::time::{Duration, Instant};

use router::Epoch;

use super::error::Failed;
use super::make_durable;
use crate::wire::{SqlConn, quote};

use self::proof::ProofPlan;
use self::settings::{Kind, Settings};

pub use self::error::FenceError;
pub use self::lower::{LowerReport, Reasserted, lower, lower_epoch, reassert};
pub use self::proof::Proof;
pub use self::saved::Saved;
pub use self::sessions::ForeignSession;
pub use self::state::{Bookkeeping, FencePosition, FenceRow, FenceState, Writes, state};

/// What the operator has decided about the fence.
#[derive(Debug, Clone)]
pub struct FenceOptions {
    /// How long setting the server read-only may wait for running statements; whole seconds, since
    /// the servers count them so.
    pub lock_timeout: Duration,
    /// How long ending sessions may take.
    pub end_timeout: Duration,
    /// Users of applications with a privilege that passes `read_only`: their accounts are locked
    /// and their sessions ended (MariaDB; elsewhere nobody passes, or accounts cannot be locked).
    pub nologin: Vec<String>,
    /// Users with such a privilege whose sessions are left alone, since they are trusted not to
    /// write.
    pub trusted_roles: Vec<String>,
}

impl Default for FenceOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(1),
            end_timeout: Duration::from_secs(2),
            nologin: Vec::new(),
            trusted_roles: Vec::new(),
        }
    }
}

/// A fence that is ready to be raised on one connection, which holds the fence's lock.
#[derive(Debug, Clone)]
pub struct Fence {
    options: FenceOptions,
    kind: Kind,
    proof: ProofPlan,
}

/// A fence that is up.
#[derive(Debug, Clone)]
pub struct FenceReport {
    /// The epoch it was raised for.
    pub epoch: Epoch,
    /// Sessions that were ended.
    pub ended: Vec<ForeignSession>,
    /// Users with sessions that pass the fence and that the operator trusts.
    pub trusted: Vec<String>,
    /// How it was proven.
    pub proof: Proof,
    /// Time that the row and the settings took.
    pub set_time: Duration,
    /// Time until no session and no transaction was left that could write.
    pub end_time: Duration,
    /// Time that the proof took.
    pub prove_time: Duration,
}

const RAISING: &str = "raising the fence";

impl Fence {
    /// Takes the fence's lock, makes sure that the account may do all that [`raise`](Self::raise)
    /// does, and makes what proves the fence, so that the hold waits for none of it.
    ///
    /// # Errors
    /// When a privilege is missing, our tables are not there, or the server fails.
    pub async fn prepare(client: &SqlConn, options: FenceOptions) -> Result<Self, FenceError> {
        let kind = Kind::of(client.version());
        state::may_fence(client, kind).await?;
        lock::take(client, options.end_timeout).await?;
        let step = "preparing the fence";
        let seconds = options.lock_timeout.as_secs().max(1);
        client
            .execute(&format!("SET SESSION lock_wait_timeout = {seconds}"))
            .await
            .map_err(Failed::sql(step))?;
        // The row must be there, for raising to be one compare-and-set.
        client
            .execute(
                "INSERT IGNORE INTO pointsman.fence (only_row, epoch, state) VALUES (1, 0, 'down')",
            )
            .await
            .map_err(Failed::sql(step))?;
        let proof = ProofPlan::make(client, kind).await?;
        Ok(Self {
            options,
            kind,
            proof,
        })
    }

    /// Raises the fence for `epoch`; `ours` are sessions of pointsman on the server: those of the
    /// relay, the stream's and its control connections.
    ///
    /// `client` must be the connection that the fence was prepared on.
    ///
    /// # Errors
    /// When something stands on the server that no setting stops, or something could not be ended
    /// or proven. Afterwards [`lower`] must be asked: part of it may have been done.
    ///
    /// # Cancel safety
    /// A dropped call may leave the fence half raised; [`lower`] is right then too.
    pub async fn raise(
        &self,
        client: &SqlConn,
        ours: &[u32],
        epoch: Epoch,
    ) -> Result<FenceReport, FenceError> {
        let started = Instant::now();
        lock::hold(client).await?;
        if let Some(error) = self.obstacles(client, ours).await?.into_iter().next() {
            return Err(error);
        }
        let settings = Settings::read(client, self.kind).await?;
        let locked = self.accounts_to_lock(client).await?;
        self.write_down(client, epoch, &settings.to_saved(&locked))
            .await?;
        sessions::lock_accounts(client, &locked).await?;
        settings.shut(client).await?;
        let set = Instant::now();

        let deadline = set + self.options.end_timeout;
        let mut ended = transactions::end_writers(client, deadline).await?;
        if !locked.is_empty() {
            ended.extend(sessions::end_users(client, &self.options.nologin, deadline).await?);
        }
        let quiet = Instant::now();

        // Again behind the fence: what came in between would pass it.
        if let Some(error) = self.obstacles(client, ours).await?.into_iter().next() {
            return Err(error);
        }
        let proof = self.proof.prove(client, self.kind).await?;
        Ok(FenceReport {
            epoch,
            ended,
            trusted: self.options.trusted_roles.clone(),
            proof,
            set_time: set - started,
            end_time: quiet - set,
            prove_time: quiet.elapsed(),
        })
    }

    /// What stands on the server now that no setting stops, as [`raise`](Self::raise) would refuse
    /// it; changes nothing.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn obstacles(
        &self,
        client: &SqlConn,
        ours: &[u32],
    ) -> Result<Vec<FenceError>, FenceError> {
        obstacles_now(client, &self.options, ours).await
    }

    async fn accounts_to_lock(&self, client: &SqlConn) -> Result<Vec<String>, FenceError> {
        match self.kind {
            Kind::ReadOnly if client.version().is_mariadb() => {
                sessions::accounts_of(client, &self.options.nologin).await
            }
            Kind::ReadOnly | Kind::SuperReadOnly(_) => Ok(Vec::new()),
        }
    }

    /// Turns the row from `down` to `raising`, by compare-and-set, and makes it durable.
    async fn write_down(
        &self,
        client: &SqlConn,
        epoch: Epoch,
        saved: &Saved,
    ) -> Result<(), FenceError> {
        let saved = quote::literal(&saved.to_text());
        let sql = format!(
            "UPDATE pointsman.fence SET epoch = {epoch}, state = 'raising', saved = {saved}
             WHERE only_row = 1 AND state = 'down' AND epoch < {epoch}"
        );
        let done = client.execute(&sql).await.map_err(Failed::sql(RAISING))?;
        if done.affected_rows != 1 {
            let row = state::fence_row(client).await?;
            let found = row.map_or_else(|| "nothing".to_owned(), |row| row.to_string());
            return Err(FenceError::NotFromDown {
                epoch: epoch.0,
                found,
            });
        }
        Ok(make_durable(client, RAISING).await?)
    }
}

/// What stands on the server now that no setting stops; see [`Fence::obstacles`].
///
/// # Errors
/// When the server fails, or a privilege is missing.
pub async fn obstacles_now(
    client: &SqlConn,
    options: &FenceOptions,
    ours: &[u32],
) -> Result<Vec<FenceError>, FenceError> {
    let mut passes = Vec::new();
    let transactions = transactions::prepared(client).await?;
    if !transactions.is_empty() {
        passes.push(FenceError::PreparedTransactions { transactions });
    }
    let channels = replication::writing(client).await?;
    if !channels.is_empty() {
        passes.push(FenceError::Replication { channels });
    }
    if Kind::of(client.version()) == Kind::ReadOnly {
        let sessions = sessions::bypassing(client, options, ours).await?;
        if !sessions.is_empty() {
            passes.push(FenceError::BypassingSessions { sessions });
        }
    }
    Ok(passes)
}

//! The fence: the server itself refuses the application, whatever road it comes by.
//!
//! CONNECT on the database is left to the role of pointsman alone, then every foreign session is
//! ended, those that are still logging in included. Read-only settings and `ALLOW_CONNECTIONS` do
//! not do it: open sessions go on writing, and any session may turn the first off.
//!
//! What a privilege cannot stop is refused before anything is changed, by name: prepared
//! transactions, sessions of superusers, subscriptions that write into the database, and background
//! workers of extensions. Foreign *logical* walsenders are ended like clients: their connection
//! takes SQL too, and their slots stay. Parallel workers end with their leader, autovacuum and
//! physical walsenders change no rows: they are left alone.
//!
//! # Crashes
//!
//! What was there before is written to `pointsman.fence` in the same transaction that takes the
//! privileges away, and the row turns to `down` in the same transaction that gives them back. So
//! `raising` and `up` both mean that the privileges are gone, and [`lower`] is right in any state.

mod acl;
mod error;
mod lower;
mod sessions;
mod state;

use std::time::Duration;

use router::Epoch;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Statement};

use self::acl::{AclItem, Parties};
use self::sessions::{EndStatements, Spared};
use crate::name::{quote_identifier, quote_literal};

pub use self::acl::AclSyntax;
pub use self::error::FenceError;
pub use self::lower::{LowerReport, lower, lower_epoch};
pub use self::sessions::ForeignSession;
pub use self::state::{Bookkeeping, FencePosition, FenceRow, FenceState, state};

/// What the operator has decided about the fence.
#[derive(Debug, Clone)]
pub struct FenceOptions {
    /// How long the change of privileges may wait for another transaction.
    pub lock_timeout: Duration,
    /// How long ending the foreign sessions may take.
    pub end_timeout: Duration,
    /// Superuser roles of applications: they get NOLOGIN, since nothing else stops them.
    pub nologin: Vec<String>,
    /// Superuser roles whose sessions are left alone, since they are trusted not to write.
    pub trusted_roles: Vec<String>,
    /// Background workers (by `backend_type`) that are trusted not to write.
    pub trusted_workers: Vec<String>,
}

impl Default for FenceOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(500),
            end_timeout: Duration::from_secs(2),
            nologin: Vec::new(),
            trusted_roles: Vec::new(),
            trusted_workers: Vec::new(),
        }
    }
}

/// A fence that is ready to be raised: its statements are prepared on one connection.
#[derive(Debug, Clone)]
pub struct Fence {
    options: FenceOptions,
    facts: Statement,
    end: EndStatements,
    prove: Statement,
}

/// A fence that is up.
#[derive(Debug, Clone)]
pub struct FenceReport {
    /// The epoch it was raised for.
    pub epoch: Epoch,
    /// Sessions that were ended.
    pub ended: Vec<ForeignSession>,
    /// Superuser roles, not ours, that could still log in: administrators, whom nothing stops.
    pub superusers: Vec<String>,
    /// Time that taking the privileges away took.
    pub revoke_time: Duration,
    /// Time until no foreign session was left.
    pub end_time: Duration,
    /// Time that the proof took.
    pub prove_time: Duration,
}

/// What the database looks like right before the fence.
///
/// The columns are read by [`Facts::from_row`].
const FACTS: &str = "
SELECT d.oid, d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text, session_user::text,
       d.datacl::text,
       coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))::text[],
       ARRAY(SELECT p.gid || ' of ' || p.owner FROM pg_catalog.pg_prepared_xacts p
             WHERE p.database = d.datname),
       ARRAY(SELECT s.subname::text FROM pg_catalog.pg_subscription s
             WHERE s.subdbid = d.oid AND s.subenabled),
       ARRAY(SELECT a.backend_type || ' (pid ' || a.pid || ')' FROM pg_catalog.pg_stat_activity a
             WHERE a.datid = d.oid AND a.backend_type <> ALL ($1)
               AND a.backend_type NOT IN ('client backend', 'parallel worker', 'walsender',
                                          'autovacuum worker', 'startup', 'slotsync worker')
               AND a.backend_type NOT LIKE 'logical replication%'),
       ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r
             WHERE r.rolname::text = ANY ($2) AND r.rolcanlogin AND r.rolname <> session_user),
       ARRAY(SELECT a.pid FROM pg_catalog.pg_stat_activity a
             JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid AND r.rolsuper
             WHERE a.datid = d.oid AND a.pid <> pg_catalog.pg_backend_pid()
               AND a.backend_type IN ('client backend', 'walsender')
               AND a.pid NOT IN (SELECT pg_catalog.unnest($4)) AND r.rolname <> session_user
               AND r.rolname::text <> ALL ($2) AND r.rolname::text <> ALL ($3))
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// The proof that the fence is closed, and the mark that says so.
///
/// The mark is not flushed here: the marker's commit follows, and flushes it too.
const PROVE: &str = "
WITH roles AS (
    SELECT r.rolname::text AS name, r.rolsuper FROM pg_catalog.pg_roles r
    WHERE r.rolcanlogin AND r.rolname <> session_user
      AND pg_catalog.has_database_privilege(r.oid, $1::oid, 'CONNECT')),
prepared AS (
    SELECT p.gid || ' of ' || p.owner AS name FROM pg_catalog.pg_prepared_xacts p
    WHERE p.database = pg_catalog.current_database()),
up AS (
    UPDATE pointsman.fence SET state = 'up', changed_at = pg_catalog.clock_timestamp()
    WHERE epoch = $2 AND state = 'raising' AND NOT EXISTS (SELECT FROM prepared)
      AND NOT EXISTS (SELECT FROM roles WHERE NOT rolsuper)
      AND pg_catalog.set_config('synchronous_commit', 'off', true) IS NOT NULL
    RETURNING 1)
SELECT ARRAY(SELECT name FROM roles WHERE NOT rolsuper), ARRAY(SELECT name FROM prepared),
       ARRAY(SELECT name FROM roles WHERE rolsuper), EXISTS (SELECT FROM up)";

impl Fence {
    /// Prepares the statements, so that the hold waits for none of it, and makes sure that the
    /// role may do all that [`raise`](Self::raise) does.
    ///
    /// # Errors
    /// When a privilege is missing, our tables are not there, or the server fails.
    pub async fn prepare(client: &Client, options: FenceOptions) -> Result<Self, FenceError> {
        state::may_fence(client).await?;
        let step = "preparing the fence";
        // The statements are planned once, here, and not again in the pause.
        client
            .batch_execute("SET plan_cache_mode = force_generic_plan")
            .await
            .map_err(FenceError::sql(step))?;
        let facts = client
            .prepare_typed(
                FACTS,
                &[
                    Type::TEXT_ARRAY,
                    Type::TEXT_ARRAY,
                    Type::TEXT_ARRAY,
                    Type::INT4_ARRAY,
                ],
            )
            .await
            .map_err(FenceError::sql(step))?;
        let end = EndStatements::prepare(client)
            .await
            .map_err(FenceError::sql(step))?;
        let prove = client
            .prepare_typed(PROVE, &[Type::OID, Type::INT8])
            .await
            .map_err(FenceError::sql(step))?;
        let fence = Self {
            options,
            facts,
            end,
            prove,
        };
        fence.rehearse(client).await?;
        Ok(fence)
    }

    /// Raises the fence for `epoch`; `ours` are the server processes of pointsman in the database:
    /// those of the relay, the stream's walsender and its control connections.
    ///
    /// `client` must be the connection that the fence was prepared on.
    ///
    /// # Errors
    /// When something stands in the database that no privilege stops, or something could not be
    /// ended or proven. Afterwards [`lower`] must be asked: part of it may have been done.
    ///
    /// # Cancel safety
    /// A dropped call may leave the fence half raised; [`lower`] is right then too.
    pub async fn raise(
        &self,
        client: &Client,
        ours: &[i32],
        epoch: Epoch,
    ) -> Result<FenceReport, FenceError> {
        let started = Instant::now();
        let facts = self.facts(client, ours).await?;
        if let Some(error) = what_passes(client, facts.clone()).await?.into_iter().next() {
            return Err(error);
        }
        self.revoke(client, &facts, epoch).await?;
        let revoked = Instant::now();

        let spared = Spared {
            database: facts.oid,
            pids: ours,
            roles: &self.options.trusted_roles,
        };
        let ended = self
            .end
            .end_all(client, spared, revoked + self.options.end_timeout)
            .await?;
        let quiet = Instant::now();

        let superusers = self.prove(client, &facts, epoch).await?;
        Ok(FenceReport {
            epoch,
            ended,
            superusers,
            revoke_time: revoked - started,
            end_time: quiet - revoked,
            prove_time: quiet.elapsed(),
        })
    }

    async fn facts(&self, client: &Client, ours: &[i32]) -> Result<Facts, FenceError> {
        let options = &self.options;
        let row = client
            .query_one(
                &self.facts,
                &[
                    &options.trusted_workers,
                    &options.nologin,
                    &options.trusted_roles,
                    &ours,
                ],
            )
            .await
            .map_err(FenceError::sql("reading the database's privileges"))?;
        Facts::from_row(&row).map_err(FenceError::sql("reading the database's privileges"))
    }

    /// Runs every statement once in a way that changes nothing: no session is ended, and there is
    /// no epoch -1. Plans and the server's caches are made here.
    async fn rehearse(&self, client: &Client) -> Result<(), FenceError> {
        let step = "rehearsing the fence";
        let facts = self.facts(client, &[]).await?;
        let spared = Spared {
            database: facts.oid,
            pids: &[],
            roles: &self.options.trusted_roles,
        };
        self.end
            .look(client, spared, false)
            .await
            .map_err(FenceError::sql(step))?;
        client
            .query_one(&self.prove, &[&facts.oid, &-1_i64])
            .await
            .map_err(FenceError::sql(step))?;
        Ok(())
    }

    /// What stands in the database now that no privilege stops, as [`raise`](Self::raise) would
    /// refuse it; changes nothing.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn obstacles(
        &self,
        client: &Client,
        ours: &[i32],
    ) -> Result<Vec<FenceError>, FenceError> {
        let facts = self.facts(client, ours).await?;
        what_passes(client, facts).await
    }

    /// Takes CONNECT away from everybody but us and writes down how it was, in one transaction.
    async fn revoke(&self, client: &Client, facts: &Facts, epoch: Epoch) -> Result<(), FenceError> {
        let parties = facts.parties();
        let items = facts
            .acl
            .iter()
            .map(|item| AclItem::parse(item))
            .collect::<Result<Vec<_>, _>>()?;
        let mut sql = format!(
            "SET LOCAL lock_timeout = '{}ms';\nSET LOCAL synchronous_commit = on;\n",
            self.options.lock_timeout.as_millis()
        );
        sql.push_str(&acl::grant_to_us(&parties));
        sql.push_str(&save_statement(facts, epoch));
        sql.push_str(&acl::revoke_from_others(&parties, &items));
        for role in &facts.nologin {
            let role = quote_identifier(role);
            sql.push_str(&format!("ALTER ROLE {role} NOLOGIN;\n"));
        }
        // Several statements in one simple query are one transaction, in one round trip.
        match client.batch_execute(&sql).await {
            Ok(()) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::CHECK_VIOLATION) => {
                let row = state::fence_row(client).await?;
                let found = row.map_or_else(|| "nothing".to_owned(), |row| row.to_string());
                Err(FenceError::NotFromDown {
                    epoch: epoch.0,
                    found,
                })
            }
            // INTERNAL_ERROR is "tuple concurrently updated": another GRANT was first.
            Err(source)
                if matches!(
                    source.code(),
                    Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::INTERNAL_ERROR)
                ) =>
            {
                Err(FenceError::Locked { source })
            }
            Err(error) => Err(FenceError::sql("revoking CONNECT on the database")(error)),
        }
    }

    /// Proves that nobody but us may connect; returns the superusers, for whom it proves nothing.
    async fn prove(
        &self,
        client: &Client,
        facts: &Facts,
        epoch: Epoch,
    ) -> Result<Vec<String>, FenceError> {
        let step = "proving the fence";
        let row = client
            .query_one(&self.prove, &[&facts.oid, &epoch.0.cast_signed()])
            .await
            .map_err(FenceError::sql(step))?;
        let read = |at| {
            row.try_get::<_, Vec<String>>(at)
                .map_err(FenceError::sql(step))
        };
        let (roles, transactions, superusers) = (read(0)?, read(1)?, read(2)?);
        if !transactions.is_empty() {
            return Err(FenceError::PreparedTransactions { transactions });
        }
        if !roles.is_empty() {
            return Err(FenceError::StillOpen { roles });
        }
        if !row.try_get::<_, bool>(3).map_err(FenceError::sql(step))? {
            let row = state::fence_row(client).await?;
            let found = row.map_or_else(|| "nothing".to_owned(), |row| row.to_string());
            return Err(FenceError::NotFromDown {
                epoch: epoch.0,
                found,
            });
        }
        Ok(superusers)
    }
}

/// What no privilege stops, of what the facts tell.
async fn what_passes(client: &Client, facts: Facts) -> Result<Vec<FenceError>, FenceError> {
    let mut passes = Vec::new();
    if !facts.prepared.is_empty() {
        passes.push(FenceError::PreparedTransactions {
            transactions: facts.prepared,
        });
    }
    if !facts.subscriptions.is_empty() {
        passes.push(FenceError::Subscriptions {
            subscriptions: facts.subscriptions,
        });
    }
    if !facts.workers.is_empty() {
        passes.push(FenceError::Workers {
            workers: facts.workers,
        });
    }
    if !facts.superuser_pids.is_empty() {
        let sessions = state::sessions(client, &facts.superuser_pids).await?;
        passes.push(FenceError::SuperuserSessions { sessions });
    }
    Ok(passes)
}

/// The statement that writes down what is there, between the grant to us and the revocation.
///
/// The grant has locked the ACL. If anything but that grant differs from what we read before, or
/// if the fence was not down, the state becomes a word that the table's CHECK refuses, which undoes
/// the whole transaction.
fn save_statement(facts: &Facts, epoch: Epoch) -> String {
    let saved = facts
        .saved
        .as_deref()
        .map_or_else(|| "NULL".to_owned(), quote_literal);
    let nologin: Vec<_> = facts
        .nologin
        .iter()
        .map(|role| quote_literal(role))
        .collect();
    let (oid, epoch, nologin) = (facts.oid, epoch.0, nologin.join(", "));
    format!(
        "WITH before AS (
    SELECT e.* FROM pg_catalog.pg_database d, pg_catalog.aclexplode(
        coalesce({saved}::aclitem[], pg_catalog.acldefault('d', d.datdba))) e WHERE d.oid = {oid}),
after AS (
    SELECT e.* FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) e WHERE d.oid = {oid}),
other AS (
    (TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)),
us AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)
INSERT INTO pointsman.fence AS f (epoch, state, datacl, nologin)
SELECT {epoch}, CASE WHEN NOT EXISTS (
    SELECT FROM other, us WHERE other.grantee <> us.oid OR other.privilege_type <> 'CONNECT')
    THEN 'raising' ELSE 'changed' END, {saved}, ARRAY[{nologin}]::text[]
ON CONFLICT (only_row) DO UPDATE SET
    epoch = excluded.epoch, datacl = excluded.datacl, nologin = excluded.nologin,
    changed_at = pg_catalog.clock_timestamp(),
    state = CASE WHEN f.state = 'down' AND f.epoch < excluded.epoch
                 THEN excluded.state ELSE 'taken' END;\n"
    )
}

/// See [`FACTS`].
#[derive(Debug, Clone)]
struct Facts {
    oid: u32,
    database: String,
    owner: String,
    us: String,
    saved: Option<String>,
    acl: Vec<String>,
    prepared: Vec<String>,
    subscriptions: Vec<String>,
    workers: Vec<String>,
    nologin: Vec<String>,
    superuser_pids: Vec<i32>,
}

impl Facts {
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            database: row.try_get(1)?,
            owner: row.try_get(2)?,
            us: row.try_get(3)?,
            saved: row.try_get(4)?,
            acl: row.try_get(5)?,
            prepared: row.try_get(6)?,
            subscriptions: row.try_get(7)?,
            workers: row.try_get(8)?,
            nologin: row.try_get(9)?,
            superuser_pids: row.try_get(10)?,
        })
    }

    fn parties(&self) -> Parties<'_> {
        Parties {
            database: &self.database,
            owner: &self.owner,
            us: &self.us,
        }
    }
}

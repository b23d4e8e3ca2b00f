//! Lowers the fence: puts back what [`raise`](super::Fence::raise) took, from whatever state.

use std::time::Duration;

use router::Epoch;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::acl::{self, AclItem, Parties};
use super::state::{FenceRow, fence_row, has_table};
use super::{FenceError, state};
use crate::name::{quote_identifier, quote_literal};

/// A fence that is down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LowerReport {
    /// What could not be put back exactly as it was, in plain words; empty if everything was.
    pub not_exact: Vec<String>,
}

/// Time between two attempts.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Lowers the fence of whatever epoch; does nothing if it is down already or was never raised.
///
/// Everything happens in one transaction, which ends with the row at `down`. Locks held by others
/// are waited for, with new attempts, until `timeout`.
///
/// # Errors
/// When the lock was not had in time or the server fails. The call may be made again, on a new
/// connection if this one broke.
pub async fn lower(client: &Client, timeout: Duration) -> Result<LowerReport, FenceError> {
    match state(client).await?.row {
        Some(row) => lower_epoch(client, row.epoch, timeout).await,
        None => Ok(LowerReport::default()),
    }
}

/// Lowers the fence of `epoch` or an earlier one, and sees to it that none of them goes up any
/// more: a raise that is still on its way in a connection that we lost finds the epoch's note and
/// fails. A fence of a later epoch is left alone. Does nothing if our tables are not there, since
/// then no fence can go up.
///
/// # Errors
/// As [`lower`].
pub async fn lower_epoch(
    client: &Client,
    epoch: Epoch,
    timeout: Duration,
) -> Result<LowerReport, FenceError> {
    if !has_table(client).await? {
        return Ok(LowerReport::default());
    }
    let deadline = Instant::now() + timeout;
    loop {
        match lower_once(client, epoch).await {
            Ok(report) => {
                // Not every caller has somebody to tell.
                for what in &report.not_exact {
                    tracing::warn!(%what, "the fence is down, but not everything is as it was");
                }
                return Ok(report);
            }
            // The row changed between the reading and the transaction: another lower, or a raise.
            Err(FenceError::Locked { .. } | FenceError::NotFromDown { .. })
                if Instant::now() < deadline =>
            {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn lower_once(client: &Client, epoch: Epoch) -> Result<LowerReport, FenceError> {
    note(client, epoch).await?;
    let row = match fence_row(client).await? {
        Some(row) if row.position.is_fenced() && row.epoch <= epoch => row,
        Some(_) | None => return Ok(LowerReport::default()),
    };
    let now = Now::read(client, &row).await?;
    let mut report = LowerReport::default();
    let sql = now.statements(&row, epoch, &mut report);
    run(client, &sql, epoch).await?;
    if report.not_exact.is_empty() && !now.is_back(client, &row).await? {
        report.not_exact.push(
            "the database's access control list is not what it was before the fence".to_owned(),
        );
    }
    Ok(report)
}

/// Writes the epoch down where the fence is down, so that a raise of it that comes later fails.
async fn note(client: &Client, epoch: Epoch) -> Result<(), FenceError> {
    let sql = format!(
        "{SETTINGS}INSERT INTO pointsman.fence AS f (epoch, state) VALUES ({0}, 'down')
         ON CONFLICT (only_row) DO UPDATE SET epoch = excluded.epoch,
             changed_at = pg_catalog.clock_timestamp()
         WHERE f.state = 'down' AND f.epoch < excluded.epoch;",
        epoch.0
    );
    run(client, &sql, epoch).await
}

/// What begins each of our transactions here.
const SETTINGS: &str = "SET LOCAL lock_timeout = '500ms';\nSET LOCAL synchronous_commit = on;\n";

/// Runs statements as one transaction, in one round trip.
async fn run(client: &Client, sql: &str, epoch: Epoch) -> Result<(), FenceError> {
    let Err(source) = client.batch_execute(sql).await else {
        return Ok(());
    };
    match source.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::INTERNAL_ERROR) => {
            Err(FenceError::Locked { source })
        }
        Some(&SqlState::CHECK_VIOLATION) => {
            let found = "another state than was just read".to_owned();
            Err(FenceError::NotFromDown {
                epoch: epoch.0,
                found,
            })
        }
        Some(_) | None => Err(FenceError::sql("lowering the fence")(source)),
    }
}

/// What there is, and what of the saved state still has a role to go to.
struct Now {
    oid: u32,
    database: String,
    owner: String,
    us: String,
    superuser: bool,
    /// Items saved in the row; none if the ACL was NULL, then the default's.
    saved: Vec<AclItem>,
    /// Of the roles that `saved` and `nologin` speak of, those that are gone.
    gone: Vec<String>,
    /// Of the grantors, those that we may become.
    becomable: Vec<String>,
}

impl Now {
    async fn read(client: &Client, row: &FenceRow) -> Result<Self, FenceError> {
        let step = "reading the database's privileges";
        let facts = client
            .query_one(
                "SELECT d.oid, d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
                        session_user::text, r.rolsuper,
                        coalesce($1::text, pg_catalog.acldefault('d', d.datdba)::text)::text[]
                 FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
                 WHERE d.datname = pg_catalog.current_database() AND r.rolname = session_user",
                &[&row.datacl],
            )
            .await
            .map_err(FenceError::sql(step))?;
        let saved = facts
            .try_get::<_, Vec<String>>(5)
            .map_err(FenceError::sql(step))?;
        let saved: Vec<_> = saved
            .iter()
            .map(|item| AclItem::parse(item))
            .collect::<Result<_, _>>()?;
        let mut named: Vec<String> = row.nologin.clone();
        for item in &saved {
            named.extend(item.grantee.clone());
            named.push(item.grantor.clone());
        }
        let roles = client
            .query_one(
                "SELECT ARRAY(SELECT n FROM pg_catalog.unnest($1::text[]) n WHERE NOT EXISTS (
                            SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = n)),
                        ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r
                            WHERE r.rolname = ANY ($1::text[])
                              AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))",
                &[&named],
            )
            .await
            .map_err(FenceError::sql(step))?;
        let read = || -> Result<_, tokio_postgres::Error> {
            Ok(Self {
                oid: facts.try_get(0)?,
                database: facts.try_get(1)?,
                owner: facts.try_get(2)?,
                us: facts.try_get(3)?,
                superuser: facts.try_get(4)?,
                saved: Vec::new(),
                gone: roles.try_get(0)?,
                becomable: roles.try_get(1)?,
            })
        };
        let mut now = read().map_err(FenceError::sql(step))?;
        now.saved = saved;
        Ok(now)
    }

    fn is_gone(&self, role: &str) -> bool {
        self.gone.iter().any(|gone| gone == role)
    }

    /// The one transaction that puts everything back.
    ///
    /// It begins by locking the row that was read. If that has changed, the state becomes a word
    /// that the table's CHECK refuses: a lowering that lands late opens nobody's next fence.
    fn statements(&self, row: &FenceRow, epoch: Epoch, report: &mut LowerReport) -> String {
        let parties = Parties {
            database: &self.database,
            owner: &self.owner,
            us: &self.us,
        };
        let gone = |item: &AclItem| {
            self.is_gone(&item.grantor)
                || item
                    .grantee
                    .as_deref()
                    .is_some_and(|name| self.is_gone(name))
        };
        let (lost, left): (Vec<_>, Vec<_>) = self.saved.iter().cloned().partition(gone);
        for item in lost {
            let grantee = item.grantee.unwrap_or_else(|| "PUBLIC".to_owned());
            let grantor = item.grantor;
            report.not_exact.push(format!(
                "CONNECT of {grantee}, granted by {grantor}: a role of these is gone"
            ));
        }
        let may_become = |role: &str| self.becomable.iter().any(|known| known == role);
        let (grants, by_owner_instead) = acl::grant_back(&parties, &left, may_become);
        report.not_exact.extend(by_owner_instead);

        let mut sql = format!(
            "{SETTINGS}UPDATE pointsman.fence SET state = CASE
                 WHEN epoch = {} AND state <> 'down' THEN 'lowering' ELSE 'changed' END;\n{grants}",
            row.epoch.0
        );
        if self.superuser && self.gone.is_empty() {
            sql.push_str(&self.exact_statement(row));
        }
        for role in row.nologin.iter().filter(|role| !self.is_gone(role)) {
            sql.push_str(&format!("ALTER ROLE {} LOGIN;\n", quote_identifier(role)));
        }
        sql.push_str(&format!(
            "UPDATE pointsman.fence SET state = 'down', epoch = {}, \
             changed_at = pg_catalog.clock_timestamp();\n",
            epoch.0
        ));
        sql
    }

    /// Writes the saved text over an ACL that says the same in another order.
    ///
    /// Only when it says the same: then the dependencies in `pg_shdepend` are right already, and a
    /// privilege that somebody granted meanwhile is not undone.
    fn exact_statement(&self, row: &FenceRow) -> String {
        let saved = saved_sql(row);
        let oid = self.oid;
        format!(
            "UPDATE pg_catalog.pg_database d SET datacl = {saved} WHERE d.oid = {oid}
             AND {};\n",
            same_meaning(&saved)
        )
    }

    /// Whether the ACL says what it said before.
    async fn is_back(&self, client: &Client, row: &FenceRow) -> Result<bool, FenceError> {
        if !self.gone.is_empty() {
            return Ok(true); // already named, and the text cannot be cast any more
        }
        let sql = format!(
            "SELECT {} FROM pg_catalog.pg_database d WHERE d.oid = {}",
            same_meaning(&saved_sql(row)),
            self.oid
        );
        client
            .query_one(&sql, &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(FenceError::sql("comparing the database's privileges"))
    }
}

fn saved_sql(row: &FenceRow) -> String {
    let text = row
        .datacl
        .as_deref()
        .map_or_else(|| "NULL".to_owned(), quote_literal);
    format!("{text}::aclitem[]")
}

/// Whether the ACL of database `d` grants the same as `saved`, an SQL expression.
fn same_meaning(saved: &str) -> String {
    let set = |acl: &str| {
        format!(
            "SELECT * FROM pg_catalog.aclexplode(coalesce({acl}, \
             pg_catalog.acldefault('d', d.datdba)))"
        )
    };
    let (now, before) = (set("d.datacl"), set(saved));
    format!("NOT EXISTS (({now} EXCEPT {before}) UNION ALL ({before} EXCEPT {now}))")
}

//! Sessions on the server: who passes `read_only`, and how sessions are ended.

use std::fmt;
use std::time::{Duration, Instant};

use super::{FenceError, FenceOptions, lock};
use crate::movement::error::Failed;
use crate::movement::{code, names};
use crate::wire::{SqlConn, TextRow, quote};

/// A session that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSession {
    /// Its number on the server.
    pub id: u32,
    /// Its user.
    pub user: String,
    /// The client's address.
    pub address: String,
    /// What it is doing, such as `Sleep` or `Query`.
    pub command: String,
}

impl fmt::Display for ForeignSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            user,
            address,
            command,
        } = self;
        write!(f, "thread {id}, user {user}, from {address} ({command})")
    }
}

/// Time between two looks at sessions that end.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// Users that are parts of the server and not sessions of clients.
const SERVER_USERS: [&str; 3] = ["system user", "event_scheduler", "unauthenticated user"];

/// All sessions of clients but this one.
pub(super) async fn all(client: &SqlConn) -> Result<Vec<ForeignSession>, Failed> {
    let step = "reading the list of sessions";
    let table = match client.version().is_mysql_at_least(8, 0, 22) {
        true => "performance_schema.processlist",
        false => "information_schema.PROCESSLIST",
    };
    let sql = format!(
        "SELECT ID, COALESCE(USER, ''), COALESCE(HOST, ''), COALESCE(COMMAND, '') FROM {table}
         WHERE ID <> CONNECTION_ID() ORDER BY ID"
    );
    let rows = client.query(&sql).await.map_err(Failed::sql(step))?;
    let read = |row: &TextRow| {
        Ok(ForeignSession {
            id: row.parse(0)?,
            user: row.parse(1)?,
            address: row.parse(2)?,
            command: row.parse(3)?,
        })
    };
    let mut sessions = rows
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failed::answer(step))?;
    sessions.retain(|session| !SERVER_USERS.contains(&session.user.as_str()));
    Ok(sessions)
}

/// Sessions whose user has an account that passes `read_only`, and that nobody answers for.
///
/// Accounts are compared by the user's name alone: of two accounts of one name the session could
/// have either.
pub(super) async fn bypassing(
    client: &SqlConn,
    options: &FenceOptions,
    ours: &[u32],
) -> Result<Vec<ForeignSession>, Failed> {
    let mut sessions = all(client).await?;
    sessions.retain(|session| {
        !ours.contains(&session.id)
            && !options.nologin.contains(&session.user)
            && !options.trusted_roles.contains(&session.user)
            // The dump of the log changes nothing.
            && session.command != "Binlog Dump"
            && session.command != "Binlog Dump GTID"
    });
    if sessions.is_empty() {
        return Ok(sessions);
    }
    let users = bypassing_users(client).await?;
    sessions.retain(|session| users.contains(&session.user));
    Ok(sessions)
}

/// Users with a privilege that passes `read_only`, directly or through a role.
pub(in crate::movement) async fn bypassing_users(client: &SqlConn) -> Result<Vec<String>, Failed> {
    let step = "asking which accounts pass read_only";
    let version = client.version();
    // From MariaDB 10.11 on SUPER is not enough any more.
    let privileges = match version.is_mariadb_at_least(10, 11, 0) {
        true => "'READ_ONLY ADMIN', 'READ ONLY ADMIN'",
        false => "'SUPER', 'READ_ONLY ADMIN', 'READ ONLY ADMIN'",
    };
    // A grantee is 'user'@'host', quotes in it are not doubled.
    let sql = format!(
        "SELECT DISTINCT GRANTEE FROM information_schema.USER_PRIVILEGES
         WHERE PRIVILEGE_TYPE IN ({privileges})"
    );
    let mut users: Vec<String> = names(client, &sql, step)
        .await?
        .iter()
        .map(|grantee| user_of(grantee).to_owned())
        .collect();
    if !version.is_mariadb() {
        return Ok(users);
    }
    let sql = "SELECT User, Role FROM mysql.roles_mapping";
    let rows = client.query(sql).await.map_err(Failed::sql(step))?;
    let granted: Vec<(String, String)> = rows
        .iter()
        .map(|row| Ok((row.parse(0)?, row.parse(1)?)))
        .collect::<Result<_, _>>()
        .map_err(Failed::answer(step))?;
    // Roles may be granted to roles: until nobody is added.
    loop {
        let more: Vec<String> = granted
            .iter()
            .filter(|(user, role)| users.contains(role) && !users.contains(user))
            .map(|(user, _)| user.clone())
            .collect();
        if more.is_empty() {
            return Ok(users);
        }
        users.extend(more);
    }
}

/// The user's name in `'user'@'host'`.
fn user_of(grantee: &str) -> &str {
    let user = grantee.rsplit_once("'@'").map_or(grantee, |(user, _)| user);
    user.strip_prefix('\'').unwrap_or(user)
}

/// The accounts of these users, as SQL.
pub(super) async fn accounts_of(
    client: &SqlConn,
    users: &[String],
) -> Result<Vec<String>, FenceError> {
    let step = "reading the accounts to be locked";
    let mut accounts = Vec::new();
    for user in users {
        let sql = format!(
            "SELECT Host FROM mysql.global_priv WHERE User = {}
               AND NOT COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0)
               AND NOT COALESCE(JSON_VALUE(Priv, '$.is_role'), 0)",
            quote::literal(user)
        );
        for host in names(client, &sql, step).await? {
            let account = quote::account(user, &host);
            // Its line in the fence's row could not be read back.
            if !account.contains(['\n', '\r']) {
                accounts.push(account);
            }
        }
    }
    Ok(accounts)
}

/// Locks accounts on this server alone: the stream must not carry it to the target.
pub(super) async fn lock_accounts(client: &SqlConn, accounts: &[String]) -> Result<(), Failed> {
    change_accounts(client, accounts, "LOCK").await
}

/// Unlocks accounts; those that are gone are left out and returned.
pub(super) async fn unlock_accounts(
    client: &SqlConn,
    accounts: &[String],
) -> Result<Vec<String>, Failed> {
    let mut gone = Vec::new();
    for account in accounts {
        match change_accounts(client, std::slice::from_ref(account), "UNLOCK").await {
            Ok(()) => {}
            Err(error) if error.code() == Some(code::CANNOT_USER) => gone.push(account.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}

async fn change_accounts(client: &SqlConn, accounts: &[String], how: &str) -> Result<(), Failed> {
    if accounts.is_empty() {
        return Ok(());
    }
    let step = "locking or unlocking accounts";
    client
        .execute("SET SESSION sql_log_bin = 0")
        .await
        .map_err(Failed::sql(step))?;
    let sql = format!("ALTER USER {} ACCOUNT {how}", accounts.join(", "));
    let changed = client.execute(&sql).await.map_err(Failed::sql(step));
    client
        .execute("SET SESSION sql_log_bin = 1")
        .await
        .map_err(Failed::sql(step))?;
    changed.map(|_done| ())
}

/// Ends all sessions of these users and waits until they are gone.
pub(super) async fn end_users(
    client: &SqlConn,
    users: &[String],
    deadline: Instant,
) -> Result<Vec<ForeignSession>, FenceError> {
    let mut sessions = all(client).await?;
    sessions.retain(|session| users.contains(&session.user));
    for session in &sessions {
        lock::kill(client, session.id).await?;
    }
    let ids: Vec<u32> = sessions.iter().map(|session| session.id).collect();
    wait_gone(client, &ids, deadline).await?;
    Ok(sessions)
}

/// Waits until these sessions are gone; a session goes when its transaction is rolled back.
pub(super) async fn wait_gone(
    client: &SqlConn,
    ids: &[u32],
    deadline: Instant,
) -> Result<(), FenceError> {
    loop {
        let mut left = all(client).await?;
        left.retain(|session| ids.contains(&session.id));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(FenceError::Deadline { sessions: left });
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_grantee_is_found_whatever_it_contains() {
        assert_eq!(user_of("'app'@'%'"), "app");
        assert_eq!(user_of("'o'@'x'@'10.%'"), "o'@'x");
        assert_eq!(user_of("''@'localhost'"), "");
    }
}

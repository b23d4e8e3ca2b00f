//! Accounts, roles and what they may do.
//!
//! Accounts keep their verifiers, so that clients log in with the same password; where the target
//! does not know the method, the account is made locked, and said so. An account that stands on the
//! target already keeps its password; what it may do on the source it may do there too.
//!
//! What is made or granted is taken back by `abort` (`pointsman.undo`).

mod accounts;
mod grants;

use std::fmt;

use router::Side;

use crate::name::{quote_identifier, quote_literal};
use crate::schema::error::SchemaError;
use crate::version::Flavour;
use crate::wire::SqlConn;

pub use accounts::copy_users;
pub use grants::copy_grants;

/// An account or role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Where it comes from; empty for a role of MariaDB.
    pub host: String,
    /// What it is.
    pub kind: AccountKind,
}

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountKind {
    /// Somebody logs in.
    User,
    /// It is granted to others.
    Role,
}

impl Account {
    /// As SQL for a server of this flavour.
    fn quoted(&self, flavour: Flavour) -> String {
        let user = quote_identifier(&self.user);
        match (flavour, self.kind) {
            // In backticks it would be a role of that name.
            (Flavour::MariaDb, AccountKind::Role) if self.user == "PUBLIC" => self.user.clone(),
            (Flavour::MariaDb, AccountKind::Role) => user,
            (Flavour::MySql, AccountKind::Role) if self.host.is_empty() => format!("{user}@`%`"),
            (Flavour::MariaDb | Flavour::MySql, AccountKind::User)
            | (Flavour::MySql, AccountKind::Role) => {
                format!("{user}@{}", quote_identifier(&self.host))
            }
        }
    }

    /// Accounts that each server makes for itself.
    fn is_reserved(&self) -> bool {
        self.user.starts_with("mysql.") || self.user == "mariadb.sys" || self.user == "PUBLIC"
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AccountKind::User => write!(f, "{}@{}", self.user, self.host),
            AccountKind::Role => write!(f, "role {}", self.user),
        }
    }
}

/// All accounts and roles of a server.
async fn accounts_of(client: &SqlConn, side: Side) -> Result<Vec<Account>, SchemaError> {
    let query = if client.version().is_mariadb() {
        "SELECT User, Host, is_role = 'Y' FROM mysql.user ORDER BY 1, 2"
    } else if client.version().is_mysql_at_least(8, 0, 0) {
        "SELECT u.User, u.Host, EXISTS (SELECT 1 FROM mysql.role_edges e
                WHERE e.FROM_USER = u.User AND e.FROM_HOST = u.Host)
         FROM mysql.user u ORDER BY 1, 2"
    } else {
        "SELECT User, Host, 0 FROM mysql.user ORDER BY 1, 2"
    };
    let rows = client.query(query).await;
    let rows = rows.map_err(SchemaError::sql(side, "looking at its accounts"))?;
    Ok(rows
        .iter()
        .map(|row| Account {
            user: row.text(0).unwrap_or_default().to_owned(),
            host: row.text(1).unwrap_or_default().to_owned(),
            kind: match row.text(2) {
                Some("1") => AccountKind::Role,
                Some(_) | None => AccountKind::User,
            },
        })
        .collect())
}

/// Whether the other server has this account under the name that it would get there.
fn is_among(account: &Account, others: &[Account]) -> bool {
    others.iter().any(|other| {
        let hosts = account.host == other.host
            || account.kind == AccountKind::Role && (other.host.is_empty() || other.host == "%");
        account.user == other.user && hosts
    })
}

/// Records how to take something back, before it is done.
async fn record_undo(target: &SqlConn, statement: &str) -> Result<(), SchemaError> {
    let insert = format!(
        "INSERT INTO pointsman.undo (statement) VALUES ({})",
        quote_literal(statement)
    );
    let inserted = target.execute(&insert).await;
    inserted.map(drop).map_err(SchemaError::sql(
        Side::Target,
        "recording how to take it back",
    ))
}

//! One of the two servers, with what every part of the check wants to know of it.

use std::collections::HashMap;

use router::Side;

use super::grants::Grants;
use crate::movement::error::Failed;
use crate::version::ServerVersion;
use crate::wire::{SqlConn, SqlError};

/// A server that we are connected to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) side: Side,
    pub(super) conn: SqlConn,
    pub(super) version: ServerVersion,
    /// Our account as SQL: `'user'@'host'`.
    pub(super) account: String,
    pub(super) grants: Grants,
    /// All global variables, by their names.
    variables: HashMap<String, String>,
}

const STEP: &str = "asking for the server's facts";

impl Server {
    /// Asks for the facts, and makes sure that nothing can be changed through this connection.
    pub(super) async fn read(conn: SqlConn, side: Side) -> Result<Self, Failed> {
        conn.execute("SET SESSION TRANSACTION READ ONLY")
            .await
            .map_err(Failed::sql(STEP))?;
        let rows = conn
            .query("SHOW GLOBAL VARIABLES")
            .await
            .map_err(Failed::sql(STEP))?;
        let variables = rows
            .iter()
            .filter_map(|row| Some((row.text(0)?.to_ascii_lowercase(), row.text(1)?.to_owned())))
            .collect();
        let rows = conn.query("SHOW GRANTS").await.map_err(Failed::sql(STEP))?;
        let lines: Vec<&str> = rows.iter().filter_map(|row| row.text(0)).collect();
        let grants = Grants::parse(&lines);
        let sql = "SELECT CURRENT_USER()";
        let user: String = crate::movement::one(&conn, sql, STEP).await?;
        let (user, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
        Ok(Self {
            side,
            version: conn.version(),
            account: crate::wire::quote::account(user, host),
            grants,
            variables,
            conn,
        })
    }

    /// A global variable, `None` if this version does not have it.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether a variable is on; one that this version does not have is off.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| matches!(value, "ON" | "1"))
    }

    /// A variable that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.variable(name)?.parse().ok()
    }

    /// The first column of all rows.
    pub(super) async fn names(&self, sql: &str) -> Result<Vec<String>, Failed> {
        crate::movement::names(&self.conn, sql, "looking for what would not move").await
    }

    /// The rows of a statement that not every account may run.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<crate::wire::TextRow>, SqlError> {
        self.conn.query(sql).await
    }
}

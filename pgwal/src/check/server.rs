//! One of the two servers, with what every part of the check wants to know of it.

use router::Side;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use crate::wire::SqlConn;

/// A server that we are connected to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) side: Side,
    pub(super) conn: SqlConn,
    /// `server_version_num`, such as 170010.
    pub(super) version: i32,
    /// The role pointsman logs in as.
    pub(super) role: String,
    pub(super) superuser: bool,
    pub(super) database: String,
    pub(super) owner: String,
}

impl Server {
    /// Asks for the facts, and makes sure that nothing can be changed through this connection.
    pub(super) async fn read(conn: SqlConn, side: Side) -> Result<Self, tokio_postgres::Error> {
        conn.batch_execute("SET default_transaction_read_only = on")
            .await?;
        let row = conn
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::int4,
                        session_user::text, r.rolsuper, d.datname::text,
                        pg_catalog.pg_get_userbyid(d.datdba)::text
                 FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
                 WHERE d.datname = pg_catalog.current_database() AND r.rolname = session_user",
                &[],
            )
            .await?;
        Ok(Self {
            side,
            version: row.try_get(0)?,
            role: row.try_get(1)?,
            superuser: row.try_get(2)?,
            database: row.try_get(3)?,
            owner: row.try_get(4)?,
            conn,
        })
    }

    pub(super) fn major(&self) -> i32 {
        self.version / 10_000
    }

    /// `17.10`
    pub(super) fn version_text(&self) -> String {
        format!("{}.{}", self.major(), self.version % 10_000)
    }

    /// The first column of all rows.
    pub(super) async fn names(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let rows = self.conn.query(sql, params).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// The one value of a query.
    pub(super) async fn value<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T, tokio_postgres::Error> {
        self.conn.query_one(sql, params).await?.try_get(0)
    }

    /// A setting of the server, `None` if this version does not have it.
    pub(super) async fn setting(
        &self,
        name: &str,
    ) -> Result<Option<String>, tokio_postgres::Error> {
        self.value("SELECT pg_catalog.current_setting($1, true)", &[&name])
            .await
    }

    /// A setting that is a number, in its base unit; `None` if this version does not have it.
    pub(super) async fn number(&self, name: &str) -> Result<Option<i64>, tokio_postgres::Error> {
        let sql = "SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = $1";
        let row = self.conn.query_opt(sql, &[&name]).await?;
        row.map(|row| row.try_get(0)).transpose()
    }
}

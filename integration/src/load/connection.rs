//! A client's connection to whichever engine the URL names.

use anyhow::{Error, Result};

use super::{mysql, postgres};

/// An open connection of one client.
pub(super) enum Connection {
    Postgres(postgres::Connection),
    MySql(mysql::Connection),
}

/// How a COMMIT ended that was not answered with success.
pub(super) enum Ending {
    /// The server says that nothing was committed.
    RolledBack(Error),
    /// Nobody knows.
    Unknown(Error),
}

impl Connection {
    /// Half of the clients (those with an odd number) send parameters apart from the statements.
    pub(super) async fn open(url: &str, client: i32) -> Result<Self> {
        if url.starts_with("postgres") {
            let connection = postgres::Connection::open(url, client).await?;
            return Ok(Self::Postgres(connection));
        }
        let connection = Box::pin(mysql::Connection::open(url, client)).await?;
        Ok(Self::MySql(connection))
    }

    pub(super) fn is_closed(&mut self) -> bool {
        match self {
            Self::Postgres(connection) => connection.is_closed(),
            Self::MySql(connection) => connection.is_closed(),
        }
    }

    /// Begins a transaction, inserts the id and adds it to the client's counter, whose value it
    /// gives.
    pub(super) async fn write(&mut self, client: i32, id: i64) -> Result<i64> {
        match self {
            Self::Postgres(connection) => connection.write(client, id).await,
            Self::MySql(connection) => connection.write(client, id).await,
        }
    }

    pub(super) async fn commit(&mut self) -> Result<(), Ending> {
        match self {
            Self::Postgres(connection) => connection.commit().await,
            Self::MySql(connection) => connection.commit().await,
        }
    }

    pub(super) async fn roll_back(&mut self) {
        match self {
            Self::Postgres(connection) => connection.roll_back().await,
            Self::MySql(connection) => connection.roll_back().await,
        }
    }
}

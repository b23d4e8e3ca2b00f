//! The load's transactions and tables on PostgreSQL. Even clients speak the simple protocol, odd
//! ones the extended one with unnamed statements.

use anyhow::{Context as _, Result};
use tokio_postgres::types::Type;

use super::account::Found;
use super::connection::Ending;
use crate::server::PgClient;

/// The tables of the load, empty. `row` has no relation to `id`, so that a transaction that was
/// run twice by anybody is found and not refused.
pub(super) const TABLES: &str = "
CREATE TABLE load_event (
    row      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id       bigint NOT NULL,
    client   integer NOT NULL,
    note     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX load_event_id ON load_event (id);
CREATE TABLE load_counter (client integer PRIMARY KEY, total bigint NOT NULL);
INSERT INTO load_counter SELECT number, 0 FROM generate_series(0, 999) AS number;
";

pub(super) struct Connection {
    client: PgClient,
    extended: bool,
}

impl Connection {
    pub(super) async fn open(url: &str, client: i32) -> Result<Self> {
        Ok(Self {
            client: PgClient::connect(url).await?,
            extended: client % 2 != 0,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) async fn write(&self, client: i32, id: i64) -> Result<i64> {
        if self.extended {
            self.write_extended(client, id).await
        } else {
            self.write_simple(client, id).await
        }
    }

    pub(super) async fn commit(&self) -> Result<(), Ending> {
        let said = self.client.batch_execute("COMMIT").await;
        said.map_err(|error| {
            if rolled_back(&error) {
                Ending::RolledBack(error.into())
            } else {
                Ending::Unknown(error.into())
            }
        })
    }

    pub(super) async fn roll_back(&self) {
        let said = self.client.batch_execute("ROLLBACK").await;
        said.unwrap_or_default();
    }

    async fn write_simple(&self, client: i32, id: i64) -> Result<i64> {
        let connection = &self.client;
        connection.batch_execute("BEGIN").await?;
        connection
            .batch_execute(&format!(
                "INSERT INTO load_event (id, client, note) VALUES ({id}, {client}, 'simple {id}')"
            ))
            .await?;
        let total = connection
            .value(&format!(
                "UPDATE load_counter SET total = total + {id} WHERE client = {client} \
                 RETURNING total"
            ))
            .await?;
        total.parse().context("the total is no number")
    }

    async fn write_extended(&self, client: i32, id: i64) -> Result<i64> {
        let connection = &self.client;
        connection.query_typed("BEGIN", &[]).await?;
        let note = format!("extended {id}");
        connection
            .query_typed(
                "INSERT INTO load_event (id, client, note) VALUES ($1, $2, $3)",
                &[
                    (&id, Type::INT8),
                    (&client, Type::INT4),
                    (&note, Type::TEXT),
                ],
            )
            .await?;
        let rows = connection
            .query_typed(
                "UPDATE load_counter SET total = total + $1 WHERE client = $2 RETURNING total",
                &[(&id, Type::INT8), (&client, Type::INT4)],
            )
            .await?;
        Ok(rows
            .first()
            .context("the client's counter is not there")?
            .try_get(0)?)
    }
}

/// Everything that the load's tables hold.
pub(super) async fn found(client: &PgClient) -> Result<Found> {
    let mut found = Found::default();
    for row in client
        .query("SELECT id, client FROM load_event", &[])
        .await?
    {
        found.events.push((row.try_get(0)?, row.try_get(1)?));
    }
    for row in client
        .query("SELECT client, total FROM load_counter", &[])
        .await?
    {
        found.totals.push((row.try_get(0)?, row.try_get(1)?));
    }
    Ok(found)
}

/// Whether an error that answers a COMMIT says that nothing was committed. A session that was ended
/// (class 57P, 08) or a connection that closed says nothing about it.
fn rolled_back(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let code = error.code().code();
        !code.starts_with("57P") && !code.starts_with("08")
    })
}

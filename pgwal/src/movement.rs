//! The movement of the points on the servers: fence, marker, sequences, journal, and who serves.
//!
//! Who serves is written in the two databases and nowhere else: `pointsman.fence` on the side that
//! is left and `pointsman.movement` on the target. Each step here is one transaction on one server,
//! so that a crash finds it either done or not done, and each may be asked for again.

pub mod fence;
pub mod journal;
pub mod marker;
pub mod ready;
pub mod schema;
pub mod sequences;
pub mod sides;
pub mod standing;
pub mod way_back;

use tokio_postgres::Client;

/// Makes every later commit of this connection wait for the disk, whatever the role's default is.
///
/// A setting that waits for more (`remote_apply`) is kept.
async fn make_commits_durable(client: &Client) -> Result<(), tokio_postgres::Error> {
    client
        .batch_execute(
            "SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
             WHERE pg_catalog.current_setting('synchronous_commit') <> 'remote_apply'",
        )
        .await
}

/// Whether our table of this name is in the database; asks the catalog, so it needs no privilege.
async fn has_table(client: &Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT EXISTS (
        SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'pointsman' AND c.relname = $1::text)";
    client.query_one(sql, &[&name]).await?.try_get(0)
}

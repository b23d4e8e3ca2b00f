//! The initial copy between real servers: everything arrives, exactly; it goes on after any break;
//! its watermarks are exact; and nothing of ours is left in the end.

use std::sync::Arc;

use binlog::schema::initial::{InitialCopy, InitialDone, InitialError, InitialOptions};
use binlog::wire::{Endpoint, SqlConn};
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::words;

mod altered;
mod charsets;
mod cleanup;
mod documents;
mod engines;
mod follow;
mod kinds;
mod loaded;
mod loading;
mod many;
mod means;
mod packets;
mod ranges;
mod resume;
mod rungs;
mod structure;
mod types;
mod users;

/// Two servers and a way to copy.
struct Pair {
    source: MySqlServer,
    target: MySqlServer,
}

impl Pair {
    async fn start(from: Version, to: Version) -> Self {
        Self::start_with(from, to, MySqlOptions::default(), MySqlOptions::default()).await
    }

    async fn start_with(
        from: Version,
        to: Version,
        source: MySqlOptions,
        target: MySqlOptions,
    ) -> Self {
        let (source, target) = tokio::join!(
            MySqlServer::start(from, source),
            MySqlServer::start(to, target)
        );
        Self {
            source: source.unwrap(),
            target: target.unwrap(),
        }
    }

    fn endpoints(&self) -> (Endpoint, Endpoint) {
        (endpoint(&self.source), endpoint(&self.target))
    }

    fn initial(&self, options: InitialOptions) -> Arc<InitialCopy> {
        let (source, target) = self.endpoints();
        Arc::new(InitialCopy::new(source, target, options))
    }

    async fn copy(&self) -> InitialDone {
        let copy = self.initial(InitialOptions::new("t1"));
        done(copy.run().await)
    }
}

fn endpoint(server: &MySqlServer) -> Endpoint {
    server.url("root", "").parse().unwrap()
}

fn done(result: Result<InitialDone, InitialError>) -> InitialDone {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{}", words(&error)),
    }
}

/// All rows of a table as the bytes that the server stores, in the order of the first column.
async fn contents(client: &SqlConn, table: &str, columns: &str) -> Vec<Vec<Option<Vec<u8>>>> {
    client
        .execute("SET character_set_results = NULL")
        .await
        .unwrap();
    let query = format!("SELECT {columns} FROM {table} ORDER BY 1");
    let rows = client.query(&query).await.unwrap();
    rows.iter()
        .map(|row| {
            (0..row.len())
                .map(|index| row.bytes(index).map(<[u8]>::to_vec))
                .collect()
        })
        .collect()
}

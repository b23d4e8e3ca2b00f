//! The initial copy between real servers: everything arrives, a second run goes on where the first
//! was cut, and nothing of ours stays behind.
#![expect(clippy::panic, reason = "a test that cannot go on fails")]

mod cleanup;
mod cut;
mod refusals;
mod same;

use std::time::Duration;

use integration::binaries;
use integration::server::{PgClient, PgOptions, PgServer};
use pgwal::schema::initial::{InitialCopy, InitialDone, InitialOptions, InitialStep};
use pgwal::wire::Endpoint;

const KITCHEN_SINK: &str = include_str!("schema/kitchen_sink.sql");

struct Pair {
    source: PgServer,
    target: PgServer,
}

impl Pair {
    async fn start(source: u32, target: u32) -> Self {
        let start = |major| PgServer::start(major, PgOptions::default().without_fsync());
        let (source, target) = tokio::try_join!(start(source), start(target)).unwrap();
        Self { source, target }
    }

    fn endpoints(&self) -> (Endpoint, Endpoint) {
        let endpoint = |server: &PgServer| server.url("postgres", "postgres").parse().unwrap();
        (endpoint(&self.source), endpoint(&self.target))
    }

    fn options(&self) -> InitialOptions {
        let mut options = InitialOptions::new("0123abcd");
        let bin = binaries::client_bin(self.source.major()).unwrap();
        options.pg_dump_dir = Some(bin);
        options.slot_timeout = Duration::from_secs(60);
        options
    }

    fn copy(&self, options: InitialOptions) -> InitialCopy {
        let (source, target) = self.endpoints();
        InitialCopy::new(source, target, options)
    }

    async fn clients(&self) -> (PgClient, PgClient) {
        tokio::try_join!(
            self.source.client("postgres"),
            self.target.client("postgres")
        )
        .unwrap()
    }
}

/// Error texts with all their causes, for a panic that says something.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

async fn run(copy: &InitialCopy) -> InitialDone {
    match copy.run().await {
        Ok(done) => done,
        Err(error) => panic!("at {:?}: {}", copy.step(), told(&error)),
    }
}

async fn a_kitchen_sink_arrives_whole(source: u32, target: u32) {
    let pair = Pair::start(source, target).await;
    pair.source.execute("postgres", KITCHEN_SINK).await.unwrap();
    let copy = pair.copy(pair.options());
    let done = run(&copy).await;
    assert_eq!(copy.step(), InitialStep::Done);
    same::assert_same(&pair, &done).await;
}

#[tokio::test]
async fn a_kitchen_sink_arrives_whole_from_12_on_18() {
    a_kitchen_sink_arrives_whole(12, 18).await;
}

#[tokio::test]
async fn a_kitchen_sink_arrives_whole_from_14_on_17() {
    a_kitchen_sink_arrives_whole(14, 17).await;
}

#[tokio::test]
async fn a_kitchen_sink_arrives_whole_from_15_on_16() {
    a_kitchen_sink_arrives_whole(15, 16).await;
}

#[tokio::test]
async fn a_kitchen_sink_arrives_whole_from_17_on_18() {
    a_kitchen_sink_arrives_whole(17, 18).await;
}

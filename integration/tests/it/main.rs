//! The end-to-end tests: one binary, a module an idea.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod apply;
mod catalog;
mod check;
mod documented;
mod e2e;
mod fence;
mod fence_fixture;
mod journal;
mod load;
mod mysql;
mod ready;
mod relay;
mod schema;
mod servers;
mod settings;
mod stream;
mod tls;

//! The stream against real servers: what must never be lost, repeated or reordered.

mod fixture;
mod identity;
mod large;
mod order;
mod slots;
mod survival;

/// One test for each of these versions: the oldest, the protocol versions 2 and 4, the newest.
macro_rules! on_versions {
    ($($name:ident),* $(,)?) => {
        mod version_12 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(12).await; })* }
        mod version_14 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(14).await; })* }
        mod version_16 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(16).await; })* }
        mod version_17 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(17).await; })* }
        mod version_18 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(18).await; })* }
    };
}
pub(crate) use on_versions;

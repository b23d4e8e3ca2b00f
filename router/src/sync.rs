//! The synchronisation types of the switch: std's and `parking_lot`'s, or loom's in its models.
//!
//! loom sees only its own types. Its cfg here is `router_loom` and not `loom`, since the latter
//! reaches every dependency and takes `tokio::net` away.

#[cfg(not(router_loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(router_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(router_loom)]
pub(crate) use self::under_loom::Mutex;
#[cfg(router_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(router_loom)]
mod under_loom {
    /// loom's mutex with the interface of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("invariant: no model panics while it holds the lock")
        }
    }
}

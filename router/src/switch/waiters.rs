//! Those who wait for the release of a hold.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::Mutex;

/// The wakers of all that wait, each under a number of its own so that one that gives up can leave.
///
/// Bounded by the sessions: each waits at most once for its gate and once for an epoch.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Waiters {
    /// Wakes everyone. Whoever registered before this call is woken; whoever registers after it
    /// sees what the caller did before it.
    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.0.lock().wakers);
        // Outside of the lock: a waker may run anything.
        wakers.into_values().for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().wakers.len()
    }
}

/// One place in the list; dropping it leaves the list.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    number: Option<u64>,
}

impl<'a> Waiting<'a> {
    /// A place that is not taken yet.
    pub(super) fn new(waiters: &'a Waiters) -> Self {
        Self {
            waiters,
            number: None,
        }
    }

    /// Enters the list, or renews the waker. The caller must look at what it waits for after this.
    pub(super) fn register(&mut self, waker: &Waker) {
        let mut list = self.waiters.0.lock();
        let number = *self.number.get_or_insert_with(|| {
            list.next += 1;
            list.next
        });
        match list.wakers.get_mut(&number) {
            Some(registered) => registered.clone_from(waker),
            None => {
                list.wakers.insert(number, waker.clone());
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.waiters.0.lock().wakers.remove(&number);
            drop(waker);
        }
    }
}

//! The one place where tasks are spawned: each has a name, is tracked, and its panic is seen.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Spawns a task on a runtime; its panic is logged with its name.
///
/// The handle gives the task's result, or `None` if it panicked.
pub(crate) fn spawn_on<F, T>(
    runtime: &Handle,
    name: &'static str,
    future: F,
) -> JoinHandle<Option<T>>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let span = tracing::info_span!("task", name);
    let inner = runtime.spawn(future.instrument(span));
    runtime.spawn(
        Watched {
            name,
            inner,
            done: false,
        }
        .result(),
    )
}

/// Aborts the inner task when the outer one is aborted.
struct Watched<T> {
    name: &'static str,
    inner: JoinHandle<T>,
    done: bool,
}

impl<T> Watched<T> {
    async fn result(mut self) -> Option<T> {
        let joined = (&mut self.inner).await;
        self.done = true;
        match joined {
            Ok(value) => Some(value),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(task = self.name, "a task panicked; this is a bug");
                }
                None
            }
        }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        if !self.done {
            self.inner.abort();
        }
    }
}

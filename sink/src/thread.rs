//! Where work runs that keeps a thread busy: on one of its own, so that nobody waits for it who need not. In a simulation,
//! which has one thread, right here.

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// Runs work that computes for long between its waits.
///
/// # Panics
/// If the work does.
pub async fn on_own_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[cfg(feature = "simulation")]
    if logboom_config::simulation::is_on() {
        return work.await;
    }
    let runtime = Handle::current();
    let done = spawn_blocking(move || runtime.block_on(work)).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Runs work that blocks. In a simulation everything else stands still meanwhile.
///
/// # Panics
/// If the work does.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(feature = "simulation")]
    if logboom_config::simulation::is_on() {
        return std::thread::spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
    spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

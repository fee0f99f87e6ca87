//! Where work runs that keeps a thread busy: on one of its own, so that nobody waits for it who need not. In a simulation,
//! which has one thread, right here.

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Runs work that computes for long between its waits.
///
/// # Panics
/// If the work does, or if the system has no room for a thread.
pub async fn on_own_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    #[cfg(feature = "simulation")]
    if logboom_config::simulation::is_on() {
        return work.await;
    }
    let runtime = Handle::current();
    let (sender, done) = oneshot::channel();
    // One that ends with it: an allocator keeps what was freed for the thread that had it, and there are dozens in a pool.
    let thread = std::thread::Builder::new().name("logboom-work".to_owned()).spawn(move || {
        let _ = sender.send(runtime.block_on(work));
    });
    let thread = thread.expect("the system has room for one more thread");
    match done.await {
        Ok(value) => value,
        Err(_) => std::panic::resume_unwind(thread.join().expect_err("it ended without an answer")),
    }
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

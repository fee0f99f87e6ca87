//! Marks for sessions that open a stream: a view of the table of their own, so that nobody waits for a commit.
//!
//! It may lag behind. That is harmless: blocks that the table has are dropped when their batch is filtered.

use std::sync::Arc;
use std::time::Duration;

use logboom_sink::table::View;
use logboom_wire::StreamId;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Look-ups within this time share one refresh.
const REFRESH_INTERVAL: Duration = Duration::from_millis(50);

/// Cheap to clone.
#[derive(Clone)]
pub struct Marks(Arc<Mutex<State>>);

struct State {
    view: View,
    refreshed: Instant,
}

impl Marks {
    /// Starts from `view`.
    pub fn new(view: View) -> Self {
        Self(Arc::new(Mutex::new(State { view, refreshed: Instant::now() })))
    }

    /// The mark of `stream`, as of now or a moment ago.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn look_up(&self, stream: StreamId) -> Result<u64, logboom_sink::Error> {
        let mut state = self.0.lock().await;
        if state.refreshed.elapsed() >= REFRESH_INTERVAL {
            state.view.refresh().await?;
            state.refreshed = Instant::now();
        }
        Ok(state.view.mark(stream))
    }

    /// Takes a newer view, so that the next look-up has less to read.
    pub async fn advance(&self, view: &View) {
        let mut state = self.0.lock().await;
        if view.version() > state.view.version() {
            state.view = view.clone();
        }
    }
}

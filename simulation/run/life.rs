//! The life of one process: whether it still has effects, and when it is to die.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::trace::{Trace, note};

/// From the start of a process to its end. Once dead, nothing that it does has an effect.
#[derive(Debug)]
pub struct Life {
    pub name: String,
    trace: Trace,
    state: Mutex<State>,
    died: Notify,
}

#[derive(Debug, Default)]
struct State {
    dead: bool,
    /// Dies when so many more effects are done.
    effects_left: Option<u64>,
    frozen_until: Option<Instant>,
}

impl Life {
    pub fn new(name: &str, trace: &Trace) -> Self {
        Self { name: name.to_owned(), trace: trace.clone(), state: Mutex::default(), died: Notify::new() }
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    /// About to do something that others see; false if it does not come to that.
    pub fn effect(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return false;
        }
        match &mut state.effects_left {
            Some(0) => {
                state.dead = true;
                drop(state);
                note!(self.trace, self.name, "dies between two steps");
                self.died.notify_one();
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    /// Dies after so many more effects.
    pub fn die_after(&self, effects: u64) {
        self.state.lock().unwrap().effects_left = Some(effects);
    }

    pub fn die(&self) {
        self.state.lock().unwrap().dead = true;
        self.died.notify_one();
    }

    /// Returns when it is dead.
    pub async fn death(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
        // For others who wait.
        self.died.notify_one();
    }

    /// Does nothing for this long.
    pub fn freeze(&self, time: Duration) {
        let mut state = self.state.lock().unwrap();
        state.frozen_until = state.frozen_until.max(Some(Instant::now() + time));
    }

    /// How long it does nothing yet.
    pub fn frozen(&self) -> Duration {
        let until = self.state.lock().unwrap().frozen_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Returns when it does something again; never if it is dead.
    pub async fn thaw(&self) {
        loop {
            let left = self.frozen();
            if left.is_zero() {
                break;
            }
            // It may be spared the rest.
            tokio::time::sleep(left.min(Duration::from_millis(250))).await;
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

impl Life {
    /// It is not to die or to freeze any more.
    pub fn spare(&self) {
        let mut state = self.state.lock().unwrap();
        state.effects_left = None;
        state.frozen_until = None;
    }
}

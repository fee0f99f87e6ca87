//! Programs that sources run: each in a process group of its own, so that it can be ended with all that it started.
//!
//! What leaves the group by itself (a daemon that calls `setsid`) is out of reach. If the adaptor is killed on the spot
//! nobody is there to end the group; its programs then find their pipes closed.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

/// How long a program has to end by itself after SIGTERM, before SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// The longest first pause before a program is started again…
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// …and the longest of all.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A program that ran for this long was well: after it the pauses begin anew.
const WELL: Duration = Duration::from_secs(30);

/// A program that runs. Its whole group is killed when this is dropped.
pub(super) struct Program {
    child: Child,
    group: Option<Pid>,
}

impl Program {
    /// Starts `command` in a group of its own, without input, its output in pipes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let program = Self { child, group };
        match (stdout, stderr) {
            (Some(stdout), Some(stderr)) => Ok((program, stdout, stderr)),
            _ => Err(io::Error::other("it has no pipes")),
        }
    }

    /// Waits for its end; what it started may go on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the group to end, and kills it after [`GRACE`], or sooner once the program itself has ended.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        let ended = timeout(GRACE, self.child.wait()).await;
        self.kill();
        match ended {
            Ok(ended) => ended,
            Err(_) => self.child.wait().await,
        }
    }

    /// Kills what is left of the group, once. The number of a group is not given to another while it has members; only
    /// between the end of the last and this call could that happen.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Most often there is nobody left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Pauses before a program that ended is started again: random up to a bound that doubles, so that many hosts do not
/// start theirs at once.
pub(super) struct Pauses {
    bound: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { bound: PAUSE_FIRST }
    }
}

impl Pauses {
    /// The pause after a program that was started at `started`.
    pub(super) fn after(&mut self, started: Instant) -> Duration {
        if started.elapsed() >= WELL {
            self.bound = PAUSE_FIRST;
        }
        let pause = rand::rng().random_range(Duration::ZERO..=self.bound);
        self.bound = (self.bound * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew_after_a_program_that_was_well() {
        let mut pauses = Pauses::default();
        let now = Instant::now();
        for _ in 0..20 {
            assert!(pauses.after(now) <= PAUSE_MAX);
        }
        assert_eq!(pauses.bound, PAUSE_MAX);
        if let Some(long_ago) = now.checked_sub(WELL) {
            assert!(pauses.after(long_ago) <= PAUSE_FIRST);
        }
    }
}

//! A command that is run on an interval, or kept running; its lines become records, and so does its end.
//!
//! | what | record |
//! |---|---|
//! | a line of its output | as the source's `format` says, with the attribute `exec.stream` = `stdout` or `stderr` |
//! | its end | the body says how; `exec.exit_code` or `exec.signal`, `exec.duration_ms`, and `exec.timed_out` or `exec.stopped` = `true` where that was the reason |
//!
//! No shell takes part. On an interval one run never overlaps the next: a run that is due meanwhile is passed over. A
//! command that is kept running is started again after a random pause that doubles up to a minute.
//!
//! While memory or the spool is full the pipes are not read, so the command waits in its next write, whatever `when_full`
//! says. Nothing is acknowledged to a command: lines that were in memory when the adaptor crashed are lost.

mod run;
#[cfg(test)]
mod tests;

use std::time::Instant;

use futures::FutureExt;
use logboom_config::{ExecSource, Source};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::run::Runner;
use super::command::Pauses;
use super::net::Seldom;
use super::{Context, Running};

/// Opens the source. Whether the command can be started shows later, and is tried again.
pub(super) fn open(
    source: Source,
    settings: ExecSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let every = settings.interval;
    let mut starts = Starts { runner: Runner::new(source, settings, context), failures: Seldom::default(), stop };
    Ok(async move {
        match every {
            Some(every) => {
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                while starts.stop.clone().run_until_cancelled(ticks.tick()).await.is_some() {
                    starts.once().await;
                }
            }
            None => {
                let mut pauses = Pauses::default();
                while !starts.stop.is_cancelled() {
                    let started = Instant::now();
                    starts.once().await;
                    starts.stop.run_until_cancelled(sleep(pauses.after(started))).await;
                }
            }
        }
    }
    .boxed())
}

struct Starts {
    runner: Runner,
    failures: Seldom,
    stop: CancellationToken,
}

impl Starts {
    /// Runs the command once. A failure is counted and logged; the caller comes again.
    async fn once(&mut self) {
        if let Err(error) = self.runner.run(&self.stop).await {
            self.runner.counters().commands_failed.add(1);
            if self.failures.now() {
                let (source, program) = (self.runner.source_name(), self.runner.program());
                warn!(source, program, %error, "the command cannot be started; trying again");
            }
        }
    }
}

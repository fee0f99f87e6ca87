//! A record on an interval, so that silence can be told from death.
//!
//! The body is `heartbeat`; the attributes say how long the adaptor's source has been up and how many heartbeats came
//! before. A heartbeat that finds no room in the spool in time is passed over, which shows as a gap in the numbers.

use std::time::Duration;

use futures::FutureExt;
use logboom_config::{HeartbeatSource, Source};
use logboom_wire::Record;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Context, Inlet, Running, observed_now};
use crate::intake::{Chunk, Refused};

/// Opens the source. It cannot fail.
pub(super) fn open(
    source: Source,
    settings: HeartbeatSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let beating = beat(source, settings.interval, context);
    Ok(async move {
        // One that waits for room is given up: nobody has sent it.
        let _ = stop.run_until_cancelled(beating).await;
    }
    .boxed())
}

async fn beat(source: Source, every: Duration, context: Context) {
    let inlet = Inlet::new(source, context);
    let mut funnel = inlet.funnel();
    let started = Instant::now();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = ticks.tick().await;
        let uptime = due.saturating_duration_since(started);
        // Counted by the clock, so that those passed over are missing.
        let sequence = uptime.as_millis() / every.as_millis().max(1) + 1;
        let (sequence, uptime) = (sequence.to_string(), uptime.as_secs().to_string());
        let now = observed_now();
        let record = Record {
            timestamp: Some(now),
            observed: now,
            severity_number: 9,
            severity_text: "INFO",
            body: b"heartbeat",
            attributes: &[
                ("heartbeat.sequence", &sequence),
                ("heartbeat.uptime_s", &uptime),
                ("heartbeat.version", env!("CARGO_PKG_VERSION")),
            ],
            ..Record::default()
        };
        let mut chunk = Chunk::default();
        funnel.record(None, &record, &mut chunk);
        match inlet.append(chunk).await {
            Err(Refused::Closed) => return,
            Ok(_) | Err(Refused::Full) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::SourceKind;

    use super::*;
    use crate::source::testing::Rig;

    fn source(millis: u64) -> Source {
        let settings = HeartbeatSource { interval: Duration::from_millis(millis) };
        Source::new("pulse", SourceKind::Heartbeat(settings))
    }

    #[tokio::test]
    async fn a_heartbeat_comes_at_once_and_then_on_the_interval_with_its_number() {
        let rig = Rig::new();
        let running = rig.open(source(50)).await;
        let seen = rig.records(3).await;
        for (n, seen) in seen.iter().take(3).enumerate() {
            assert_eq!((seen.category.as_str(), seen.body.as_str()), ("pulse", "heartbeat"));
            assert_eq!(seen.attributes["heartbeat.version"], env!("CARGO_PKG_VERSION"));
            assert!(seen.attributes["heartbeat.sequence"].parse::<usize>().unwrap() > n);
        }
        assert_eq!(seen[0].attributes["heartbeat.sequence"], "1");
        assert_eq!(seen[0].attributes["heartbeat.uptime_s"], "0");
        rig.stop(running).await;
    }

    #[tokio::test]
    async fn heartbeats_that_find_no_room_are_counted_and_leave_a_gap_in_the_numbers() {
        let rig = Rig::new();
        rig.context.intake.refuse_all(true);
        let running = rig.open(source(20)).await;
        while rig.context.counters.records_refused_full.get() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.context.intake.refuse_all(false);
        let seen = rig.records(1).await;
        assert!(seen[0].attributes["heartbeat.sequence"].parse::<u64>().unwrap() > 3);
        rig.stop(running).await;
    }
}

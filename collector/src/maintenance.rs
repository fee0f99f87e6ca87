//! Maintenance in a collector: merge small files, remove what is past, delete garbage, clean up the log.
//!
//! Owns when that is done and by whom; what is done is `logboom_sink::maintain`'s. A task in the background, one step at a
//! time. Of several collectors on a table the one with the lease works. Nothing here is ever fatal: what fails is logged
//! and tried again at the next pass, and committing goes on meanwhile.

use std::time::Duration;

use logboom_config::random;
use logboom_sink::maintain::{Control, Days, Lease, LeaseSettings, Settings, Standing, compact, retain, vacuum};
use logboom_sink::table::{View, clean_up};
use logboom_sink::{Error, Store};
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// A rewrite rests as long as it works, so that it takes no more than half of a core from the commits.
const REST: f64 = 1.0;
/// A stop waits so long for what is under way; it is of no harm to give it up.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// When what is done.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The lease runs out so long after it was renewed last.
    pub lease: Duration,
    /// From the end of a pass to the next.
    pub pass: Duration,
    /// Between two looks for garbage, which list all objects.
    pub vacuum: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { lease: Duration::from_secs(120), pass: Duration::from_secs(300), vacuum: Duration::from_secs(60 * 60) }
    }
}

/// Maintains the table in `store` until `cancel`.
pub async fn run(store: Store, mut settings: Settings, schedule: Schedule, cancel: CancellationToken) {
    settings.rest = REST;
    let clock = settings.table.clock.clone();
    let mut lease = Lease::new(&store, LeaseSettings { ttl: schedule.lease, clock });
    let (mut last_pass, mut last_vacuum) = (None::<Instant>, None::<Instant>);
    let is_due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
    loop {
        let tick = (schedule.lease / 3).mul_f64(random::rng().random_range(0.8..1.0));
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(tick) => {}
        }
        match lease.step().await {
            Ok(Standing::Held) if is_due(last_pass, schedule.pass) => {
                let with_vacuum = is_due(last_vacuum, schedule.vacuum);
                let control = Control::default();
                let pass = pass(&store, &settings, with_vacuum, &control);
                guard(pass, &mut lease, schedule, &control, &cancel).await;
                last_pass = Some(Instant::now());
                if with_vacuum {
                    last_vacuum = last_pass;
                }
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "cannot find out who maintains the table; trying again"),
        }
    }
    if let Ok(Err(error)) = tokio::time::timeout(STOP_PATIENCE, lease.release()).await {
        debug!(%error, "the lease is not given back; it runs out");
    }
}

/// Sees a pass to its end, renewing the lease; stops it when the lease is lost or the collector ends.
async fn guard(
    pass: impl Future<Output = ()>,
    lease: &mut Lease,
    schedule: Schedule,
    control: &Control,
    cancel: &CancellationToken,
) {
    let mut pass = std::pin::pin!(pass);
    loop {
        tokio::select! {
            biased;
            () = &mut pass => return,
            () = cancel.cancelled() => {
                control.stop();
                let _ = tokio::time::timeout(STOP_PATIENCE, pass).await;
                return;
            }
            () = tokio::time::sleep(schedule.lease / 3) => {}
        }
        match lease.step().await {
            Ok(Standing::Held) => {}
            Ok(Standing::Waiting) => {
                debug!("another collector maintains the table now");
                control.stop();
            }
            Err(error) => warn!(%error, "cannot renew the lease; going on"),
        }
    }
}

/// One step after the other; one that fails does not keep the next from being tried.
async fn pass(store: &Store, settings: &Settings, with_vacuum: bool, control: &Control) {
    match compact(store, settings, Days::Due, control).await {
        Ok(done) if done.commits > 0 => info!(
            commits = done.commits,
            rows = done.rows,
            files_before = done.files_before,
            files_after = done.files_after,
            bytes_before = done.bytes_before,
            bytes_after = done.bytes_after,
            conflicts = done.conflicts,
            "compacted"
        ),
        Ok(_) => {}
        Err(error) => failed("compact the table", &error),
    }
    match retain(store, settings, false, control).await {
        Ok(done) if done.files_removed + done.files_rewritten > 0 => info!(
            rows = done.rows_removed,
            bytes = done.bytes_removed,
            files_removed = done.files_removed,
            files_rewritten = done.files_rewritten,
            "removed what is past its retention"
        ),
        Ok(_) => {}
        Err(error) => failed("remove what is past its retention", &error),
    }
    if with_vacuum {
        match vacuum(store, settings, false, control).await {
            Ok(done) if !done.garbage.is_empty() => {
                info!(files = done.garbage.len(), bytes = done.bytes(), waiting = done.waiting, "deleted garbage");
            }
            Ok(_) => {}
            Err(error) => failed("delete garbage", &error),
        }
    }
    if let Err(error) = clean_up_log(store, settings).await {
        failed("clean up the log", &error);
    }
}

/// Unless the clock may have jumped: who took the log for older than it is would take away what others still go by.
async fn clean_up_log(store: &Store, settings: &Settings) -> Result<(), Error> {
    if View::open(store, &settings.table).await?.may_write_checkpoint() {
        clean_up(store, &settings.table).await?;
    }
    Ok(())
}

fn failed(what: &str, error: &Error) {
    match error {
        Error::Cancelled => debug!("stopped before it could {what}"),
        error => warn!(%error, "cannot {what}; trying again later"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::civil::date;
    use logboom_config::Sink;
    use logboom_sink::merge;
    use logboom_sink::table::{self, Batch, Snapshot};
    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Rows, RunKey, StreamId};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_collectors_one_compacts_the_table_and_both_end_when_told_to() {
        let store = Store::open("memory://", &Default::default()).unwrap();
        let settings = Settings::from(&Sink::at("memory://"));
        let mut view = View::open_or_create(&store, &settings.table).await.unwrap();
        let stream = StreamId::from_bytes([7; 16]);
        for number in 1..=5 {
            let key = RunKey { category: "c".into(), source: "s".into(), attributes: vec![] };
            let mut rows = Rows::default();
            rows.push_line(1, b"line");
            let place = BlockPlace { stream, number, first_record: number, host: "h" };
            let block = Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap();
            let begun = view.begin_files();
            let files = merge(&store, &[block], date(2026, 2, 3), &settings.files).await.unwrap();
            let marks = [(stream, number)];
            let _ = table::commit(&mut view, Batch { files: &files, marks: &marks, begun }).await.unwrap();
        }
        let millis = Duration::from_millis;
        let schedule = Schedule { lease: millis(3000), pass: millis(50), vacuum: millis(50) };
        let cancel = CancellationToken::new();
        let tasks: Vec<_> =
            (0..2).map(|_| tokio::spawn(run(store.clone(), settings.clone(), schedule, cancel.clone()))).collect();
        let patience = Instant::now() + Duration::from_secs(30);
        while Snapshot::load(&store).await.unwrap().files.len() > 1 {
            assert!(Instant::now() < patience, "nobody compacts");
            tokio::time::sleep(millis(50)).await;
        }
        cancel.cancel();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(10), task).await.expect("it ends").unwrap();
        }
        let snapshot = Snapshot::load(&store).await.unwrap();
        assert_eq!(snapshot.files[0].stats.as_ref().unwrap().records, 5);
        assert_eq!(snapshot.version, 6, "only one of them did it");
    }
}

//! What goes wrong in a run: one fault after the other, each of a kind that its plan has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::adaptor::{AdaptorMachine, Command as ToAdaptor};
use crate::collector::{CollectorMachine, Command as ToCollector};
use crate::disk::DiskFaults;
use crate::store::StoreFaults;
use crate::trace::note;
use crate::world::World;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillAdaptor,
    CutAdaptorPower,
    RestartAdaptor,
    KillCollector,
    CutCollectorPower,
    RestartCollector,
    CutNetwork,
    ResetConnection,
    SilenceConnection,
    SlowNetwork,
    DiskSyncErrors,
    FullDisk,
    SlowDisk,
    StoreErrors,
    StoreUnanswered,
    StoreConfused,
    SlowStore,
    LateStore,
    StaleStore,
    AdaptorClock,
    CollectorClock,
    FreezeCollector,
    FreezeAdaptor,
    SleepAll,
    CloneSpool,
    RestoreBackup,
    CompactByHand,
    SuspendCollector,
    StartOnBadDisk,
}

pub const KINDS: [Kind; 29] = [
    Kind::KillAdaptor,
    Kind::CutAdaptorPower,
    Kind::RestartAdaptor,
    Kind::KillCollector,
    Kind::CutCollectorPower,
    Kind::RestartCollector,
    Kind::CutNetwork,
    Kind::ResetConnection,
    Kind::SilenceConnection,
    Kind::SlowNetwork,
    Kind::DiskSyncErrors,
    Kind::FullDisk,
    Kind::SlowDisk,
    Kind::StoreErrors,
    Kind::StoreUnanswered,
    Kind::StoreConfused,
    Kind::SlowStore,
    Kind::LateStore,
    Kind::StaleStore,
    Kind::AdaptorClock,
    Kind::CollectorClock,
    Kind::FreezeCollector,
    Kind::FreezeAdaptor,
    Kind::SleepAll,
    Kind::CloneSpool,
    Kind::RestoreBackup,
    Kind::CompactByHand,
    Kind::SuspendCollector,
    Kind::StartOnBadDisk,
];

/// Copies of one machine that there may be.
const CLONES_MAX: usize = 2;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl World {
    /// Makes this go wrong now; what lasts is over after some time, by a task of its own.
    pub fn inject(&mut self, kind: Kind) {
        let shared = self.shared.clone();
        let chance = &shared.chance;
        let adaptor = chance.pick(&self.adaptors).clone();
        let collector = chance.pick(&self.collectors).clone();
        let time = chance.millis(200..12_000);
        // At once, or between two steps of what it is about to do.
        let after = if chance.hits(0.3) { 0 } else { chance.within(1..40) };
        note!(shared.trace, "fault", "{kind:?} at {} or {}, {time:?} or {after} steps", adaptor.name, collector.name);
        match kind {
            Kind::KillAdaptor => adaptor.kill(after, false, None),
            Kind::CutAdaptorPower => adaptor.kill(after, true, None),
            Kind::RestartAdaptor => drop(adaptor.commands.send(ToAdaptor::Drain { again: true })),
            Kind::KillCollector => collector.kill(after, false),
            Kind::CutCollectorPower => collector.kill(after, true),
            Kind::RestartCollector => drop(collector.commands.send(ToCollector::Drain { again: true })),
            Kind::CutNetwork => {
                let pairs: Vec<(String, String)> = match chance.hits(0.5) {
                    true => self.adaptors.iter().map(|of| (of.name.clone(), collector.name.clone())).collect(),
                    false => vec![(adaptor.name.clone(), collector.name.clone())],
                };
                pairs.iter().for_each(|(a, c)| shared.net.set_cut(a, c, true));
                self.later(time, move |shared| pairs.iter().for_each(|(a, c)| shared.net.set_cut(a, c, false)));
            }
            Kind::ResetConnection => shared.net.break_one(false),
            Kind::SilenceConnection => shared.net.break_one(true),
            Kind::SlowNetwork => {
                shared.net.set_latency(chance.within(100..3000));
                self.later(time, |shared| shared.net.set_latency(20));
            }
            Kind::DiskSyncErrors => {
                let odds = *chance.pick(&[0.05, 0.2, 0.5]);
                self.disk(&adaptor, time, move |faults| faults.sync_errors = odds);
            }
            Kind::FullDisk => {
                let capacity = Some(chance.within(1 << 20..(1 << 20) + 30_000));
                self.disk(&adaptor, time, move |faults| faults.capacity = capacity);
            }
            Kind::SlowDisk => {
                let slow_ms = chance.within(20..2000);
                self.disk(&adaptor, time, move |faults| faults.slow_ms = slow_ms);
            }
            Kind::StoreErrors => self.store(time, |faults| faults.refused = 0.3),
            Kind::StoreUnanswered => self.store(time, |faults| faults.unanswered = 0.3),
            Kind::StoreConfused => self.store(time, |faults| faults.confused = 0.4),
            Kind::SlowStore => self.store(time, |faults| faults.slow = 0.3),
            Kind::LateStore => self.store(time, |faults| faults.late = 0.15),
            Kind::StaleStore => self.store(time, |faults| faults.stale = 0.5),
            Kind::AdaptorClock => {
                self.clocks_were_wrong = true;
                adaptor.clock.set_wrong(self.wrong_ms());
            }
            Kind::CollectorClock => collector.clock.set_wrong(self.wrong_ms()),
            Kind::FreezeCollector => {
                let time = chance.millis(1000..150_000).min(Duration::from_secs(60) + time);
                collector.life.lock().unwrap().iter().for_each(|life| life.freeze(time));
            }
            Kind::FreezeAdaptor => adaptor.state.lock().unwrap().life.iter().for_each(|life| life.freeze(time)),
            Kind::SleepAll => {
                let hours = chance.within(1..30);
                note!(shared.trace, "fault", "all machines sleep for {hours} h");
                shared.date.skip(Duration::from_secs(hours * 60 * 60));
            }
            Kind::CloneSpool if self.adaptors.len() < shared.plan.adaptors + CLONES_MAX => {
                let platter = adaptor.platter.lock().unwrap().copy();
                let name = format!("{}x{}", adaptor.name, self.adaptors.len());
                self.add_adaptor(name, platter, 1, false);
            }
            Kind::RestoreBackup => self.back_up_and_restore(&adaptor, time),
            Kind::CompactByHand if chance.hits(0.5) => collector.compact_by_hand(),
            Kind::CompactByHand => self.collectors.iter().for_each(|collector| collector.compact_by_hand()),
            Kind::SuspendCollector => self.suspend(&collector),
            Kind::StartOnBadDisk => {
                let odds = *chance.pick(&[0.2, 0.5]);
                self.disk(&adaptor, time, move |faults| faults.sync_errors = odds);
                adaptor.doom_next(chance.within(3..60));
                adaptor.kill(0, false, None);
            }
            Kind::CloneSpool => {}
        }
    }

    /// Takes a copy of the machine, and sets it back to that some time later. Only where no file is read: files would not
    /// be set back with it.
    fn back_up_and_restore(&self, adaptor: &Arc<AdaptorMachine>, time: Duration) {
        if adaptor.file.is_some() {
            return;
        }
        let platter = adaptor.platter.lock().unwrap().copy();
        let promised = self.shared.ledger.accounts();
        let adaptor = adaptor.clone();
        self.later(time, move |shared| {
            let producers = format!("{}-", adaptor.name);
            // Down first: what it would promise from now on would be forgotten as well.
            adaptor.kill(0, true, Some(platter));
            shared.ledger.set_back(&promised, |producer| producer.starts_with(&producers));
        });
    }

    /// A virtual machine is suspended for hours, and its clocks go on with the time that they had; perhaps while a call of
    /// it is on its way.
    fn suspend(&self, collector: &Arc<CollectorMachine>) {
        let chance = &self.shared.chance;
        let slow = if chance.hits(0.5) { 0.8 } else { 0.0 };
        collector.store_faults.lock().unwrap().slow = slow;
        let (after, frozen) = (chance.millis(0..3000), chance.millis(500..16_000));
        let time = Duration::from_secs(60 * 60 * chance.within(1..30));
        // The others commit something before the hours are gone, and something after.
        let of = collector.clone();
        self.later(after, move |_| of.life.lock().unwrap().iter().for_each(|life| life.freeze(frozen)));
        let of = collector.clone();
        self.later(after + frozen / 3, move |shared| {
            note!(shared.trace, "fault", "{} was suspended for {time:?} and does not know it", of.name);
            shared.date.skip(time);
            of.clock.fall_behind(time);
        });
    }

    fn wrong_ms(&self) -> i64 {
        let chance = &self.shared.chance;
        let by = *chance.pick(&[1000, 60_000, 20 * 60_000, DAY_MS, 3652 * DAY_MS]);
        if chance.hits(0.5) { by } else { -by }
    }

    fn disk(&self, adaptor: &AdaptorMachine, time: Duration, begin: impl FnOnce(&mut DiskFaults)) {
        let faults = adaptor.disk_faults.clone();
        begin(&mut faults.lock().unwrap());
        self.later(time, move |_| *faults.lock().unwrap() = DiskFaults::default());
    }

    /// For one collector, or for all.
    fn store(&self, time: Duration, begin: impl Fn(&mut StoreFaults)) {
        let chance = &self.shared.chance;
        let only = chance.hits(0.5).then(|| chance.below(self.collectors.len() as u64) as usize);
        let of: Vec<_> =
            self.collectors.iter().enumerate().filter(|(at, _)| only.is_none_or(|only| only == *at)).collect();
        let faults: Vec<_> = of.into_iter().map(|(_, collector)| collector.store_faults.clone()).collect();
        faults.iter().for_each(|faults| begin(&mut faults.lock().unwrap()));
        self.later(time, move |shared| {
            faults.iter().for_each(|faults| *faults.lock().unwrap() = StoreFaults::usual(&shared.plan))
        });
    }

    fn later(&self, after: Duration, what: impl FnOnce(&crate::world::Shared) + Send + 'static) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if shared.producing.load(Ordering::SeqCst) {
                what(&shared);
            }
        });
    }

    /// All is well from now on.
    pub fn heal(&self) {
        self.shared.net.heal();
        for adaptor in &self.adaptors {
            *adaptor.disk_faults.lock().unwrap() = DiskFaults::default();
            adaptor.clock.set_wrong(0);
            *adaptor.doom.lock().unwrap() = None;
            adaptor.state.lock().unwrap().life.iter().for_each(|life| life.spare());
        }
        for collector in &self.collectors {
            *collector.store_faults.lock().unwrap() = StoreFaults::default();
            collector.clock.set_wrong(0);
            collector.life.lock().unwrap().iter().for_each(|life| life.spare());
        }
    }
}

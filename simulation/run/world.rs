//! A run: machines, what goes wrong among them, the end of that, and the judgement.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logboom_config::simulation::Simulation;
use logboom_sink::Store;
use tokio::sync::mpsc;

use crate::adaptor::{AdaptorMachine, Command as ToAdaptor};
use crate::chance::Chance;
use crate::clock::{Date, MachineClock};
use crate::collector::{CollectorMachine, Command as ToCollector};
use crate::disk::Platter;
use crate::faults::KINDS;
use crate::ledger::Ledger;
use crate::life::Life;
use crate::net::Net;
use crate::oracle::{Table, Verdict, judge};
use crate::plan::Plan;
use crate::store::{Bucket, Client, StoreFaults};
use crate::trace::{Trace, note};

/// So long after the last fault everything has to be committed.
const HEALING_MAX: Duration = Duration::from_secs(600);

/// What all machines share.
pub struct Shared {
    pub trace: Trace,
    pub chance: Chance,
    pub net: Net,
    pub date: Date,
    pub ledger: Ledger,
    pub plan: Plan,
    pub buckets: [Bucket; 2],
    /// Names of the collectors.
    pub collectors: Vec<String>,
    /// Whether producers still produce, and faults are still to come.
    pub producing: AtomicBool,
}

/// See the module.
pub struct World {
    pub shared: Arc<Shared>,
    pub adaptors: Vec<Arc<AdaptorMachine>>,
    pub collectors: Vec<Arc<CollectorMachine>>,
    pub clocks_were_wrong: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub hash: u64,
    pub events: u64,
    /// Puts of commits whose answer did not say whether they landed.
    pub ambiguous: u64,
    pub lines: Vec<String>,
    /// What a task of the product panicked with.
    pub panics: Vec<String>,
}

impl Outcome {
    /// What is wrong, in a few words.
    pub fn counters(&self) -> String {
        let wrong = self.verdict.wrong();
        if self.panics.is_empty() { wrong } else { "a panic".to_owned() }
    }

    /// What came of it, with examples.
    pub fn summary(&self) -> String {
        format!("{}{}", self.verdict, self.panics.iter().map(|panic| format!("\n  {panic}")).collect::<String>())
    }

    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.panics.is_empty()
    }
}

/// Runs a seed to its end, perhaps with a planted bug.
pub fn run(seed: u64, planted: Option<&'static str>, keep_lines: bool) -> Outcome {
    let _simulation = Simulation::begin(seed ^ 0x5eed, planted);
    let _ = crate::panics::take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let trace = runtime.block_on(async { Trace::new(keep_lines) });
    let judged = AssertUnwindSafe(|| runtime.block_on(World::run(seed, trace.clone())));
    let verdict = std::panic::catch_unwind(judged).unwrap_or_default();
    drop(runtime);
    let panics = crate::panics::take();
    Outcome {
        verdict,
        hash: trace.hash(),
        events: trace.events(),
        ambiguous: trace.ambiguous(),
        lines: trace.lines(),
        panics,
    }
}

impl World {
    async fn run(seed: u64, trace: Trace) -> Verdict {
        let (chance, date) = (Chance::new(seed), Date::new());
        let plan = Plan::draw(&chance, KINDS.len());
        note!(trace, "plan", "{plan:?}");
        let shared = Arc::new(Shared {
            net: Net::new(&chance, &trace),
            ledger: Ledger::default(),
            buckets: [Bucket::new(&date), Bucket::new(&date)],
            collectors: (0..plan.collectors).map(|n| format!("c{n}")).collect(),
            producing: AtomicBool::new(true),
            trace,
            chance,
            date,
            plan,
        });
        let mut world =
            World { shared: shared.clone(), adaptors: vec![], collectors: vec![], clocks_were_wrong: false };
        for name in &shared.collectors {
            world.add_collector(name);
        }
        for n in 0..shared.plan.adaptors {
            let platter = Platter::new(&shared.chance);
            world.add_adaptor(format!("a{n}"), platter, 1 + n % 2, shared.chance.hits(0.6));
        }
        world.suffer().await;
        world.heal();
        note!(shared.trace, "world", "all is well from now on");
        if world.clocks_were_wrong {
            // Streams may look older than marks are kept. Somebody who knows better says that they are not.
            for adaptor in &world.adaptors {
                adaptor.send_expired.store(true, Ordering::SeqCst);
                let _ = adaptor.commands.send(ToAdaptor::Drain { again: true });
            }
        }
        world.settle().await;
        world.judge().await
    }

    fn add_collector(&mut self, name: &str) {
        let (commands, received) = mpsc::unbounded_channel();
        let collector = Arc::new(CollectorMachine {
            name: name.to_owned(),
            shared: self.shared.clone(),
            clock: MachineClock::new(&self.shared.date),
            store_faults: Arc::new(Mutex::new(StoreFaults::usual(&self.shared.plan))),
            life: Mutex::default(),
            cuts_power: Mutex::default(),
            running: Mutex::default(),
            commands,
        });
        tokio::spawn(collector.clone().run(received));
        self.collectors.push(collector);
    }

    pub fn add_adaptor(&mut self, name: String, platter: Platter, sockets: usize, file: bool) {
        let (commands, received) = mpsc::unbounded_channel();
        let adaptor = Arc::new(AdaptorMachine {
            name,
            shared: self.shared.clone(),
            platter: Arc::new(Mutex::new(platter)),
            disk_faults: Arc::default(),
            clock: MachineClock::new(&self.shared.date),
            sockets,
            file: file.then(AtomicU64::default),
            send_expired: AtomicBool::new(false),
            doom: Mutex::default(),
            state: Mutex::default(),
            commands,
        });
        tokio::spawn(adaptor.clone().run(received));
        tokio::spawn(adaptor.clone().grow());
        self.adaptors.push(adaptor);
    }

    /// The time of faults.
    async fn suffer(&mut self) {
        let shared = self.shared.clone();
        let Shared { chance, plan, .. } = &*shared;
        let kinds: Vec<_> = KINDS.into_iter().zip(&plan.kinds).filter(|(_, wanted)| **wanted).collect();
        let end = tokio::time::Instant::now() + plan.faults;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(chance.millis(0..2 * plan.pause_ms)).await;
            if !kinds.is_empty() {
                self.inject(chance.pick(&kinds).0);
            }
        }
        shared.producing.store(false, Ordering::SeqCst);
    }

    /// Waits until everything is committed, and ends all machines.
    async fn settle(&self) {
        let settled = async {
            while !self.adaptors.iter().all(|adaptor| adaptor.is_done()) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            for adaptor in &self.adaptors {
                let _ = adaptor.commands.send(ToAdaptor::Drain { again: false });
            }
            while !self.adaptors.iter().all(|adaptor| adaptor.state.lock().unwrap().ended) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            for collector in &self.collectors {
                let _ = collector.commands.send(ToCollector::Drain { again: false });
            }
            while !self.collectors.iter().all(|collector| collector.life.lock().unwrap().is_none()) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        if tokio::time::timeout(HEALING_MAX, settled).await.is_err() {
            note!(self.shared.trace, "world", "it does not come to an end");
        }
    }

    async fn judge(&self) -> Verdict {
        let shared = &self.shared;
        let life = Arc::new(Life::new("judge", &shared.trace));
        let table = |at: usize, name: &'static str, takes: fn(&str) -> bool| {
            let client = Client {
                bucket: shared.buckets[at].clone(),
                name,
                life: life.clone(),
                faults: Arc::default(),
                chance: shared.chance.clone(),
                trace: shared.trace.clone(),
                library: Arc::default(),
            };
            let store = Store::from_parts(Arc::new(client), format!("memory://{name}").parse().unwrap());
            Table { name, store, bucket: shared.buckets[at].clone(), takes }
        };
        let tables = match shared.plan.routed {
            true => vec![
                table(0, "main", |category| !category.starts_with("audit.")),
                table(1, "audit", |category| category.starts_with("audit.")),
            ],
            false => vec![table(0, "main", |_| true)],
        };
        let stuck = self.adaptors.iter().flat_map(|adaptor| {
            let segments = adaptor.platter.lock().unwrap().segments();
            segments.into_iter().map(|path| format!("{}:{path}", adaptor.name))
        });
        let verdict = judge(&shared.ledger, &tables, stuck.collect()).await;
        note!(shared.trace, "judge", "{verdict}");
        verdict
    }
}

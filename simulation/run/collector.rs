//! One machine with a collector, and who starts the process again when it has died.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use logboom_collector::simulation::Machine;
use logboom_collector::{Collector, TableSettings};
use logboom_config::{Globs, Sink};
use logboom_sink::maintain::{Control, Days};
use logboom_sink::table::TableOptions;
use logboom_sink::{Store, maintain};
use tokio::sync::mpsc;

use crate::adaptor::KillOnDrop;
use crate::clock::MachineClock;
use crate::life::Life;
use crate::store::{Bucket, Client, StoreFaults};
use crate::trace::note;
use crate::world::Shared;

/// See the module.
pub struct CollectorMachine {
    pub name: String,
    pub shared: Arc<Shared>,
    pub clock: MachineClock,
    pub store_faults: Arc<Mutex<StoreFaults>>,
    pub life: Mutex<Option<Arc<Life>>>,
    pub cuts_power: Mutex<bool>,
    pub running: Mutex<bool>,
    pub commands: mpsc::UnboundedSender<Command>,
}

/// What is done to it from outside.
pub enum Command {
    /// It ends as it should, and is started again if wanted.
    Drain { again: bool },
}

impl CollectorMachine {
    /// Kills the process after so many more effects; with its machine, if wanted.
    pub fn kill(&self, after: u64, cut_power: bool) {
        let Some(life) = self.life.lock().unwrap().clone() else { return };
        *self.cuts_power.lock().unwrap() |= cut_power;
        match after {
            0 => life.die(),
            _ => life.die_after(after),
        }
    }

    /// A table as this process reaches it.
    pub fn client(&self, bucket: &Bucket, name: &'static str, life: &Arc<Life>) -> Store {
        let client = Client {
            bucket: bucket.clone(),
            name,
            life: life.clone(),
            faults: self.store_faults.clone(),
            chance: self.shared.chance.clone(),
            trace: self.shared.trace.clone(),
            library: Arc::default(),
        };
        Store::from_parts(Arc::new(client), format!("memory://{name}").parse().unwrap())
    }

    /// Somebody compacts the newest day at this machine by hand, whoever maintains the table.
    pub fn compact_by_hand(&self) {
        let Some(life) = self.life.lock().unwrap().clone() else { return };
        let (store, settings) = (self.client(&self.shared.buckets[0], "main", &life), self.maintain_settings());
        let (trace, name) = (self.shared.trace.clone(), self.name.clone());
        tokio::spawn(async move {
            let today = settings.table.clock.now().wall.to_zoned(TimeZone::UTC).date();
            let done = maintain::compact(&store, &settings, Days::One(today), &Control::default()).await;
            let commits = done.map_or(0, |done| done.commits);
            note!(trace, name, "has compacted {today} by hand with {commits} commits");
        });
    }

    fn options(&self) -> TableOptions {
        TableOptions { clock: Arc::new(self.clock.clone()), ..self.shared.plan.options() }
    }

    fn maintain_settings(&self) -> maintain::Settings {
        let mut settings = maintain::Settings::from(&Sink::at("memory://"));
        (settings.table, settings.files) = (self.options(), self.shared.plan.files());
        settings
    }

    /// Runs the machine until it has been ended for good.
    pub async fn run(self: Arc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut again = true;
        while again {
            let Shared { trace, chance, net, .. } = &*self.shared;
            let life = Arc::new(Life::new(&self.name, trace));
            *self.life.lock().unwrap() = Some(life.clone());
            *self.cuts_power.lock().unwrap() = false;
            note!(trace, self.name, "starts");
            let ending = tokio::select! {
                biased;
                () = life.death() => None,
                ended = self.live(&life, &mut commands) => ended,
            };
            *self.running.lock().unwrap() = false;
            let cuts_power = life.is_dead() && *self.cuts_power.lock().unwrap();
            life.die();
            net.hang_up(&life, cuts_power);
            match ending {
                Some(wanted) => again = wanted,
                None => note!(trace, self.name, "is dead"),
            }
            tokio::time::sleep(chance.millis(10..3000)).await;
        }
        *self.life.lock().unwrap() = None;
    }

    /// From start to end; whether it is to be started again.
    async fn live(&self, life: &Arc<Life>, commands: &mut mpsc::UnboundedReceiver<Command>) -> Option<bool> {
        let Shared { trace, net, plan, buckets, .. } = &*self.shared;
        let options = self.options();
        let settings = |store: Store| TableSettings { store, files: plan.files(), options: options.clone() };
        let default = self.client(&buckets[0], "main", life);
        let mut stores = vec![default.clone()];
        let mut routes = Vec::new();
        if plan.routed {
            let audit = self.client(&buckets[1], "audit", life);
            stores.push(audit.clone());
            routes.push((Globs::new(["audit.*"]).unwrap(), settings(audit)));
        }
        let maintained = stores.into_iter().map(|store| (store, self.maintain_settings()));
        let (listener, connections) = mpsc::unbounded_channel();
        let machine = Machine {
            default: settings(default),
            routes,
            maintained: maintained.collect(),
            schedule: [6, 8, 15].map(Duration::from_secs),
            connections,
        };
        let collector = match Collector::start_simulated(&plan.collector(), machine).await {
            Ok(collector) => collector,
            Err(error) => {
                note!(trace, self.name, "cannot start: {error}");
                return Some(true);
            }
        };
        let _killed = KillOnDrop(collector.tasks());
        net.listen(&self.name, life, listener);
        *self.running.lock().unwrap() = true;
        let Command::Drain { again } = commands.recv().await?;
        note!(trace, self.name, "is told to end");
        let drained = collector.drain().await;
        note!(trace, self.name, "has ended, {}", if drained { "in order" } else { "in a hurry" });
        Some(again)
    }
}

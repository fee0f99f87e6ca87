//! One machine with an adaptor: its disk, its producers, and who starts the process again when it has died.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logboom_adaptor::Adaptor;
use logboom_adaptor::simulation::{Chunk, Intake, Refused};
use logboom_wire::{Position, RunKey};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::MachineClock;
use crate::disk::{DiskFaults, Mounted, Platter};
use crate::ledger::{Promise, text};
use crate::life::Life;
use crate::net::Uplink;
use crate::trace::note;
use crate::world::Shared;

const FILE_KEY: &str = "file/simulated";
/// Categories of records; those that begin with `audit.` have a table of their own where there are routes.
pub const CATEGORIES: [&str; 3] = ["app", "audit.login", "web"];

/// See the module.
pub struct AdaptorMachine {
    pub name: String,
    pub shared: Arc<Shared>,
    pub platter: Arc<Mutex<Platter>>,
    pub disk_faults: Arc<Mutex<DiskFaults>>,
    pub clock: MachineClock,
    /// Producers that wait for answers.
    pub sockets: usize,
    /// A file that grows, and its lines so far.
    pub file: Option<AtomicU64>,
    pub send_expired: AtomicBool,
    /// After how many effects the power of the next process is cut, if at all.
    pub doom: Mutex<Option<u64>>,
    pub state: Mutex<State>,
    pub commands: mpsc::UnboundedSender<Command>,
}

/// The process that runs, if one does.
#[derive(Default)]
pub struct State {
    pub life: Option<Arc<Life>>,
    drained: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    /// Lines of the file that were handed over.
    read: u64,
    pub ended: bool,
    cuts_power: bool,
    restores: Option<Platter>,
}

/// What is done to it from outside.
pub enum Command {
    /// It ends as it should, and is started again if wanted.
    Drain { again: bool },
}

impl AdaptorMachine {
    /// Kills the process after so many more effects; with its machine, if wanted, which may come up with another disk.
    pub fn kill(&self, after: u64, cut_power: bool, restore: Option<Platter>) {
        let mut state = self.state.lock().unwrap();
        let Some(life) = state.life.clone() else { return };
        state.cuts_power |= cut_power;
        state.restores = state.restores.take().or(restore);
        drop(state);
        match after {
            0 => life.die(),
            _ => life.die_after(after),
        }
    }

    /// Cuts the power of the next process after so many effects.
    pub fn doom_next(&self, effects: u64) {
        *self.doom.lock().unwrap() = Some(effects);
    }

    /// Whether nothing is left to be sent.
    pub fn is_done(&self) -> bool {
        let state = self.state.lock().unwrap();
        let file_done = self.file.as_ref().is_none_or(|lines| lines.load(Ordering::SeqCst) == state.read);
        file_done && state.drained.as_ref().is_some_and(|drained| drained())
    }

    /// Runs the machine until it has been ended for good.
    pub async fn run(self: Arc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut again = true;
        while again {
            let Shared { trace, chance, net, .. } = &*self.shared;
            let life = Arc::new(Life::new(&self.name, trace));
            let doom = self.doom.lock().unwrap().take();
            doom.iter().for_each(|effects| life.die_after(*effects));
            *self.state.lock().unwrap() =
                State { life: Some(life.clone()), cuts_power: doom.is_some(), ..State::default() };
            note!(trace, self.name, "starts");
            let stop = CancellationToken::new();
            let ending = tokio::select! {
                biased;
                () = life.death() => None,
                ended = self.live(&life, &mut commands, &stop) => ended,
            };
            stop.cancel();
            let was_dead = life.is_dead();
            life.die();
            let (cuts_power, restores) = {
                let mut state = self.state.lock().unwrap();
                state.drained = None;
                (state.cuts_power && was_dead, state.restores.take())
            };
            net.hang_up(&life, cuts_power);
            if let Some(platter) = restores.filter(|_| was_dead) {
                note!(trace, self.name, "is set back to a backup");
                *self.platter.lock().unwrap() = platter;
            } else if cuts_power {
                note!(trace, self.name, "loses power");
                self.platter.lock().unwrap().cut_power();
            }
            match ending {
                Some(wanted) => again = wanted,
                None => note!(trace, self.name, "is dead"),
            }
            tokio::time::sleep(chance.millis(10..3000)).await;
        }
        self.state.lock().unwrap().ended = true;
    }

    /// From start to end; whether it is to be started again.
    async fn live(
        self: &Arc<Self>,
        life: &Arc<Life>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        stop: &CancellationToken,
    ) -> Option<bool> {
        let Shared { trace, chance, net, plan, collectors, .. } = &*self.shared;
        let disk = Mounted {
            platter: self.platter.clone(),
            faults: self.disk_faults.clone(),
            life: life.clone(),
            clock: self.clock.clone(),
            chance: chance.clone(),
            trace: trace.clone(),
        };
        let uplink = Uplink { net: net.clone(), adaptor: self.name.clone(), life: life.clone() };
        let settings = plan.adaptor(&self.name, collectors.clone(), self.send_expired.load(Ordering::SeqCst));
        let adaptor = match Adaptor::start_simulated(settings, Arc::new(disk), Arc::new(uplink)).await {
            Ok(adaptor) => adaptor,
            Err(error) => {
                note!(trace, self.name, "cannot start: {error}");
                return Some(true);
            }
        };
        let _killed = KillOnDrop(adaptor.tasks());
        self.state.lock().unwrap().drained = Some(adaptor.is_drained_probe());
        let mut producers = Vec::new();
        for socket in 0..self.sockets {
            let this = self.clone();
            let (intake, life, stop) = (adaptor.intake(), life.clone(), stop.clone());
            producers.push(tokio::spawn(async move { this.produce(socket, intake, life, stop).await }));
        }
        if self.file.is_some() {
            let this = self.clone();
            let from = adaptor.positions().get(FILE_KEY).and_then(|at| at.parse().ok()).unwrap_or(0);
            note!(trace, self.name, "goes on after line {from} of its file");
            let (intake, life, stop) = (adaptor.intake(), life.clone(), stop.clone());
            producers.push(tokio::spawn(async move { this.follow(from, intake, life, stop).await }));
        }
        let Command::Drain { again } = commands.recv().await?;
        note!(trace, self.name, "is told to end");
        stop.cancel();
        // Sources have some time to hand over and to answer; those who are slow still wait when the intake closes.
        let patience = if chance.hits(0.5) { Duration::from_secs(5) } else { Duration::ZERO };
        for producer in producers {
            let _ = tokio::time::timeout(patience, producer).await;
        }
        let drained = adaptor.drain().await;
        note!(trace, self.name, "has ended, {}", if drained { "and all is committed" } else { "and the rest waits" });
        Some(again)
    }

    /// A producer that sends, waits for its answer, and sends again.
    async fn produce(&self, socket: usize, intake: Intake, life: Arc<Life>, stop: CancellationToken) {
        let Shared { trace, chance, plan, ledger, producing, .. } = &*self.shared;
        let producer = format!("{}-{socket}", self.name);
        let category = CATEGORIES[chance.below(CATEGORIES.len() as u64) as usize];
        let key = Arc::new(RunKey { category: category.into(), source: "socket".into(), attributes: vec![] });
        while producing.load(Ordering::SeqCst) && !life.is_dead() {
            let pause = chance.millis(0..2 * plan.pace_ms);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            let mut chunk = Chunk::default();
            let mut numbers = Vec::new();
            for _ in 0..chance.within(1..5) {
                let n = ledger.next(&producer);
                chunk.rows(&key).push_line(n as i64, text(&producer, n, category).as_bytes());
                numbers.push(n);
            }
            let outcome = match intake.append_asked(chunk).await {
                Ok(receipt) => receipt.durable().await,
                Err(refused) => Err(refused),
            };
            // Those who wait for one block are woken in an order that tokio draws itself; here they get one of their own.
            tokio::time::sleep(Duration::from_millis(1 + socket as u64)).await;
            if life.is_dead() {
                return;
            }
            match outcome {
                Ok(()) => ledger.promise(&producer, &numbers, Promise::Kept),
                Err(Refused::Full) => ledger.promise(&producer, &numbers, Promise::Refused),
                Err(Refused::Closed) => return,
            }
            note!(trace, self.name, "answers {producer} for {numbers:?}: {outcome:?}");
        }
    }

    /// Reads the file from a line on, and says with what it reads how far it is.
    async fn follow(&self, mut read: u64, intake: Intake, life: Arc<Life>, stop: CancellationToken) {
        let Shared { chance, plan, .. } = &*self.shared;
        let producer = format!("{}-file", self.name);
        let keys = CATEGORIES
            .map(|category| Arc::new(RunKey { category: category.into(), source: "file".into(), attributes: vec![] }));
        while !life.is_dead() {
            let lines = self.file.as_ref().expect("it has one").load(Ordering::SeqCst);
            if read == lines {
                self.state.lock().unwrap().read = read;
                if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(plan.pace_ms))).await.is_none() {
                    return;
                }
                continue;
            }
            let mut chunk = Chunk::default();
            let until = lines.min(read + chance.within(1..6));
            for n in read + 1..=until {
                let at = n as usize % CATEGORIES.len();
                chunk.rows(&keys[at]).push_line(n as i64, text(&producer, n, CATEGORIES[at]).as_bytes());
            }
            chunk.set_position(Position { key: FILE_KEY.into(), value: until.to_string() });
            match stop.run_until_cancelled(intake.append_or_wait(chunk)).await {
                Some(Ok(_receipt)) => read = until,
                _ => return,
            }
        }
    }

    /// Somebody writes to the file, whoever reads it.
    pub async fn grow(self: Arc<Self>) {
        let Shared { chance, plan, ledger, producing, .. } = &*self.shared;
        let Some(lines) = &self.file else { return };
        let producer = format!("{}-file", self.name);
        while producing.load(Ordering::SeqCst) {
            tokio::time::sleep(chance.millis(0..2 * plan.pace_ms)).await;
            // Now and then so many that they fill several blocks.
            let most = if chance.hits(0.1) { 120 } else { 6 };
            let lines_now = if producing.load(Ordering::SeqCst) { chance.within(1..most) } else { 0 };
            for _ in 0..lines_now {
                let n = ledger.next(&producer);
                ledger.promise(&producer, &[n], Promise::Kept);
                lines.store(n, Ordering::SeqCst);
            }
        }
    }
}

/// Ends tasks wherever they are.
pub struct KillOnDrop(pub Vec<tokio::task::AbortHandle>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

//! Where all sources meet: records in memory that wait for the next block.
//!
//! Owns the bound on that memory (sources wait when it is reached) and the receipts that tell a source when its records
//! are on disk. Does not write: the spool's writer takes what is here, and reports how far it has synced.
//!
//! While one sync runs, the next block fills here: that is the whole of group commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logboom_wire::{Position, Rows, RunKey};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A block with this many runs or positions is full, whatever its bytes: headers are bounded too.
const KEYS_MAX: usize = 4096;
/// Likewise with this many bytes of keys and positions.
const KEY_BYTES_MAX: usize = 2 << 20;

/// What a source hands over at once: some records, and where it stands after them. Both become durable together.
#[derive(Debug, Default)]
pub struct Chunk {
    runs: Vec<(Arc<RunKey>, Rows)>,
    positions: Vec<Position>,
    key_bytes: usize,
    dropped: usize,
}

impl Chunk {
    /// The rows of `key`, to push records to. Keys that are equal but not the same `Arc` make two runs here, which the
    /// block joins: comparing texts for every record of every category would cost more.
    pub fn rows(&mut self, key: &Arc<RunKey>) -> &mut Rows {
        let found = self.runs.iter().rposition(|(other, _)| Arc::ptr_eq(other, key));
        let index = found.unwrap_or_else(|| {
            self.runs.push((key.clone(), Rows::default()));
            self.key_bytes += key_bytes(key);
            self.runs.len() - 1
        });
        &mut self.runs[index].1
    }

    /// Sets where the source stands after this chunk.
    pub fn set_position(&mut self, position: Position) {
        self.positions.retain(|other| other.key != position.key);
        self.positions.push(position);
    }

    /// Count of distinct keys.
    pub fn keys(&self) -> usize {
        self.runs.len()
    }

    /// Bytes of these keys.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Count of records.
    pub fn records(&self) -> usize {
        self.runs.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// A record came that a rule drops. It is counted here and not stored.
    pub fn drop_record(&mut self) {
        self.dropped += 1;
    }

    /// Count of records that were dropped by a rule, besides [`Chunk::records`].
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Bytes of their bodies.
    pub fn body_bytes(&self) -> usize {
        self.runs.iter().map(|(_, rows)| rows.body_bytes()).sum()
    }

    /// Bytes that the records take in memory.
    pub fn raw_bytes(&self) -> usize {
        self.runs.iter().map(|(_, rows)| rows.raw_bytes()).sum()
    }

    /// Whether there is neither a record nor a position.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.records() == 0
    }
}

/// Why a chunk was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The spool is full and `when_full = "drop_newest"`.
    #[error("the spool is full")]
    Full,
    /// The adaptor is shutting down.
    #[error("the adaptor is shutting down")]
    Closed,
}

/// Who else is in a block with a chunk: only chunks of one lane share a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Chunks that wait for room in the spool, however long that takes: their data is safe where it is.
    Kept,
    /// Chunks that may be refused when the spool is full, also after they were taken into memory: nobody was answered.
    Refusable,
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is on disk.
    Durable,
    /// The spool is full: nothing of it is or will be on disk.
    Refused,
}

/// The next block of a lane, as far as it has filled.
#[derive(Debug)]
pub struct Pending {
    /// Records by key, in the order of the keys.
    pub runs: BTreeMap<Arc<RunKey>, Rows>,
    /// Newest position by key.
    pub positions: BTreeMap<String, String>,
    /// What must be settled.
    pub ticket: Arc<Ticket>,
    key_bytes: usize,
    raw_bytes: usize,
    since: Option<Instant>,
}

/// Stands for a block that is not on disk yet. When all tickets of a block are gone before it is settled, whoever waits
/// for it learns that its outcome is unknown.
#[derive(Debug)]
pub struct Ticket {
    lane: Lane,
    settled: watch::Sender<Option<Settled>>,
}

impl Ticket {
    /// The lane of the block.
    pub fn lane(&self) -> Lane {
        self.lane
    }
}

impl Pending {
    fn new(lane: Lane) -> Self {
        Self {
            runs: BTreeMap::new(),
            positions: BTreeMap::new(),
            ticket: Arc::new(Ticket { lane, settled: watch::Sender::new(None) }),
            key_bytes: 0,
            raw_bytes: 0,
            since: None,
        }
    }

    /// Bytes that it holds of the intake's memory.
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Count of records.
    pub fn records(&self) -> u64 {
        self.runs.values().map(|rows| rows.len() as u64).sum()
    }

    fn add(&mut self, chunk: Chunk) {
        self.raw_bytes += chunk.raw_bytes();
        let positions = chunk.positions.iter().map(|position| position.key.len() + position.value.len());
        self.key_bytes += chunk.key_bytes + positions.sum::<usize>();
        self.since.get_or_insert_with(Instant::now);
        for (key, rows) in chunk.runs {
            self.runs.entry(key).or_default().append(rows);
        }
        self.positions.extend(chunk.positions.into_iter().map(|position| (position.key, position.value)));
    }

    fn is_full(&self, block_bytes: usize) -> bool {
        let crowded = self.runs.len() >= KEYS_MAX || self.positions.len() >= KEYS_MAX;
        self.raw_bytes >= block_bytes || crowded || self.key_bytes >= KEY_BYTES_MAX
    }
}

struct State {
    full: VecDeque<Pending>,
    kept: Pending,
    refusable: Pending,
    buffered: usize,
    urgent: bool,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    /// The same for a writer without a thread of its own.
    #[cfg(feature = "simulation")]
    filled_too: Notify,
    room: Notify,
    refusing: AtomicU8,
    drops_newest: AtomicBool,
    block_bytes: usize,
    buffer_bytes: usize,
}

/// Who is refused, without trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Refusing {
    /// Nobody.
    Nobody,
    /// Producers that can be told so and come again.
    Asked,
    /// Everybody whose data does not wait safely where it is.
    All,
}

/// The sources' end: records go in here. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

/// Tells what becomes of one chunk or more.
#[must_use = "the chunk is not durable yet"]
pub struct Receipt {
    blocks: Vec<watch::Receiver<Option<Settled>>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl Receipt {
    /// Makes this the receipt of the chunks of `later` too.
    pub fn join(&mut self, later: Receipt) {
        for block in later.blocks {
            if !self.blocks.last().is_some_and(|last| last.same_channel(&block)) {
                self.blocks.push(block);
            }
        }
    }

    /// What became of the chunks, where that is known.
    pub fn outcome(&self) -> Option<Result<(), Refused>> {
        let mut outcome = Ok(());
        for block in &self.blocks {
            match *block.borrow() {
                Some(Settled::Durable) => {}
                Some(Settled::Refused) => outcome = Err(Refused::Full),
                None => return None,
            }
        }
        Some(outcome)
    }

    /// Returns once every chunk is synced; asks the writer not to linger.
    ///
    /// # Errors
    /// [`Refused::Full`] when one was refused after all because the spool is full; of several chunks the others may be
    /// on disk. [`Refused::Closed`] when the writer stopped before it came to one: the outcome is unknown.
    pub async fn durable(mut self) -> Result<(), Refused> {
        let open = |block: &watch::Receiver<Option<Settled>>| block.borrow().is_none();
        if self.blocks.iter().any(open) {
            lock(&self.shared.state).urgent = true;
            self.shared.signal_filled();
        }
        let mut outcome = Ok(());
        for block in &mut self.blocks {
            let settled = block.wait_for(Option::is_some).await.map(|settled| *settled);
            match settled {
                Ok(Some(Settled::Durable)) => {}
                Ok(_) => outcome = outcome.and(Err(Refused::Full)),
                Err(_) => return Err(Refused::Closed),
            }
        }
        outcome
    }
}

impl Intake {
    /// A receipt of nothing, whose outcome is known.
    #[cfg(test)]
    pub fn known(&self) -> Receipt {
        Receipt { blocks: Vec::new(), shared: self.0.clone() }
    }

    /// An empty intake. A block is full at `block_bytes`; sources wait at `buffer_bytes`.
    pub fn new(block_bytes: usize, buffer_bytes: usize) -> Self {
        let state = State {
            full: VecDeque::new(),
            kept: Pending::new(Lane::Kept),
            refusable: Pending::new(Lane::Refusable),
            buffered: 0,
            urgent: false,
            closed: false,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            filled: Condvar::new(),
            #[cfg(feature = "simulation")]
            filled_too: Notify::new(),
            room: Notify::new(),
            refusing: AtomicU8::new(Refusing::Nobody as u8),
            drops_newest: AtomicBool::new(false),
            block_bytes,
            buffer_bytes,
        }))
    }

    /// Takes `chunk` of a producer that cannot be told to come again, waiting while memory is full.
    ///
    /// # Errors
    /// [`Refused::Full`] when the operator chose `drop_newest` and the spool is full; [`Refused::Closed`].
    pub async fn append(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        let lane = match self.0.drops_newest.load(Ordering::Relaxed) {
            true => Lane::Refusable,
            false => Lane::Kept,
        };
        self.append_to(lane, chunk, Refusing::All).await
    }

    /// Takes `chunk` of a producer that can be told to come again, waiting while memory is full.
    ///
    /// # Errors
    /// [`Refused::Full`] when the spool is full, whatever the operator chose: at once where that is known, else later by
    /// the receipt. [`Refused::Closed`].
    pub async fn append_asked(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        self.append_to(Lane::Refusable, chunk, Refusing::Asked).await
    }

    /// Takes `chunk`, waiting while memory is full, whatever the policy: for sources whose data waits safely where it is.
    ///
    /// # Errors
    /// [`Refused::Closed`].
    pub async fn append_or_wait(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        self.append_to(Lane::Kept, chunk, Refusing::Nobody).await
    }

    /// `as_one_of` are those among whom the producer is refused.
    async fn append_to(&self, lane: Lane, chunk: Chunk, as_one_of: Refusing) -> Result<Receipt, Refused> {
        let shared = &self.0;
        let bytes = chunk.raw_bytes();
        let mut chunk = Some(chunk);
        loop {
            let room = shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if as_one_of != Refusing::Nobody && shared.refusing.load(Ordering::Relaxed) >= as_one_of as u8 {
                return Err(Refused::Full);
            }
            {
                let mut state = lock(&shared.state);
                if state.closed {
                    return Err(Refused::Closed);
                }
                if state.buffered == 0 || state.buffered + bytes <= shared.buffer_bytes {
                    let chunk = chunk.take().expect("it is taken once");
                    let block = state.add(lane, chunk, bytes, shared.block_bytes);
                    shared.signal_filled();
                    return Ok(Receipt { blocks: vec![block], shared: shared.clone() });
                }
            }
            room.await;
        }
    }

    /// Takes no more; what is here is still written.
    pub fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.signal_filled();
        self.0.room.notify_waiters();
    }

    /// The writer's end: waits until there is something to write and returns it, or `None` when the intake is closed and
    /// empty. A block that is not full waits up to `linger` for more, unless somebody waits for it. With `patience` it
    /// returns no block rather than wait for longer than that.
    pub fn take(&self, linger: Duration, patience: Option<Duration>) -> Option<Taken> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = lock(&self.0.state);
        loop {
            state = match state.take(linger, until) {
                Ok(taken) => return taken,
                Err(Some(wait)) => self.0.filled.wait_timeout(state, wait).map_or_else(|e| e.into_inner().0, |r| r.0),
                Err(None) => self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// As [`Intake::take`]: blocks the thread, which is the writer's own. In a simulation it waits as others do.
    pub async fn taken(&self, linger: Duration, patience: Option<Duration>) -> Option<Taken> {
        #[cfg(feature = "simulation")]
        if logboom_config::simulation::is_on() {
            let until = patience.map(|patience| Instant::now() + patience);
            loop {
                let filled = self.0.filled_too.notified();
                let wait = match lock(&self.0.state).take(linger, until) {
                    Ok(taken) => return taken,
                    Err(wait) => wait,
                };
                let _ = tokio::time::timeout(wait.unwrap_or(Duration::MAX), filled).await;
            }
        }
        self.take(linger, patience)
    }

    /// Says what became of a block that held `raw_bytes` of memory, and gives that back.
    pub fn settle(&self, ticket: &Ticket, raw_bytes: usize, settled: Settled) {
        lock(&self.0.state).buffered -= raw_bytes;
        let before = ticket.settled.send_replace(Some(settled));
        assert_eq!(before, None, "a block is settled once");
        self.0.room.notify_waiters();
    }

    /// Refuses all that may be refused of what is here. Tells `count` first how many records that are.
    pub fn refuse_pending(&self, count: impl FnOnce(u64)) {
        let refused = {
            let mut state = lock(&self.0.state);
            let mut refused = vec![std::mem::replace(&mut state.refusable, Pending::new(Lane::Refusable))];
            let full = std::mem::take(&mut state.full);
            for pending in full {
                match pending.ticket.lane {
                    Lane::Kept => state.full.push_back(pending),
                    Lane::Refusable => refused.push(pending),
                }
            }
            refused
        };
        count(refused.iter().map(Pending::records).sum());
        refused.iter().for_each(|pending| self.settle(&pending.ticket, pending.raw_bytes, Settled::Refused));
    }

    /// The writer has ended, whatever made it: takes no more, and tells everyone who still waits that it was in vain.
    pub fn end(&self) {
        self.close();
        let mut state = lock(&self.0.state);
        state.full.clear();
        state.kept = Pending::new(Lane::Kept);
        state.refusable = Pending::new(Lane::Refusable);
    }

    /// Whether it takes no more.
    pub fn is_closed(&self) -> bool {
        lock(&self.0.state).closed
    }

    /// Whether anybody is refused.
    pub fn is_refusing(&self) -> bool {
        self.0.refusing.load(Ordering::Relaxed) != Refusing::Nobody as u8
    }

    /// Who is to be refused from now on.
    pub fn set_refusing(&self, refusing: Refusing) {
        self.0.refusing.store(refusing as u8, Ordering::Relaxed);
        self.0.room.notify_waiters();
    }

    /// For tests: refuse everybody, or nobody.
    #[cfg(test)]
    pub fn refuse_all(&self, refuse: bool) {
        self.set_refusing(if refuse { Refusing::All } else { Refusing::Nobody });
    }

    /// Whether [`Intake::append`] takes chunks only as far as the spool has room: `when_full = "drop_newest"`.
    pub fn set_drops_newest(&self, drops: bool) {
        self.0.drops_newest.store(drops, Ordering::Relaxed);
    }
}

/// What the writer took: blocks to write, each to be settled.
#[derive(Debug, Default)]
pub struct Taken {
    /// The blocks; those of a lane oldest first.
    pub blocks: Vec<Pending>,
    /// Tickets and bytes of the blocks, for a test that takes the writer's place.
    #[cfg(test)]
    tickets: Vec<(Arc<Ticket>, usize)>,
}

impl Taken {
    fn new(blocks: Vec<Pending>) -> Self {
        Self {
            #[cfg(test)]
            tickets: blocks.iter().map(|block| (block.ticket.clone(), block.raw_bytes)).collect(),
            blocks,
        }
    }

    /// What to settle as durable once the blocks are used up.
    #[cfg(test)]
    pub fn tickets(&mut self) -> Vec<(Arc<Ticket>, usize)> {
        std::mem::take(&mut self.tickets)
    }
}

#[cfg(test)]
impl Intake {
    /// The blocks of these tickets are on disk.
    pub fn synced(&self, tickets: Vec<(Arc<Ticket>, usize)>) {
        tickets.iter().for_each(|(ticket, raw_bytes)| self.settle(ticket, *raw_bytes, Settled::Durable));
    }
}

impl Shared {
    fn signal_filled(&self) {
        self.filled.notify_one();
        #[cfg(feature = "simulation")]
        self.filled_too.notify_one();
    }
}

impl State {
    /// What is to be written now; or how long to wait for it at most, which is for ever if nothing is here.
    fn take(&mut self, linger: Duration, until: Option<Instant>) -> Result<Option<Taken>, Option<Duration>> {
        let since = [&self.kept, &self.refusable].into_iter().filter_map(|pending| pending.since).min();
        let age = since.map(|since| since.elapsed());
        let ripe = age.is_some_and(|age| self.urgent || self.closed || age >= linger);
        if self.full.is_empty() && !ripe {
            if self.closed {
                return Ok(None);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Some(Taken::default()));
            }
            return Err([age.map(|age| linger - age), left].into_iter().flatten().min());
        }
        let mut blocks: Vec<_> = self.full.drain(..).collect();
        let Self { kept, refusable, .. } = self;
        for (pending, lane) in [(kept, Lane::Kept), (refusable, Lane::Refusable)] {
            if pending.since.is_some() {
                blocks.push(std::mem::replace(pending, Pending::new(lane)));
            }
        }
        self.urgent = false;
        Ok(Some(Taken::new(blocks)))
    }

    fn add(&mut self, lane: Lane, chunk: Chunk, bytes: usize, block_bytes: usize) -> watch::Receiver<Option<Settled>> {
        self.buffered += bytes;
        let pending = match lane {
            Lane::Kept => &mut self.kept,
            Lane::Refusable => &mut self.refusable,
        };
        pending.add(chunk);
        let settled = pending.ticket.settled.subscribe();
        if pending.is_full(block_bytes) {
            self.full.push_back(std::mem::replace(pending, Pending::new(lane)));
        }
        settled
    }
}

#[cfg(test)]
mod tests;

fn key_bytes(key: &RunKey) -> usize {
    let attributes = key.attributes.iter().map(|(key, value)| key.len() + value.len() + 4);
    key.category.len() + key.source.len() + attributes.sum::<usize>()
}

/// No code panics while it holds the lock, so a poisoned one is still sound.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

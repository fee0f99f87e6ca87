//! Where all sources meet: records in memory that wait for the next block.
//!
//! Owns the bound on that memory (sources wait when it is reached) and the receipts that tell a source when its records
//! are on disk. Does not write: the spool's writer takes what is here, and reports how far it has synced.
//!
//! While one sync runs, the next block fills here: that is the whole of group commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use logboom_wire::{Position, Rows, RunKey};
use tokio::sync::{Notify, watch};

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

/// The next block, as far as it has filled.
#[derive(Debug, Default)]
pub struct Pending {
    /// Records by key, in the order of the keys.
    pub runs: BTreeMap<Arc<RunKey>, Rows>,
    /// Newest position by key.
    pub positions: BTreeMap<String, String>,
    key_bytes: usize,
    raw_bytes: usize,
    last_append: u64,
    since: Option<Instant>,
}

impl Pending {
    /// Bytes that it holds of the intake's memory.
    pub fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Number of the last chunk in it.
    pub fn last_append(&self) -> u64 {
        self.last_append
    }

    /// Count of records.
    pub fn records(&self) -> u64 {
        self.runs.values().map(|rows| rows.len() as u64).sum()
    }

    fn add(&mut self, chunk: Chunk, append: u64) {
        self.raw_bytes += chunk.raw_bytes();
        let positions = chunk.positions.iter().map(|position| position.key.len() + position.value.len());
        self.key_bytes += chunk.key_bytes + positions.sum::<usize>();
        self.last_append = append;
        self.since.get_or_insert_with(Instant::now);
        for (key, rows) in chunk.runs {
            self.runs.entry(key).or_default().append(rows);
        }
        self.positions.extend(chunk.positions.into_iter().map(|position| (position.key, position.value)));
    }
}

struct State {
    full: VecDeque<Pending>,
    filling: Pending,
    buffered: usize,
    appends: u64,
    urgent: bool,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    room: Notify,
    durable: watch::Sender<Durable>,
    refusing: AtomicBool,
    block_bytes: usize,
    buffer_bytes: usize,
}

/// How far the writer has come.
#[derive(Clone, Copy, Default)]
struct Durable {
    /// Everything appended up to here is on disk.
    synced: u64,
    /// Nothing more will be.
    ended: bool,
}

/// The sources' end: records go in here. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

/// Tells when a chunk is on disk.
#[must_use = "the chunk is not durable yet"]
pub struct Receipt {
    append: u64,
    shared: Arc<Shared>,
}

impl Receipt {
    /// Returns once everything appended up to and with the chunk is synced; asks the writer not to linger.
    ///
    /// # Errors
    /// [`Refused::Closed`] when the writer stopped before that: the outcome is unknown.
    pub async fn durable(self) -> Result<(), Refused> {
        let mut durable = self.shared.durable.subscribe();
        if durable.borrow_and_update().synced >= self.append {
            return Ok(());
        }
        lock(&self.shared.state).urgent = true;
        self.shared.filled.notify_one();
        let reached = durable.wait_for(|durable| durable.ended || durable.synced >= self.append).await;
        match reached {
            Ok(durable) if durable.synced >= self.append => Ok(()),
            _ => Err(Refused::Closed),
        }
    }
}

impl Intake {
    /// An empty intake. A block is full at `block_bytes`; sources wait at `buffer_bytes`.
    pub fn new(block_bytes: usize, buffer_bytes: usize) -> Self {
        let state = State {
            full: VecDeque::new(),
            filling: Pending::default(),
            buffered: 0,
            appends: 0,
            urgent: false,
            closed: false,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            filled: Condvar::new(),
            room: Notify::new(),
            durable: watch::Sender::new(Durable::default()),
            refusing: AtomicBool::new(false),
            block_bytes,
            buffer_bytes,
        }))
    }

    /// Takes `chunk`, waiting while memory is full.
    ///
    /// # Errors
    /// [`Refused::Full`] when the operator chose `drop_newest` and the spool is full; [`Refused::Closed`].
    pub async fn append(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        if self.0.refusing.load(Ordering::Relaxed) {
            return Err(Refused::Full);
        }
        self.append_or_wait(chunk).await
    }

    /// Takes `chunk`, waiting while memory is full, whatever the policy: for sources whose data waits safely where it is.
    ///
    /// # Errors
    /// [`Refused::Closed`].
    pub async fn append_or_wait(&self, chunk: Chunk) -> Result<Receipt, Refused> {
        let shared = &self.0;
        let bytes = chunk.raw_bytes();
        let mut chunk = Some(chunk);
        loop {
            let room = shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut state = lock(&shared.state);
                if state.closed {
                    return Err(Refused::Closed);
                }
                if state.buffered == 0 || state.buffered + bytes <= shared.buffer_bytes {
                    let append = state.add(chunk.take().expect("it is taken once"), bytes, shared.block_bytes);
                    shared.filled.notify_one();
                    return Ok(Receipt { append, shared: shared.clone() });
                }
            }
            room.await;
        }
    }

    /// Takes no more; what is here is still written.
    pub fn close(&self) {
        lock(&self.0.state).closed = true;
        self.0.filled.notify_one();
        self.0.room.notify_waiters();
    }

    /// The writer's end: waits until there is something to write and returns it, or `None` when the intake is closed and
    /// empty. A block that is not full waits up to `linger` for more, unless somebody waits for it.
    pub fn take(&self, linger: Duration) -> Option<Taken> {
        let mut state = lock(&self.0.state);
        loop {
            let age = state.filling.since.map(|since| since.elapsed());
            let ripe = age.is_some_and(|age| state.urgent || state.closed || age >= linger);
            if !state.full.is_empty() || ripe {
                break;
            }
            if state.closed {
                return None;
            }
            state = match age {
                Some(age) => self.0.filled.wait_timeout(state, linger - age).map_or_else(|e| e.into_inner().0, |r| r.0),
                None => self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let mut blocks: Vec<_> = state.full.drain(..).collect();
        if state.filling.since.is_some() {
            blocks.push(std::mem::take(&mut state.filling));
        }
        state.urgent = false;
        Some(Taken {
            #[cfg(test)]
            bytes: blocks.iter().map(Pending::raw_bytes).sum(),
            #[cfg(test)]
            last_append: blocks.last().map_or(0, Pending::last_append),
            blocks,
        })
    }

    /// Blocks that hold `bytes` of memory are on disk, up to the chunk `last_append`: releases its receipts and the
    /// memory.
    pub fn synced(&self, bytes: usize, last_append: u64) {
        lock(&self.0.state).buffered -= bytes;
        self.0.durable.send_modify(|durable| {
            assert!(!durable.ended, "nothing becomes durable after the end");
            durable.synced = durable.synced.max(last_append);
        });
        self.0.room.notify_waiters();
    }

    /// The writer has ended, whatever made it: takes no more, and tells everyone who still waits that it was in vain.
    pub fn end(&self) {
        self.close();
        self.0.durable.send_modify(|durable| durable.ended = true);
    }

    /// Whether [`Intake::append`] is to refuse.
    pub fn set_refusing(&self, refusing: bool) {
        self.0.refusing.store(refusing, Ordering::Relaxed);
    }
}

/// What the writer took: blocks to write, to be reported by [`Intake::synced`].
#[derive(Debug)]
pub struct Taken {
    /// The blocks, oldest first.
    pub blocks: Vec<Pending>,
    /// Bytes that they hold of the intake's memory, for a test that takes the writer's place.
    #[cfg(test)]
    pub bytes: usize,
    /// What [`Intake::synced`] is to be told when all are on disk.
    #[cfg(test)]
    pub last_append: u64,
}

impl State {
    fn add(&mut self, chunk: Chunk, bytes: usize, block_bytes: usize) -> u64 {
        self.appends += 1;
        self.buffered += bytes;
        self.filling.add(chunk, self.appends);
        let (runs, positions) = (self.filling.runs.len(), self.filling.positions.len());
        let crowded = runs >= KEYS_MAX || positions >= KEYS_MAX || self.filling.key_bytes >= KEY_BYTES_MAX;
        if self.filling.raw_bytes >= block_bytes || crowded {
            self.full.push_back(std::mem::take(&mut self.filling));
        }
        self.appends
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

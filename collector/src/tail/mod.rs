//! The live tail: records as they come in, before they are committed, for whoever asks at the HTTP port.
//!
//! Owns what is shown to those who have just come (the newest blocks) and the queue of each follower. Nothing here ever
//! holds up a session: a follower that reads too slowly misses records and is told how many. It is a look at the river,
//! not at the table: a record may be seen twice (its adaptor connected anew), and one that is seen may yet be committed
//! by another collector.

mod filter;
mod http;
mod lines;
#[cfg(test)]
mod over_http;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logboom_wire::Block;
use tokio::sync::mpsc;

pub use filter::Filter;
pub use http::bind;

/// Compressed bytes of the newest blocks that are kept for those who come, besides what `collector.memory` bounds.
const RECENT_BYTES_MAX: usize = 4 << 20;
/// Compressed bytes that may wait for one follower.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Followers at once.
const FOLLOWERS_MAX: usize = 32;

/// Where sessions show their blocks and followers see them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    recent: VecDeque<Block>,
    recent_bytes: usize,
    followers: Vec<Follower>,
}

struct Follower {
    filter: Arc<Filter>,
    blocks: mpsc::UnboundedSender<Block>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    missed: AtomicU64,
}

/// The blocks that one follower is to see. Dropping it ends the following.
pub struct Following {
    recent: VecDeque<Block>,
    blocks: mpsc::UnboundedReceiver<Block>,
    queue: Arc<Queue>,
}

impl Tail {
    /// Shows a block that has come in. Costs a lock and, for each follower, a look at the block's header.
    pub fn show(&self, block: &Block) {
        let mut state = self.state();
        state.recent_bytes += block.bytes().len();
        state.recent.push_back(block.clone());
        while state.recent_bytes > RECENT_BYTES_MAX
            && let Some(oldest) = state.recent.pop_front()
        {
            state.recent_bytes -= oldest.bytes().len();
        }
        state.followers.retain(|follower| follower.offer(block));
    }

    /// Begins to follow: the newest blocks there are, then all that come. `None` when too many do already.
    pub fn follow(&self, filter: &Arc<Filter>) -> Option<Following> {
        let mut state = self.state();
        state.followers.retain(|follower| !follower.blocks.is_closed());
        if state.followers.len() >= FOLLOWERS_MAX {
            return None;
        }
        let recent = state.recent.iter().filter(|block| filter.wants(block.header())).cloned().collect();
        let (sender, blocks) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue::default());
        state.followers.push(Follower { filter: filter.clone(), blocks: sender, queue: queue.clone() });
        Some(Following { recent, blocks, queue })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Queues the block if it is wanted and there is room. Whether the follower is still there.
    fn offer(&self, block: &Block) -> bool {
        if !self.filter.wants(block.header()) {
            return !self.blocks.is_closed();
        }
        let bytes = block.bytes().len();
        let before = self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One block fits always, however large it is.
        if before > 0 && before + bytes > QUEUE_BYTES_MAX {
            self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.queue.missed.fetch_add(self.filter.wanted_rows(block.header()), Ordering::Relaxed);
            return !self.blocks.is_closed();
        }
        self.blocks.send(block.clone()).is_ok()
    }
}

impl Following {
    /// The blocks that were there when the following began, the oldest first.
    pub fn take_recent(&mut self) -> VecDeque<Block> {
        std::mem::take(&mut self.recent)
    }

    /// The next block.
    pub async fn next(&mut self) -> Option<Block> {
        let block = self.blocks.recv().await?;
        self.queue.bytes.fetch_sub(block.bytes().len(), Ordering::Relaxed);
        Some(block)
    }

    /// How many records were passed over since the last call, because the follower was too slow; some of them may not
    /// have matched its pattern.
    pub fn take_missed(&self) -> u64 {
        self.queue.missed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Rows, RunKey, StreamId};

    use super::*;

    /// A block with one record for each category; `bytes` of noise make it large.
    pub(crate) fn block(number: u64, categories: &[&str], bytes: usize) -> Block {
        let runs = categories.iter().map(|category| {
            let key = RunKey { category: (*category).into(), source: "s".into(), attributes: vec![] };
            let mut rows = Rows::default();
            let noise: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
            rows.push_line(number as i64, &[format!("{category} {number} ").as_bytes(), &noise].concat());
            (Arc::new(key), rows)
        });
        let place = BlockPlace { stream: StreamId::from_bytes([7; 16]), number, first_record: number, host: "h" };
        Encoder::default().encode(place, runs.collect::<Vec<_>>(), vec![]).unwrap()
    }

    fn filter(query: &str) -> Arc<Filter> {
        Arc::new(Filter::parse(query).unwrap())
    }

    #[tokio::test]
    async fn who_comes_sees_the_newest_blocks_and_then_all_that_come() {
        let tail = Tail::default();
        tail.show(&block(1, &["a", "b"], 0));
        tail.show(&block(2, &["b"], 0));
        let mut following = tail.follow(&filter("category=a*")).unwrap();
        tail.show(&block(3, &["b"], 0));
        tail.show(&block(4, &["ab"], 0));
        let recent: Vec<u64> = following.take_recent().iter().map(|block| block.header().number).collect();
        assert_eq!(recent, [1]);
        assert_eq!(following.next().await.unwrap().header().number, 4);
    }

    #[tokio::test]
    async fn what_is_kept_and_what_waits_is_bounded_and_what_is_missed_is_counted() {
        let tail = Tail::default();
        let mut following = tail.follow(&filter("")).unwrap();
        for number in 1..=20 {
            tail.show(&block(number, &["a"], 1 << 20));
        }
        assert!(tail.state().recent_bytes <= RECENT_BYTES_MAX && tail.state().recent.len() == 3);
        assert_eq!(following.take_missed(), 13);
        assert_eq!(following.take_missed(), 0);
        for number in 1..=7 {
            assert_eq!(following.next().await.unwrap().header().number, number);
        }
        tail.show(&block(21, &["a"], 0));
        assert_eq!(following.next().await.unwrap().header().number, 21);
    }

    #[test]
    fn who_is_gone_is_forgotten_and_there_are_never_too_many() {
        let tail = Tail::default();
        let mut all: Vec<_> = (0..FOLLOWERS_MAX).map(|_| tail.follow(&filter("")).unwrap()).collect();
        assert!(tail.follow(&filter("")).is_none());
        all.pop();
        assert!(tail.follow(&filter("")).is_some());
        drop(all);
        tail.show(&block(1, &["a"], 0));
        assert_eq!(tail.state().followers.len(), 0);
    }
}

//! A batch: the blocks, of many streams, that are committed together.
//!
//! Owns the rule that decides which of them may be: those that the table does not have yet, and only if every block
//! before them is committed or in the batch; and which of those go to a table of some categories only. Pure; the marks of
//! views come in as functions.

use std::collections::BTreeMap;

use logboom_config::planted;
use logboom_wire::message::ToAdaptor;
use logboom_wire::{Block, StreamId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

/// Where a session hears what became of its blocks.
pub type Outbox = mpsc::UnboundedSender<ToAdaptor>;

/// A block that a session has taken in.
pub struct Entry {
    /// The block; its checksums hold.
    pub block: Block,
    /// The block that came before it on its connection, or the mark when its stream was opened there. Everything
    /// between the two is done with, says the adaptor; so this block may be committed once that one is.
    pub base: u64,
    /// Who is told.
    pub outbox: Outbox,
    /// Its share of the collector's memory, given back when the block is gone.
    pub _permit: OwnedSemaphorePermit,
}

/// Blocks that wait for a commit.
#[derive(Default)]
pub struct Batch {
    entries: Vec<Entry>,
    /// When each of them came.
    arrived: Vec<Instant>,
    bytes: u64,
}

/// What of a batch may be committed.
pub struct Filtered {
    /// Indices of entries, by stream and number, none twice.
    pub entries: Vec<usize>,
    /// The mark of each stream after the commit.
    pub marks: Vec<(StreamId, u64)>,
    /// Streams of which blocks are missing in between: either the view is older than the one by which the stream was
    /// opened, or they were lost on the way, which cannot happen while batches are committed in order.
    pub broken: Vec<StreamId>,
}

/// What of a batch goes to one table.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Indices of the entries with rows for it, by stream and number.
    pub entries: Vec<usize>,
    /// The mark of each stream in that table after the commit.
    pub marks: Vec<(StreamId, u64)>,
}

impl Batch {
    /// Adds a block.
    pub fn push(&mut self, now: Instant, entry: Entry) {
        self.bytes += entry.block.bytes().len() as u64;
        self.arrived.push(now);
        self.entries.push(entry);
    }

    /// Takes the first blocks, as many as come nearest to `bytes` but at least one, and leaves the rest.
    pub fn take_first(&mut self, bytes: u64) -> Batch {
        let (mut count, mut taken) = (0, 0);
        for entry in &self.entries {
            let next = entry.block.bytes().len() as u64;
            if count > 0 && taken + next / 2 > bytes {
                break;
            }
            count += 1;
            taken += next;
        }
        let rest = Batch {
            entries: self.entries.split_off(count),
            arrived: self.arrived.split_off(count),
            bytes: self.bytes - taken,
        };
        let mut first = std::mem::replace(self, rest);
        first.bytes = taken;
        first
    }

    /// The blocks.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes of the blocks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the first block came; `None` while there is none.
    pub fn since(&self) -> Option<Instant> {
        self.arrived.first().copied()
    }

    /// What may be committed against a view with these marks.
    pub fn filter(&self, mark: impl Fn(StreamId) -> u64) -> Filtered {
        let mut streams: BTreeMap<StreamId, Vec<usize>> = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            streams.entry(entry.block.header().stream).or_default().push(index);
        }
        let mut filtered = Filtered { entries: Vec::new(), marks: Vec::new(), broken: Vec::new() };
        for (stream, mut indices) in streams {
            indices.sort_by_key(|&index| self.entries[index].block.header().number);
            let committed = mark(stream);
            let mut reached = committed;
            for index in indices {
                let Entry { block, base, .. } = &self.entries[index];
                let number = block.header().number;
                if number < reached || (number == reached && !planted::bug("filter_lets_mark_through")) {
                    // The table has it, or the batch does: it came over two connections.
                    continue;
                }
                if *base > reached {
                    filtered.broken.push(stream);
                    break;
                }
                filtered.entries.push(index);
                reached = number;
            }
            if reached > committed {
                let reached = match (planted::bug("mark_one_too_high"), planted::bug("mark_one_too_low")) {
                    (true, _) => reached + 1,
                    (_, true) => (reached - 1).max(committed + 1),
                    _ => reached,
                };
                filtered.marks.push((stream, reached));
            }
        }
        filtered
    }

    /// What of the filtered blocks a table of some categories lacks: those that it `wants` and that are above its own
    /// `mark`. It has all that it wants up to its mark, for every block up to there came to it in this very way.
    pub fn part(&self, filtered: &Filtered, wants: impl Fn(usize) -> bool, mark: impl Fn(StreamId) -> u64) -> Part {
        let mut part = Part { entries: Vec::new(), marks: Vec::new() };
        for &index in &filtered.entries {
            let header = self.entries[index].block.header();
            let is_there = header.number <= mark(header.stream) && !planted::bug("ignore_marks_of_routes");
            if is_there || !wants(index) {
                continue;
            }
            part.entries.push(index);
            match part.marks.last_mut() {
                Some((stream, highest)) if *stream == header.stream => *highest = header.number,
                _ => part.marks.push((header.stream, header.number)),
            }
        }
        part
    }

    /// Streams of the batch, each once, with everyone to be told of it.
    pub fn audience(&self) -> BTreeMap<StreamId, Vec<&Outbox>> {
        let mut audience: BTreeMap<StreamId, Vec<&Outbox>> = BTreeMap::new();
        for entry in &self.entries {
            let outboxes = audience.entry(entry.block.header().stream).or_default();
            if !outboxes.iter().any(|outbox| outbox.same_channel(&entry.outbox)) {
                outboxes.push(&entry.outbox);
            }
        }
        audience
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Rows, RunKey};
    use tokio::sync::Semaphore;

    use super::*;

    fn stream(byte: u8) -> StreamId {
        StreamId::from_bytes([byte; 16])
    }

    fn batch(blocks: &[(u8, u64, u64)]) -> Batch {
        let memory = Arc::new(Semaphore::new(100));
        let mut batch = Batch::default();
        for &(of, base, number) in blocks {
            let key = RunKey { category: "c".into(), source: "s".into(), attributes: vec![] };
            let mut rows = Rows::default();
            rows.push_line(1, b"line");
            let place = BlockPlace { stream: stream(of), number, first_record: number, host: "h" };
            let block = Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap();
            let permit = memory.clone().try_acquire_owned().unwrap();
            batch.push(Instant::now(), Entry { block, base, outbox: mpsc::unbounded_channel().0, _permit: permit });
        }
        batch
    }

    fn numbers(batch: &Batch, filtered: &Filtered) -> Vec<u64> {
        filtered.entries.iter().map(|&index| batch.entries()[index].block.header().number).collect()
    }

    #[test]
    fn a_block_that_came_over_two_connections_counts_once() {
        let batch = batch(&[(1, 4, 5), (1, 5, 6), (1, 4, 5), (1, 5, 6), (1, 6, 7)]);
        let filtered = batch.filter(|_| 4);
        assert_eq!(numbers(&batch, &filtered), [5, 6, 7]);
        assert_eq!(filtered.marks, [(stream(1), 7)]);
    }

    #[test]
    fn the_first_blocks_of_a_batch_leave_the_rest_as_they_came() {
        let mut rest = batch(&[(1, 0, 1), (2, 0, 1), (1, 1, 2), (2, 1, 2), (1, 2, 3)]);
        let (all, block) = (rest.bytes(), rest.entries()[0].block.bytes().len() as u64);
        let third = rest.arrived[2];
        let first = rest.take_first(block * 2 + block / 3);
        assert_eq!((first.entries().len(), rest.entries().len()), (2, 3));
        assert_eq!((first.bytes(), rest.bytes()), (block * 2, all - block * 2));
        assert_eq!(rest.since(), Some(third));
        assert_eq!(rest.take_first(0).entries().len(), 1, "at least one");
        assert_eq!(rest.take_first(u64::MAX).entries().len(), 2);
        assert_eq!((rest.since(), rest.bytes()), (None, 0));
    }

    #[test]
    fn what_the_table_has_is_dropped_and_moves_no_mark() {
        let batch = batch(&[(1, 0, 1), (1, 1, 2), (2, 0, 1)]);
        let filtered = batch.filter(|id| if id == stream(1) { 2 } else { 0 });
        assert_eq!(numbers(&batch, &filtered), [1]);
        assert_eq!(filtered.marks, [(stream(2), 1)]);
    }

    #[test]
    fn a_gap_that_the_adaptor_left_is_passed_but_one_that_the_collector_left_is_not() {
        let declared = batch(&[(1, 2, 7)]);
        assert_eq!(declared.filter(|_| 2).marks, [(stream(1), 7)]);
        let lost = batch(&[(1, 6, 7), (2, 0, 1)]);
        let filtered = lost.filter(|id| if id == stream(1) { 2 } else { 0 });
        assert_eq!((filtered.broken, filtered.marks), (vec![stream(1)], vec![(stream(2), 1)]));
    }

    #[test]
    fn a_table_gets_what_it_wants_above_its_own_mark_and_no_mark_for_the_rest() {
        let batch = batch(&[(1, 2, 3), (1, 3, 4), (1, 4, 5), (1, 5, 6), (2, 0, 1)]);
        let filtered = batch.filter(|id| if id == stream(1) { 2 } else { 0 });
        let wants = |entry: usize| batch.entries()[entry].block.header().number.is_multiple_of(2);
        // Block 4 it has from a batch that was never finished; 3 and 5 are not for it, and neither is stream 2.
        let part = batch.part(&filtered, wants, |_| 4);
        assert_eq!(part, Part { entries: vec![3], marks: vec![(stream(1), 6)] });
        assert_eq!(batch.part(&filtered, wants, |_| 6), Part { entries: vec![], marks: vec![] });
        let all = batch.part(&filtered, |_| true, |_| 0);
        assert_eq!((all.entries.len(), all.marks), (5, vec![(stream(1), 6), (stream(2), 1)]));
    }
}

//! What a batch will come to in sink files, judged by the batches before it.
//!
//! The batcher closes a batch by it, long before the batch is encoded; the committer says what each came to.

use std::sync::{Arc, Mutex, PoisonError};

/// How much of what was known before counts once another batch is known.
const DECAY: f64 = 0.7;
/// What the measure starts with, in bytes: so few that the first batch of some size outweighs them.
const BLOCKS_AT_FIRST: f64 = 1024.0 * 1024.0;
/// Parquet of sorted rows beside the blocks that they came in, both of zstd level 1: see `just bench sink`.
const RATIO_AT_FIRST: f64 = 0.75;

/// Encoded bytes for one byte of blocks. Clones learn together.
#[derive(Clone, Debug)]
pub struct OutputRatio(Arc<Mutex<Learned>>);

/// Sums over the batches so far, in which older ones count less.
#[derive(Debug)]
struct Learned {
    blocks: f64,
    files: f64,
}

impl Default for OutputRatio {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Learned { blocks: BLOCKS_AT_FIRST, files: BLOCKS_AT_FIRST * RATIO_AT_FIRST })))
    }
}

impl OutputRatio {
    /// The ratio.
    pub fn get(&self) -> f64 {
        let learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        learned.files / learned.blocks
    }

    /// A batch with `blocks` bytes of blocks came to `files` bytes of sink files.
    pub fn learn(&self, blocks: u64, files: u64) {
        if blocks == 0 || files == 0 {
            return;
        }
        let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        learned.blocks = learned.blocks * DECAY + blocks as f64;
        learned.files = learned.files * DECAY + files as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_batch_is_believed_at_once_and_a_tiny_one_hardly() {
        let ratio = OutputRatio::default();
        ratio.learn(100 << 20, 70 << 20);
        assert!((0.69..0.72).contains(&ratio.get()), "{}", ratio.get());
        // Most of a tiny file is its footer.
        ratio.learn(2 << 10, 20 << 10);
        assert!((0.69..0.72).contains(&ratio.get()), "{}", ratio.get());
        for _ in 0..10 {
            ratio.learn(100 << 20, 90 << 20);
        }
        assert!((0.89..0.91).contains(&ratio.get()), "{}", ratio.get());
    }
}

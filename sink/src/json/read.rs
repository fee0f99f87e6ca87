//! Members fetched and unpacked, one after the other: what reads many of them in little memory.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::decode::Decoder;
use super::index::Member;
use crate::Error;

/// The least that is fetched at a time: less is not worth a request.
const PIECE_BYTES_MIN: u64 = 128 << 10;
/// The most.
const PIECE_BYTES_MAX: u64 = 8 << 20;
/// Members that lie side by side are read as one until they have so many bytes.
const RUN_BYTES: u64 = 64 << 20;

/// The rows of some members, in their order.
pub struct MemberReader {
    objects: Arc<dyn ObjectStore>,
    wanted: SchemaRef,
    /// Members that lie side by side, the next of them last.
    runs: Vec<Vec<Member>>,
    open: Option<Open>,
    memory: u64,
    batch_rows_max: u64,
    batch_rows: u64,
}

struct Open {
    path: Path,
    next: u64,
    end: u64,
    decoder: Decoder,
}

impl MemberReader {
    /// Reads nothing yet. `wanted` are some columns of [`crate::schema::file_schema`]; a batch has at most `batch_rows`
    /// rows, fewer if they take more than `memory` bytes, of which about as much is held again of what was fetched.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        members: &[Member],
        wanted: SchemaRef,
        batch_rows: u64,
        memory: u64,
    ) -> Self {
        let mut runs: Vec<Vec<Member>> = Vec::new();
        for member in members {
            let side_by_side = |run: &&mut Vec<Member>| {
                let (first, last) = (&run[0], &run[run.len() - 1]);
                let end = last.offset + last.length;
                last.path == member.path && end == member.offset && end - first.offset < RUN_BYTES
            };
            match runs.last_mut().filter(side_by_side) {
                Some(run) => run.push(member.clone()),
                None => runs.push(vec![member.clone()]),
            }
        }
        runs.reverse();
        Self { objects, wanted, runs, open: None, memory, batch_rows_max: batch_rows, batch_rows }
    }

    /// How many rows the next batches have at most.
    pub fn batch_rows(&self) -> u64 {
        self.batch_rows
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Store`] if a file cannot be fetched, [`Error::BadMember`] if it is not as its index says. There is nothing
    /// more to be read then.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(run) = self.runs.pop() else { return Ok(None) };
                self.open = Some(self.open(run));
                continue;
            };
            if let Some(batch) = open.decoder.next_batch()? {
                return Ok(Some(batch));
            }
            if open.next == open.end {
                let Open { decoder, .. } = self.open.take().expect("it is open");
                match decoder.finish()? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                }
            }
            let piece = open.next..open.end.min(open.next + (self.memory / 2).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX));
            let failed = |source| Error::store("reading", &open.path, source);
            let bytes = self.objects.get_range(&open.path, piece.clone()).await.map_err(failed)?;
            open.next = piece.end;
            let fetched = bytes.len() as u64;
            open.decoder.push(bytes);
            if fetched < piece.end - piece.start {
                // The file ends too soon: the decoder says which member that is.
                (open.next, open.end) = (piece.end, piece.end);
            }
        }
    }

    fn open(&mut self, run: Vec<Member>) -> Open {
        let sum = |value: fn(&Member) -> u64| run.iter().map(value).sum::<u64>();
        let (raw, records) = (sum(|member| member.raw_length), sum(|member| member.stats.records));
        self.batch_rows = (self.memory / (raw / records.max(1)).max(1)).clamp(256, self.batch_rows_max.max(256));
        let end = run.last().map_or(0, |last| last.offset + last.length);
        Open {
            path: Path::from(&*run[0].path),
            next: run[0].offset,
            end,
            decoder: Decoder::new(run, self.wanted.clone(), self.batch_rows as usize),
        }
    }
}

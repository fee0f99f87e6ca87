//! Many sink files in, few sorted ones out, with the very same rows.
//!
//! A merge of up to [`FAN_IN`] inputs, each read in windows, so that memory is bounded whatever there is in the files
//! (`inputs`). Days of more files than that are brought down to it first, by merging the smallest (`plan`).
//!
//! What was written is read back before it may be committed: as many rows, and the same sum over (stream, seq), or the
//! rewrite fails. Files of a rewrite that is not committed are garbage for vacuum.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use jiff::civil::Date;
use tokio::time::Instant;

use super::input::{Input, read_columns};
use super::inputs::{Inputs, Keep, share};
use super::{Control, Settings};
use crate::parquet::FileSettings;
use crate::schema::file_schema;
use crate::table::{DataFile, SnapshotFile};
use crate::writer::SinkWriter;
use crate::{Error, FileFormat, Store};

/// The most files that are merged at once.
pub(super) const FAN_IN: usize = 256;
/// Rows that are handed to the writer at once.
const ROWS_PER_WRITE: usize = 16 << 10;
/// A file may come to so much more than was planned before it is split in spite of the plan.
const OVERSIZE: f64 = 1.8;
/// Below that the writer's own estimates are too rough to go by.
const OVERSIZE_MIN: u64 = 64 << 20;

/// What is to be rewritten.
pub(super) struct Order<'a> {
    /// All of one partition, at most [`FAN_IN`].
    pub inputs: &'a [SnapshotFile],
    pub date: Date,
    /// The table's columns besides those of every table.
    pub columns: &'a [FieldRef],
    pub keep: Keep<'a>,
    /// So many files of about the same size.
    pub pieces: u64,
}

/// What came of it.
pub(super) struct Rewritten {
    pub files: Vec<DataFile>,
    /// Bytes of the records as they are on the store, without an index of them.
    pub bytes: u64,
}

/// How many files of the wished size this many bytes make.
pub(super) fn pieces(bytes: u64, file_size: u64) -> u64 {
    ((bytes + file_size / 2) / file_size.max(1)).max(1)
}

/// Number and identity of rows, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    identities: u64,
}

/// Adds up the identities of rows. Neighbours are mostly of the same stream, so its text is rarely hashed.
#[derive(Default)]
struct Adder {
    sum: Sum,
    stream: String,
    hash: u64,
}

impl Adder {
    fn add(&mut self, stream: &str, seq: i64) {
        if self.stream != stream {
            stream.clone_into(&mut self.stream);
            let mut hasher = DefaultHasher::new();
            hasher.write(stream.as_bytes());
            self.hash = hasher.finish() | 1;
        }
        // The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
        let mut x = self.hash.wrapping_add((seq as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.sum.rows += 1;
        self.sum.identities = self.sum.identities.wrapping_add(x ^ (x >> 31));
    }
}

/// Writes the rows of `order.inputs` that stay into new files. CPU-bound between calls on the store.
///
/// # Errors
/// If a file cannot be read, is none of ours, or what was written is not what was read. Then nothing refers to what was
/// written.
pub(super) async fn rewrite(
    store: &Store,
    settings: &Settings,
    order: &Order<'_>,
    control: &Control,
) -> Result<Rewritten, Error> {
    assert!(order.inputs.len() <= FAN_IN, "{} inputs are more than are merged at once", order.inputs.len());
    let (format, derived) = (settings.files.format, Arc::<[String]>::from(settings.derived_columns.clone()));
    let share = share(settings.memory, order.inputs.len());
    let open = |file: &SnapshotFile| Input::open(store.clone(), format, file.clone(), share, derived.clone());
    let mut inputs = Inputs::open(order.inputs.iter().map(open).collect(), settings.memory).await?;
    let columns = columns(order.columns, &derived, &inputs);
    inputs.set_columns(&columns);
    let total = inputs.rows_total();
    let mut output = Output::new(store, settings, columns, order, inputs.bytes_total());
    let (mut expected, mut done) = (Adder::default(), 0);
    let mut began = Instant::now();
    while let Some(taken) = inputs.take(order.keep).await? {
        control.check()?;
        for (category, rows) in taken.by_category() {
            for rows in rows.chunks(ROWS_PER_WRITE) {
                for row in rows {
                    let (stream, seq) = inputs.identity(row);
                    expected.add(stream, seq);
                }
                output.push(category, inputs.gather(rows)?, inputs.bytes(rows)).await?;
            }
        }
        done += taken.count;
        control.tell(done, total);
        if settings.rest > 0.0 {
            tokio::time::sleep(began.elapsed().mul_f64(settings.rest)).await;
        }
        began = Instant::now();
    }
    let files = output.finish().await?;
    let (found, bytes) = sum_of(store, format, &files).await?;
    if done != total || found != expected.sum {
        let reason = format!(
            "of {total} rows {done} were read, {} were to stay and {} were written; nothing is committed",
            expected.sum.rows, found.rows
        );
        let path = order.inputs.first().map_or_else(String::new, |file| file.path.clone());
        return Err(Error::BadFile { path, reason });
    }
    Ok(Rewritten { files, bytes })
}

/// The columns of what is written, but for the derived ones: those of every table, and those that some input has.
fn columns(of_table: &[FieldRef], derived: &[String], inputs: &Inputs) -> SchemaRef {
    let is_kept = |field: &&FieldRef| !derived.contains(field.name()) && inputs.have_column(field.name());
    let kept = of_table.iter().filter(is_kept);
    Arc::new(Schema::new(file_schema().fields().iter().chain(kept).cloned().collect::<Vec<_>>()))
}

/// Cuts sorted rows into files of about the same size, at the end of a category where one is near.
struct Output {
    store: Store,
    date: Date,
    files: FileSettings,
    columns: SchemaRef,
    pieces: u64,
    bytes_total: f64,
    bytes_written: f64,
    writer: Option<SinkWriter>,
    done: Vec<DataFile>,
    category: String,
    pending: Vec<RecordBatch>,
    pending_weight: f64,
}

impl Output {
    fn new(store: &Store, settings: &Settings, columns: SchemaRef, order: &Order<'_>, bytes: u64) -> Self {
        let mut files = settings.files.clone();
        let (target_file_size, pieces) = match files.format {
            // Files are cut here; the writer cuts only if that was far off.
            FileFormat::Parquet => {
                (((settings.compact_file_size as f64 * OVERSIZE) as u64).max(OVERSIZE_MIN), order.pieces)
            }
            // The writer cuts them to the byte, and one index lists them all.
            FileFormat::Json => (settings.compact_file_size, 1),
        };
        files.target_file_size = target_file_size;
        Self {
            store: store.clone(),
            date: order.date,
            files,
            columns,
            pieces,
            bytes_total: bytes as f64,
            bytes_written: 0.0,
            writer: None,
            done: Vec::new(),
            category: String::new(),
            pending: Vec::new(),
            pending_weight: 0.0,
        }
    }

    /// `weight`: what the rows came to in the files that they are from.
    async fn push(&mut self, category: &str, rows: RecordBatch, weight: f64) -> Result<(), Error> {
        if self.category != category {
            self.flush().await?;
            if let Some(writer) = &mut self.writer {
                writer.category_ended().await?;
            }
            self.cut(0.9).await?;
            category.clone_into(&mut self.category);
        }
        self.pending.push(rows);
        self.pending_weight += weight;
        if self.pending.iter().map(RecordBatch::num_rows).sum::<usize>() >= ROWS_PER_WRITE / 2 {
            self.flush().await?;
            self.cut(1.0).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rows = match self.pending.len() {
            1 => self.pending.remove(0),
            _ => concat_batches(&self.columns, &self.pending).map_err(Error::encoding)?,
        };
        self.pending.clear();
        self.bytes_written += std::mem::take(&mut self.pending_weight);
        let new = || SinkWriter::new(self.store.clone(), self.date, self.files.clone());
        self.writer.get_or_insert_with(new).write(&rows).await
    }

    /// Ends the file if its share is written, or this much of it.
    async fn cut(&mut self, enough: f64) -> Result<(), Error> {
        let share = self.bytes_total / self.pieces as f64;
        let begun = self.done.len() as f64;
        let is_last = self.done.len() as u64 + 1 >= self.pieces;
        if !is_last && self.bytes_written >= share * (begun + enough) {
            self.end_file().await?;
        }
        Ok(())
    }

    async fn end_file(&mut self) -> Result<(), Error> {
        if let Some(writer) = self.writer.take() {
            self.done.extend(writer.finish().await?);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<DataFile>, Error> {
        self.flush().await?;
        self.end_file().await?;
        Ok(self.done)
    }
}

/// What is in these files, as the store gives it back, and how many bytes it takes there.
async fn sum_of(store: &Store, format: FileFormat, files: &[DataFile]) -> Result<(Sum, u64), Error> {
    let (mut adder, mut bytes) = (Adder::default(), 0);
    for file in files {
        let before = adder.sum.rows;
        let add = |rows: &RecordBatch| {
            let streams: &StringArray = rows["stream"].as_string();
            let seqs = rows["seq"].as_primitive::<Int64Type>();
            (0..rows.num_rows()).for_each(|row| adder.add(streams.value(row), seqs.value(row)));
            Ok(())
        };
        bytes += read_columns(store, format, &file.path, file.size, &["stream", "seq"], add).await?;
        if adder.sum.rows - before != file.stats.records {
            let reason = format!("it has {} rows, not {}", adder.sum.rows - before, file.stats.records);
            return Err(Error::BadFile { path: file.path.clone(), reason });
        }
    }
    Ok((adder.sum, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[(&str, i64)]) -> Sum {
        let mut adder = Adder::default();
        rows.iter().for_each(|(stream, seq)| adder.add(stream, *seq));
        adder.sum
    }

    #[test]
    fn the_sum_knows_rows_whatever_their_order_and_sees_each_that_differs() {
        let rows = [("a", 1), ("a", 2), ("b", 1), ("b", 7)];
        let mut shuffled = rows;
        shuffled.reverse();
        assert_eq!(sum(&rows), sum(&shuffled));
        for other in [
            [("a", 1), ("a", 2), ("b", 1), ("b", 8)],
            [("a", 1), ("a", 1), ("b", 1), ("b", 7)],
            [("a", 2), ("a", 2), ("b", 0), ("b", 7)],
            [("b", 1), ("b", 2), ("a", 1), ("a", 7)],
        ] {
            assert_ne!(sum(&rows), sum(&other), "{other:?}");
        }
    }

    #[test]
    fn bytes_make_files_of_between_two_thirds_and_one_and_a_half_of_the_size() {
        for (bytes, expected) in [(0, 1), (10, 1), (149, 1), (150, 2), (249, 2), (250, 3), (1000, 10)] {
            assert_eq!(pieces(bytes, 100), expected, "{bytes}");
        }
    }
}

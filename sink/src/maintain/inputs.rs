//! Rows of many sink files in one order, as a rewrite takes them.
//!
//! Owns which windows of which inputs are in memory. What is taken is what no row still to be read can come before; only
//! when there is nothing, the inputs that stand in the way are read on, and those that will be next. Files of one day follow
//! one another in time, so that mostly a few are in memory at a time; where all overlap, a window of each is.
//!
//! Half of the memory is for all inputs alike, however many they are. The other half is lent to [`AHEAD`] of them at a time:
//! a page is decoded as often as there are windows that it has rows of.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave_record_batch;
use futures::{StreamExt, TryStreamExt};

use super::input::Input;
use crate::Error;

/// Inputs that are opened or read at once.
const FETCHES: usize = 16;
/// Inputs that are read before they are needed, and that have a large window.
const AHEAD: usize = 8;

/// Which rows stay, by category. Absent: all.
pub(super) type Keep<'a> = Option<&'a (dyn Fn(&str) -> bool + Send + Sync)>;

/// See the module.
pub(super) struct Inputs {
    inputs: Vec<Input>,
    /// What the window of any input may take, in bytes.
    share: u64,
    /// What a large one takes besides.
    loan: u64,
}

/// A row of one of the inputs.
pub(super) struct RowRef {
    category: u32,
    timestamp: i64,
    input: u32,
    row: u32,
}

/// Rows that are next, in order, of those that stay.
pub(super) struct Taken {
    rows: Vec<RowRef>,
    categories: Vec<String>,
    /// How many were taken with those that do not stay.
    pub count: u64,
}

impl Taken {
    /// The rows of one category after those of the other.
    pub fn by_category(&self) -> Vec<(&str, &[RowRef])> {
        let runs = self.rows.chunk_by(|a, b| a.category == b.category);
        runs.map(|rows| (self.categories[rows[0].category as usize].as_str(), rows)).collect()
    }
}

/// What one of so many inputs may always take of the memory of all of them.
pub(super) fn share(memory: u64, inputs: usize) -> u64 {
    memory / 2 / inputs.max(1) as u64
}

impl Inputs {
    /// Opens these, whose windows will together take about `memory` bytes at most.
    pub async fn open(opening: Vec<impl Future<Output = Result<Input, Error>>>, memory: u64) -> Result<Self, Error> {
        let share = share(memory, opening.len());
        let inputs = futures::stream::iter(opening).buffered(FETCHES).try_collect().await?;
        Ok(Self { inputs, share, loan: memory / 2 / AHEAD as u64 })
    }

    /// Says which columns all rows are to have. Before anything is read.
    pub fn set_columns(&mut self, columns: &SchemaRef) {
        self.inputs.iter_mut().for_each(|input| input.set_columns(columns));
    }

    pub fn have_column(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.has_column(name))
    }

    /// Rows of all files.
    pub fn rows_total(&self) -> u64 {
        self.inputs.iter().map(Input::rows_total).sum()
    }

    /// Compressed bytes of all rows.
    pub fn bytes_total(&self) -> u64 {
        self.inputs.iter().map(Input::bytes_total).sum()
    }

    /// Stream and number of a row that was taken last.
    pub fn identity(&self, row: &RowRef) -> (&str, i64) {
        let input = &self.inputs[row.input as usize];
        (input.stream(row.row as usize), input.seq(row.row as usize))
    }

    /// What rows that were taken last come to in the files that they are from, in bytes.
    pub fn bytes(&self, rows: &[RowRef]) -> f64 {
        rows.iter().map(|row| self.inputs[row.input as usize].bytes_per_row()).sum()
    }

    /// Rows that were taken last, as a batch.
    pub fn gather(&self, rows: &[RowRef]) -> Result<RecordBatch, Error> {
        // Only those that take part: mostly few.
        let mut place = vec![usize::MAX; self.inputs.len()];
        let mut batches = Vec::new();
        let mut indices = Vec::with_capacity(rows.len());
        for row in rows {
            let place = &mut place[row.input as usize];
            if *place == usize::MAX {
                *place = batches.len();
                batches.push(self.inputs[row.input as usize].batch());
            }
            indices.push((*place, row.row as usize));
        }
        interleave_record_batch(&batches, &indices).map_err(Error::encoding)
    }

    /// Takes what is next. `None` at the end.
    pub async fn take(&mut self, keep: Keep<'_>) -> Result<Option<Taken>, Error> {
        self.inputs.retain(|input| !input.is_done());
        self.inputs.iter_mut().for_each(Input::release);
        while self.read_on().await? {}
        if self.inputs.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.take_certain(keep)))
    }

    /// Rows with a category and a time before it have their place. `None`: all have, since all is in memory.
    fn bound(&self) -> Option<(&str, i64)> {
        self.inputs.iter().filter(|input| !input.is_read()).map(Input::floor).min()
    }

    /// Reads what stands in the way, and says whether that was anything.
    async fn read_on(&mut self) -> Result<bool, Error> {
        let Some(bound) = self.bound() else { return Ok(false) };
        if self.inputs.iter().any(|input| input.first_key().is_some_and(|first| first < bound)) {
            return Ok(false);
        }
        let in_the_way = |input: &Input| !input.is_read() && input.floor() == bound;
        let may_read = |input: &Input| input.may_read() && (input.first_key().is_none() || in_the_way(input));
        let mut next: Vec<usize> = (0..self.inputs.len()).filter(|at| may_read(&self.inputs[*at])).collect();
        next.sort_by(|a, b| self.inputs[*a].floor().cmp(&self.inputs[*b].floor()));
        let needed = next.iter().take_while(|at| in_the_way(&self.inputs[**at])).count();
        if needed == 0 {
            // So many rows of one time that a window is full of them.
            return Ok(false);
        }
        let has_loan = |input: &&Input| input.first_key().is_some() && input.window() > self.share;
        let loans = AHEAD.saturating_sub(self.inputs.iter().filter(has_loan).count());
        next.truncate(needed.max(loans));
        let mut windows = vec![None; self.inputs.len()];
        for (place, at) in next.into_iter().enumerate() {
            windows[at] = Some(if place < loans { self.share + self.loan } else { self.share });
        }
        let with_windows = self.inputs.iter_mut().zip(windows);
        let reads: Vec<_> = with_windows.filter_map(|(input, window)| Some(input.read(window?))).collect();
        futures::stream::iter(reads).buffer_unordered(FETCHES).try_collect::<()>().await?;
        Ok(true)
    }

    /// Takes all rows whose place is certain, in order.
    fn take_certain(&mut self, keep: Keep<'_>) -> Taken {
        let until = self.ends();
        let inputs = &self.inputs;
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for (index, (input, end)) in inputs.iter().zip(&until).enumerate() {
            let taken = input.rows().start..*end;
            let mut start = taken.start;
            for row in taken {
                if row + 1 == *end || input.category(row) != input.category(row + 1) {
                    runs.push((index, start..row + 1));
                    start = row + 1;
                }
            }
        }
        let count = runs.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        if let Some(keep) = keep {
            runs.retain(|(index, rows)| keep(inputs[*index].category(rows.start)));
        }
        let mut categories: Vec<&str> = runs.iter().map(|(index, rows)| inputs[*index].category(rows.start)).collect();
        categories.sort_unstable();
        categories.dedup();
        let mut refs = Vec::with_capacity(runs.iter().map(|(_, rows)| rows.len()).sum());
        for (index, rows) in &runs {
            let input = &inputs[*index];
            let category = categories.binary_search(&input.category(rows.start)).expect("it is one of them") as u32;
            refs.extend(rows.clone().map(|row| RowRef {
                category,
                timestamp: input.timestamp(row),
                input: *index as u32,
                row: row as u32,
            }));
        }
        // What is sorted already, as the runs are, a stable sort merges in linear time.
        refs.sort_by(|a, b| {
            let by_time = (a.category, a.timestamp).cmp(&(b.category, b.timestamp));
            by_time.then_with(|| self.identity(a).cmp(&self.identity(b)))
        });
        let categories = categories.into_iter().map(str::to_owned).collect();
        for (input, end) in self.inputs.iter_mut().zip(until) {
            input.take_until(end);
        }
        Taken { rows: refs, categories, count }
    }

    /// The first row of each input whose place is not certain.
    fn ends(&self) -> Vec<usize> {
        let Some(bound) = self.bound() else { return self.inputs.iter().map(|input| input.rows().end).collect() };
        let ends = |or_at| self.inputs.iter().map(|input| input.end_before(bound, or_at)).collect();
        let before: Vec<usize> = ends(false);
        match before.iter().zip(&self.inputs).any(|(end, input)| *end > input.rows().start) {
            true => before,
            // Rows of one time that a window is full of: these are in no order among one another.
            false => ends(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use jiff::civil::date;
    use logboom_config::{FileFormat, Sink};
    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Record, Rows, RunKey, StreamId};

    use super::*;
    use crate::schema::file_schema;
    use crate::table::SnapshotFile;
    use crate::{FileSettings, Store, merge};

    const MEMORY: u64 = 16 << 20;
    const FILES: i64 = 40;
    const ROWS: i64 = 2000;

    /// A file of two categories, each a row group of `ROWS` rows, `step` µs apart from `first` on.
    async fn file(store: &Store, first: i64, step: i64) -> SnapshotFile {
        let rows = |category: &str| {
            let key = RunKey { category: category.to_owned(), source: "s".into(), attributes: vec![] };
            let mut rows = Rows::default();
            for row in 0..ROWS {
                let timestamp = Some((first + row * step) * 1000);
                rows.push(&Record { timestamp, observed: 7, body: &[b'x'; 60], ..Record::default() });
            }
            (Arc::new(key), rows)
        };
        let stream = StreamId::from_bytes((first as u128 + 1).to_be_bytes());
        let place = BlockPlace { stream, number: 1, first_record: 0, host: "h" };
        let runs: BTreeMap<Arc<RunKey>, Rows> = [rows("a"), rows("b")].into();
        let block = Encoder::default().encode(place, runs, vec![]).unwrap();
        let settings = FileSettings { row_group_rows: ROWS as usize, ..FileSettings::from(&Sink::at("memory://")) };
        let file = merge(store, &[block], date(2026, 2, 3), &settings).await.unwrap().remove(0);
        let (path, size, stats) = (file.path, file.size, Some(file.stats));
        SnapshotFile { path, size, date: file.date, stats, crc32c: None, compacted: false }
    }

    /// Takes all rows of files that begin so far apart. The most rows in memory at any time, and how many were read.
    async fn taken(apart: i64) -> (usize, u64) {
        let store = Store::open("memory://", &BTreeMap::new()).unwrap();
        let mut files = Vec::new();
        for n in 0..FILES {
            files.push(file(&store, n * apart + n, 50).await);
        }
        let share = share(MEMORY, files.len());
        let open = |file: &SnapshotFile| {
            Input::open(store.clone(), FileFormat::Parquet, file.clone(), share, Vec::new().into())
        };
        let mut inputs = Inputs::open(files.iter().map(open).collect(), MEMORY).await.unwrap();
        inputs.set_columns(&file_schema());
        let (mut most, mut count, mut last) = (0, 0, None);
        while let Some(taken) = inputs.take(None).await.unwrap() {
            most = most.max(inputs.inputs.iter().map(|input| input.batch().num_rows()).sum());
            count += taken.count;
            for (category, rows) in taken.by_category() {
                for row in rows {
                    let key = (category.to_owned(), row.timestamp, inputs.identity(row).0.to_owned());
                    assert!(last.as_ref() < Some(&key), "{key:?} after {last:?}");
                    last = Some(key);
                }
            }
        }
        (most, count)
    }

    #[tokio::test]
    async fn of_files_that_follow_one_another_few_are_in_memory() {
        let all = FILES * ROWS * 2;
        let (most, count) = taken(50 * ROWS).await;
        assert_eq!(count, all as u64);
        assert!(most <= (AHEAD + 2) * ROWS as usize, "{most} rows of {all}");
    }

    #[tokio::test]
    async fn of_files_of_the_same_time_a_window_of_each_is() {
        let (most, count) = taken(0).await;
        assert_eq!(count, (FILES * ROWS * 2) as u64);
        let a_row = 300;
        assert!((most as u64) < MEMORY / a_row, "{most}");
    }
}

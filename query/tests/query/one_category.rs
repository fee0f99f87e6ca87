//! What a query of one category reads of a file with a hundred of them, as real sink files are laid out.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use jiff::civil::date;
use logboom_config::Sink;
use logboom_query::Session;
use logboom_sink::table::{DataFile, Snapshot, SnapshotFile};
use logboom_sink::{FileFormat, FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Rows, RunKey, StreamId};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use tempfile::TempDir;

const CATEGORIES: usize = 100;
/// Enough that a category of 2,000 records, 1.2 MB of them encoded, has a row group to itself.
const BODY_BYTES: usize = 800;
/// Index of the leaf.
const CATEGORY_COLUMN: usize = 2;

struct Merged {
    folder: TempDir,
    file: SnapshotFile,
    metadata: ParquetMetaData,
}

/// One file of a merge: a hundred categories of `records` records each.
async fn merged(records: usize) -> Merged {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let mut encoder = Encoder::default();
    let stream = StreamId::random();
    let mut blocks = Vec::new();
    for category in 0..CATEGORIES {
        let key = RunKey { category: format!("app.{category:02}"), source: "s".into(), attributes: vec![] };
        let mut rows = Rows::default();
        for n in 0..records {
            let body: Vec<u8> = (0..BODY_BYTES).map(|_| noise() & 0x3f | 0x40).collect();
            rows.push_line(1_767_225_600_000_000_000 + n as i64 * 1_000_000, &body);
        }
        let first_record = (category * records) as u64;
        let place = BlockPlace { stream, number: category as u64 + 1, first_record, host: "web-1" };
        blocks.push(encoder.encode(place, [(Arc::new(key), rows)], vec![]).unwrap());
    }
    let settings = FileSettings::from(&Sink::at(folder.path().to_str().unwrap()));
    let mut files = merge(&store, &blocks, date(2026, 1, 1), &settings).await.unwrap();
    assert_eq!(files.len(), 1);
    let file = files.remove(0);
    let bytes = std::fs::read(folder.path().join(&file.path)).unwrap();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes::Bytes::from(bytes)).unwrap();
    let DataFile { path, size, date, stats, crc32c } = file;
    let file = SnapshotFile { path, size, date, stats: Some(stats), crc32c, compacted: false };
    Merged { folder, file, metadata }
}

impl Merged {
    /// Bytes of the column chunks of the one row group that holds this category and nothing else.
    fn category_bytes(&self, category: &str) -> u64 {
        let is_alone = |group: &&RowGroupMetaData| {
            let stats = group.column(CATEGORY_COLUMN).statistics().unwrap();
            let bounds = (stats.min_bytes_opt().unwrap(), stats.max_bytes_opt().unwrap());
            bounds == (category.as_bytes(), category.as_bytes())
        };
        let groups: Vec<_> = self.metadata.row_groups().iter().filter(is_alone).collect();
        assert!(!groups.is_empty(), "{category} shares its row groups");
        groups.iter().map(|group| group.compressed_size() as u64).sum()
    }

    /// Bytes of the file that are not in row groups: the footer with the page index.
    fn footer_bytes(&self) -> u64 {
        self.file.size - self.metadata.row_groups().iter().map(|group| group.compressed_size() as u64).sum::<u64>()
    }

    /// Bytes read by a query: all, and those of a query that is answered by the footer.
    async fn cost(&self, sql: &str) -> (String, u64) {
        let store = Store::open_to_read(self.folder.path().to_str().unwrap(), &BTreeMap::new()).unwrap();
        let snapshot =
            Snapshot { version: 1, format: FileFormat::Parquet, files: vec![self.file.clone()], columns: vec![] };
        let session = Session::over(snapshot, &store).unwrap();
        let mut rows = session.sql(sql).await.unwrap();
        let batches: Vec<_> = (&mut rows).try_collect().await.unwrap();
        let text = arrow_cast::pretty::pretty_format_batches(&batches).unwrap().to_string();
        (text, rows.usage().bytes_read)
    }
}

#[tokio::test]
async fn one_category_of_a_hundred_is_read_alone() {
    let merged = merged(2_000).await;
    let sql = "SELECT * FROM logs WHERE category = 'app.42'";
    let (plan, _) = merged.cost(&format!("EXPLAIN ANALYZE {sql}")).await;
    let scanned =
        plan.split("bytes_scanned=").nth(1).and_then(|rest| rest.split([',', ']']).next()).unwrap().to_owned();
    let (_, read) = merged.cost(sql).await;
    let (category, footer) = (merged.category_bytes("app.42"), merged.footer_bytes());
    println!(
        "file {} bytes in {} row groups, of them footer {footer}; the category: {category} bytes; EXPLAIN ANALYZE: {scanned} scanned; \
         read: {read}, without the footer {:+.1} %",
        merged.file.size,
        merged.metadata.num_row_groups(),
        ((read as f64 - footer as f64) / category as f64 - 1.0) * 100.0
    );
    assert!(read <= category + category / 20 + footer, "{read} bytes read, category {category}, footer {footer}");
}

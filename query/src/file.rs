//! One committed sink file as the planner sees it: where it is, and what the table's log says is inside.
//!
//! Owns the step from the log's statistics to those that DataFusion prunes by. Reads nothing.

use std::sync::Arc;

use arrow_schema::{DataType, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::scalar::ScalarValue;
use jiff::civil::Date;
use logboom_sink::table::{FileStats, SnapshotFile};

/// A footer grows with its file: row groups have a megabyte or more, and each about 2 kB in the footer with its page
/// index. A footer that is larger after all costs another request; and 64 kB is one cheap request.
const FILE_BYTES_PER_FOOTER_BYTE: u64 = 512;
const FOOTER_BYTES_MIN: u64 = 64 << 10;
const FOOTER_BYTES_MAX: u64 = 1 << 20;

/// The file with its size, its partition value and its statistics, so that the store is asked for none of them.
/// `schema` is that of files of the table.
pub(crate) fn partitioned(file: &SnapshotFile, schema: &Schema) -> PartitionedFile {
    let footer = (file.size / FILE_BYTES_PER_FOOTER_BYTE).clamp(FOOTER_BYTES_MIN, FOOTER_BYTES_MAX);
    let mut partitioned = PartitionedFile::new(file.path.as_str(), file.size);
    partitioned.metadata_size_hint = Some(footer.min(file.size) as usize);
    partitioned
        .with_partition_values(vec![ScalarValue::Date32(Some(days(file.date)))])
        .with_statistics(Arc::new(statistics(file.stats.as_ref(), schema)))
}

/// Days since 1970, the number inside a `date` value.
pub(crate) fn days(date: Date) -> i32 {
    (date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24) as i32
}

/// Orders files by their newest record, as far as it is known; a file that says nothing may hold anything.
pub(crate) fn newest(file: &SnapshotFile) -> (i64, Date) {
    let newest = file.stats.as_ref().and_then(|stats| stats.timestamp);
    (newest.map_or(i64::MAX, |(_, greatest)| greatest), file.date)
}

/// The number of records, if it is known.
pub(crate) fn records(file: &PartitionedFile) -> Option<usize> {
    file.statistics.as_ref()?.num_rows.get_value().copied()
}

/// A bound may be wider than the records, never narrower: "exact" is the planner's word for "may prune by it".
/// The table as a whole gets no bounds, so `max(timestamp)` is never answered from one.
fn statistics(stats: Option<&FileStats>, schema: &Schema) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let Some(stats) = stats else { return statistics };
    // No empty file is ever committed: 0 is what statistics without a number are read as.
    if stats.records > 0 {
        statistics.num_rows = Precision::Exact(stats.records as usize);
    }
    for (column, field) in statistics.column_statistics.iter_mut().zip(schema.fields()) {
        match field.name().as_str() {
            "timestamp" => bound(column, &stats.timestamp, |us| instant(*us, field.data_type())),
            "observed_timestamp" => bound(column, &stats.observed_timestamp, |us| instant(*us, field.data_type())),
            "category" => bound(column, &stats.category, |value| text(value, field.data_type())),
            "host" => bound(column, &stats.host, |value| text(value, field.data_type())),
            _ => {}
        }
        // "The newest first" must know that there are none: by default nulls come before everything.
        let nulls = if field.is_nullable() { stats.nulls.get(field.name()).copied() } else { Some(0) };
        column.null_count = nulls.map_or(Precision::Absent, |nulls| Precision::Exact(nulls as usize));
    }
    statistics
}

fn bound<T>(column: &mut ColumnStatistics, bounds: &Option<(T, T)>, scalar: impl Fn(&T) -> ScalarValue) {
    if let Some((least, greatest)) = bounds {
        column.min_value = Precision::Exact(scalar(least));
        column.max_value = Precision::Exact(scalar(greatest));
    }
}

fn text(value: &str, data_type: &DataType) -> ScalarValue {
    match data_type {
        DataType::Utf8View => ScalarValue::Utf8View(Some(value.to_owned())),
        _ => ScalarValue::Utf8(Some(value.to_owned())),
    }
}

fn instant(us: i64, data_type: &DataType) -> ScalarValue {
    let DataType::Timestamp(_, zone) = data_type else { unreachable!("instants are timestamps") };
    ScalarValue::TimestampMicrosecond(Some(us), zone.clone())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use logboom_sink::schema::file_schema;

    use super::*;

    fn file(size: u64, stats: Option<FileStats>) -> PartitionedFile {
        let path = "date=2026-01-02/a.parquet".to_owned();
        partitioned(
            &SnapshotFile { path, size, date: date(2026, 1, 2), stats, crc32c: None, compacted: false },
            &file_schema(),
        )
    }

    #[test]
    fn a_date_is_counted_in_days_since_1970() {
        assert_eq!(days(date(1970, 1, 1)), 0);
        assert_eq!(days(date(1970, 2, 1)), 31);
        assert_eq!(days(date(1969, 12, 31)), -1);
        assert_eq!(days(date(2026, 1, 1)), 20_454);
    }

    #[test]
    fn the_first_fetch_of_a_file_grows_with_its_size_within_limits() {
        let hint = |size| file(size, None).metadata_size_hint.unwrap() as u64;
        assert_eq!(hint(1_000), 1_000);
        assert_eq!(hint(1 << 20), FOOTER_BYTES_MIN);
        assert_eq!(hint(256 << 20), 512 << 10);
        assert_eq!(hint(1 << 40), FOOTER_BYTES_MAX);
    }

    #[test]
    fn a_path_is_taken_as_it_is_and_the_last_column_is_the_date() {
        let file = file(1, None);
        assert_eq!(file.path().as_ref(), "date=2026-01-02/a.parquet");
        let columns = &file.statistics.unwrap().column_statistics;
        assert_eq!(columns.len(), file_schema().fields().len() + 1);
        assert_eq!(columns.last().unwrap().min_value, Precision::Exact(ScalarValue::Date32(Some(20_455))));
    }

    #[test]
    fn a_number_of_records_that_is_not_said_is_not_known() {
        assert_eq!(records(&file(1, None)), None);
        assert_eq!(records(&file(1, Some(FileStats::default()))), None);
        assert_eq!(records(&file(1, Some(FileStats { records: 7, ..FileStats::default() }))), Some(7));
    }
}

//! The statistics of a sink file, which go into the table's log.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{RecordBatch, StringArray};

use crate::table::FileStats;

/// Takes sorted `rows` into the statistics of their file.
pub fn count(stats: &mut FileStats, rows: &RecordBatch) {
    stats.records += rows.num_rows() as u64;
    widen_instants(&mut stats.timestamp, rows, "timestamp");
    widen_instants(&mut stats.observed_timestamp, rows, "observed_timestamp");
    widen_texts(&mut stats.category, rows, "category");
    widen_texts(&mut stats.host, rows, "host");
}

fn widen_instants(bounds: &mut Option<(i64, i64)>, rows: &RecordBatch, name: &str) {
    let values = rows[name].as_primitive::<TimestampMicrosecondType>().values();
    let least = values.iter().min().copied().expect("there are rows");
    let greatest = values.iter().max().copied().expect("there are rows");
    *bounds = Some(bounds.map_or((least, greatest), |(l, g)| (l.min(least), g.max(greatest))));
}

fn widen_texts(bounds: &mut Option<(String, String)>, rows: &RecordBatch, name: &str) {
    let values: &StringArray = rows[name].as_string();
    let mut last = None;
    for value in values.iter().flatten() {
        // Neighbours are mostly equal: most rows cost one comparison.
        if last == Some(value) {
            continue;
        }
        last = Some(value);
        match bounds {
            None => *bounds = Some((value.to_owned(), value.to_owned())),
            Some((least, _)) if value < least.as_str() => value.clone_into(least),
            Some((_, greatest)) if value > greatest.as_str() => value.clone_into(greatest),
            Some(_) => {}
        }
    }
}

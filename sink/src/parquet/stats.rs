//! The statistics of a sink file, which go into the table's log.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, StringArray};

use super::labels::Labels;
use crate::table::FileStats;

/// Takes sorted `rows`, in the form of [`given`](super::given()), into the statistics of their file.
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
    let labels: &Labels = rows[name].as_dictionary();
    let texts: &StringArray = labels.values().as_string();
    let mut occurs = vec![false; texts.len()];
    labels.keys().values().iter().for_each(|key| occurs[*key as usize] = true);
    for (text, _) in texts.iter().flatten().zip(occurs).filter(|(_, occurs)| *occurs) {
        match bounds {
            None => *bounds = Some((text.to_owned(), text.to_owned())),
            Some((least, _)) if text < least.as_str() => text.clone_into(least),
            Some((_, greatest)) if text > greatest.as_str() => text.clone_into(greatest),
            Some(_) => {}
        }
    }
}

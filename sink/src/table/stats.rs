//! What a sink file says about its rows, so that a reader may skip it.
//!
//! Owns the JSON form of the Delta protocol ("Per-file Statistics"). A bound that is given is never tighter than the
//! truth; a bound that cannot be written so is left out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longer texts are no bounds: the file would grow the log more than it is worth.
const TEXT_BOUND_BYTES_MAX: usize = 256;

/// Number, bounds and nulls of the rows of a sink file. Bounds are (least, greatest); `None` is "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// How many rows.
    pub records: u64,
    /// Bounds of `timestamp`, in microseconds.
    pub timestamp: Option<(i64, i64)>,
    /// Bounds of `observed_timestamp`, in microseconds.
    pub observed_timestamp: Option<(i64, i64)>,
    /// Bounds of `category`.
    pub category: Option<(String, String)>,
    /// Bounds of `host`.
    pub host: Option<(String, String)>,
    /// Nulls by column; a column that is missing has an unknown number.
    pub nulls: BTreeMap<String, u64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Json {
    num_records: u64,
    #[serde(skip_serializing_if = "Bounds::is_empty")]
    min_values: Bounds,
    #[serde(skip_serializing_if = "Bounds::is_empty")]
    max_values: Bounds,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    null_count: BTreeMap<String, Value>,
}

type Bounds = BTreeMap<String, Value>;

impl FileStats {
    /// The statistics as an `add` carries them.
    pub fn to_json(&self) -> String {
        let mut json = Json { num_records: self.records, ..Json::default() };
        for (column, bounds) in [("timestamp", self.timestamp), ("observed_timestamp", self.observed_timestamp)] {
            if let Some((least, greatest)) = bounds {
                // Milliseconds, as the protocol has it: down for the least, up for the greatest.
                insert(&mut json.min_values, column, instant_text(least.div_euclid(1000)));
                insert(&mut json.max_values, column, instant_text(-(-i128::from(greatest)).div_euclid(1000)));
            }
        }
        for (column, bounds) in [("category", &self.category), ("host", &self.host)] {
            if let Some((least, greatest)) = bounds {
                // A prefix is not greater than its text, so it bounds from below; nothing so simple bounds from above.
                insert(&mut json.min_values, column, Some(prefix(least).to_owned()));
                let fits = greatest.len() <= TEXT_BOUND_BYTES_MAX;
                insert(&mut json.max_values, column, fits.then(|| greatest.clone()));
            }
        }
        json.null_count = self.nulls.iter().map(|(column, nulls)| (column.clone(), Value::from(*nulls))).collect();
        serde_json::to_string(&json).expect("statistics are JSON")
    }

    /// Reads the statistics of an `add`, whoever wrote it. What is missing or not understood is not known.
    pub fn from_json(text: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(text).ok()?;
        let instants = |column: &str| {
            let bound = |bounds: &Bounds| instant_micros(bounds.get(column)?.as_str()?);
            // Others cut the greatest down to milliseconds; one more is still a bound.
            Some((bound(&json.min_values)?, bound(&json.max_values)?.checked_add(1000)?))
        };
        let texts = |column: &str| {
            let bound = |bounds: &Bounds| Some(bounds.get(column)?.as_str()?.to_owned());
            Some((bound(&json.min_values)?, bound(&json.max_values)?))
        };
        Some(Self {
            records: json.num_records,
            timestamp: instants("timestamp"),
            observed_timestamp: instants("observed_timestamp"),
            category: texts("category"),
            host: texts("host"),
            nulls: json.null_count.iter().filter_map(|(column, n)| Some((column.clone(), n.as_u64()?))).collect(),
        })
    }
}

fn insert(bounds: &mut Bounds, column: &str, bound: Option<String>) {
    bounds.extend(bound.map(|bound| (column.to_owned(), Value::from(bound))));
}

/// ISO 8601 in UTC with milliseconds. `None` outside the years that every reader can parse.
fn instant_text(millis: impl TryInto<i64>) -> Option<String> {
    let instant = Timestamp::from_millisecond(millis.try_into().ok()?).ok()?;
    let text = format!("{instant:.3}");
    (text.len() == "2026-01-01T00:00:00.000Z".len() && !text.starts_with("0000")).then_some(text)
}

fn instant_micros(text: &str) -> Option<i64> {
    Some(text.parse::<Timestamp>().ok()?.as_microsecond())
}

fn prefix(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BOUND_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> FileStats {
        FileStats {
            records: 3,
            timestamp: Some((1_767_225_600_000_001, 1_767_225_600_000_001)),
            observed_timestamp: Some((-1, -1)),
            category: Some(("a".into(), "b".into())),
            host: Some(("h".into(), "h".into())),
            nulls: BTreeMap::from([("trace_id".into(), 2)]),
        }
    }

    #[test]
    fn bounds_are_rounded_outwards_to_milliseconds() {
        assert_eq!(
            stats().to_json(),
            concat!(
                r#"{"numRecords":3,"#,
                r#""minValues":{"category":"a","host":"h","observed_timestamp":"1969-12-31T23:59:59.999Z","#,
                r#""timestamp":"2026-01-01T00:00:00.000Z"},"#,
                r#""maxValues":{"category":"b","host":"h","observed_timestamp":"1970-01-01T00:00:00.000Z","#,
                r#""timestamp":"2026-01-01T00:00:00.001Z"},"#,
                r#""nullCount":{"trace_id":2}}"#
            )
        );
    }

    #[test]
    fn what_is_read_back_bounds_what_was_written() {
        let written = stats();
        let read = FileStats::from_json(&written.to_json()).unwrap();
        for (outer, inner) in
            [(read.timestamp, written.timestamp), (read.observed_timestamp, written.observed_timestamp)]
        {
            let (outer, inner) = (outer.unwrap(), inner.unwrap());
            assert!(outer.0 <= inner.0 && inner.1 <= outer.1, "{outer:?} around {inner:?}");
        }
        assert_eq!((read.records, read.category, read.host), (written.records, written.category, written.host));
        assert_eq!(read.nulls, written.nulls);
    }

    #[test]
    fn a_bound_that_no_reader_can_parse_is_left_out() {
        for greatest in [i64::MIN, i64::MAX, 253_402_300_799_999_001] {
            let json = FileStats { timestamp: Some((0, greatest)), ..FileStats::default() }.to_json();
            assert!(!json.contains("maxValues"), "{json}");
        }
        for least in [i64::MIN, i64::MAX, -62_135_596_800_000_001] {
            let json = FileStats { timestamp: Some((least, 0)), ..FileStats::default() }.to_json();
            assert!(!json.contains("minValues"), "{json}");
        }
    }

    #[test]
    fn a_long_text_is_cut_for_the_least_and_left_out_for_the_greatest() {
        let long = "ü".repeat(200);
        let json = FileStats { category: Some((long.clone(), long.clone())), ..FileStats::default() }.to_json();
        assert!(json.contains(&format!("\"{}\"", "ü".repeat(128))), "{json}");
        assert!(!json.contains("maxValues"), "{json}");
        assert_eq!(FileStats::from_json(&json).unwrap().category, None);
    }

    #[test]
    fn statistics_of_others_are_read_as_far_as_they_go() {
        let read = FileStats::from_json(
            r#"{"numRecords":9,"minValues":{"timestamp":"x","category":"a"},"maxValues":{"category":7},"nullCount":{"a":{"b":1},"c":1},"tightBounds":true}"#,
        )
        .unwrap();
        let nulls = BTreeMap::from([("c".into(), 1)]);
        assert_eq!(read, FileStats { records: 9, nulls, ..FileStats::default() });
        assert_eq!(FileStats::from_json("x"), None);
    }
}

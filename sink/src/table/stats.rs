//! What a sink file says about its rows, so that a reader may skip it.
//!
//! Owns the JSON form of the Delta protocol ("Per-file Statistics"). A bound that is given is never tighter than the
//! truth; a bound that cannot be written so is left out.
//!
//! The rows of an index are members of JSON files, and its columns say the bounds of each. Its statistics are about those
//! columns: the least of `timestamp_min` and the greatest of `timestamp_max` bound the records.

use std::collections::BTreeMap;

use jiff::Timestamp;
use logboom_config::FileFormat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longer texts are no bounds: the file would grow the log more than it is worth.
const TEXT_BOUND_BYTES_MAX: usize = 256;

/// Number, bounds and nulls of the records of a sink file. Bounds are (least, greatest); `None` is "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// How many records; 0 is "not known". The log does not say it of those that an index lists.
    pub records: u64,
    /// If it is an index: how many rows it has, which are members of JSON files.
    pub members: Option<u64>,
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
    /// Widens the bounds to those of `other`, which must be known, and adds its records.
    pub fn extend(&mut self, other: &Self) {
        self.records += other.records;
        widen(&mut self.timestamp, &other.timestamp);
        widen(&mut self.observed_timestamp, &other.observed_timestamp);
        widen(&mut self.category, &other.category);
        widen(&mut self.host, &other.host);
    }

    /// The statistics as an `add` carries them.
    pub fn to_json(&self) -> String {
        let mut json = Json { num_records: self.members.unwrap_or(self.records), ..Json::default() };
        let (min, max) = if self.members.is_some() { ("_min", "_max") } else { ("", "") };
        for (column, bounds) in [("timestamp", self.timestamp), ("observed_timestamp", self.observed_timestamp)] {
            if let Some((least, greatest)) = bounds {
                // Milliseconds, as the protocol has it: down for the least, up for the greatest.
                insert(&mut json.min_values, format!("{column}{min}"), instant_text(least.div_euclid(1000)));
                let greatest = -(-i128::from(greatest)).div_euclid(1000);
                insert(&mut json.max_values, format!("{column}{max}"), instant_text(greatest));
            }
        }
        let host = (format!("host{min}"), format!("host{max}"));
        for ((min, max), bounds) in [(("category".into(), "category".into()), &self.category), (host, &self.host)] {
            if let Some((least, greatest)) = bounds {
                // A prefix is not greater than its text, so it bounds from below; nothing so simple bounds from above.
                insert(&mut json.min_values, min, Some(prefix(least).to_owned()));
                let fits = greatest.len() <= TEXT_BOUND_BYTES_MAX;
                insert(&mut json.max_values, max, fits.then(|| greatest.clone()));
            }
        }
        json.null_count = self.nulls.iter().map(|(column, nulls)| (column.clone(), Value::from(*nulls))).collect();
        serde_json::to_string(&json).expect("statistics are JSON")
    }

    /// Reads the statistics of an `add` in a table of this format, whoever wrote it. What is missing or not understood is
    /// not known.
    pub fn from_json(text: &str, format: FileFormat) -> Option<Self> {
        let json: Json = serde_json::from_str(text).ok()?;
        let (records, members, min, max) = match format {
            FileFormat::Parquet => (json.num_records, None, "", ""),
            FileFormat::Json => (0, Some(json.num_records), "_min", "_max"),
        };
        let bound = |bounds: &Bounds, column: &str| Some(bounds.get(column)?.as_str()?.to_owned());
        let texts = |min: &str, max: &str| Some((bound(&json.min_values, min)?, bound(&json.max_values, max)?));
        let instants = |column: &str| {
            let (least, greatest) = texts(&format!("{column}{min}"), &format!("{column}{max}"))?;
            // Others cut the greatest down to milliseconds; one more is still a bound.
            Some((instant_micros(&least)?, instant_micros(&greatest)?.checked_add(1000)?))
        };
        Some(Self {
            records,
            members,
            timestamp: instants("timestamp"),
            observed_timestamp: instants("observed_timestamp"),
            category: texts("category", "category"),
            host: texts(&format!("host{min}"), &format!("host{max}")),
            nulls: json.null_count.iter().filter_map(|(column, n)| Some((column.clone(), n.as_u64()?))).collect(),
        })
    }
}

fn insert(bounds: &mut Bounds, column: String, bound: Option<String>) {
    bounds.extend(bound.map(|bound| (column, Value::from(bound))));
}

fn widen<T: Ord + Clone>(bounds: &mut Option<(T, T)>, by: &Option<(T, T)>) {
    match (&mut *bounds, by) {
        (Some((least, greatest)), Some((low, high))) => {
            if low < least {
                least.clone_from(low);
            }
            if high > greatest {
                greatest.clone_from(high);
            }
        }
        (None, by) => bounds.clone_from(by),
        (Some(_), None) => {}
    }
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
    use logboom_fuzz::fuzz;

    use super::*;

    fn stats() -> FileStats {
        FileStats {
            records: 3,
            members: None,
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
        let read = FileStats::from_json(&written.to_json(), FileFormat::Parquet).unwrap();
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
    fn the_statistics_of_an_index_are_about_its_columns_and_bound_the_records() {
        let written = FileStats { members: Some(7), nulls: BTreeMap::new(), ..stats() };
        let json = written.to_json();
        assert_eq!(
            json,
            concat!(
                r#"{"numRecords":7,"#,
                r#""minValues":{"category":"a","host_min":"h","observed_timestamp_min":"1969-12-31T23:59:59.999Z","#,
                r#""timestamp_min":"2026-01-01T00:00:00.000Z"},"#,
                r#""maxValues":{"category":"b","host_max":"h","observed_timestamp_max":"1970-01-01T00:00:00.000Z","#,
                r#""timestamp_max":"2026-01-01T00:00:00.001Z"}}"#
            )
        );
        let read = FileStats::from_json(&json, FileFormat::Json).unwrap();
        assert_eq!((read.records, read.members), (0, Some(7)), "how many records there are is in the index only");
        assert_eq!((&read.category, &read.host), (&written.category, &written.host));
        assert!(read.timestamp.unwrap().0 <= written.timestamp.unwrap().0);
        assert!(read.timestamp.unwrap().1 >= written.timestamp.unwrap().1);
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
        assert_eq!(FileStats::from_json(&json, FileFormat::Parquet).unwrap().category, None);
    }

    #[test]
    fn statistics_of_others_are_read_as_far_as_they_go() {
        let read = FileStats::from_json(
            r#"{"numRecords":9,"minValues":{"timestamp":"x","category":"a"},"maxValues":{"category":7},"nullCount":{"a":{"b":1},"c":1},"tightBounds":true}"#,
            FileFormat::Parquet,
        )
        .unwrap();
        let nulls = BTreeMap::from([("c".into(), 1)]);
        assert_eq!(read, FileStats { records: 9, nulls, ..FileStats::default() });
        assert_eq!(FileStats::from_json("x", FileFormat::Parquet), None);
    }

    #[test]
    fn no_statistics_make_it_panic_and_what_is_read_can_be_written() {
        let index = FileStats { members: Some(7), ..stats() }.to_json();
        fuzz(&[stats().to_json().as_bytes(), index.as_bytes()], |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            for format in [FileFormat::Parquet, FileFormat::Json] {
                if let Some(read) = FileStats::from_json(text, format) {
                    let again = FileStats::from_json(&read.to_json(), format).unwrap();
                    assert_eq!((again.records, again.members), (read.records, read.members));
                }
            }
        });
    }
}

//! The records of a block as lines of JSON, with the names of the table's columns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{Array, RecordBatch};
use jiff::Timestamp;
use logboom_wire::{Block, BlockError, RunKey, column};
use serde::Serialize;

use super::filter::Filter;

/// One record. What it does not have is left out.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    category: &'a str,
    host: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity_number: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity_text: Option<&'a str>,
    /// What is not UTF-8 in it is replaced.
    body: Cow<'a, str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    stream: String,
    seq: u64,
}

/// The records of `block` that `filter` wants, by time, each as a line.
///
/// # Errors
/// The content of the block is not what its checksums promise.
pub fn render(block: &Block, filter: &Filter) -> Result<Vec<Vec<u8>>, BlockError> {
    let header = block.header();
    let (host, stream) = (header.host.as_str(), header.stream.to_string());
    let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
    let mut first_record = header.first_record;
    for (index, run) in header.runs.iter().enumerate() {
        if filter.wants_run(run) {
            let batch = block.decode_run(index)?;
            let columns = Columns::new(&batch, &run.key).ok_or_else(|| BlockError::Payload {
                run: index,
                reason: "a column is missing or has another type than expected".into(),
            })?;
            for row in 0..batch.num_rows() {
                if filter.wants_record(columns.severity(row), columns.body(row)) {
                    let line = columns.line(row, host, &stream, first_record + row as u64);
                    lines.push((columns.timestamp(row), json(&line)));
                }
            }
        }
        first_record += u64::from(run.rows);
    }
    lines.sort_by_key(|(timestamp, _)| *timestamp);
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Says that records were passed over.
pub fn missed(records: u64) -> Vec<u8> {
    json(&serde_json::json!({ "missed": records }))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("it is text and numbers");
    line.push(b'\n');
    line
}

/// The columns of a run, with their types.
struct Columns<'a> {
    key: &'a RunKey,
    observed: &'a arrow_array::Int64Array,
    body: &'a arrow_array::BinaryArray,
    timestamp: Option<&'a arrow_array::Int64Array>,
    severity_number: Option<&'a arrow_array::UInt8Array>,
    severity_text: Option<&'a arrow_array::StringArray>,
    attributes: Option<Attributes<'a>>,
    trace_id: Option<&'a arrow_array::FixedSizeBinaryArray>,
    span_id: Option<&'a arrow_array::FixedSizeBinaryArray>,
}

struct Attributes<'a> {
    of: &'a arrow_array::MapArray,
    keys: &'a arrow_array::StringArray,
    values: &'a arrow_array::StringArray,
}

impl<'a> Columns<'a> {
    /// `None` if a column is not as it must be.
    fn new(batch: &'a RecordBatch, key: &'a RunKey) -> Option<Self> {
        let find = |name| batch.column_by_name(name);
        // What is there must have its type: `Some(None)` is a column that is not there.
        fn typed<'a, T>(
            column: Option<&'a arrow_array::ArrayRef>,
            cast: impl Fn(&'a arrow_array::ArrayRef) -> Option<T>,
        ) -> Option<Option<T>> {
            column.map_or(Some(None), |column| cast(column).map(Some))
        }
        let attributes = |column: &'a arrow_array::ArrayRef| {
            let of = column.as_map_opt()?;
            Some(Attributes { of, keys: of.keys().as_string_opt()?, values: of.values().as_string_opt()? })
        };
        Some(Self {
            key,
            observed: find(column::OBSERVED_TIMESTAMP)?.as_primitive_opt::<Int64Type>()?,
            body: find(column::BODY)?.as_binary_opt()?,
            timestamp: typed(find(column::TIMESTAMP), |column| column.as_primitive_opt::<Int64Type>())?,
            severity_number: typed(find(column::SEVERITY_NUMBER), |column| column.as_primitive_opt::<UInt8Type>())?,
            severity_text: typed(find(column::SEVERITY_TEXT), |column| column.as_string_opt())?,
            attributes: typed(find(column::ATTRIBUTES), attributes)?,
            trace_id: typed(find(column::TRACE_ID), |column| column.as_fixed_size_binary_opt())?,
            span_id: typed(find(column::SPAN_ID), |column| column.as_fixed_size_binary_opt())?,
        })
    }

    fn timestamp(&self, row: usize) -> i64 {
        self.timestamp.unwrap_or(self.observed).value(row)
    }

    fn severity(&self, row: usize) -> u8 {
        self.severity_number.map_or(0, |numbers| numbers.value(row))
    }

    fn body(&self, row: usize) -> &'a [u8] {
        self.body.value(row)
    }

    fn line(&self, row: usize, host: &'a str, stream: &str, seq: u64) -> Line<'a> {
        let hex = |ids: &arrow_array::FixedSizeBinaryArray| {
            ids.is_valid(row).then(|| ids.value(row).iter().map(|byte| format!("{byte:02x}")).collect())
        };
        Line {
            timestamp: Timestamp::from_nanosecond(self.timestamp(row).into())
                .map_or_else(|_| self.timestamp(row).to_string(), |instant| instant.to_string()),
            category: &self.key.category,
            host,
            source: &self.key.source,
            severity_number: Some(self.severity(row)).filter(|number| *number > 0),
            severity_text: self.severity_text.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row)),
            body: String::from_utf8_lossy(self.body(row)),
            attributes: self.attributes(row),
            trace_id: self.trace_id.and_then(hex),
            span_id: self.span_id.and_then(hex),
            stream: stream.to_owned(),
            seq,
        }
    }

    /// Those of the run, then the record's own: a later one replaces an equal earlier one.
    fn attributes(&self, row: usize) -> BTreeMap<&'a str, Option<&'a str>> {
        let mut all: BTreeMap<_, _> =
            self.key.attributes.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
        if let Some(Attributes { of, keys, values }) = &self.attributes {
            let offsets = of.value_offsets();
            let own = offsets[row] as usize..offsets[row + 1] as usize;
            all.extend(own.map(|at| (keys.value(at), values.is_valid(at).then(|| values.value(at)))));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::{Record, Rows, StreamId};
    use serde_json::{Value, json};

    use super::*;

    fn lines(runs: Vec<(Arc<RunKey>, Rows)>, filter: &str) -> Vec<Value> {
        let place = BlockPlace { stream: StreamId::from_bytes([1; 16]), number: 3, first_record: 40, host: "web-1" };
        let block = Encoder::default().encode(place, runs, vec![]).unwrap();
        let lines = render(&block, &Filter::parse(filter).unwrap()).unwrap();
        assert!(lines.iter().all(|line| line.ends_with(b"\n")));
        lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn runs() -> Vec<(Arc<RunKey>, Rows)> {
        let key = |category: &str| {
            let attributes = vec![("file".to_owned(), "a.log".to_owned())];
            Arc::new(RunKey { category: category.into(), source: "s".into(), attributes })
        };
        let mut plain = Rows::default();
        plain.push_line(2_000_000_000, b"one \xff\n");
        let mut rich = Rows::default();
        rich.push(&Record {
            timestamp: Some(1_500_000_000),
            observed: 3_000_000_000,
            severity_number: 17,
            severity_text: "ERROR",
            body: b"two",
            attributes: &[("file", "b.log"), ("k", "v")],
            trace_id: Some([0xab; 16]),
            span_id: Some([1; 8]),
        });
        rich.push_line(4_000_000_000, b"three");
        vec![(key("a"), plain), (key("b"), rich)]
    }

    #[test]
    fn a_record_is_a_line_with_the_columns_of_the_table() {
        let lines = lines(runs(), "");
        assert_eq!(
            lines[0],
            json!({
                "timestamp": "1970-01-01T00:00:01.5Z", "category": "b", "host": "web-1", "source": "s",
                "severity_number": 17, "severity_text": "ERROR", "body": "two",
                "attributes": {"file": "b.log", "k": "v"}, "trace_id": "ab".repeat(16), "span_id": "01".repeat(8),
                "stream": "01".repeat(16), "seq": 41,
            })
        );
        assert_eq!(
            lines[1],
            json!({
                "timestamp": "1970-01-01T00:00:02Z", "category": "a", "host": "web-1", "source": "s",
                "body": "one \u{fffd}\n", "attributes": {"file": "a.log"}, "stream": "01".repeat(16), "seq": 40,
            })
        );
        assert_eq!((&lines[2]["body"], &lines[2]["seq"], lines.len()), (&json!("three"), &json!(42), 3));
    }

    #[test]
    fn only_what_is_wanted_is_shown() {
        for (filter, bodies) in [
            ("category=b", vec!["two", "three"]),
            ("severity=%3E%3Derror", vec!["two"]),
            ("severity=none&category=b", vec!["three"]),
            ("pattern=^t[wh]", vec!["two", "three"]),
            ("pattern=%5Cn", vec!["one \u{fffd}\n"]),
            ("category=a&pattern=two", vec![]),
        ] {
            let found = lines(runs(), filter);
            let found: Vec<&str> = found.iter().map(|line| line["body"].as_str().unwrap()).collect();
            assert_eq!(found, bodies, "{filter}");
        }
    }

    #[test]
    fn what_was_missed_is_a_line_too() {
        assert_eq!(missed(7), b"{\"missed\":7}\n");
    }
}

//! Records in plain form, to compare what comes out of a block with what went in.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{Array, RecordBatch};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Position, Record, Rows, RunKey, StreamId, column};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    pub timestamp: Option<i64>,
    pub observed: i64,
    pub severity_number: u8,
    pub severity_text: String,
    pub body: Vec<u8>,
    pub attributes: Vec<(String, String)>,
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
}

impl Plain {
    pub fn line(observed: i64, body: &[u8]) -> Self {
        Self { observed, body: body.to_vec(), ..Self::default() }
    }

    pub fn full(observed: i64, body: &[u8]) -> Self {
        Self {
            timestamp: Some(observed - 7),
            observed,
            severity_number: 17,
            severity_text: "ERROR".into(),
            body: body.to_vec(),
            attributes: vec![("user".into(), "ann".into()), ("".into(), "".into()), ("user".into(), "bob ✓".into())],
            trace_id: Some([0xab; 16]),
            span_id: Some([0xcd; 8]),
        }
    }

    pub fn push_to(&self, rows: &mut Rows) {
        let attributes: Vec<_> = self.attributes.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        rows.push(&Record {
            timestamp: self.timestamp,
            observed: self.observed,
            severity_number: self.severity_number,
            severity_text: &self.severity_text,
            body: &self.body,
            attributes: &attributes,
            trace_id: self.trace_id,
            span_id: self.span_id,
        });
    }

    /// A time of the event equal to the observed one is not told apart from none.
    fn canonical(mut self) -> Self {
        self.timestamp = self.timestamp.filter(|time| *time != self.observed);
        self
    }
}

pub fn rows(records: &[Plain]) -> Rows {
    let mut rows = Rows::default();
    records.iter().for_each(|record| record.push_to(&mut rows));
    rows
}

pub fn canonical(records: &[Plain]) -> Vec<Plain> {
    records.iter().cloned().map(Plain::canonical).collect()
}

pub fn decoded(batch: &RecordBatch) -> Vec<Plain> {
    let integers = |name| batch.column_by_name(name).map(|values| values.as_primitive::<Int64Type>().clone());
    let ids = |name| batch.column_by_name(name).map(|values| values.as_fixed_size_binary().clone());
    let observed = integers(column::OBSERVED_TIMESTAMP).unwrap();
    let timestamp = integers(column::TIMESTAMP);
    let body = batch.column_by_name(column::BODY).unwrap().as_binary::<i32>();
    let (trace, span) = (ids(column::TRACE_ID), ids(column::SPAN_ID));
    let record = |row: usize| Plain {
        timestamp: timestamp.as_ref().map(|times| times.value(row)),
        observed: observed.value(row),
        severity_number: batch
            .column_by_name(column::SEVERITY_NUMBER)
            .map_or(0, |values| values.as_primitive::<UInt8Type>().value(row)),
        severity_text: batch.column_by_name(column::SEVERITY_TEXT).map_or(String::new(), |values| {
            let texts = values.as_string::<i32>();
            if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
        }),
        body: body.value(row).to_vec(),
        attributes: batch.column_by_name(column::ATTRIBUTES).map_or(vec![], |values| {
            let entries = values.as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
            (0..entries.len()).map(|at| (keys.value(at).to_owned(), values.value(at).to_owned())).collect()
        }),
        trace_id: trace.as_ref().filter(|ids| ids.is_valid(row)).map(|ids| ids.value(row).try_into().unwrap()),
        span_id: span.as_ref().filter(|ids| ids.is_valid(row)).map(|ids| ids.value(row).try_into().unwrap()),
    };
    (0..batch.num_rows()).map(record).map(Plain::canonical).collect()
}

pub fn key(category: &str, attributes: &[(&str, &str)]) -> Arc<RunKey> {
    Arc::new(RunKey {
        category: category.into(),
        source: "files".into(),
        attributes: attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
    })
}

pub const STREAM: StreamId = StreamId::from_bytes(*b"0123456789abcdef");

/// What goes into the runs of a block.
type Runs = Vec<(Arc<RunKey>, Vec<Plain>)>;

/// The block of the golden file, and what is in it.
pub fn sample() -> (Block, Runs, Vec<Position>) {
    let second = 1_000_000_000;
    let lines: Vec<_> =
        (0..5).map(|n| Plain::line(1_700_000_000 * second + n, format!("line {n}").as_bytes())).collect();
    let mixed = vec![
        Plain::line(5 * second, b"plain"),
        Plain::full(6 * second, b"\xff\xfe not UTF-8"),
        Plain { severity_number: 9, ..Plain::line(7 * second, b"") },
        Plain { trace_id: Some([1; 16]), ..Plain::line(-1, "übung".as_bytes()) },
    ];
    let runs = vec![
        (key("billing", &[("path", "/var/log/billing.log"), ("rack", "7")]), mixed),
        (key("nginx.access", &[]), lines),
    ];
    let positions = vec![
        Position { key: "file/a/1/2".into(), value: "{\"offset\":77}".into() },
        Position { key: "file/b/1/3".into(), value: String::new() },
    ];
    let place = BlockPlace { stream: STREAM, number: 42, first_record: 1000, host: "host-1" };
    let pushed = runs.iter().map(|(key, records)| (key.clone(), rows(records)));
    let block = Encoder::default().encode(place, pushed, positions.clone()).unwrap();
    (block, runs, positions)
}

pub fn assert_is_sample(block: &Block) {
    let (expected, runs, positions) = sample();
    let header = block.header();
    assert_eq!((header.stream, header.number, header.first_record), (STREAM, 42, 1000));
    assert_eq!((&header.host[..], &header.positions), ("host-1", &positions));
    assert_eq!(header.records(), 9);
    assert_eq!(header.runs.len(), runs.len());
    for (index, (key, records)) in runs.iter().enumerate() {
        let (run, like) = (&header.runs[index], &expected.header().runs[index]);
        assert_eq!(&run.key, key);
        assert_eq!((run.rows, run.time_min, run.time_max), (like.rows, like.time_min, like.time_max));
        assert_eq!(decoded(&block.decode_run(index).unwrap()), canonical(records));
    }
}

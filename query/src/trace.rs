//! The records of one trace, from all hosts, as a tree of its spans.
//!
//! A log record names its span, and its span's parent only if whoever wrote it put that into an attribute; spans without
//! a known parent stand beside one another in the order of time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use futures::TryStreamExt;
use jiff::Timestamp;
use logboom_config::harmless;

use crate::error::Error;
use crate::rows::Rows;
use crate::session::Session;
use crate::usage::Usage;

/// More records of one trace are not read.
pub const TRACE_RECORDS_MAX: usize = 100_000;
/// Spans further down are drawn no further to the right.
const DEPTH_MAX: usize = 40;
/// Attributes in which the parent of a record's span is looked for, the first one first.
const PARENT_ATTRIBUTES: [&str; 4] = ["parent_span_id", "parentSpanId", "parent.span_id", "parent_id"];

/// A W3C trace id: 32 hexadecimal digits, with or without dashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId(String);

impl std::str::FromStr for TraceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.trim().chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
        match digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => Ok(Self(digits)),
            false => Err("a trace id is 32 hexadecimal digits".to_owned()),
        }
    }
}

/// The records of a trace.
#[derive(Debug)]
pub struct Trace {
    id: TraceId,
    records: Vec<Record>,
    /// What it took to find them.
    pub usage: Usage,
}

#[derive(Debug)]
struct Record {
    us: i64,
    host: String,
    category: String,
    severity: String,
    body: String,
    span: Option<String>,
    parent: Option<String>,
}

#[derive(Debug)]
struct Span<'a> {
    parent: Option<&'a str>,
    records: Vec<&'a Record>,
}

impl Session {
    /// The records of a trace as they are in the table, by time.
    pub async fn trace_rows(&self, id: &TraceId) -> Result<Rows, Error> {
        self.sql(&format!(
            "SELECT * FROM logs WHERE trace_id = '{}' ORDER BY timestamp LIMIT {TRACE_RECORDS_MAX}",
            id.0
        ))
        .await
    }

    /// Finds a trace.
    pub async fn trace(&self, id: &TraceId) -> Result<Trace, Error> {
        let parents = PARENT_ATTRIBUTES.map(|name| format!("attributes['{name}']")).join(", ");
        let mut rows = self
            .sql(&format!(
                "SELECT timestamp, host, category, coalesce(severity_text, '') AS severity, body, span_id,
                        coalesce({parents}) AS parent
                 FROM logs WHERE trace_id = '{}' ORDER BY timestamp LIMIT {TRACE_RECORDS_MAX}",
                id.0
            ))
            .await?;
        let mut records = Vec::new();
        while let Some(batch) = rows.try_next().await? {
            read(&batch, &mut records)?;
        }
        Ok(Trace { id: id.clone(), records, usage: rows.usage() })
    }
}

fn read(batch: &RecordBatch, into: &mut Vec<Record>) -> Result<(), Error> {
    let text = |index: usize| arrow_cast::cast(batch.column(index), &DataType::Utf8);
    let columns = (1..batch.num_columns()).map(text).collect::<Result<Vec<_>, _>>()?;
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    for row in 0..batch.num_rows() {
        let cell = |index: usize| {
            let column = columns[index - 1].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned()).filter(|text| !text.is_empty())
        };
        into.push(Record {
            us: times.value(row),
            host: cell(1).unwrap_or_default(),
            category: cell(2).unwrap_or_default(),
            severity: cell(3).unwrap_or_default(),
            body: cell(4).unwrap_or_default(),
            span: cell(5),
            parent: cell(6).map(|parent| parent.to_ascii_lowercase()),
        });
    }
    Ok(())
}

impl Trace {
    /// How many records it has, up to [`TRACE_RECORDS_MAX`].
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The tree, harmless on a terminal: a span's own records first, then the spans that it is the parent of.
    pub fn tree(&self) -> String {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else { return String::new() };
        let spans = self.spans();
        let hosts: BTreeSet<_> = self.records.iter().map(|record| &record.host).collect();
        let mut out = format!(
            "trace {}: {}, {}, {}, {}\n",
            self.id.0,
            counted(self.records.len(), "record"),
            counted(spans.len(), "span"),
            counted(hosts.len(), "host"),
            milliseconds(last.us - first.us)
        );
        if self.records.len() == TRACE_RECORDS_MAX {
            out += "(there may be more records)\n";
        }
        for record in self.records.iter().filter(|record| record.span.is_none()) {
            line(&mut out, 0, record);
        }
        let mut drawn = HashSet::new();
        let known = |span: &Span<'_>| span.parent.is_some_and(|parent| spans.contains_key(parent));
        let mut roots: Vec<_> = spans.iter().filter(|(_, span)| !known(span)).map(|(id, _)| *id).collect();
        roots.sort_by_key(|id| spans[id].records[0].us);
        // Spans that are their own ancestors have no root above them; they are drawn from whichever comes first.
        let mut all: Vec<_> = spans.keys().copied().collect();
        all.sort_by_key(|id| spans[id].records[0].us);
        let children = children(&spans);
        for root in roots.into_iter().chain(all) {
            // A stack and not recursion: how deep a trace is, is for its writer to say.
            let mut stack = vec![(root, 0)];
            while let Some((id, depth)) = stack.pop() {
                if !drawn.insert(id) {
                    continue;
                }
                draw(&mut out, depth, id, &spans[id], first.us);
                let below = children.get(id).into_iter().flatten().rev();
                stack.extend(below.map(|child| (*child, (depth + 1).min(DEPTH_MAX))));
            }
        }
        out
    }

    fn spans(&self) -> BTreeMap<&str, Span<'_>> {
        let mut spans = BTreeMap::new();
        for record in &self.records {
            let Some(id) = record.span.as_deref() else { continue };
            let span = spans.entry(id).or_insert_with(|| Span { parent: None, records: Vec::new() });
            span.parent = span.parent.or(record.parent.as_deref().filter(|parent| *parent != id));
            span.records.push(record);
        }
        spans
    }
}

fn children<'a>(spans: &BTreeMap<&'a str, Span<'a>>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, span) in spans {
        if let Some(parent) = span.parent {
            children.entry(parent).or_default().push(id);
        }
    }
    for ids in children.values_mut() {
        ids.sort_by_key(|id| spans[id].records[0].us);
    }
    children
}

fn draw(out: &mut String, depth: usize, id: &str, span: &Span<'_>, start_us: i64) {
    let (first, last) = (span.records[0].us, span.records.last().expect("a span has a record").us);
    let indent = "  ".repeat(depth);
    let lasts = if last > first { format!(", {}", milliseconds(last - first)) } else { String::new() };
    writeln!(out, "{indent}span {}: +{}{lasts}", harmless(id), milliseconds(first - start_us)).expect("memory");
    for record in &span.records {
        line(out, depth + 1, record);
    }
}

fn line(out: &mut String, depth: usize, record: &Record) {
    let indent = "  ".repeat(depth);
    let time = Timestamp::from_microsecond(record.us).map_or_else(|_| record.us.to_string(), |at| at.to_string());
    let head = [&record.host, &record.category, &record.severity].map(|text| harmless(text)).join(" ");
    let body = harmless(&record.body).replace('\n', &format!("\n{indent}    "));
    writeln!(out, "{indent}{time} {} {body}", head.trim_end()).expect("memory");
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn milliseconds(us: i64) -> String {
    match us {
        0..1_000_000 => format!("{} ms", us as f64 / 1e3),
        _ => format!("{:.3} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ms: i64, host: &str, span: Option<&str>, parent: Option<&str>, body: &str) -> Record {
        let text = |text: &str| text.to_owned();
        let (span, parent) = (span.map(text), parent.map(text));
        let us = 1_767_225_600_000_000 + ms * 1000;
        Record { us, host: host.into(), category: "c".into(), severity: String::new(), body: body.into(), span, parent }
    }

    fn tree(records: Vec<Record>) -> String {
        let id = "4BF92F35-77B34DA6A3CE929D0E0E4736".parse().unwrap();
        Trace { id, records, usage: Usage::default() }.tree()
    }

    #[test]
    fn spans_hang_below_their_parents_in_the_order_of_time() {
        let text = tree(vec![
            record(0, "a", Some("01"), None, "in"),
            record(2, "b", Some("03"), Some("01"), "later child"),
            record(3, "b", None, None, "two\nlines\u{1b}[2J"),
            record(1, "b", Some("02"), Some("01"), "child"),
            record(5, "a", Some("01"), None, "out"),
            record(7, "c", Some("09"), Some("unknown"), "stray"),
        ]);
        let expected = "trace 4bf92f3577b34da6a3ce929d0e0e4736: 6 records, 4 spans, 3 hosts, 7 ms
2026-01-01T00:00:00.003Z b c two
    lines\\u{1b}[2J
span 01: +0 ms, 5 ms
  2026-01-01T00:00:00Z a c in
  2026-01-01T00:00:00.005Z a c out
  span 02: +1 ms
    2026-01-01T00:00:00.001Z b c child
  span 03: +2 ms
    2026-01-01T00:00:00.002Z b c later child
span 09: +7 ms
  2026-01-01T00:00:00.007Z c c stray
";
        assert_eq!(text, expected);
    }

    #[test]
    fn spans_that_are_their_own_ancestors_are_drawn_once() {
        let text = tree(vec![
            record(0, "a", Some("01"), Some("02"), "one"),
            record(1, "a", Some("02"), Some("01"), "two"),
            record(2, "a", Some("03"), Some("03"), "three"),
        ]);
        for (body, count) in [("one", 1), ("two", 1), ("three", 1)] {
            assert_eq!(text.matches(body).count(), count, "{text}");
        }
    }

    #[test]
    fn a_trace_a_hundred_thousand_spans_deep_is_drawn() {
        let ids: Vec<String> = (0..TRACE_RECORDS_MAX).map(|n| format!("{n:016x}")).collect();
        let parent = |n: usize| n.checked_sub(1).map(|above| ids[above].as_str());
        let text = tree((0..ids.len()).map(|n| record(n as i64, "a", Some(&ids[n]), parent(n), "x")).collect());
        assert_eq!(text.lines().count(), 2 * ids.len() + 2);
    }

    #[test]
    fn what_is_no_trace_id_is_refused() {
        for text in ["", "4bf9", "4bf92f3577b34da6a3ce929d0e0e473x", "' OR 1=1 --0123456789012345678901"] {
            assert!(text.parse::<TraceId>().is_err(), "{text}");
        }
    }
}

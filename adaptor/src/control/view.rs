//! What control shows: a source as JSON, and all counters in Prometheus' text format.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::counters::Counters;
use crate::sources::{Listed, Sources};
use crate::spool::Spool;

/// The media type of [`metrics`].
pub(super) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One source.
pub(super) fn source(listed: &Listed) -> Value {
    let mut counters = serde_json::Map::new();
    listed.counters.each(|name, count| {
        if count > 0 {
            counters.insert(name.to_owned(), count.into());
        }
    });
    let mut shown = json!({
        "name": listed.source.name,
        "type": listed.source.kind.type_name(),
        "description": listed.source.describe(),
        "added": listed.added,
        "running": listed.running,
        "counters": counters,
    });
    if listed.source.kind.type_name() == "file" {
        shown["lag_bytes"] = listed.counters.lag_bytes.get().into();
    }
    if let Some(error) = &listed.error {
        shown["error"] = error.as_str().into();
    }
    shown
}

/// Everything that is counted. A counter that no source has moved is there once, for those that are there no more and for
/// the adaptor itself.
pub(super) fn metrics(sources: &Sources, spool: &Spool) -> String {
    let listed = sources.list();
    let labels: Vec<String> = listed.iter().map(labels).collect();
    let others = sources.others();
    let mut text = String::new();
    let mut meanings = Vec::new();
    Counters::meanings(|name, meaning| meanings.push((name, meaning)));
    for (name, meaning) in meanings {
        head(&mut text, &format!("{name}_total"), meaning, "counter");
        let _ = writeln!(text, "logboom_{name}_total {}", value(&others, name));
        for (listed, labels) in listed.iter().zip(&labels) {
            let count = value(&listed.counters, name);
            if count > 0 {
                let _ = writeln!(text, "logboom_{name}_total{labels} {count}");
            }
        }
    }
    head(&mut text, "lag_bytes", "Bytes of followed files that are not read yet.", "gauge");
    for (listed, labels) in listed.iter().zip(&labels).filter(|(listed, _)| listed.source.kind.type_name() == "file") {
        let _ = writeln!(text, "logboom_lag_bytes{labels} {}", listed.counters.lag_bytes.get());
    }
    head(&mut text, "source_running", "Whether a source runs.", "gauge");
    for (listed, labels) in listed.iter().zip(&labels) {
        let _ = writeln!(text, "logboom_source_running{labels} {}", u8::from(listed.running));
    }
    head(&mut text, "spool_bytes", "Bytes that wait on disk to be committed.", "gauge");
    let _ = writeln!(text, "logboom_spool_bytes {}", spool.bytes());
    head(&mut text, "spool_bytes_max", "The most bytes that may wait on disk.", "gauge");
    let _ = writeln!(text, "logboom_spool_bytes_max {}", spool.max_bytes());
    text
}

fn head(text: &mut String, name: &str, meaning: &str, kind: &str) {
    let meaning = meaning.replace('\\', "\\\\").replace('\n', " ");
    let _ = write!(text, "# HELP logboom_{name} {meaning}\n# TYPE logboom_{name} {kind}\n");
}

fn value(counters: &Counters, wanted: &str) -> u64 {
    let mut found = 0;
    counters.each(|name, count| {
        if name == wanted {
            found = count;
        }
    });
    found
}

fn labels(listed: &Listed) -> String {
    let name = listed.source.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{source=\"{name}\",type=\"{}\"}}", listed.source.kind.type_name())
}

//! The answer of `logboom table verify --json`.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;

/// What was found.
#[derive(Debug)]
pub struct Verified {
    pub complete: bool,
    /// Numbers that are there, each once or more.
    pub records: u64,
    pub unexplained: u64,
    pub doubled: u64,
    /// Numbers that are missing for a reason, by reason.
    pub explained: BTreeMap<String, u64>,
    /// Records that never had a number, by reason.
    pub unnumbered: BTreeMap<String, u64>,
    pub json: Value,
}

impl Verified {
    /// Fails if the output is none.
    #[track_caller]
    pub fn of(output: &Output) -> Self {
        let errors = String::from_utf8_lossy(&output.stderr);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
        let complete = json["complete"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(if complete { 0 } else { 1 }), "{errors}");
        let mut found = Self {
            complete,
            records: 0,
            unexplained: 0,
            doubled: 0,
            explained: BTreeMap::new(),
            unnumbered: BTreeMap::new(),
            json: Value::Null,
        };
        for host in json["hosts"].as_array().unwrap() {
            for stream in host["streams"].as_array().unwrap() {
                let number = |key: &str| stream[key].as_u64().unwrap();
                found.records += number("records");
                found.unexplained += number("unexplained");
                found.doubled += number("doubled_records");
                add(&mut found.explained, &stream["missing_by_reason"]);
            }
            add(&mut found.unnumbered, &host["unnumbered"]);
        }
        found.json = json;
        found
    }
}

fn add(to: &mut BTreeMap<String, u64>, reasons: &Value) {
    for (reason, records) in reasons.as_object().unwrap() {
        *to.entry(reason.clone()).or_default() += records.as_u64().unwrap();
    }
}

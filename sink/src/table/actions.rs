//! The lines of a commit, as the Delta protocol defines them (its section "Actions").
//!
//! Owns their text form, read and written. A log may be written by anyone, so whatever is read here is checked, and
//! actions or fields that Logboom has no use for are skipped. What the actions do is said elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// One line of a commit, or one row of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Who made the commit, and how.
    CommitInfo(CommitInfo),
    /// What a reader and a writer must be able to do.
    Protocol(Protocol),
    /// What the table is.
    Metadata(Metadata),
    /// How far an application has come: of a stream, its mark.
    Txn(Txn),
    /// A file becomes part of the table.
    Add(Add),
    /// A file is no longer part of the table.
    Remove(Remove),
}

/// Free-form information about a commit. Logboom only relies on `txnId`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitInfo(pub Map<String, Value>);

impl CommitInfo {
    /// The information about a commit of ours.
    pub fn new(txn_id: &str, operation: &str, timestamp_ms: i64) -> Self {
        let fields = serde_json::json!({
            "timestamp": timestamp_ms,
            "operation": operation,
            "operationParameters": {},
            "engineInfo": concat!("Logboom/", env!("CARGO_PKG_VERSION")),
            "txnId": txn_id,
        });
        match fields {
            Value::Object(fields) => Self(fields),
            _ => unreachable!("it is an object"),
        }
    }

    /// What its writer says that it did, such as `WRITE`.
    pub fn operation(&self) -> Option<&str> {
        self.0.get("operation")?.as_str()
    }

    /// When, in milliseconds, by its writer's clock.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.get("timestamp")?.as_i64()
    }

    /// The random identity that the writer gave to the commit.
    pub fn txn_id(&self) -> Option<&str> {
        self.0.get("txnId")?.as_str()
    }
}

/// What a reader and a writer must be able to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// Of a reader.
    pub min_reader_version: i32,
    /// Of a writer.
    pub min_writer_version: i32,
    /// Features a reader must know; from reader version 3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    /// Features a writer must know; from writer version 7 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// What the table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The table's identity.
    pub id: String,
    /// Always Parquet.
    pub format: Format,
    /// The schema as JSON text.
    pub schema_string: String,
    /// The partition columns in order.
    pub partition_columns: Vec<String>,
    /// The table's properties.
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
    /// When the table was made, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

/// The format of the table's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Always `parquet`.
    pub provider: String,
    /// Always empty.
    #[serde(default)]
    pub options: BTreeMap<String, Option<String>>,
}

/// How far an application has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// The application: of ours, a stream.
    pub app_id: String,
    /// Its version: of ours, the stream's mark.
    pub version: i64,
    /// When that was, in milliseconds. Without it, transaction retention has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// A file becomes part of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Percent-encoded, relative to the table's root.
    pub path: String,
    /// Partition column to value.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// In bytes.
    pub size: i64,
    /// In milliseconds.
    pub modification_time: i64,
    /// Whether rows of the table change, or only their files.
    pub data_change: bool,
    /// Statistics as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    /// Facts about the file: of ours, its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
}

/// A file is no longer part of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    /// As in the `add` that it undoes.
    pub path: String,
    /// When, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    /// Whether rows of the table change, or only their files.
    pub data_change: bool,
    /// Whether the fields below are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    /// Partition column to value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}

/// A line as it is written: an object with the one key that says what it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Line<'a> {
    CommitInfo(&'a CommitInfo),
    Protocol(&'a Protocol),
    #[serde(rename = "metaData")]
    Metadata(&'a Metadata),
    Txn(&'a Txn),
    Add(&'a Add),
    Remove(&'a Remove),
}

/// A line as it is read: any keys, of which we know some.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyLine {
    commit_info: Option<CommitInfo>,
    protocol: Option<Protocol>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    txn: Option<Txn>,
    add: Option<Add>,
    remove: Option<Remove>,
}

/// The text of a commit.
pub fn write(actions: &[Action]) -> Vec<u8> {
    let mut text = Vec::new();
    for action in actions {
        let line = match action {
            Action::CommitInfo(it) => Line::CommitInfo(it),
            Action::Protocol(it) => Line::Protocol(it),
            Action::Metadata(it) => Line::Metadata(it),
            Action::Txn(it) => Line::Txn(it),
            Action::Add(it) => Line::Add(it),
            Action::Remove(it) => Line::Remove(it),
        };
        serde_json::to_writer(&mut text, &line).expect("actions are JSON");
        text.push(b'\n');
    }
    text
}

/// Reads the text of a commit. `object` is what an error calls it.
pub fn parse(object: &str, text: &[u8]) -> Result<Vec<Action>, Error> {
    let actions = parse_lines(object, text)?;
    if actions.is_empty() {
        return Err(Error::bad_log(object, "there is no action in it"));
    }
    Ok(actions)
}

/// Reads lines of actions; there may be none.
pub(super) fn parse_lines(object: &str, text: &[u8]) -> Result<Vec<Action>, Error> {
    let mut actions = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) || line == b"{}" {
            continue;
        }
        let line: AnyLine =
            serde_json::from_slice(line).map_err(|e| Error::bad_log(object, format!("line {}: {e}", at + 1)))?;
        actions.extend(line.commit_info.map(Action::CommitInfo));
        actions.extend(line.protocol.map(Action::Protocol));
        actions.extend(line.metadata.map(Action::Metadata));
        actions.extend(line.txn.map(Action::Txn));
        actions.extend(line.add.map(Action::Add));
        actions.extend(line.remove.map(Action::Remove));
    }
    Ok(actions)
}

/// The identity of the commit with these actions, if its writer gave it one.
pub fn txn_id(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => info.txn_id(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use logboom_fuzz::fuzz;

    use super::*;

    fn one_of_each() -> Vec<Action> {
        vec![
            Action::CommitInfo(CommitInfo::new("id-1", "WRITE", 17)),
            Action::Protocol(Protocol {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: Some(vec![]),
                writer_features: Some(vec!["appendOnly".into()]),
            }),
            Action::Metadata(Metadata {
                id: "table".into(),
                format: Format { provider: "parquet".into(), options: BTreeMap::new() },
                schema_string: "{}".into(),
                partition_columns: vec!["date".into()],
                configuration: BTreeMap::from([("a".into(), Some("b".into()))]),
                created_time: Some(1),
            }),
            Action::Txn(Txn { app_id: "app".into(), version: 3, last_updated: Some(4) }),
            Action::Add(Add {
                path: "date=2026-01-01/x.parquet".into(),
                partition_values: BTreeMap::from([("date".into(), Some("2026-01-01".into()))]),
                size: 5,
                modification_time: 6,
                data_change: true,
                stats: Some("{\"numRecords\":1}".into()),
                tags: Some(BTreeMap::from([("t".into(), Some("u".into()))])),
            }),
            Action::Remove(Remove {
                path: "y".into(),
                deletion_timestamp: Some(7),
                data_change: false,
                extended_file_metadata: Some(true),
                partition_values: Some(BTreeMap::from([("date".into(), None)])),
                size: Some(8),
            }),
        ]
    }

    #[test]
    fn a_commit_is_read_as_it_was_written() {
        let actions = one_of_each();
        let text = write(&actions);
        assert_eq!(parse("x", &text).unwrap(), actions);
        assert_eq!(txn_id(&actions), Some("id-1"));
    }

    #[test]
    fn a_line_has_the_spelling_of_the_protocol() {
        let text = String::from_utf8(write(&one_of_each())).unwrap();
        for part in [
            r#"{"metaData":{"id":"table","format":{"provider":"parquet","options":{}},"schemaString":"{}","#,
            r#""partitionColumns":["date"]"#,
            r#"{"txn":{"appId":"app","version":3,"lastUpdated":4}}"#,
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"#,
            r#"{"add":{"path":"date=2026-01-01/x.parquet","partitionValues":{"date":"2026-01-01"},"size":5,"#,
            r#""modificationTime":6,"dataChange":true,"stats":"{\"numRecords\":1}","tags":{"t":"u"}}}"#,
            r#"{"remove":{"path":"y","deletionTimestamp":7,"dataChange":false,"extendedFileMetadata":true,"#,
            r#""partitionValues":{"date":null},"size":8}}"#,
            r#""txnId":"id-1""#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn unknown_actions_and_fields_are_skipped() {
        let text = br#"
            {"domainMetadata":{"domain":"d","configuration":"","removed":false}}
            {"txn":{"appId":"a","version":1,"color":"red"}}
            {"commitInfo":{"txnId":17,"timestamp":"never"}}
        "#;
        let actions = parse("x", text).unwrap();
        assert_eq!(actions.len(), 2);
        assert_eq!(txn_id(&actions), None, "an id that is no text is none");
    }

    #[test]
    fn a_damaged_commit_is_an_error_with_its_line() {
        let text = write(&one_of_each());
        let cut = parse("_delta_log/7.json", &text[..text.len() - 4]).unwrap_err().to_string();
        assert!(cut.contains("_delta_log/7.json") && cut.contains("line 6"), "{cut}");
        for text in [&b""[..], b"\n\n", b"{}", b"[]", b"\xff", b"{\"txn\":{\"appId\":\"a\",\"version\":1e99}}"] {
            assert!(parse("x", text).is_err(), "{text:?}");
        }
        let deep = [b"{\"commitInfo\":".to_vec(), b"[".repeat(1 << 20)].concat();
        assert!(parse("x", &deep).is_err());
    }

    #[test]
    fn no_bytes_of_a_commit_make_the_parser_panic_and_what_is_read_can_be_written() {
        let text = write(&one_of_each());
        let odd = br#"{"domainMetadata":{}}
{"txn":{"appId":"a","version":-1,"lastUpdated":null}}
{}"#;
        fuzz(&[&text, odd], |text| match parse("x", text) {
            Ok(actions) => {
                assert_eq!(parse("x", &write(&actions)).unwrap(), actions);
                for action in &actions {
                    if let Action::Metadata(metadata) = action {
                        let _ = super::super::contract::check_metadata(metadata);
                    }
                }
            }
            Err(error) => assert!(matches!(error, Error::BadLog { .. }), "{error}"),
        });
    }
}

//! What a table must be for Logboom to write to it, and what a new one is.
//!
//! Owns both sides of one promise: what `first_commit` writes, `check_protocol` and `check_metadata` accept.

use std::collections::BTreeMap;
use std::time::Duration;

use logboom_config::FileFormat;
use serde_json::Value;
use uuid::Uuid;

use super::TableOptions;
use super::actions::{Action, CommitInfo, Format, Metadata, Protocol};
use crate::schema::{PARTITION_COLUMN, delta_schema};

/// Marks must outlive any spool, or a block that is sent again after it would be committed again.
const MARK_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The property that says what a table's sink files are written in. It is absent for Parquet.
pub(super) const FORMAT_PROPERTY: &str = "logboom.format";

/// Writer features that ask nothing of a writer who only appends.
const WRITER_FEATURES: [&str; 2] = ["appendOnly", "invariants"];

/// The actions that make a new table: version 0.
pub(super) fn first_commit(options: &TableOptions) -> Vec<Action> {
    let now_ms = options.clock.now().wall.as_millisecond();
    let mut configuration = vec![
        ("delta.setTransactionRetentionDuration", interval(MARK_RETENTION)),
        ("delta.logRetentionDuration", interval(options.log_retention)),
        ("delta.checkpointInterval", options.checkpoint_interval.to_string()),
    ];
    if options.format != FileFormat::Parquet {
        configuration.push((FORMAT_PROPERTY, options.format.name().to_owned()));
    }
    vec![
        Action::CommitInfo(CommitInfo::new(&Uuid::new_v4().to_string(), "CREATE TABLE", now_ms)),
        Action::Protocol(Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        }),
        Action::Metadata(Metadata {
            id: Uuid::new_v4().to_string(),
            format: Format { provider: "parquet".into(), options: BTreeMap::new() },
            schema_string: delta_schema(options.format),
            partition_columns: vec![PARTITION_COLUMN.into()],
            configuration: configuration.into_iter().map(|(key, value)| (key.into(), Some(value))).collect(),
            created_time: Some(now_ms),
        }),
    ]
}

/// What is wrong with the protocol, if Logboom does not know all that it asks for.
pub(super) fn check_protocol(protocol: &Protocol) -> Result<(), String> {
    let features = |features: &Option<Vec<String>>| features.clone().unwrap_or_default();
    let unknown_to_readers = features(&protocol.reader_features);
    let mut unknown_to_writers = features(&protocol.writer_features);
    unknown_to_writers.retain(|feature| !WRITER_FEATURES.contains(&feature.as_str()));
    let reader_fits = matches!(protocol.min_reader_version, 1 | 3);
    let writer_fits = matches!(protocol.min_writer_version, 1 | 2 | 7);
    if reader_fits && writer_fits && unknown_to_readers.is_empty() && unknown_to_writers.is_empty() {
        return Ok(());
    }
    unknown_to_writers.extend(unknown_to_readers);
    unknown_to_writers.sort();
    unknown_to_writers.dedup();
    Err(format!(
        "it needs reader version {} and writer version {}{}{}, which this Logboom does not know",
        protocol.min_reader_version,
        protocol.min_writer_version,
        if unknown_to_writers.is_empty() { "" } else { " with the features " },
        unknown_to_writers.join(", "),
    ))
}

/// What the property says about the format of a table's sink files, or what is wrong with it.
pub(super) fn format(property: Option<&str>) -> Result<FileFormat, String> {
    let Some(name) = property else { return Ok(FileFormat::Parquet) };
    FileFormat::from_name(name)
        .ok_or_else(|| format!("its sink files are in `{name}`, which this Logboom does not know"))
}

/// The format of the table's sink files, or what is wrong with the metadata if the table is not one of Logboom's.
pub(super) fn check_metadata(metadata: &Metadata) -> Result<FileFormat, String> {
    if metadata.partition_columns != [PARTITION_COLUMN] {
        return Err(format!("it is partitioned by {:?}, not by `{PARTITION_COLUMN}`", metadata.partition_columns));
    }
    if metadata.format.provider != "parquet" {
        return Err(format!("its files are `{}`, not `parquet`", metadata.format.provider));
    }
    let theirs = fields(&metadata.schema_string).ok_or("its schema cannot be read")?;
    let format = format(metadata.configuration.get(FORMAT_PROPERTY).and_then(Option::as_deref))?;
    let ours = fields(&delta_schema(format)).expect("our schema can be read");
    if let Some((name, _)) = theirs.iter().find(|(name, _)| !ours.iter().any(|(ours, _)| ours == name)) {
        return Err(format!("its schema has a column `{name}`, which Logboom does not write"));
    }
    for (name, field) in &ours {
        match theirs.iter().find(|(theirs, _)| theirs == name) {
            None => return Err(format!("its schema has no column `{name}`")),
            Some((_, theirs)) if theirs != field => {
                return Err(format!("the column `{name}` of its schema is {theirs}, not {field}"));
            }
            Some(_) => {}
        }
    }
    Ok(format)
}

/// Columns with what decides whether our files fit them: all but their comments.
fn fields(schema: &str) -> Option<Vec<(String, Value)>> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let fields = schema.get("fields")?.as_array()?;
    fields
        .iter()
        .map(|field| {
            let mut field = field.as_object()?.clone();
            let name = field.remove("name")?.as_str()?.to_owned();
            if let Some(metadata) = field.get_mut("metadata") {
                metadata.as_object_mut()?.remove("comment");
            }
            Some((name, Value::Object(field)))
        })
        .collect()
}

/// A duration as table properties spell it.
fn interval(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match duration.as_secs() {
        seconds if seconds % DAY == 0 => format!("interval {} days", seconds / DAY),
        seconds => format!("interval {seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> (Protocol, Metadata) {
        created_with(&TableOptions::default())
    }

    fn created_with(options: &TableOptions) -> (Protocol, Metadata) {
        let mut actions = first_commit(options).into_iter();
        match (actions.next(), actions.next(), actions.next()) {
            (Some(Action::CommitInfo(_)), Some(Action::Protocol(protocol)), Some(Action::Metadata(metadata))) => {
                (protocol, metadata)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_we_create_we_accept() {
        let (protocol, metadata) = created();
        check_protocol(&protocol).unwrap();
        assert_eq!(check_metadata(&metadata), Ok(FileFormat::Parquet));
        assert!(!metadata.configuration.contains_key(FORMAT_PROPERTY), "tables without it were created before it was");
        let property = |key: &str| metadata.configuration[key].clone().unwrap();
        assert_eq!(property("delta.setTransactionRetentionDuration"), "interval 30 days");
        assert_eq!(property("delta.logRetentionDuration"), "interval 7 days");
        assert_eq!(property("delta.checkpointInterval"), "100");
    }

    #[test]
    fn a_table_of_json_has_the_columns_of_an_index_and_says_so() {
        let (_, metadata) = created_with(&TableOptions { format: FileFormat::Json, ..TableOptions::default() });
        assert_eq!(check_metadata(&metadata), Ok(FileFormat::Json));
        let mut silent = metadata.clone();
        silent.configuration.remove(FORMAT_PROPERTY);
        assert!(check_metadata(&silent).unwrap_err().contains("`path`"));
        let mut other = metadata;
        other.configuration.insert(FORMAT_PROPERTY.into(), Some("orc".into()));
        assert!(check_metadata(&other).unwrap_err().contains("`orc`"));
    }

    #[test]
    fn a_comment_on_a_column_changes_nothing() {
        let (_, mut metadata) = created();
        metadata.schema_string =
            metadata.schema_string.replacen("\"metadata\":{}", "\"metadata\":{\"comment\":\"hm\"}", 1);
        check_metadata(&metadata).unwrap();
    }

    #[test]
    fn a_table_of_someone_else_is_refused_by_what_differs() {
        let (_, metadata) = created();
        let schema = metadata.schema_string.clone();
        for (schema, named) in [
            (schema.replace("\"host\"", "\"machine\""), "`machine`"),
            (schema.replacen("\"timestamp\"", "\"string\"", 1), "`"),
            (schema.replacen("\"metadata\":{}", "\"metadata\":{\"delta.invariants\":\"x\"}", 1), "delta.invariants"),
            (r#"{"type":"struct","fields":[]}"#.into(), "no column `timestamp`"),
            ("garbage".into(), "cannot be read"),
        ] {
            let metadata = Metadata { schema_string: schema, ..metadata.clone() };
            let reason = check_metadata(&metadata).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
        let metadata = Metadata { partition_columns: vec![], ..metadata };
        assert!(check_metadata(&metadata).unwrap_err().contains("partitioned"));
    }

    #[test]
    fn features_that_we_do_not_know_are_refused_by_name() {
        let of = |reader, writer, readers: &[&str], writers: &[&str]| Protocol {
            min_reader_version: reader,
            min_writer_version: writer,
            reader_features: Some(readers.iter().map(|f| (*f).to_owned()).collect()),
            writer_features: Some(writers.iter().map(|f| (*f).to_owned()).collect()),
        };
        check_protocol(&of(3, 7, &[], &["appendOnly"])).unwrap();
        for (protocol, named) in [
            (of(3, 7, &["deletionVectors"], &["deletionVectors"]), "deletionVectors"),
            (of(1, 7, &[], &["rowTracking"]), "rowTracking"),
            (of(2, 5, &[], &[]), "writer version 5"),
            (of(1, 4, &[], &[]), "writer version 4"),
            (of(9, 9, &[], &[]), "reader version 9"),
        ] {
            let reason = check_protocol(&protocol).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
    }
}

//! What a table must be for Logboom to write to it, and what a new one is.
//!
//! Owns both sides of one promise: what `first_commit` writes, `check_protocol` and `check_metadata` accept; and which
//! tables of other versions of Logboom are accepted too:
//! - columns that may be null in our files may be missing in the table: an older version made it. Whoever writes to it
//!   adds them first, for Delta readers see only the columns that the table has;
//! - columns that we do not know may be there if they may be null: a newer version, or other settings, or its owner added
//!   them. Our files lack them, and Delta readers take a column that a file lacks for null.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_schema::{Field, FieldRef};
use logboom_config::FileFormat;
use serde_json::Value;

use super::TableOptions;
use super::actions::{Action, CommitInfo, Format, Metadata, Protocol};
use crate::paths::new_id;
use crate::schema::{PARTITION_COLUMN, committed_schema, delta_field, delta_schema};

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
        // What vacuum goes by: removals are remembered in checkpoints for so long.
        ("delta.deletedFileRetentionDuration", interval(options.vacuum_grace)),
        ("delta.checkpointInterval", options.checkpoint_interval.to_string()),
    ];
    if options.format != FileFormat::Parquet {
        configuration.push((FORMAT_PROPERTY, options.format.name().to_owned()));
    }
    vec![
        Action::CommitInfo(CommitInfo::new(&new_id().to_string(), "CREATE TABLE", now_ms)),
        Action::Protocol(Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            reader_features: None,
            writer_features: None,
        }),
        Action::Metadata(Metadata {
            id: new_id().to_string(),
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
    let ours = committed_schema(format);
    for field in ours.fields() {
        match find(&theirs, field.name()) {
            Some((name, theirs)) => check_column(name, theirs, field)?,
            None if field.is_nullable() => {}
            None => return Err(format!("its schema has no column `{}`", field.name())),
        }
    }
    let known = |name: &str| ours.fields().iter().any(|field| field.name() == name);
    for (name, field) in theirs.iter().filter(|(name, _)| !known(name)) {
        let asks =
            field["metadata"].as_object().is_none_or(|metadata| metadata.keys().any(|key| key.starts_with("delta.")));
        if field["nullable"] != true || asks {
            return Err(format!(
                "its schema has a column `{name}`, which Logboom does not write, and which cannot be null: {field}"
            ));
        }
    }
    Ok(format)
}

/// The metadata with these columns, if some are missing.
///
/// # Errors
/// The table has one of them with another type.
pub(super) fn with_columns(metadata: &Metadata, wanted: &[FieldRef]) -> Result<Option<Metadata>, String> {
    let theirs = fields(&metadata.schema_string).ok_or("its schema cannot be read")?;
    let mut missing = Vec::new();
    for field in wanted {
        match find(&theirs, field.name()) {
            Some((name, theirs)) => check_column(name, theirs, field)?,
            None => missing.push(delta_field(field)),
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    let mut schema: Value = serde_json::from_str(&metadata.schema_string).map_err(|error| error.to_string())?;
    schema["fields"].as_array_mut().ok_or("its schema cannot be read")?.extend(missing);
    Ok(Some(Metadata { schema_string: schema.to_string(), ..metadata.clone() }))
}

/// Names of columns that differ in nothing but capitals are the same to Delta.
fn find<'a>(columns: &'a [(String, Value)], name: &str) -> Option<&'a (String, Value)> {
    columns.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(name))
}

fn check_column(name: &str, theirs: &Value, ours: &Field) -> Result<(), String> {
    let mut expected = delta_field(ours);
    expected.as_object_mut().expect("a field is an object").remove("name");
    match name == ours.name() && *theirs == expected {
        true => Ok(()),
        false => Err(format!("the column `{name}` of its schema is {theirs}, not `{}` with {expected}", ours.name())),
    }
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
    use std::sync::Arc;

    use arrow_schema::DataType;

    use crate::schema::table_schema;

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
        assert_eq!(property("delta.deletedFileRetentionDuration"), "interval 7 days");
        assert_eq!(property("delta.checkpointInterval"), "100");
    }

    #[test]
    fn a_table_of_json_has_the_columns_of_an_index_and_says_so() {
        let (_, metadata) = created_with(&TableOptions { format: FileFormat::Json, ..TableOptions::default() });
        assert_eq!(check_metadata(&metadata), Ok(FileFormat::Json));
        let mut silent = metadata.clone();
        silent.configuration.remove(FORMAT_PROPERTY);
        assert!(check_metadata(&silent).unwrap_err().contains("`timestamp`"));
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
        let added = |field: &str| schema.replacen("\"fields\":[", &format!("\"fields\":[{field},"), 1);
        for (schema, named) in [
            (schema.replace("\"host\"", "\"machine\""), "no column `host`"),
            (schema.replace("\"span_id\"", "\"Span_ID\""), "`Span_ID`"),
            (added(r#"{"name":"x","type":"long","nullable":false,"metadata":{}}"#), "`x`"),
            (added(r#"{"name":"x","type":"long","nullable":true,"metadata":{"delta.invariants":"y"}}"#), "`x`"),
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
    fn columns_of_other_versions_may_be_missing_or_there_and_those_that_are_missing_are_added() {
        let (_, metadata) = created();
        let schema = &metadata.schema_string;
        let mut older: Value = serde_json::from_str(schema).unwrap();
        older["fields"]
            .as_array_mut()
            .unwrap()
            .retain(|field| field["name"] != "span_id" && field["name"] != "body_bytes");
        let older = Metadata { schema_string: older.to_string(), ..metadata.clone() };
        check_metadata(&older).unwrap();
        let own = table_schema().fields().to_vec();
        let newer = with_columns(&older, &own).unwrap().expect("two are missing");
        check_metadata(&newer).unwrap();
        assert_eq!(with_columns(&newer, &own), Ok(None));
        let names = |text: &str| fields(text).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&newer.schema_string)[13..], ["body_bytes", "span_id"]);

        // One that this version does not know.
        let more = [Arc::new(Field::new("region", DataType::Float64, true))];
        let newest = with_columns(&newer, &more).unwrap().unwrap();
        check_metadata(&newest).unwrap();
        assert_eq!(with_columns(&newest, &own), Ok(None));
        let other = [Arc::new(Field::new("Region", DataType::Int64, true))];
        let reason = with_columns(&newest, &other).unwrap_err();
        assert!(reason.contains("`region`") && reason.contains("long"), "{reason}");
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

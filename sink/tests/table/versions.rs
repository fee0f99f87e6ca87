//! Tables of other versions of Logboom, and with other columns: read, and appended to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{DataType, Field};
use jiff::civil::date;
use logboom_config::{Promoted, PromotedType, Sink};
use logboom_sink::maintain::{Control, Days, Settings, compact};
use logboom_sink::paths::Name;
use logboom_sink::table::{Batch, Outcome, Snapshot, TableOptions, View, commit, set_property, write_checkpoint};
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::collector::{Collector, assert_once, blocks, commits, memory, options, stream};

/// A table made by each version that wrote another one.
const GOLDEN: [&str; 1] = ["v1"];

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn block(of: u8, number: u64, body: &str) -> Block {
    let mut rows = Rows::default();
    let attributes = [("http.status", "200"), ("path", "/x")];
    let record = Record { observed: 7, body: body.as_bytes(), attributes: &attributes, ..Record::default() };
    rows.push(&Record { timestamp: Some(1_767_225_600_000_000_000), severity_number: 9, ..record });
    let key = RunKey { category: "web".into(), source: "source".into(), attributes: vec![] };
    let place = BlockPlace { stream: stream(of), number, first_record: number, host: "host" };
    Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap()
}

async fn append(store: &Store, view: &mut View, of: u8, number: u64, body: &str) {
    append_as(store, view, of, number, body, &Sink::at("unused")).await;
}

async fn append_as(store: &Store, view: &mut View, of: u8, number: u64, body: &str, sink: &Sink) {
    let settings = FileSettings::from(sink);
    let begun = view.begin_files();
    let files = merge(store, &[block(of, number, body)], date(2026, 1, 2), &settings).await.unwrap();
    let outcome = commit(view, Batch { files: &files, marks: &[(stream(of), number)], begun }).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }));
}

async fn bodies(store: &Store) -> Vec<String> {
    use arrow_array::cast::AsArray;
    let mut bodies = Vec::new();
    for file in Snapshot::load(store).await.unwrap().files {
        let bytes = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            bodies.extend(batch["body"].as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    bodies.sort_unstable();
    bodies
}

/// Writes the table that is checked in as that of this version, if this version writes another one than those before.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes sink/tests/golden/new"]
async fn write_golden() {
    let folder = golden("new");
    let store = Store::open(folder.to_str().unwrap(), &BTreeMap::new()).unwrap();
    let mut view = View::open_or_create(&store, &TableOptions::default()).await.unwrap();
    append(&store, &mut view, 1, 1, "one").await;
    append(&store, &mut view, 2, 5, "two").await;
    write_checkpoint(&store).await.unwrap();
    append(&store, &mut view, 1, 2, "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_every_version_is_read_and_appended_to() {
    for version in GOLDEN {
        let folder = tempfile::tempdir().unwrap();
        copy(&golden(version), folder.path());
        let store = super::collector::folder(&folder);
        assert_eq!(bodies(&store).await, ["one", "three", "two"], "{version}");
        let mut view = View::open_or_create(&store, &options()).await.unwrap();
        assert_eq!((view.mark(stream(1)), view.mark(stream(2)), view.mark(stream(3))), (2, 5, 0), "{version}");
        append(&store, &mut view, 2, 6, "four").await;
        append(&store, &mut view, 3, 1, "five").await;
        let again = View::open(&store, &options()).await.unwrap();
        assert_eq!((again.mark(stream(1)), again.mark(stream(2)), again.mark(stream(3))), (2, 6, 1), "{version}");
        assert_eq!(bodies(&store).await, ["five", "four", "one", "three", "two"], "{version}");
    }
}

/// A table whose version knew neither of these columns.
async fn older(without: &[&str]) -> Store {
    let (store, scratch) = (memory(), memory());
    View::open_or_create(&scratch, &options()).await.unwrap();
    let path = Name::Commit(0).path();
    let text = scratch.objects().get(&path).await.unwrap().bytes().await.unwrap();
    let lines = str::from_utf8(&text).unwrap().lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(schema) = line.pointer_mut("/metaData/schemaString") {
            let mut fields: serde_json::Value = serde_json::from_str(schema.as_str().unwrap()).unwrap();
            let keep = |field: &serde_json::Value| !without.contains(&field["name"].as_str().unwrap());
            fields["fields"].as_array_mut().unwrap().retain(keep);
            *schema = fields.to_string().into();
        }
        line.to_string() + "\n"
    });
    store.objects().put(&path, lines.collect::<String>().into()).await.unwrap();
    store
}

fn promoted(data_type: DataType) -> TableOptions {
    TableOptions { columns: vec![Arc::new(Field::new("http_status", data_type, true))], ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_a_table_lacks_are_added_once_by_however_many_collectors() {
    let store = older(&["span_id", "body_bytes"]).await;
    View::open(&store, &options()).await.expect("it is read as it is");
    assert_eq!(commits(&store).await, [0]);
    let opened = (0..5).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { View::open_or_create(&store, &options()).await.unwrap().version() })
    });
    for opened in opened.collect::<Vec<_>>() {
        assert_eq!(opened.await.unwrap(), 1);
    }
    let text = store.objects().get(&Name::Commit(1).path()).await.unwrap().bytes().await.unwrap();
    let text = str::from_utf8(&text).unwrap();
    assert!(text.contains("ADD COLUMNS") && text.contains("span_id") && text.contains("body_bytes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_column_that_is_never_null_is_refused() {
    let store = older(&["seq"]).await;
    let error = View::open_or_create(&store, &options()).await.unwrap_err().to_string();
    assert!(error.contains("no column `seq`"), "{error}");
    assert_eq!(commits(&store).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_goes_on_when_another_one_adds_a_column_under_it() {
    let store = memory();
    let mut collector = Collector::new(&store, &options()).await;
    collector.deliver(&blocks(stream(1), 1..=2)).await;
    View::open_or_create(&store, &promoted(DataType::Int64)).await.unwrap();
    // The batch loses its version to the change of the table, and is filtered again.
    let first = collector.try_deliver(&blocks(stream(1), 3..=4)).await;
    assert!(matches!(first, Some(Ok(Outcome::Conflict))), "{first:?}");
    collector.deliver(&blocks(stream(1), 3..=4)).await;
    assert_once(&store, &blocks(stream(1), 1..=4)).await;
    let snapshot = Snapshot::load(&store).await.unwrap();
    assert_eq!(snapshot.columns, promoted(DataType::Int64).columns);
    // And it starts again on a table with a column that it does not know.
    let mut collector = Collector::new(&store, &options()).await;
    collector.deliver(&blocks(stream(1), 5..=5)).await;
    assert_once(&store, &blocks(stream(1), 1..=5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_another_type_is_refused_and_nothing_is_changed() {
    let store = memory();
    View::open_or_create(&store, &promoted(DataType::Int64)).await.unwrap();
    let error = View::open_or_create(&store, &promoted(DataType::Utf8)).await.unwrap_err().to_string();
    assert!(error.contains("http_status") && error.contains("long") && error.contains("string"), "{error}");
    assert_eq!(commits(&store).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_and_properties_are_the_same_after_a_checkpoint() {
    let store = memory();
    let mut view = View::open_or_create(&store, &promoted(DataType::Boolean)).await.unwrap();
    set_property(&mut view, "logboom.test", "[\"a\"]", |_| true).await.unwrap();
    let mut collector = Collector::new(&store, &options()).await;
    collector.deliver(&blocks(stream(1), 1..=1)).await;
    let version = write_checkpoint(&store).await.unwrap();
    for before in 0..=version {
        store.objects().delete(&Name::Commit(before).path()).await.unwrap();
    }
    let view = View::open_or_create(&store, &promoted(DataType::Boolean)).await.unwrap();
    assert_eq!((view.version(), view.property("logboom.test")), (version, Some("[\"a\"]")));
    assert_eq!(view.property("logboom.other"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_is_set_only_where_it_is_agreed_to() {
    let store = memory();
    let mut first = View::open_or_create(&store, &options()).await.unwrap();
    let mut second = first.clone();
    let unset = |view: &View| view.property("p").is_none();
    set_property(&mut first, "p", "1", unset).await.unwrap();
    // It put its own upon a version that was gone, and was asked again.
    set_property(&mut second, "p", "2", unset).await.unwrap();
    assert_eq!((first.property("p"), second.property("p")), (Some("1"), Some("1")));
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => {
                fs::create_dir_all(&to).unwrap();
                copy(&entry.path(), &to);
            }
            false => drop(fs::copy(entry.path(), &to).unwrap()),
        }
    }
}

/// The values of a column of integers in the only file of the table.
async fn integers(store: &Store, column: &str) -> Vec<Option<i64>> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    let files = Snapshot::load(store).await.unwrap().files;
    assert_eq!(files.len(), 1);
    let bytes = store.objects().get(&files[0].path.as_str().into()).await.unwrap().bytes().await.unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    batches.flat_map(|batch| batch.unwrap()[column].as_primitive::<Int64Type>().iter().collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_columns_survive_a_compaction_that_knows_nothing_of_them() {
    let store = memory();
    let plain = Sink::at("memory://");
    let promote = |attribute: &str, column: &str| Promoted {
        attribute: attribute.into(),
        column: column.into(),
        kind: PromotedType::Int,
    };
    let promoting = Sink { promote: vec![promote("http.status", "status"), promote("x", "x")], ..plain.clone() };
    let mut view = View::open_or_create(&store, &TableOptions::from(&promoting)).await.unwrap();
    append_as(&store, &mut view, 1, 1, "one", &promoting).await;
    append_as(&store, &mut view, 1, 2, "two", &promoting).await;
    append_as(&store, &mut view, 1, 3, "three", &plain).await;
    let done = compact(&store, &Settings::from(&plain), Days::Due, &Control::default()).await.unwrap();
    assert_eq!((done.commits, done.rows), (1, 3));
    assert_eq!(bodies(&store).await, ["one", "three", "two"]);
    assert_eq!(integers(&store, "status").await, [Some(200), Some(200), None], "as they were in each file");
    assert_eq!(integers(&store, "x").await, [None; 3]);

    // Whoever knows them makes them anew.
    view.refresh().await.unwrap();
    append_as(&store, &mut view, 1, 4, "four", &plain).await;
    let one = Sink { promote: vec![promote("http.status", "status")], ..plain.clone() };
    compact(&store, &Settings::from(&one), Days::One(date(2026, 1, 2)), &Control::default()).await.unwrap();
    assert_eq!(integers(&store, "status").await, [Some(200); 4]);
    assert_eq!(integers(&store, "x").await, [None; 4], "of another's setting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_table_does_not_have_is_not_lost_by_a_compaction() {
    let store = memory();
    let plain = Sink::at("memory://");
    let promote = Promoted { attribute: "http.status".into(), column: "status".into(), kind: PromotedType::Int };
    let promoting = Sink { promote: vec![promote], ..plain.clone() };
    let mut view = View::open_or_create(&store, &TableOptions::from(&plain)).await.unwrap();
    append_as(&store, &mut view, 1, 1, "one", &promoting).await;
    append_as(&store, &mut view, 1, 2, "two", &plain).await;
    let error = compact(&store, &Settings::from(&plain), Days::Due, &Control::default()).await.unwrap_err();
    assert!(error.to_string().contains("`status`"), "{error}");
    assert_eq!(bodies(&store).await, ["one", "two"]);
}

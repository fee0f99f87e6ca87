//! Tables of JSON: created, committed to, opened again.

use jiff::civil::date;
use logboom_sink::table::{Batch, Outcome, Snapshot, TableOptions, View, commit, write_checkpoint};
use logboom_sink::{Error, FileFormat};
use logboom_wire::StreamId;

use crate::json::fixture::{batch, row, settings, store, write};
use crate::json::layout::noisy;

fn options(format: FileFormat) -> TableOptions {
    TableOptions { format, ..TableOptions::default() }
}

#[tokio::test]
async fn a_table_keeps_its_format_and_is_not_opened_with_the_other() {
    for (theirs, ours) in [(FileFormat::Json, FileFormat::Parquet), (FileFormat::Parquet, FileFormat::Json)] {
        let store = store();
        View::open_or_create(&store, &options(theirs)).await.unwrap();
        let view = View::open_or_create(&store, &options(theirs)).await.unwrap();
        assert_eq!(view.format(), theirs);
        let error = View::open_or_create(&store, &options(ours)).await.unwrap_err();
        assert!(matches!(error, Error::OtherFormat { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("format = \"{}\"", theirs.name())) && text.contains(ours.name()), "{text}");
        assert_eq!(Snapshot::load(&store).await.unwrap().format, theirs);
    }
}

#[tokio::test]
async fn what_is_committed_is_the_index_and_a_checkpoint_keeps_it() {
    let store = store();
    let options = options(FileFormat::Json);
    let mut view = View::open_or_create(&store, &options).await.unwrap();
    let mut rows = noisy("a", 10);
    rows.push(row("b", 5, "x"));
    let file = write(&store, &batch(&rows), &settings()).await.unwrap();
    let stream = StreamId::from_bytes([7; 16]);
    let begun = view.begin_files();
    let outcome =
        commit(&mut view, Batch { files: std::slice::from_ref(&file), marks: &[(stream, 3)], begun }).await.unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 1 });
    for checkpointed in [false, true] {
        if checkpointed {
            write_checkpoint(&store).await.unwrap();
        }
        let view = View::open(&store, &options).await.unwrap();
        assert_eq!((view.mark(stream), view.format()), (3, FileFormat::Json));
        let snapshot = Snapshot::load(&store).await.unwrap();
        assert_eq!((snapshot.format, snapshot.files.len()), (FileFormat::Json, 1));
        let listed = &snapshot.files[0];
        assert_eq!((&listed.path, listed.size, listed.date), (&file.path, file.size, date(2026, 1, 2)));
        let stats = listed.stats.as_ref().unwrap();
        assert_eq!((stats.records, stats.members), (0, Some(2)));
        assert_eq!(stats.category, Some(("a".into(), "b".into())));
        assert_eq!(stats.host, file.stats.host);
    }
}

#[tokio::test]
#[should_panic(expected = "is none of this table")]
async fn a_file_of_another_format_is_never_committed() {
    let store = store();
    let mut view = View::open_or_create(&store, &options(FileFormat::Parquet)).await.unwrap();
    let file = write(&store, &batch(&noisy("a", 10)), &settings()).await.unwrap();
    let begun = view.begin_files();
    let _ = commit(&mut view, Batch { files: &[file], marks: &[(StreamId::from_bytes([7; 16]), 1)], begun }).await;
}

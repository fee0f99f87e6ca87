//! Tables whose sink files are JSON: the same is found there.

use jiff::civil::date;
use logboom_config::Sink;
use logboom_sink::json::{Member, listed_files, read_index};
use logboom_sink::maintain::{Control, Retention, Settings, retain};
use logboom_sink::table::{DataFile, FileStats, Snapshot};
use logboom_sink::verify::Fault;
use logboom_sink::{FileFormat, Store};
use object_store::ObjectStoreExt;

use crate::verify::table::{HOSTS, Table, lost, plain, stream};

async fn table(commits: usize) -> Table {
    Table::of(FileFormat::Json).await.with_commits(commits).await
}

/// The members that the index with this place in time lists.
async fn members(table: &Table, n: usize) -> Vec<Member> {
    let index = table.files().await.remove(n);
    read_index(&**table.store.objects(), &index.path, index.size).await.unwrap()
}

#[tokio::test]
async fn a_sound_table_is_complete() {
    let table = table(3).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert!(report.streams().all(|(_, stream)| (stream.first, stream.last, stream.records) == (0, 299, 300)));
    assert_eq!(report.streams().count(), 3);
}

#[tokio::test]
async fn a_missing_file_or_index_is_named_and_so_is_the_gap_that_it_leaves() {
    for index in [false, true] {
        let table = table(3).await;
        let index_path = table.files().await[1].path.clone();
        let json_path = members(&table, 1).await[0].path.to_string();
        let gone = if index { &index_path } else { &json_path };
        table.store.objects().delete(&gone.as_str().into()).await.unwrap();
        let report = table.verify().await;
        Table::assert_found(&report, 300, 0, 1);
        assert_eq!(report.files[0].path, index_path);
        assert!(report.to_string().contains(gone) && report.to_string().contains("missing"), "{report}");
        for (_, stream) in report.streams() {
            assert_eq!((stream.missing[0].first, stream.missing[0].last), (100, 199));
            assert!(stream.missing[0].between.0.is_some(), "the rows around it are looked up");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_found() {
    let table = table(2).await;
    let index = table.files().await[1].path.clone();
    let json = members(&table, 1).await[0].path.to_string();
    for path in [&json, &index] {
        let sound = table.get(path).await;
        for at in (0..sound.len()).step_by(97).chain([sound.len() - 1]) {
            let mut damaged = sound.to_vec();
            damaged[at] ^= 1 << (at % 8);
            table.put(path, damaged).await;
            let report = table.verify().await;
            assert!(!report.complete, "byte {at} of {path}");
            assert_eq!(report.files.len(), 1, "byte {at} of {path}");
            let file = &report.files[0];
            assert_eq!(file.path, index);
            match &file.fault {
                Fault::Content(reason) => assert!(reason.contains(&json), "{reason}"),
                fault => assert!(matches!(fault, Fault::Checksum { .. }) && path == &index, "{fault:?}"),
            }
        }
        table.put(path, sound.to_vec()).await;
    }
    Table::assert_found(&table.verify().await, 0, 0, 0);
}

#[tokio::test]
async fn a_file_of_another_length_is_found_though_its_members_are_sound() {
    let table = table(1).await;
    let path = members(&table, 0).await[0].path.to_string();
    let mut bytes = table.get(&path).await.to_vec();
    bytes.extend_from_within(..);
    table.put(&path, bytes).await;
    let report = table.verify().await;
    assert_eq!((report.complete, report.files.len()), (false, 1));
    assert!(report.to_string().contains(&path), "{report}");
}

#[tokio::test]
async fn a_doubled_member_is_named_with_its_host_and_numbers() {
    let mut table = table(2).await;
    // The same index under another name.
    let index = table.files().await.remove(0);
    let copy = "date=2026-01-02/00000000-0000-4000-8000-000000000000.parquet";
    let bytes = table.get(&index.path).await;
    table.put(copy, bytes.to_vec()).await;
    let stats = FileStats { records: 0, ..index.stats.clone().unwrap() };
    let file = DataFile { path: copy.into(), size: index.size, date: date(2026, 1, 2), stats, crc32c: index.crc32c };
    table.commit_files(&[file], &[(stream(9), 1)]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 300, 0);
    let (host, found) = report.streams().next().unwrap();
    assert_eq!((host, found.doubled[0].first, found.doubled[0].last), (HOSTS[0], 0, 99));
    assert_eq!(
        found.doubled[0].files,
        [copy.to_owned(), index.path]
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn what_was_lost_or_removed_with_a_reason_is_not_missing() {
    let mut table = Table::of(FileFormat::Json).await;
    let first = table.block(0, &plain(50));
    table.commit(&[first]).await;
    let skipped = table.block(0, &plain(10));
    let told = table.block(0, &[lost(stream(0), 50, 59, "drop_oldest")]);
    drop(skipped);
    table.commit(&[told]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.streams().next().unwrap().1.missing_by_reason["drop_oldest"], 10);

    let mut settings = Settings::from(&Sink::at("memory://"));
    settings.retention = Retention { max_age: Some(std::time::Duration::from_secs(24 * 3600)), ..Retention::default() };
    let more = table.block(1, &plain(20));
    table.commit(&[more]).await;
    let done = retain(&table.store, &settings, false, &Control::default()).await.unwrap();
    assert_eq!(done.rows_removed, 50 + 1 + 20);
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(records(&table.store).await, 4, "a word for each range, and for what it had lost");
}

async fn records(store: &Store) -> u64 {
    let files = Snapshot::load(store).await.unwrap().files;
    let listed = listed_files(store, &files).await.unwrap();
    listed.iter().map(|file| file.stats.as_ref().unwrap().records).sum()
}

//! What may be missing: by loss records, by blocks that were set aside.

use std::time::Duration;

use arrow_array::cast::AsArray;
use logboom_config::{Globs, Sink};
use logboom_sink::FileFormat;
use logboom_sink::maintain::{Control, RetentionRule, Settings, retain};
use logboom_sink::paths::Name;
use logboom_sink::table::SnapshotFile;
use logboom_sink::verify::Scope;
use logboom_wire::loss;

use crate::verify::table::{HOSTS, START, Table, lost, plain, stream};

#[tokio::test]
async fn a_gap_that_a_loss_record_covers_is_explained_and_the_rest_of_it_is_not() {
    let mut table = Table::new().await;
    let first = table.block(0, &plain(100));
    table.commit(&[first]).await;
    let dropped = table.block(0, &plain(50));
    let mut rows = plain(10);
    rows.push(lost(stream(0), 100, 139, "drop_oldest"));
    let third = table.block(0, &rows);
    drop(dropped);
    table.commit(&[third]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 10, 0, 0);
    assert_eq!(report.explained()["drop_oldest"], 40);
    let missing: Vec<_> = report.hosts[0].streams[0].missing.iter().map(|m| (m.first, m.last, &m.reason)).collect();
    assert_eq!(missing, [(100, 139, &Some("drop_oldest".to_owned())), (140, 149, &None)]);
    // The rest is explained by a later stream of the host.
    let rest = table.block(1, &[lost(stream(0), 140, 149, "damaged")]);
    table.commit(&[rest]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.explained()["damaged"], 10);
}

#[tokio::test]
async fn a_loss_record_of_what_arrived_after_all_does_no_harm() {
    let mut table = Table::of_commits(2).await;
    let again = table.block(0, &[lost(stream(0), 50, 120, "drop_oldest"), lost(stream(1), 0, 199, "drop_oldest")]);
    table.commit(&[again]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert!(report.explained().is_empty());
}

#[tokio::test]
async fn what_a_producer_says_of_losses_does_not_count() {
    let mut table = Table::new().await;
    let first = table.block(0, &plain(100));
    drop(table.block(0, &plain(50)));
    let last = table.block(0, &plain(10));
    table.commit(&[first, last]).await;
    // The same text under the same category, from a source of its own.
    let mut rows = plain(1);
    rows.push(lost(stream(0), 100, 149, "forged"));
    let told = table.block(1, &rows);
    let path = table.commit(&[told]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    let rows = table.rows(&path).await;
    let at = rows.schema().index_of("source").unwrap();
    let mut columns = rows.columns().to_vec();
    columns[at] = std::sync::Arc::new(arrow_array::StringArray::from(vec!["in"; rows.num_rows()]));
    let forged = arrow_array::RecordBatch::try_new(rows.schema(), columns).unwrap();
    let bytes = crate::verify::table::parquet(&forged);
    let (size, sum) = (bytes.len(), logboom_sink::checksum::to_text(crc32c::crc32c(&bytes)));
    table.put(&path, bytes).await;
    table
        .edit_add(&path, |add| {
            add["size"] = size.into();
            add["tags"][logboom_sink::checksum::TAG] = sum.clone().into();
        })
        .await;
    Table::assert_found(&table.verify().await, 50, 0, 0);
}

#[tokio::test]
async fn a_block_that_was_set_aside_explains_its_gap() {
    let mut table = Table::new().await;
    let first = table.block(0, &plain(100));
    let bad = table.block(0, &plain(50));
    let last = table.block(0, &plain(10));
    table.commit(&[first, last]).await;
    let name = Name::Rejected { stream: stream(0), block: bad.header().number };
    let before = table.verify().await;
    Table::assert_found(&before, 50, 0, 0);
    table.store.put(name, bad.bytes().clone()).await.unwrap();
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    let reason = &report.hosts[0].streams[0].missing[0].reason;
    assert!(reason.as_ref().unwrap().contains(&name.to_string()), "{reason:?}");
}

#[tokio::test]
async fn records_that_never_had_a_number_are_summed_up_by_host_and_reason() {
    let mut table = Table::new().await;
    let count = |reason: &str, records: u64| {
        (loss::CATEGORY, vec![(loss::REASON, reason.to_owned()), (loss::RECORDS, records.to_string())])
    };
    let blocks = [
        table.block(0, &[count("rule:noise/drop", 5), count("refused_full", 1)]),
        table.block(0, &[count("rule:noise/drop", 7)]),
        table.block(1, &[count("rule:noise/drop", 1)]),
    ];
    table.commit(&blocks).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.hosts[0].unnumbered["rule:noise/drop"], 12);
    assert_eq!((report.hosts[0].unnumbered["refused_full"], report.hosts[1].unnumbered["rule:noise/drop"]), (1, 1));
    let report = table.verify_in(Scope { host: Some(HOSTS[1].into()), ..Scope::default() }).await;
    assert_eq!((report.hosts.len(), report.hosts[0].unnumbered.len()), (1, 1));
}

#[tokio::test]
async fn what_retention_removes_is_explained_also_when_the_explanation_is_removed_in_its_turn() {
    use logboom_sink::table::DataFile;
    use logboom_sink::verify::Removed;
    use logboom_sink::{FileSettings, Store};
    use std::collections::BTreeSet;

    async fn tell(store: &Store, files: &[SnapshotFile], categories: Option<&BTreeSet<String>>) -> Vec<DataFile> {
        let settings = FileSettings { target_file_size: 1 << 30, ..FileSettings::from(&Sink::at("memory://")) };
        let removed = Removed { files, categories, format: FileFormat::Parquet };
        removed.tell(store, jiff::civil::date(2026, 2, 2), (START + 9_999_999) * 1_000_000, &settings).await.unwrap()
    }

    let mut table = Table::of_commits(4).await;
    let files = table.files().await;
    // The first file goes as a whole; of the second one category does.
    let told = tell(&table.store, &files[..1], None).await;
    table.commit_files(&told, &[(stream(90), 1)]).await;
    table.remove(&files[0].path).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.explained(), [("retention", 300)].into());

    let nginx = BTreeSet::from(["nginx".to_owned()]);
    let told_too = tell(&table.store, &files[1..2], Some(&nginx)).await;
    table.commit_files(&told_too, &[(stream(91), 1)]).await;
    table.rewrite(&files[1].path, |rows, row| rows["category"].as_string::<i32>().value(row) != "nginx").await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.explained(), [("retention", 450)].into());

    // The explanations grow old as well.
    let old: Vec<_> = table.files().await.into_iter().filter(|file| file.path.starts_with("date=2026-02")).collect();
    assert_eq!(old.len(), 2);
    let again = tell(&table.store, &old, None).await;
    assert_eq!(again.len(), 1);
    table.commit_files(&again, &[(stream(92), 1)]).await;
    for file in old {
        table.remove(&file.path).await;
    }
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.explained(), [("retention", 450)].into());
}

#[tokio::test]
async fn retention_leaves_a_table_that_is_complete() {
    let table = Table::of_commits(2).await;
    let mut settings = Settings::from(&Sink::at("memory://"));
    let categories = Globs::new(["nginx"]).unwrap();
    settings.retention.rules = vec![RetentionRule { categories, max_age: Duration::from_secs(24 * 60 * 60) }];
    for removed in [300, 600] {
        retain(&table.store, &settings, false, &Control::default()).await.unwrap();
        let report = table.verify().await;
        Table::assert_found(&report, 0, 0, 0);
        assert_eq!(report.explained(), [("retention", removed)].into());
        // And then the rest.
        settings.retention.max_age = Some(Duration::from_secs(24 * 60 * 60));
    }
}

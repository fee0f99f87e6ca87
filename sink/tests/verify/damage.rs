//! Rows and files that are missing, damaged or there twice.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use jiff::civil::date;
use logboom_sink::table::{DataFile, FileStats, write_checkpoint};
use logboom_sink::verify::{Fault, Scope};
use object_store::ObjectStoreExt;

use crate::verify::table::{HOSTS, Table, parquet, stream};

#[tokio::test]
async fn a_sound_table_is_complete_also_after_a_checkpoint() {
    let table = Table::of_commits(3).await;
    for _ in 0..2 {
        let report = table.verify().await;
        Table::assert_found(&report, 0, 0, 0);
        assert_eq!((report.tables[0].files, report.tables[0].summed), (3, 3), "checksums are in the log");
        assert_eq!(report.streams().count(), 3);
        assert!(report.streams().all(|(_, stream)| (stream.first, stream.last, stream.records) == (0, 299, 300)));
        write_checkpoint(&table.store).await.unwrap();
        // The checkpoint alone says what the table is.
        for version in 0..3 {
            let name = logboom_sink::paths::Name::Commit(version);
            let _ = table.store.objects().delete(&name.path()).await;
        }
    }
}

#[tokio::test]
async fn a_removed_row_is_named_by_host_stream_and_number() {
    let table = Table::of_commits(3).await;
    let path = table.files().await[1].path.clone();
    let gone = stream(1).to_string();
    table
        .rewrite(&path, |rows, row| {
            let seq = rows["seq"].as_primitive::<Int64Type>().value(row);
            rows["stream"].as_string::<i32>().value(row) != gone || (seq != 150 && seq != 151)
        })
        .await;
    for quick in [true, false] {
        let report = table.verify_in(Scope { quick, ..Scope::default() }).await;
        Table::assert_found(&report, 2, 0, 0);
        let (host, found) = report.streams().find(|(_, stream)| stream.unexplained > 0).unwrap();
        assert_eq!((host, found.stream), (HOSTS[1], stream(1)));
        assert_eq!((found.missing[0].first, found.missing[0].last, found.missing.len()), (150, 151, 1));
        assert!(found.missing[0].between.0.is_some() && found.missing[0].between.0 < found.missing[0].between.1);
        let text = report.to_string();
        assert!(text.contains(HOSTS[1]) && text.contains(&gone) && text.contains("missing 150 to 151"), "{text}");
    }
}

#[tokio::test]
async fn a_doubled_row_is_named_with_the_files_that_hold_it() {
    let mut table = Table::of_commits(2).await;
    let first = table.files().await[0].path.clone();
    let rows = table.rows(&first).await;
    let at = (0..rows.num_rows()).find(|row| rows["stream"].as_string::<i32>().value(*row) == stream(2).to_string());
    let bytes = parquet(&rows.slice(at.unwrap(), 1));
    let seq = rows["seq"].as_primitive::<Int64Type>().value(at.unwrap()) as u64;
    let path = "date=2026-01-02/00000000-0000-4000-8000-000000000000.parquet";
    let stats = FileStats { records: 1, ..FileStats::default() };
    let (size, crc32c) = (bytes.len() as u64, Some(crc32c::crc32c(&bytes)));
    table.put(path, bytes).await;
    let file = DataFile { path: path.into(), size, date: date(2026, 1, 2), stats, crc32c };
    table.commit_files(&[file], &[(stream(9), 1)]).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 1, 0);
    let (host, found) = report.streams().find(|(_, stream)| stream.doubled_records > 0).unwrap();
    assert_eq!((host, found.stream, found.doubled[0].first, found.doubled[0].last), (HOSTS[2], stream(2), seq, seq));
    let mut files = vec![path.to_owned(), first];
    files.sort();
    assert_eq!(found.doubled[0].files, files);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_found_and_what_the_file_held_is_named() {
    let table = Table::of_commits(2).await;
    let path = table.files().await[1].path.clone();
    let sound = table.get(&path).await;
    let mut readable = 0;
    for at in (0..sound.len()).step_by(37).chain([sound.len() - 1]) {
        let mut damaged = sound.to_vec();
        damaged[at] ^= 1 << (at % 8);
        table.put(&path, damaged).await;
        let report = table.verify().await;
        assert!(!report.complete, "byte {at}");
        assert_eq!(report.files.len(), 1, "byte {at}");
        let file = &report.files[0];
        assert_eq!(file.path, path);
        assert!(matches!(file.fault, Fault::Checksum { .. }), "{:?}", file.fault);
        assert_eq!((file.records, &file.hosts), (Some(300), &Some((HOSTS[0].into(), HOSTS[2].into()))));
        if !file.held.is_empty() {
            readable += 1;
            assert_eq!(file.held.len(), 3);
            assert!(file.held.iter().all(|held| held.records == 100 || at > 0));
        }
    }
    assert!(readable > 0, "bodies are not needed to tell what was in the file");
    table.put(&path, sound.to_vec()).await;
    Table::assert_found(&table.verify().await, 0, 0, 0);
}

#[tokio::test]
async fn a_missing_object_is_named_and_so_is_the_gap_that_it_leaves() {
    let table = Table::of_commits(3).await;
    let path = table.files().await[1].path.clone();
    table.store.objects().delete(&path.as_str().into()).await.unwrap();
    for quick in [true, false] {
        let report = table.verify_in(Scope { quick, ..Scope::default() }).await;
        Table::assert_found(&report, 300, 0, 1);
        assert_eq!((&report.files[0].path, &report.files[0].fault), (&path, &Fault::Missing));
        for (host, found) in report.streams() {
            assert!(HOSTS.contains(&host));
            assert_eq!((found.missing[0].first, found.missing[0].last), (100, 199));
        }
    }
}

#[tokio::test]
async fn a_missing_file_that_held_the_ends_of_streams_leaves_no_gap_but_they_are_named() {
    let table = Table::of_commits(3).await;
    let path = table.files().await[2].path.clone();
    table.store.objects().delete(&path.as_str().into()).await.unwrap();
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 1);
    let ends: Vec<_> = report.files[0].ends.iter().map(|end| (end.host.as_deref(), end.stream, end.last)).collect();
    let expected: Vec<_> = (0..3).map(|n| (Some(HOSTS[n]), stream(n as u8), Some(199))).collect();
    assert_eq!(ends, expected);
    let text = report.to_string();
    assert!(text.contains(&format!("{}, stream {}, also from 200 on", HOSTS[1], stream(1))), "{text}");
}

#[tokio::test]
async fn a_truncated_file_and_one_that_was_swapped_for_another_are_found() {
    let table = Table::of_commits(3).await;
    let files = table.files().await;
    let (first, second) = (table.get(&files[0].path).await, table.get(&files[1].path).await);
    table.put(&files[1].path, second[..second.len() - 1].to_vec()).await;
    for quick in [true, false] {
        let report = table.verify_in(Scope { quick, ..Scope::default() }).await;
        Table::assert_found(&report, 300, 0, 1);
        assert!(matches!(report.files[0].fault, Fault::Length { .. }));
    }
    table.put(&files[1].path, first.to_vec()).await;
    let report = table.verify().await;
    assert_eq!((report.files.len(), report.doubled()), (1, 0));
}

#[tokio::test]
async fn a_log_that_says_something_else_than_the_file_is_found() {
    for (column, value) in
        [("host", "web-2"), ("category", "b"), ("observed_timestamp", "2026-01-01T00:00:01.000Z"), ("records", "299")]
    {
        let table = Table::of_commits(2).await;
        let path = table.files().await[0].path.clone();
        table
            .edit_add(&path, |add| {
                let mut stats: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
                match column {
                    "records" => stats["numRecords"] = value.parse::<u64>().unwrap().into(),
                    _ => stats["maxValues"][column] = value.into(),
                }
                add["stats"] = stats.to_string().into();
            })
            .await;
        let report = table.verify_in(Scope { quick: true, ..Scope::default() }).await;
        assert_eq!((report.complete, report.files.len()), (false, 1), "{column}");
        let Fault::Content(reason) = &report.files[0].fault else { panic!("{column}: {:?}", report.files[0]) };
        assert!(reason.contains(if column == "records" { "299" } else { column }), "{reason}");
    }
}

#[tokio::test]
async fn a_file_of_ours_that_is_not_sorted_is_found_and_one_of_others_need_not_be() {
    let table = Table::of_commits(2).await;
    let path = table.files().await[0].path.clone();
    let rows = table.rows(&path).await;
    let turned = turned_around(&rows);
    let bytes = parquet(&turned);
    let (size, sum) = (bytes.len(), logboom_sink::checksum::to_text(crc32c::crc32c(&bytes)));
    table.put(&path, bytes).await;
    table
        .edit_add(&path, |add| {
            add["size"] = size.into();
            add["tags"][logboom_sink::checksum::TAG] = sum.clone().into();
        })
        .await;
    let report = table.verify().await;
    assert!(matches!(&report.files[0].fault, Fault::Content(reason) if reason.contains("not sorted")), "{report}");
    table.edit_add(&path, |add| drop(add.as_object_mut().unwrap().remove("tags"))).await;
    let report = table.verify().await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.tables[0].summed, 1);
}

/// The second half of the rows, then the first.
fn turned_around(rows: &arrow_array::RecordBatch) -> arrow_array::RecordBatch {
    let half = rows.num_rows() / 2;
    let columns = rows.columns().iter().map(|column| {
        let data = column.to_data();
        let mut turned = arrow_data::transform::MutableArrayData::new(vec![&data], false, rows.num_rows());
        turned.try_extend(0, half, rows.num_rows()).unwrap();
        turned.try_extend(0, 0, half).unwrap();
        arrow_array::make_array(turned.freeze())
    });
    arrow_array::RecordBatch::try_new(rows.schema(), columns.collect()).unwrap()
}

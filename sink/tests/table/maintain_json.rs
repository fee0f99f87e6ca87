//! Maintenance of tables whose sink files are JSON: the index is what the log knows, the files are what must stay.

use std::collections::BTreeSet;
use std::time::Duration;

use logboom_sink::json::{listed_files, read_index};
use logboom_sink::maintain::{Control, Days, compact, compaction_due, retain, vacuum};
use logboom_sink::paths::Name;
use logboom_sink::table::{Snapshot, SnapshotFile};
use logboom_sink::{FileFormat, Store};
use object_store::ObjectStoreExt;

use crate::table::bed::*;
use crate::table::collector::{folder, memory, names};
use crate::table::maintain::fill;

async fn bed(store: Store) -> Bed {
    fill(Bed::of(store, FileFormat::Json).await).await
}

async fn indexes(store: &Store) -> Vec<SnapshotFile> {
    Snapshot::load(store).await.unwrap().files
}

/// The JSON files of the newest version.
async fn live(store: &Store) -> BTreeSet<String> {
    let listed = listed_files(store, &indexes(store).await).await.unwrap();
    listed.into_iter().map(|file| file.path).collect()
}

/// All JSON files that there are.
async fn there(store: &Store) -> BTreeSet<String> {
    let json = names(store).await.into_iter().filter(|name| matches!(name, Name::Json { .. }));
    json.map(|name| name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_becomes_one_sorted_file_with_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), folder(&dir)] {
        let mut bed = bed(store).await;
        // As somebody has them who does not know what the table is in.
        let unaware = settings(bed.clock.clone());
        assert_eq!(unaware.files.format, FileFormat::Parquet);
        let bytes: u64 =
            listed_files(&bed.store, &indexes(&bed.store).await).await.unwrap().iter().map(|f| f.size).sum();
        let due = compaction_due(&bed.store, &unaware, Days::Due).await.unwrap();
        assert_eq!((due.len(), due.iter().map(|job| job.bytes).sum::<u64>()), (2, bytes));
        let done = compact(&bed.store, &unaware, Days::Due, &Control::default()).await.unwrap();
        assert_eq!((done.commits, done.files_before, done.files_after, done.rows), (2, 12, 2, 600));
        assert_eq!(done.bytes_before, bytes);
        bed.assert_rows().await;
        assert_eq!(live(&bed.store).await.len(), 2);
        for index in indexes(&bed.store).await {
            assert!(index.compacted);
            let members = read_index(&**bed.store.objects(), &index.path, index.size).await.unwrap();
            assert_eq!(members.len(), 4, "a category is one range");
        }
        assert_eq!(compact(&bed.store, &unaware, Days::Due, &Control::default()).await.unwrap().commits, 0);
        bed.deliver(1, day(), &[("a", 1)]).await;
        bed.assert_rows().await;
        assert_no_garbage_after_vacuum(&bed.store, &bed.settings).await;
        bed.assert_rows().await;
    }
}

#[tokio::test]
async fn little_memory_gives_the_same_rows_and_a_large_day_several_files() {
    let mut bed = Bed::of(memory(), FileFormat::Json).await;
    for n in 0..4_u8 {
        let records: Vec<(&str, i64)> =
            (0..3000).map(|k| (["x", "y"][usize::from(k > 1000)], k / 4 + i64::from(n) + 1)).collect();
        bed.deliver(n, day(), &records).await;
    }
    bed.settings.memory = 1;
    bed.settings.compact_file_size = 20_000;
    let planned = compaction_due(&bed.store, &bed.settings, Days::One(day())).await.unwrap();
    compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
    bed.assert_rows().await;
    let files = listed_files(&bed.store, &indexes(&bed.store).await).await.unwrap();
    assert_eq!(indexes(&bed.store).await.len(), 1);
    assert!(files.len() > 2 && planned[0].pieces > 2, "{} files, {planned:?}", files.len());
}

#[tokio::test]
#[expect(clippy::disallowed_types, reason = "as `zcat` reads it")]
async fn rows_go_when_they_are_too_old_for_their_category_and_so_do_their_bytes() {
    let mut bed = bed(memory()).await;
    compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
    bed.settings.retention.rules = vec![rule("debug.*", 1)];
    let planned = retain(&bed.store, &bed.settings, true, &Control::default()).await.unwrap();
    assert_eq!((planned.files_rewritten, planned.files_removed), (7, 0));
    bed.assert_rows().await;
    let done = retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.files_rewritten, done.rows_removed), (7, 600 / 50 * 12));
    assert!(done.bytes_removed > 0);
    bed.forget(|_, category| category == "debug.x");
    bed.assert_rows().await;
    assert_no_garbage_after_vacuum(&bed.store, &bed.settings).await;
    for path in there(&bed.store).await {
        let bytes = bed.store.objects().get(&path.as_str().into()).await.unwrap().bytes().await.unwrap();
        let mut lines = String::new();
        let mut gunzip = flate2::read::MultiGzDecoder::new(&bytes[..]);
        std::io::Read::read_to_string(&mut gunzip, &mut lines).unwrap();
        assert!(!lines.contains("\"category\":\"debug.x\""), "{path}");
    }

    bed.settings.retention.rules.clear();
    bed.settings.retention.max_age = Some(Duration::from_secs(24 * 60 * 60));
    let done = retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.files_removed, done.files_rewritten, done.rows_removed), (7, 0, 600 - 144));
    bed.forget(|_, _| true);
    bed.assert_rows().await;
    assert_no_garbage_after_vacuum(&bed.store, &bed.settings).await;
}

#[tokio::test]
async fn vacuum_spares_every_file_that_an_index_lists_which_a_query_may_still_read() {
    let mut bed = bed(memory()).await;
    let before = there(&bed.store).await;
    assert_eq!(before.len(), 12);
    let stray = Name::new_index(day()).listed(1);
    bed.store.put(stray, "garbage".into()).await.unwrap();

    // All of the table is old, and none of it garbage.
    bed.settings.table.vacuum_grace = Duration::ZERO;
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!(done.garbage.iter().map(|garbage| garbage.path.clone()).collect::<Vec<_>>(), [stray.to_string()]);
    bed.assert_rows().await;

    // What was merged is kept for its grace, however old the files are.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
    bed.settings.table.vacuum_grace = Duration::from_secs(1);
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (0, 24), "twelve indexes, and as many files");
    assert!(there(&bed.store).await.is_superset(&before));

    // Not if it is told to let go of it; what never was part of the table still waits.
    bed.store.put(stray, "about to be committed".into()).await.unwrap();
    bed.settings.table.vacuum_grace = Duration::from_secs(3600);
    bed.settings.removed_grace = Some(Duration::ZERO);
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (24, 1));
    let mut left = live(&bed.store).await;
    left.insert(stray.to_string());
    assert_eq!(there(&bed.store).await, left);
    bed.assert_rows().await;
}

#[tokio::test]
async fn vacuum_deletes_nothing_where_an_index_cannot_be_read() {
    let mut bed = bed(memory()).await;
    bed.settings.table.vacuum_grace = Duration::ZERO;
    let stray = Name::new_index(day()).listed(1);
    bed.store.put(stray, "garbage".into()).await.unwrap();
    let victim = indexes(&bed.store).await.remove(0);
    let path = victim.path.as_str().into();
    bed.store.objects().put(&path, vec![7_u8; victim.size as usize].into()).await.unwrap();
    let before = names(&bed.store).await;
    let error = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap_err();
    assert!(error.to_string().contains(&victim.path), "{error}");
    bed.store.objects().delete(&path).await.unwrap();
    vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap_err();
    assert!(there(&bed.store).await.contains(&stray.to_string()));
    assert_eq!(names(&bed.store).await.len(), before.len() - 1);
}

#[tokio::test]
async fn a_damaged_member_or_index_stops_its_day_only() {
    for damage_index in [false, true] {
        let bed = bed(memory()).await;
        let index = indexes(&bed.store).await.into_iter().find(|file| file.date == day()).unwrap();
        let members = read_index(&**bed.store.objects(), &index.path, index.size).await.unwrap();
        let victim = if damage_index { index.path.clone() } else { members[0].path.to_string() };
        let path = victim.as_str().into();
        let mut bytes = bed.store.objects().get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        // In the middle of what it says, or in the checksum behind the last of its rows.
        let at = if damage_index { bytes.len() - 20 } else { bytes.len() - 5 };
        bytes[at] ^= 4;
        bed.store.objects().put(&path, bytes.into()).await.unwrap();
        let error = compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap_err();
        assert!(error.to_string().contains(&victim), "{error}");
        let left = indexes(&bed.store).await;
        assert_eq!(left.iter().filter(|file| file.date == day()).count(), 6);
        assert_eq!(left.len(), 7, "the other day is compacted all the same");
    }
}

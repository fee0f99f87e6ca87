//! Compaction, retention, vacuum and the lease on real sink files.

use std::time::Duration;

use jiff::civil::date;
use logboom_sink::maintain::{
    Compacted, Control, Days, Lease, LeaseSettings, Retained, Standing, compact, compaction_due, retain, vacuum,
};
use logboom_sink::paths::Name;
use logboom_sink::table::{Batch, Outcome, Snapshot, SnapshotFile, View, clean_up, commit, write_checkpoint};
use logboom_sink::{Error, FileWriter, Store};
use logboom_wire::loss;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::table::bed::*;
use crate::table::collector::{
    Collector, assert_once, blocks, folder, marks, memory, names, options, put_file, stream, without_retention,
};
use crate::table::faulty::{Faulty, StalledClock, gate};

async fn files(store: &Store) -> Vec<logboom_sink::table::SnapshotFile> {
    Snapshot::load(store).await.unwrap().files
}

/// Two days of several streams, with times that overlap, are equal, and come in no order.
async fn two_days(store: Store) -> Bed {
    fill(Bed::new(store).await).await
}

/// Commits a file whose rows are in the wrong order. Returns its path.
async fn unsorted_file(bed: &mut Bed) -> String {
    let mut other = Bed::new(memory()).await;
    other.deliver(1, day(), &[("a", 1), ("b", 2)]).await;
    let sorted = other.store.objects().get(&files(&other.store).await[0].path.as_str().into()).await.unwrap();
    let mut rows = ParquetRecordBatchReaderBuilder::try_new(sorted.bytes().await.unwrap()).unwrap().build().unwrap();
    let rows = rows.next().unwrap().unwrap();
    let begun = bed.view.begin_files();
    let mut writer = FileWriter::new(bed.store.clone(), day(), bed.settings.files.clone());
    writer.write(&rows.slice(1, 1)).await.unwrap();
    writer.write(&rows.slice(0, 1)).await.unwrap();
    let files = writer.finish().await.unwrap();
    let outcome = commit(&mut bed.view, Batch { files: &files, marks: &[(stream(7), 1)], begun }).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }));
    files[0].path.clone()
}

/// Puts them into a table.
pub async fn fill(mut bed: Bed) -> Bed {
    for round in 0..12_i64 {
        let n = (round % 3) as u8;
        let base = (round * 7919) % 40;
        let records: Vec<(&str, i64)> = (0..50)
            .map(|k| (["b", "a.long.category.name", "debug.x", "é"][(k % 4) as usize], base + (k * 31) % 17))
            .collect();
        bed.deliver(n, if round < 6 { day() } else { date(2026, 2, 4) }, &records).await;
    }
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_becomes_one_sorted_file_with_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), folder(&dir)] {
        let mut bed = two_days(store).await;
        assert_eq!(compaction_due(&bed.store, &bed.settings, Days::Due).await.unwrap().len(), 2);
        let done = compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
        assert_eq!((done.commits, done.files_before, done.files_after, done.rows), (2, 12, 2, 600));
        bed.assert_rows().await;
        let files = files(&bed.store).await;
        assert!(files.iter().all(|file| file.compacted) && files.len() == 2, "{files:?}");
        let again = compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
        assert_eq!(again, Compacted::default(), "nothing is due any more");
        bed.deliver(1, day(), &[("a", 1)]).await;
        bed.assert_rows().await;
        assert_no_garbage_after_vacuum(&bed.store, &bed.settings).await;
        bed.assert_rows().await;
    }
}

#[tokio::test]
async fn little_memory_gives_the_same_rows_in_the_same_order() {
    for same_moment in [false, true] {
        let mut bed = Bed::new(memory()).await;
        for n in 0..4_u8 {
            // More windows than one; and more rows of one moment than a window has.
            let time = |k: i64| if same_moment && k % 3 == 0 { 5 } else { k / 4 };
            let records: Vec<(&str, i64)> =
                (0..3000).map(|k| (["x", "y"][usize::from(k > 1000)], time(k + i64::from(n) + 1))).collect();
            bed.deliver(n, day(), &records).await;
        }
        bed.settings.memory = 1;
        compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
        assert_eq!(files(&bed.store).await.len(), 1);
        // Rows of one moment that fill a window are in no order among one another; of all others the order is whole.
        check_rows(&bed.store, &bed.rows, !same_moment).await;
    }
}

#[tokio::test]
async fn files_of_any_times_are_merged_in_order_with_any_memory() {
    for seed in 0..24 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bed = Bed::new(memory()).await;
        bed.settings.files.row_group_rows = random.random_range(20..2000);
        bed.settings.memory = 1 << random.random_range(0..24);
        let (apart, spread) = (random.random_range(0..400), random.random_range(1..600));
        for n in 0..random.random_range(2..40) {
            let rows = random.random_range(1..200);
            let record = |random: &mut StdRng| {
                let category = ["a", "b", "b.c", "d"][random.random_range(0..4)];
                (category, n * apart + random.random_range(0..spread))
            };
            let records: Vec<(&str, i64)> = (0..rows).map(|_| record(&mut random)).collect();
            bed.deliver(random.random_range(0..5), day(), &records).await;
        }
        compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
        assert_eq!(files(&bed.store).await.len(), 1, "seed {seed}");
        bed.assert_rows().await;
    }
}

#[tokio::test]
async fn a_file_that_is_not_in_order_is_refused_by_name() {
    let mut bed = Bed::new(memory()).await;
    let backwards = unsorted_file(&mut bed).await;
    bed.deliver(1, day(), &[("a", 1)]).await;
    let error = compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap_err();
    assert!(error.to_string().contains(&backwards) && error.to_string().contains("not sorted"), "{error}");
}

#[tokio::test]
async fn large_days_are_cut_into_files_of_about_the_same_size() {
    let mut bed = Bed::new(memory()).await;
    for n in 0..20_u8 {
        let records: Vec<(&str, i64)> =
            (0..500).map(|k| (["a", "b", "c", "d", "e", "f", "g"][(k % 7) as usize], k * 77 % 1000)).collect();
        bed.deliver(n, day(), &records).await;
    }
    let total: u64 = files(&bed.store).await.iter().map(|file| file.size).sum();
    bed.settings.compact_file_size = total / 4;
    let done = compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
    assert_eq!(done.files_after, 4);
    bed.assert_rows().await;
    let files = files(&bed.store).await;
    let rows: Vec<u64> = files.iter().map(|file| file.stats.as_ref().unwrap().records).collect();
    assert!(rows.iter().all(|rows| (1400..=3100).contains(rows)), "{rows:?}");
    bed.settings.compact_file_size = files.iter().map(|file| file.size).sum::<u64>() / 4;
    assert_eq!(compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap().commits, 0);
}

#[tokio::test]
async fn a_file_that_is_damaged_or_gone_stops_its_day_only() {
    for gone in [false, true] {
        let bed = two_days(memory()).await;
        let victim = files(&bed.store).await.into_iter().find(|file| file.date == day()).unwrap();
        let path = victim.path.as_str().into();
        match gone {
            true => bed.store.objects().delete(&path).await.unwrap(),
            false => {
                bed.store.objects().put(&path, vec![7_u8; victim.size as usize].into()).await.map(|_| ()).unwrap();
            }
        }
        let error = compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap_err();
        assert!(error.to_string().contains(&victim.path), "{error}");
        if !gone {
            let left = files(&bed.store).await;
            assert_eq!(left.iter().filter(|file| file.date == day()).count(), 6);
            assert_eq!(left.len(), 7, "the other day is compacted all the same");
        }
    }
}

#[tokio::test]
async fn what_is_stopped_ends_and_leaves_nothing_half_done() {
    let bed = two_days(memory()).await;
    let control = Control::default();
    control.stop();
    let error = compact(&bed.store, &bed.settings, Days::Due, &control).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(files(&bed.store).await.len(), 12);
    bed.assert_rows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rival_compactions_without_a_lease_leave_every_row_once() {
    for rivals in [2, 8] {
        let mut bed = two_days(memory()).await;
        let compactions: Vec<_> = (0..rivals)
            .map(|_| {
                let (store, settings) = (bed.store.clone(), bed.settings.clone());
                tokio::spawn(async move { compact(&store, &settings, Days::Due, &Control::default()).await.unwrap() })
            })
            .collect();
        for _ in 0..10 {
            bed.deliver(1, day(), &[("b", 3), ("a", 9)]).await;
        }
        let done = futures::future::try_join_all(compactions).await.unwrap();
        assert!(done.iter().map(|done| done.commits).sum::<u64>() >= 1, "{done:?}");
        bed.assert_rows().await;
    }
}

#[tokio::test]
async fn rows_go_when_they_are_too_old_for_their_category() {
    let mut bed = two_days(memory()).await;
    compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
    // More than 200 days have passed since, by the clock.
    bed.settings.retention.rules = vec![rule("debug.*", 1)];
    let planned = retain(&bed.store, &bed.settings, true, &Control::default()).await.unwrap();
    assert_eq!((planned.files_rewritten, planned.files_removed), (7, 0));
    bed.assert_rows().await;
    let done = retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.files_rewritten, done.rows_removed), (7, 600 / 50 * 12));
    bed.forget(|_, category| category == "debug.x");
    bed.assert_rows().await;
    assert_eq!(files(&bed.store).await.iter().filter(|file| file.compacted).count(), 1, "sorted it stays");
    let again = retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!(again, Retained::default());

    // A whole day, but what a rule keeps.
    bed.settings.retention.rules = vec![rule("b", 3650)];
    bed.settings.retention.max_age = Some(Duration::from_secs(24 * 60 * 60));
    retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    bed.forget(|_, category| category != "b");
    bed.assert_rows().await;
    bed.settings.retention.rules.clear();
    let done = retain(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.files_removed, done.files_rewritten), (7, 0), "none is written anew for that");
    let only_told = |file: &SnapshotFile| {
        file.stats.as_ref().unwrap().category.as_ref().is_some_and(|(least, most)| [least, most] == [loss::CATEGORY; 2])
    };
    assert!(files(&bed.store).await.iter().all(only_told), "what is left tells of what went");
    assert_no_garbage_after_vacuum(&bed.store, &bed.settings).await;
}

#[tokio::test]
async fn retention_and_compaction_at_once_bring_back_nothing_and_lose_nothing() {
    for _ in 0..3 {
        let mut bed = two_days(memory()).await;
        bed.settings.retention.rules = vec![rule("debug.*", 1)];
        let control = Control::default();
        let (compacted, retained) = tokio::join!(
            compact(&bed.store, &bed.settings, Days::Due, &control),
            retain(&bed.store, &bed.settings, false, &control),
        );
        compacted.unwrap();
        retained.unwrap();
        retain(&bed.store, &bed.settings, false, &control).await.unwrap();
        bed.forget(|_, category| category == "debug.x");
        bed.assert_rows().await;
    }
}

#[tokio::test]
async fn vacuum_deletes_only_what_is_ours_and_unreferenced_and_old() {
    let mut bed = two_days(memory()).await;
    let left_alone =
        ["date=2026-02-03/other.parquet", "notes.txt", "_rejected/abababababababababababababababab-1.block"];
    for path in left_alone {
        bed.store.objects().put(&path.into(), "x".into()).await.unwrap();
    }
    let stray = Name::new_data(day());
    bed.store.put(stray, "garbage".into()).await.unwrap();
    compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();

    // Within the grace nothing goes, and no version is taken for it.
    let day_of_grace = Duration::from_secs(24 * 60 * 60);
    bed.settings.table.vacuum_grace = day_of_grace;
    let version = Snapshot::load(&bed.store).await.unwrap().version;
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (0, 13));
    assert_eq!(Snapshot::load(&bed.store).await.unwrap().version, version);
    assert!(Snapshot::load_at(&bed.store, version - 1).await.is_ok());

    // A clock that is ahead deletes nothing that the store has only just got.
    bed.clock.sleep(3 * day_of_grace);
    let planned = vacuum(&bed.store, &bed.settings, true, &Control::default()).await.unwrap();
    assert_eq!(planned.garbage.len(), 13, "this is what it thinks");
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (0, 13), "and this is what the store says");

    // What was part of the table can be let go of at once; what never was may be about to be committed.
    bed.settings.removed_grace = Some(Duration::ZERO);
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (12, 1));
    assert!(bed.store.objects().head(&stray.path()).await.is_ok());
    bed.settings.table.vacuum_grace = Duration::ZERO;
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!(done.garbage.len(), 1);
    assert!(done.garbage.iter().any(|garbage| garbage.path == stray.to_string()));
    for path in left_alone {
        assert!(bed.store.objects().head(&path.into()).await.is_ok(), "{path}");
    }
    bed.assert_rows().await;
    assert_eq!(names(&bed.store).await.iter().filter(|name| matches!(name, Name::Data { .. })).count(), 2);
}

#[tokio::test]
async fn what_was_removed_lately_is_kept_for_queries_whoever_forgets_the_commit() {
    let mut bed = two_days(memory()).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
    bed.settings.table.vacuum_grace = Duration::from_secs(1);
    for checkpoint in [false, true] {
        if checkpoint {
            write_checkpoint(&bed.store).await.unwrap();
        }
        let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
        assert_eq!((done.garbage.len(), done.waiting), (0, 12), "old files, but removed just now");
    }
    bed.clock.sleep(Duration::from_secs(2));
    let done = vacuum(&bed.store, &bed.settings, false, &Control::default()).await.unwrap();
    assert_eq!((done.garbage.len(), done.waiting), (12, 0));
    bed.assert_rows().await;
}

/// A collector that writes files, and sleeps until vacuum has been there, right before its commit is put or in the put.
#[tokio::test]
async fn a_collector_that_slept_past_the_grace_commits_no_file_that_vacuum_has_deleted() {
    for in_the_put in [false, true] {
        let inner = memory();
        let faulty = Faulty::new(&inner);
        let store = faulty.store();
        let clock = StalledClock::new();
        clock.sleep(Duration::from_secs(3600));
        let mut settings = settings(clock.clone());
        settings.table.vacuum_grace = Duration::from_millis(500);
        let mut sleeper = Collector::new(&store, &settings.table).await;
        sleeper.deliver(&blocks(stream(1), [1])).await;
        let block = blocks(stream(1), [2]);
        let begun = sleeper.view.begin_files();
        let files = [put_file(&store, &block).await];
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let marks = marks(&block);
        let batch = Batch { files: &files, marks: &marks, begun };
        let sleep_and_vacuum = async || {
            clock.sleep(Duration::from_millis(1500));
            let done = vacuum(&inner, &settings, false, &Control::default()).await.unwrap();
            assert_eq!(done.garbage.len(), 1, "its file is garbage to everyone else");
        };
        let outcome = if in_the_put {
            let (fault, at_gate, open) = gate();
            faulty.next_commits([fault]);
            let meanwhile = async {
                at_gate.await.unwrap();
                sleep_and_vacuum().await;
                open.send(()).unwrap();
            };
            tokio::join!(commit(&mut sleeper.view, batch), meanwhile).0
        } else {
            sleep_and_vacuum().await;
            commit(&mut sleeper.view, batch).await
        };
        assert!(matches!(outcome, Err(Error::FilesTooOld { .. })), "{outcome:?}");
        // It writes the block anew, which is committed, and readable.
        assert_eq!(sleeper.deliver(&block).await, 1);
        assert_once(&inner, &blocks(stream(1), 1..=2)).await;
    }
}

#[tokio::test]
async fn the_log_can_be_cleaned_up_behind_maintenance() {
    let mut bed = two_days(memory()).await;
    compact(&bed.store, &bed.settings, Days::Due, &Control::default()).await.unwrap();
    write_checkpoint(&bed.store).await.unwrap();
    bed.clock.sleep(Duration::from_secs(31 * 24 * 60 * 60));
    assert!(clean_up(&bed.store, &without_retention(&bed.settings.table)).await.unwrap().deleted > 10);
    bed.assert_rows().await;
    bed.deliver(2, day(), &[("z", 1)]).await;
    bed.assert_rows().await;
    let view = View::open(&bed.store, &options()).await.unwrap();
    assert_eq!(view.mark(stream(2)), bed.view.mark(stream(2)));
}

#[tokio::test]
async fn of_those_who_want_the_lease_one_has_it_until_it_dies() {
    let store = memory();
    let clock = StalledClock::new();
    let settings = LeaseSettings { ttl: Duration::from_secs(60), clock: clock.clone() };
    let mut all: Vec<Lease> = (0..4).map(|_| Lease::new(&store, settings.clone())).collect();
    let mut standings = Vec::new();
    for lease in &mut all {
        standings.push(lease.step().await.unwrap());
    }
    assert_eq!(standings, [Standing::Held, Standing::Waiting, Standing::Waiting, Standing::Waiting]);
    for _ in 0..5 {
        clock.sleep(Duration::from_secs(40));
        assert_eq!(all[0].step().await.unwrap(), Standing::Held, "it is renewed in time");
        assert_eq!(all[1].step().await.unwrap(), Standing::Waiting);
        assert_eq!(all[2].step().await.unwrap(), Standing::Waiting);
    }
    assert_eq!(names(&store).await.len(), 1, "old ones are deleted");
    // The holder dies.
    clock.sleep(Duration::from_secs(61));
    assert_eq!(all[2].step().await.unwrap(), Standing::Held);
    assert_eq!(all[1].step().await.unwrap(), Standing::Waiting);
    assert_eq!(all[0].step().await.unwrap(), Standing::Waiting, "it is back, and no longer the one");
    all[2].release().await.unwrap();
    assert_eq!(all[3].step().await.unwrap(), Standing::Held, "no need to wait for who has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_who_take_a_lease_at_once_one_gets_it() {
    for _ in 0..20 {
        let store = memory();
        let taken = (0..8).map(|_| {
            let mut lease = Lease::new(&store, LeaseSettings::default());
            tokio::spawn(async move { lease.step().await.unwrap() })
        });
        let standings = futures::future::try_join_all(taken).await.unwrap();
        assert_eq!(standings.iter().filter(|standing| **standing == Standing::Held).count(), 1, "{standings:?}");
    }
}

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use logboom_sink::paths::Name;
use logboom_sink::table::actions::{self, Action, Txn};
use logboom_sink::table::{
    Batch, Clock, Outcome, Rewrite, Snapshot, TableOptions, View, clean_up, commit, write_checkpoint,
};
use logboom_sink::{Error, Store};
use object_store::ObjectStoreExt;

use crate::table::collector::*;
use crate::table::faulty::{Fault, Faulty, StalledClock, gate};

const MINUTES: Duration = Duration::from_secs(11 * 60);
const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);

struct Bed {
    inner: Store,
    faulty: Faulty,
    clock: Arc<StalledClock>,
    options: TableOptions,
    sleeper: Collector,
}

/// A table with one commit, and a collector that is about to stall.
async fn bed() -> Bed {
    let inner = memory();
    let faulty = Faulty::new(&inner);
    let clock = StalledClock::new();
    let options = with_clock(clock.clone());
    let mut sleeper = Collector::new(&faulty.store(), &options).await;
    sleeper.deliver(&blocks(stream(1), [1])).await;
    Bed { inner, faulty, clock, options, sleeper }
}

/// What happens meanwhile: others commit, a checkpoint is written, and the log behind it is cleaned up.
async fn others_go_on(inner: &Store, clock: &StalledClock, options: &TableOptions) {
    let mut other = Collector::new(inner, options).await;
    for number in 1..=9 {
        other.deliver(&blocks(stream(2), [number])).await;
    }
    write_checkpoint(inner).await.unwrap();
    clock.sleep(MONTH);
    let cleaned = clean_up(inner, &without_retention(options)).await.unwrap();
    assert_eq!(cleaned.kept_from, Some(other.view.version()));
    assert_eq!(commits(inner).await, [other.view.version()]);
}

/// What comes of `deliver` if `meanwhile` happens between its decision to commit and the put.
async fn asleep<T>(faulty: &Faulty, deliver: impl Future<Output = T>, meanwhile: impl Future<Output = ()>) -> T {
    let (fault, at_gate, open) = gate();
    faulty.next_commits([fault]);
    let meanwhile = async {
        at_gate.await.unwrap();
        meanwhile.await;
        open.send(()).unwrap();
    };
    tokio::join!(deliver, meanwhile).0
}

/// The commit landed where nobody reads, and its sleeper knows it and commits again.
async fn assert_not_believed(
    outcome: Option<Result<Outcome, Error>>,
    inner: &Store,
    mut sleeper: Collector,
    batch: &[Block],
) {
    assert!(inner.objects().head(&Name::Commit(2).path()).await.is_ok(), "it did land, where nobody reads");
    assert_eq!(outcome.unwrap().unwrap(), Outcome::Conflict);
    assert_eq!(View::open(inner, &options()).await.unwrap().mark(stream(1)), 1);

    // The caller filters again, finds nothing covered, and commits it all.
    assert_eq!(sleeper.view.mark(stream(1)), 1, "and nothing is acknowledged");
    assert_eq!(sleeper.deliver(batch).await, 1);
    assert_eq!(sleeper.view.version(), 11);
    inner.objects().delete(&Name::Commit(2).path()).await.unwrap();
    assert_once(inner, &[blocks(stream(1), 1..=4), blocks(stream(2), 1..=9)].concat()).await;
}

#[tokio::test]
async fn a_commit_that_was_put_where_the_log_is_cleaned_up_is_not_believed() {
    let Bed { inner, faulty, clock, options, mut sleeper } = bed().await;
    let batch = blocks(stream(1), 2..=4);
    let meanwhile = async {
        others_go_on(&inner, &clock, &options).await;
    };
    let outcome = asleep(&faulty, sleeper.try_deliver(&batch), meanwhile).await;
    assert_not_believed(outcome, &inner, sleeper, &batch).await;
}

#[tokio::test]
async fn a_commit_put_where_the_log_is_cleaned_up_without_an_answer_is_not_believed_either() {
    let Bed { inner, faulty, clock, options, mut sleeper } = bed().await;
    let (fault, at_gate, open) = gate();
    faulty.next_commits([Fault::LoseAnswer]);
    // It landed; before it is read back, the process sleeps.
    faulty.next_reads([fault]);
    let batch = blocks(stream(1), 2..=4);
    let meanwhile = async {
        at_gate.await.unwrap();
        inner.objects().delete(&Name::Commit(2).path()).await.unwrap();
        others_go_on(&inner, &clock, &options).await;
        // As if the put had come only now.
        let text =
            actions::write(&[Action::Txn(Txn { app_id: stream(1).to_string(), version: 4, last_updated: None })]);
        inner.objects().put(&Name::Commit(2).path(), text.into()).await.unwrap();
        open.send(()).unwrap();
    };
    let (outcome, ()) = tokio::join!(sleeper.deliver(&batch), meanwhile);
    assert_eq!(outcome, 1);
    assert_eq!(View::open(&inner, &options).await.unwrap().mark(stream(1)), 4);
    inner.objects().delete(&Name::Commit(2).path()).await.unwrap();
    assert_once(&inner, &[blocks(stream(1), 1..=4), blocks(stream(2), 1..=9)].concat()).await;
}

/// As a virtual machine that is resumed after a month, and goes on with the time that it had.
#[tokio::test]
async fn a_commit_is_not_believed_either_if_only_the_store_knows_how_late_it_is() {
    let Bed { inner, faulty, clock, mut sleeper, .. } = bed().await;
    let batch = blocks(stream(1), 2..=4);
    let meanwhile = async {
        faulty.pass(MONTH);
        others_go_on(&inner, &StalledClock::new(), &options()).await;
    };
    let before = clock.now();
    let outcome = asleep(&faulty, sleeper.try_deliver(&batch), meanwhile).await;
    assert_eq!(clock.now(), before);
    assert_not_believed(outcome, &inner, sleeper, &batch).await;
}

#[tokio::test]
async fn who_loses_a_version_to_a_vacuum_commits_no_files_that_are_old_by_the_clock_of_the_store() {
    for deleted in [false, true] {
        let Bed { inner, faulty, options, mut sleeper, .. } = bed().await;
        let batch = blocks(stream(1), 2..=4);
        let meanwhile = async {
            let files: Vec<_> =
                names(&inner).await.into_iter().filter(|name| matches!(name, Name::Data { .. })).collect();
            let committed: BTreeSet<_> =
                Snapshot::load(&inner).await.unwrap().files.into_iter().map(|f| f.path).collect();
            let old = files.into_iter().find(|name| !committed.contains(&name.to_string())).unwrap();
            if deleted {
                inner.objects().delete(&old.path()).await.unwrap();
            } else {
                // It takes so long that a vacuum counts the file as garbage.
                faulty.pass(options.vacuum_grace);
            }
            let mut view = View::open(&faulty.store(), &options).await.unwrap();
            let fence = Rewrite::fence(&view);
            assert_eq!(commit(&mut view, fence).await.unwrap(), Outcome::Committed { version: 2 });
        };
        let outcome = asleep(&faulty, sleeper.try_deliver(&batch), meanwhile).await;
        assert!(matches!(outcome, Some(Err(Error::FilesTooOld { .. }))), "{outcome:?}");
        assert_eq!(sleeper.deliver(&batch).await, 1);
        assert_once(&inner, &blocks(stream(1), 1..=4)).await;
    }
}

/// As the test above, but the view has come past the vacuum before the commit begins: after a commit without an answer,
/// say.
#[tokio::test]
async fn whose_view_has_come_past_a_vacuum_commits_no_files_that_are_old_by_the_clock_of_the_store() {
    for deleted in [false, true] {
        let Bed { inner, faulty, options, mut sleeper, .. } = bed().await;
        let batch = blocks(stream(1), 2..=4);
        let begun = sleeper.view.begin_files();
        let files = [put_file(&faulty.store(), &batch).await];
        if deleted {
            inner.objects().delete(&files[0].path.as_str().into()).await.unwrap();
        } else {
            faulty.pass(options.vacuum_grace);
        }
        let mut view = View::open(&faulty.store(), &options).await.unwrap();
        let fence = Rewrite::fence(&view);
        assert_eq!(commit(&mut view, fence).await.unwrap(), Outcome::Committed { version: 2 });

        sleeper.view.refresh().await.unwrap();
        assert_eq!(sleeper.view.version(), 2);
        let outcome = commit(&mut sleeper.view, Batch { files: &files, marks: &marks(&batch), begun }).await;
        assert!(matches!(outcome, Err(Error::FilesTooOld { .. })), "{outcome:?}");
        assert_eq!(sleeper.deliver(&batch).await, 1);
        assert_once(&inner, &blocks(stream(1), 1..=4)).await;
    }
}

#[tokio::test]
async fn a_slow_commit_that_readers_do_see_is_committed() {
    let Bed { inner, faulty, clock, mut sleeper, .. } = bed().await;
    let batch = blocks(stream(1), 2..=4);
    let meanwhile = async {
        clock.sleep(MINUTES);
    };
    let outcome = asleep(&faulty, sleeper.try_deliver(&batch), meanwhile).await;
    assert_eq!(outcome.unwrap().unwrap(), Outcome::Committed { version: 2 });
    assert_eq!(sleeper.view.mark(stream(1)), 4);
    assert_once(&inner, &blocks(stream(1), 1..=4)).await;
}

#[tokio::test]
async fn a_slow_commit_whose_blocks_another_committed_is_one_copy() {
    let Bed { inner, faulty, clock, options, mut sleeper } = bed().await;
    let batch = blocks(stream(1), 2..=4);
    let meanwhile = async {
        Collector::new(&inner, &options).await.deliver(&blocks(stream(1), 2..=3)).await;
        clock.sleep(MINUTES);
    };
    let commits = asleep(&faulty, sleeper.deliver(&batch), meanwhile).await;
    assert_eq!(commits, 1);
    assert_once(&inner, &blocks(stream(1), 1..=4)).await;
}

#[tokio::test]
async fn an_old_view_is_opened_anew_before_a_commit() {
    let Bed { inner, clock, options, mut sleeper, .. } = bed().await;
    others_go_on(&inner, &clock, &options).await;
    let outcome = sleeper.try_deliver(&blocks(stream(1), 2..=4)).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 11 });
    assert_once(&inner, &[blocks(stream(1), 1..=4), blocks(stream(2), 1..=9)].concat()).await;
}

#[tokio::test]
async fn an_old_view_whose_marks_have_moved_is_a_conflict() {
    let Bed { inner, clock, options, mut sleeper, .. } = bed().await;
    Collector::new(&inner, &options).await.deliver(&blocks(stream(1), 2..=3)).await;
    others_go_on(&inner, &clock, &options).await;
    let outcome = sleeper.try_deliver(&blocks(stream(1), 2..=4)).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Conflict);
    assert_eq!(sleeper.deliver(&blocks(stream(1), 2..=4)).await, 1);
    assert_once(&inner, &[blocks(stream(1), 1..=4), blocks(stream(2), 1..=9)].concat()).await;
}

#[tokio::test]
async fn what_another_sleeper_put_where_the_log_is_cleaned_up_moves_no_mark() {
    for asleep_while_reading in [false, true] {
        let Bed { inner, faulty, clock, options, mut sleeper } = bed().await;
        let stray =
            actions::write(&[Action::Txn(Txn { app_id: stream(1).to_string(), version: 7, last_updated: None })]);
        let stray_put = async || inner.objects().put(&Name::Commit(2).path(), stray.clone().into()).await.unwrap();
        if asleep_while_reading {
            let (fault, at_gate, open) = gate();
            faulty.next_reads([fault]);
            let meanwhile = async {
                at_gate.await.unwrap();
                others_go_on(&inner, &clock, &options).await;
                stray_put().await;
                open.send(()).unwrap();
            };
            let (refreshed, ()) = tokio::join!(sleeper.view.refresh(), meanwhile);
            refreshed.unwrap();
        } else {
            others_go_on(&inner, &clock, &options).await;
            stray_put().await;
            sleeper.view.refresh().await.unwrap();
        }
        assert_eq!((sleeper.view.version(), sleeper.view.mark(stream(1))), (10, 1));
    }
}

#[tokio::test]
async fn a_mark_that_has_outlived_its_retention_is_not_forgotten_by_who_knew_it() {
    let Bed { inner, clock, options, mut sleeper, .. } = bed().await;
    // A checkpoint written a month later leaves the mark out. Here: a table like ours, but without it.
    let store = memory();
    let head = inner.objects().get(&Name::Commit(0).path()).await.unwrap().bytes().await.unwrap();
    store.objects().put(&Name::Commit(0).path(), head.into()).await.unwrap();
    Collector::new(&store, &options).await.deliver(&blocks(stream(3), [1])).await;
    write_checkpoint(&store).await.unwrap();
    for name in names(&store).await {
        let bytes = store.objects().get(&name.path()).await.unwrap().bytes().await.unwrap();
        inner.objects().put(&name.path(), bytes.into()).await.unwrap();
    }
    clock.sleep(MINUTES);
    sleeper.view.refresh().await.unwrap();
    assert_eq!((sleeper.view.mark(stream(1)), sleeper.view.mark(stream(3))), (1, 1));
}

//! Files in the place of others: rivals, lost answers, sleepers. Nobody holds a lease here.

use std::time::Duration;

use logboom_sink::table::{
    Batch, Operation, Outcome, Rewrite, Snapshot, SnapshotFile, View, clean_up, commit, write_checkpoint,
};
use logboom_sink::{Error, Store};
use object_store::ObjectStoreExt;

use crate::table::collector::*;
use crate::table::faulty::{Fault, Faulty, StalledClock, gate};

const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// What a compaction of some files would commit.
struct Plan {
    view: View,
    inputs: Vec<SnapshotFile>,
}

impl Plan {
    /// All files there are.
    async fn new(store: &Store, view: &View) -> Self {
        let view = view.clone();
        let inputs = Snapshot::load_at(store, view.version()).await.unwrap().files;
        Self { view, inputs }
    }

    /// Puts all their blocks into one file and commits that in their place.
    async fn compact(&mut self, store: &Store) -> Result<Outcome, Error> {
        let mut blocks = Vec::new();
        for file in &self.inputs {
            let text = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
            blocks.extend(str::from_utf8(&text).unwrap().lines().map(|line| {
                let (stream, number) = line.split_once(' ').unwrap();
                (stream.parse().unwrap(), number.parse().unwrap())
            }));
        }
        let begun = self.view.begin_files();
        let add = [put_file(store, &blocks).await];
        let change = Rewrite { operation: Operation::Compact, remove: &self.inputs, add: &add, compacted: true, begun };
        commit(&mut self.view, change).await
    }

    /// Takes the files out of the table.
    async fn remove(&mut self) -> Result<Outcome, Error> {
        let begun = self.view.begin_files();
        let change = Rewrite { operation: Operation::Retain, remove: &self.inputs, add: &[], compacted: false, begun };
        commit(&mut self.view, change).await
    }
}

/// A table with so many files of a block each.
async fn table(store: &Store, files: u64) -> Collector {
    let mut collector = Collector::new(store, &options()).await;
    for number in 1..=files {
        collector.deliver(&blocks(stream(1), [number])).await;
    }
    collector
}

async fn files(store: &Store) -> usize {
    Snapshot::load(store).await.unwrap().files.len()
}

#[tokio::test]
async fn a_compaction_takes_the_place_of_its_files_and_moves_no_mark() {
    let store = memory();
    let mut collector = table(&store, 5).await;
    let outcome = Plan::new(&store, &collector.view).await.compact(&store).await.unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 6 });
    assert_eq!(files(&store).await, 1);
    assert!(Snapshot::load(&store).await.unwrap().files[0].compacted);
    collector.deliver(&blocks(stream(1), 4..=7)).await;
    assert_once(&store, &blocks(stream(1), 1..=7)).await;
    write_checkpoint(&store).await.unwrap();
    assert_once(&store, &blocks(stream(1), 1..=7)).await;
    let text = store.objects().get(&logboom_sink::paths::Name::Commit(6).path()).await.unwrap().bytes().await.unwrap();
    let text = str::from_utf8(&text).unwrap();
    assert!(text.contains("\"operation\":\"OPTIMIZE\"") && !text.contains("\"txn\""), "{text}");
    assert!(text.contains("\"extendedFileMetadata\":true") && !text.contains("\"dataChange\":true"), "{text}");
}

#[tokio::test]
async fn of_two_compactions_of_the_same_files_one_lands() {
    let store = memory();
    let collector = table(&store, 5).await;
    let mut one = Plan::new(&store, &collector.view).await;
    let mut two = Plan::new(&store, &collector.view).await;
    two.inputs.truncate(1);
    assert_eq!(one.compact(&store).await.unwrap(), Outcome::Committed { version: 6 });
    assert_eq!(two.compact(&store).await.unwrap(), Outcome::Conflict, "one file in common is enough");
    assert_once(&store, &blocks(stream(1), 1..=5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_rivals_one_lands_while_blocks_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    for (store, rivals) in [(memory(), 2), (memory(), 8), (folder(&dir), 8)] {
        let mut collector = table(&store, 6).await;
        let compactions = (0..rivals).map(|n| {
            let (store, view) = (store.clone(), collector.view.clone());
            tokio::spawn(async move {
                let mut plan = Plan::new(&store, &view).await;
                // Half of them want all, the others some that overlap.
                if n % 2 == 1 {
                    plan.inputs.rotate_left(n % 6);
                    plan.inputs.truncate(4);
                }
                plan.compact(&store).await.unwrap()
            })
        });
        let compactions: Vec<_> = compactions.collect();
        for number in 7..=16 {
            collector.deliver(&blocks(stream(1), [number])).await;
        }
        let outcomes = futures::future::try_join_all(compactions).await.unwrap();
        let landed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed { .. })).count();
        assert_eq!(landed, 1, "{outcomes:?}");
        assert_once(&store, &blocks(stream(1), 1..=16)).await;
    }
}

#[tokio::test]
async fn a_compaction_does_not_bring_back_what_retention_took() {
    let store = memory();
    let collector = table(&store, 5).await;
    let mut compaction = Plan::new(&store, &collector.view).await;
    let mut retention = Plan::new(&store, &collector.view).await;
    retention.inputs.retain(|file| file.path != compaction.inputs[0].path);
    let gone = retention.inputs.split_off(1);
    assert_eq!(gone.len(), 3);
    assert_eq!(retention.remove().await.unwrap(), Outcome::Committed { version: 6 });
    assert_eq!(compaction.compact(&store).await.unwrap(), Outcome::Conflict);
    assert_eq!(files(&store).await, 4);
    // And the other way round.
    let mut compaction = Plan::new(&store, &compaction.view).await;
    let mut retention = Plan::new(&store, &compaction.view).await;
    assert!(matches!(compaction.compact(&store).await.unwrap(), Outcome::Committed { .. }));
    assert_eq!(retention.remove().await.unwrap(), Outcome::Conflict);
    assert_eq!(files(&store).await, 1);
}

#[tokio::test]
async fn a_lost_answer_to_a_compaction_is_one_copy() {
    type Faults = fn() -> Vec<Fault>;
    let faults: [(Faults, bool); 7] = [
        (|| vec![Fault::LoseAnswer], false),
        (|| vec![Fault::Hang], true),
        (|| vec![Fault::AlreadyExistsButLanded], false),
        (|| vec![Fault::Refuse, Fault::Refuse], false),
        (|| vec![Fault::AlreadyExistsButNot, Fault::AlreadyExistsButNot], false),
        (|| vec![Fault::Vanish], true),
        (|| vec![Fault::Late(Duration::from_millis(200))], true),
    ];
    for (faults, hangs) in faults {
        let inner = memory();
        let faulty = Faulty::new(&inner);
        let store = faulty.store();
        table(&inner, 5).await;
        let options = if hangs { impatient() } else { options() };
        let view = View::open(&store, &options).await.unwrap();
        let mut plan = Plan::new(&store, &view).await;
        faulty.next_commits(faults());
        let outcome = plan.compact(&store).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed { version: 6 }), "{:?}: {outcome:?}", faults());
        tokio::time::sleep(Duration::from_millis(if hangs { 300 } else { 0 })).await;
        assert_eq!(files(&inner).await, 1);
        assert_once(&inner, &blocks(stream(1), 1..=5)).await;
        assert_eq!(faulty.deleted(), []);
    }
}

#[tokio::test]
async fn a_compaction_that_was_given_up_and_lands_later_is_one_copy() {
    let inner = memory();
    let faulty = Faulty::new(&inner);
    let store = faulty.store();
    table(&inner, 5).await;
    let mut options = impatient();
    options.timing.attempts = 1;
    let view = View::open(&store, &options).await.unwrap();
    faulty.next_commits([Fault::Late(Duration::from_millis(400))]);
    let error = Plan::new(&store, &view).await.compact(&store).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    // Another goes on with what it sees; the first lands before it.
    let mut again = Plan::new(&inner, &View::open(&inner, &options).await.unwrap()).await;
    assert_eq!(again.inputs.len(), 5, "it has not landed yet");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(again.compact(&inner).await.unwrap(), Outcome::Conflict);
    assert_once(&inner, &blocks(stream(1), 1..=5)).await;
}

#[tokio::test]
async fn a_view_that_is_newer_or_older_than_the_snapshot_hides_no_rival() {
    for rival in [false, true] {
        for older in [false, true] {
            let store = memory();
            let mut collector = table(&store, 3).await;
            let before = collector.view.clone();
            collector.deliver(&blocks(stream(1), [4])).await;
            let mut plan = Plan::new(&store, &collector.view).await;
            let begun = plan.view.begin_files();
            if rival {
                let mut rival = Plan::new(&store, &collector.view).await;
                assert!(matches!(rival.compact(&store).await.unwrap(), Outcome::Committed { .. }));
            }
            collector.deliver(&blocks(stream(1), [5])).await;
            let mut view = if older { before } else { View::open(&store, &options()).await.unwrap() };
            let add = [put_file(&store, &blocks(stream(1), 1..=4)).await];
            plan.inputs.sort_by(|a, b| a.path.cmp(&b.path));
            let change =
                Rewrite { operation: Operation::Compact, remove: &plan.inputs, add: &add, compacted: true, begun };
            let outcome = commit(&mut view, change).await.unwrap();
            assert_eq!(outcome == Outcome::Conflict, rival, "{outcome:?}, rival {rival}, older {older}");
            assert_once(&store, &blocks(stream(1), 1..=5)).await;
        }
    }
}

#[tokio::test]
async fn a_compactor_who_slept_past_the_log_commits_only_what_is_still_so() {
    for rival in [false, true] {
        let store = memory();
        let clock = StalledClock::new();
        let mut options = with_clock(clock.clone());
        options.vacuum_grace = 4 * MONTH;
        let mut collector = Collector::new(&store, &options).await;
        for number in 1..=5 {
            collector.deliver(&blocks(stream(1), [number])).await;
        }
        let mut sleeper = Plan::new(&store, &collector.view).await;
        if rival {
            let mut rival = Plan::new(&store, &collector.view).await;
            assert!(matches!(rival.compact(&store).await.unwrap(), Outcome::Committed { .. }));
        }
        collector.deliver(&blocks(stream(1), 6..=7)).await;
        write_checkpoint(&store).await.unwrap();
        clock.sleep(MONTH);
        assert!(clean_up(&store, &without_retention(&options)).await.unwrap().deleted > 0);
        let outcome = sleeper.compact(&store).await.unwrap();
        assert_eq!(outcome == Outcome::Conflict, rival, "{outcome:?}, rival {rival}");
        assert_once(&store, &blocks(stream(1), 1..=7)).await;
    }
}

#[tokio::test]
async fn a_compaction_put_where_the_log_is_cleaned_up_is_not_believed() {
    let inner = memory();
    let faulty = Faulty::new(&inner);
    let store = faulty.store();
    let clock = StalledClock::new();
    let mut options = with_clock(clock.clone());
    options.vacuum_grace = 4 * MONTH;
    let mut collector = Collector::new(&inner, &options).await;
    collector.deliver(&blocks(stream(1), [1])).await;
    collector.deliver(&blocks(stream(1), [2])).await;
    let mut sleeper = Plan::new(&store, &View::open(&store, &options).await.unwrap()).await;
    let (fault, at_gate, open) = gate();
    faulty.next_commits([fault]);
    let meanwhile = async {
        at_gate.await.unwrap();
        collector.deliver(&blocks(stream(1), 3..=4)).await;
        collector.deliver(&blocks(stream(1), 5..=6)).await;
        write_checkpoint(&inner).await.unwrap();
        clock.sleep(MONTH);
        clean_up(&inner, &without_retention(&options)).await.unwrap();
        open.send(()).unwrap();
    };
    let (outcome, ()) = tokio::join!(sleeper.compact(&store), meanwhile);
    assert!(inner.objects().head(&logboom_sink::paths::Name::Commit(3).path()).await.is_ok(), "it did land");
    assert_eq!(outcome.unwrap(), Outcome::Conflict);
    inner.objects().delete(&logboom_sink::paths::Name::Commit(3).path()).await.unwrap();
    assert_once(&inner, &blocks(stream(1), 1..=6)).await;
}

#[tokio::test]
async fn files_that_waited_for_half_the_grace_are_not_committed() {
    let second = Duration::from_secs(1);
    // Of a long grace, a compaction may take half; blocks never wait for so long.
    let half_hour = 1800 * second;
    for (grace, limit) in [(600 * second, 300 * second), (100 * half_hour, half_hour)] {
        too_old(grace, limit).await;
    }
    for (age, committed) in [(50 * half_hour, true), (50 * half_hour + second, false)] {
        let store = memory();
        let clock = StalledClock::new();
        let mut options = with_clock(clock.clone());
        options.vacuum_grace = 100 * half_hour;
        let mut collector = Collector::new(&store, &options).await;
        collector.deliver(&blocks(stream(1), 1..=2)).await;
        let inputs = Snapshot::load(&store).await.unwrap().files;
        let begun = collector.view.begin_files();
        let add = [put_file(&store, &blocks(stream(1), 1..=2)).await];
        clock.sleep(age);
        let change = Rewrite { operation: Operation::Compact, remove: &inputs, add: &add, compacted: true, begun };
        let outcome = commit(&mut collector.view, change).await;
        assert_eq!(outcome.is_ok(), committed, "{outcome:?}");
        assert_once(&store, &blocks(stream(1), 1..=2)).await;
    }
}

async fn too_old(grace: Duration, limit: Duration) {
    let store = memory();
    let clock = StalledClock::new();
    let mut options = with_clock(clock.clone());
    options.vacuum_grace = grace;
    let mut collector = Collector::new(&store, &options).await;
    for (slept, committed) in [(limit, true), (limit + Duration::from_secs(1), false)] {
        let number = collector.view.mark(stream(1)) + 1;
        let block = blocks(stream(1), [number]);
        let begun = collector.view.begin_files();
        let files = [put_file(&store, &block).await];
        clock.sleep(slept);
        let marks = marks(&block);
        let outcome = commit(&mut collector.view, Batch { files: &files, marks: &marks, begun }).await;
        match committed {
            true => assert!(matches!(outcome.unwrap(), Outcome::Committed { .. })),
            false => assert!(matches!(outcome.unwrap_err(), Error::FilesTooOld { .. })),
        }
    }
    // Written anew, it goes through.
    assert_eq!(collector.deliver(&blocks(stream(1), [2])).await, 1);
    assert_once(&store, &blocks(stream(1), 1..=2)).await;
}

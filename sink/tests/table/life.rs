use std::time::Duration;

use logboom_sink::paths::Name;
use logboom_sink::table::{
    Batch, FileStats, Outcome, Snapshot, TableOptions, View, checkpoint_due, clean_up, commit, write_checkpoint,
};
use logboom_sink::{Error, Store};
use object_store::ObjectStoreExt;

use crate::table::collector::*;
use crate::table::faulty::StalledClock;

const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);

#[tokio::test]
async fn the_first_to_open_creates_the_table_and_the_second_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), folder(&dir)] {
        let error = View::open(&store, &options()).await.unwrap_err();
        assert!(matches!(error, Error::NoTable { .. }), "{error}");
        let error = Snapshot::load(&store).await.unwrap_err();
        assert!(matches!(error, Error::NoTable { .. }), "{error}");

        let first = View::open_or_create(&store, &options()).await.unwrap();
        let second = View::open_or_create(&store, &options()).await.unwrap();
        assert_eq!((first.version(), second.version()), (0, 0));
        assert_eq!(first.table_id(), second.table_id());
        assert_eq!(Snapshot::load(&store).await.unwrap().files, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_who_create_the_table_at_once_get_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), folder(&dir)] {
        let opened = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { View::open_or_create(&store, &options()).await.unwrap() })
        });
        let views = futures::future::try_join_all(opened).await.unwrap();
        assert!(views.iter().all(|view| view.table_id() == views[0].table_id()));
        assert_eq!(commits(&store).await, [0]);
    }
}

#[tokio::test]
async fn a_commit_is_in_the_snapshot_with_its_date_and_statistics() {
    let store = memory();
    let mut collector = Collector::new(&store, &options()).await;
    let mut file = put_file(&store, &[(stream(1), 1)]).await;
    file.stats = FileStats {
        records: 7,
        timestamp: Some((1_000, 2_000_000)),
        category: Some(("a\"b".into(), "ü".into())),
        ..FileStats::default()
    };
    let begun = collector.view.begin_files();
    let batch = Batch { files: &[file.clone()], marks: &[(stream(1), 1)], begun };
    let outcome = commit(&mut collector.view, batch).await.unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 1 });
    let snapshot = Snapshot::load(&store).await.unwrap();
    assert_eq!(snapshot.version, 1);
    let [found] = &snapshot.files[..] else { panic!("{snapshot:?}") };
    assert_eq!((&found.path, found.size, found.date), (&file.path, file.size, file.date));
    let stats = found.stats.clone().unwrap();
    assert_eq!((stats.records, stats.category), (7, file.stats.category));
    let (least, greatest) = stats.timestamp.unwrap();
    assert!(least <= 1_000 && greatest >= 2_000_000);
    assert_eq!(Snapshot::load_at(&store, 0).await.unwrap().files, []);
    assert!(Snapshot::load_at(&store, 2).await.is_err());
}

async fn marks_survive(store: &Store, commits_wanted: u64) {
    let clock = StalledClock::new();
    let options = with_clock(clock.clone());
    let mut collector = Collector::new(store, &options).await;
    let mut all = Vec::new();
    for number in 1..=commits_wanted {
        // One stream goes on, and each commit has a stream of its own.
        let own = logboom_wire::StreamId::from_bytes((u128::from(number) << 64).to_be_bytes());
        let batch = [(stream(1), number), (own, 5)];
        all.extend(batch);
        assert_eq!(collector.deliver(&batch).await, 1);
        if checkpoint_due(collector.view.version(), 100) {
            assert_eq!(write_checkpoint(store).await.unwrap(), collector.view.version());
        }
    }
    let check = async |when: &str| {
        let view = View::open(store, &options).await.unwrap();
        assert_eq!(view.version(), commits_wanted, "{when}");
        assert_eq!(view.marks().len() as u64, 1 + commits_wanted, "{when}");
        for (stream, number) in marks(&all) {
            assert_eq!(view.mark(stream), number, "{when}");
        }
        assert_eq!(view.mark(stream(99)), 0);
        assert_once(store, &all).await;
        assert_eq!(Snapshot::load(store).await.unwrap().version, commits_wanted);
    };
    check("from the checkpoint and the commits after it").await;

    assert_eq!(clean_up(store, &options).await.unwrap().deleted, 0, "nothing is old yet");
    clock.sleep(MONTH);
    let cleaned = clean_up(store, &without_retention(&options)).await.unwrap();
    let newest = commits_wanted / 100 * 100;
    assert_eq!(cleaned.kept_from, Some(newest));
    assert!(cleaned.deleted as u64 > newest, "{cleaned:?}");
    assert_eq!(commits(store).await.first(), Some(&newest));
    check("after the clean-up").await;
    for version in newest..=commits_wanted {
        assert_eq!(Snapshot::load_at(store, version).await.unwrap().files.len() as u64, version);
    }

    // The hint is only a hint.
    store.objects().delete(&Name::LastCheckpoint.path()).await.unwrap();
    check("without a hint").await;
    let again = clean_up(store, &without_retention(&options)).await.unwrap();
    assert_eq!(again.deleted, 0);
}

#[tokio::test]
async fn marks_and_files_survive_checkpoints_and_the_clean_up_in_memory() {
    marks_survive(&memory(), 250).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_and_files_survive_checkpoints_and_the_clean_up_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    marks_survive(&folder(&dir), 210).await;
}

#[tokio::test]
async fn a_commit_that_is_young_is_kept_with_all_it_takes_to_read_it() {
    let store = memory();
    let clock = StalledClock::new();
    let options = with_clock(clock.clone());
    let mut collector = Collector::new(&store, &options).await;
    for number in 1..=4 {
        collector.deliver(&blocks(stream(1), [number])).await;
        write_checkpoint(&store).await.unwrap();
    }
    // All objects are a second old by the store's clock, but for the commit 3.
    clock.sleep(MONTH);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let name = Name::Commit(3).path();
    let text = store.objects().get(&name).await.unwrap().bytes().await.unwrap();
    store.objects().put(&name, text.into()).await.unwrap();

    let options = TableOptions { log_retention: Duration::from_secs(1), ..options };
    let cleaned = clean_up(&store, &options).await.unwrap();
    assert_eq!(cleaned.kept_from, Some(3));
    assert_eq!(commits(&store).await, [3, 4]);
    for version in [3, 4] {
        assert_eq!(Snapshot::load_at(&store, version).await.unwrap().files.len() as u64, version);
    }
    assert_once(&store, &blocks(stream(1), 1..=4)).await;
}

#[tokio::test]
async fn a_checkpoint_that_is_there_already_is_as_good() {
    let store = memory();
    Collector::new(&store, &options()).await.deliver(&blocks(stream(1), 1..=3)).await;
    assert_eq!(write_checkpoint(&store).await.unwrap(), 1);
    assert_eq!(write_checkpoint(&store).await.unwrap(), 1);
    let due: Vec<u64> = (0..=300).filter(|version| checkpoint_due(*version, 100)).collect();
    assert_eq!(due, [100, 200, 300]);
    assert!(!checkpoint_due(5, 0));
}

#[tokio::test]
async fn an_old_hint_does_not_hide_newer_commits() {
    let store = memory();
    let clock = StalledClock::new();
    let options = with_clock(clock.clone());
    let mut collector = Collector::new(&store, &options).await;
    let mut hint = None;
    for number in 1..=6 {
        collector.deliver(&blocks(stream(1), [number])).await;
        if number % 2 == 0 {
            write_checkpoint(&store).await.unwrap();
            let name = Name::LastCheckpoint.path();
            hint = hint.or(Some(store.objects().get(&name).await.unwrap().bytes().await.unwrap()));
        }
    }
    // Its writer slept between the checkpoint and the hint: it points below all that is left.
    clock.sleep(MONTH);
    clean_up(&store, &without_retention(&options)).await.unwrap();
    store.objects().put(&Name::LastCheckpoint.path(), hint.unwrap().into()).await.unwrap();
    let view = View::open(&store, &options).await.unwrap();
    assert_eq!((view.version(), view.mark(stream(1))), (6, 6));
}

#[tokio::test]
async fn transactions_of_other_applications_are_left_to_them() {
    let store = memory();
    let mut collector = Collector::new(&store, &options()).await;
    let text = r#"{"txn":{"appId":"spark-job","version":9}}
{"txn":{"appId":"spark-job-2","version":-1}}"#;
    store.objects().put(&Name::Commit(1).path(), text.into()).await.unwrap();
    assert_eq!(collector.deliver(&blocks(stream(1), [1])).await, 1);
    assert_eq!(View::open(&store, &options()).await.unwrap().marks().len(), 1);
}

#[tokio::test]
async fn a_clock_that_runs_ahead_takes_no_commit_away_that_others_are_about_to_read() {
    let store = memory();
    let clock = StalledClock::new();
    let ahead = with_clock(clock.clone());
    clock.sleep(120 * MONTH);
    let mut collector = Collector::new(&store, &ahead).await;
    let reader = View::open(&store, &options()).await.unwrap();
    collector.deliver(&blocks(stream(1), [1])).await;
    collector.deliver(&blocks(stream(1), [2])).await;
    write_checkpoint(&store).await.unwrap();
    assert_eq!(clean_up(&store, &ahead).await.unwrap().deleted, 0);
    assert_eq!(commits(&store).await, (0..=reader.version() + 2).collect::<Vec<_>>());
}

//! What a table needs of its store, shown on each store there is.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use jiff::civil::date;
use logboom_sink::paths::{Name, PROBE_FOLDER};
use logboom_sink::store::probe::{Depth, probe};
use logboom_sink::table::{Snapshot, View, clean_up, write_checkpoint};
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::stores::server::{Kind, Server};
use crate::table::collector::*;
use crate::table::faulty::{Fault, Faulty, StalledClock};

/// The suite, on stores that `open` gives: each time another empty one, or `None` if there is no such store here.
macro_rules! conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn the_probe_finds_it_fit() {
                super::with($open, super::is_fit).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_table_lives_through_checkpoints_and_clean_up() {
                super::with($open, super::lives).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn sink_files_read_back_as_they_were_merged() {
                super::with($open, super::reads_back).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn eight_collectors_race_for_the_same_stream() {
                super::with($open, super::races).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn lost_and_false_answers_make_no_second_copy() {
                super::with($open, super::survives).await;
            }
        }
    };
}

conformance!(memory, || Some((crate::table::collector::memory(), None)));
conformance!(folder, || Some(super::fresh_folder()));
conformance!(s3_moto, || super::fresh(super::Kind::Moto));
conformance!(s3_ceph, || super::fresh(super::Kind::Ceph));
conformance!(azure_azurite, || super::fresh(super::Kind::Azurite));

/// A store, and the folder that ends with it.
type Fresh = (Store, Option<TempDir>);

async fn with<F: Future<Output = ()>>(open: impl FnOnce() -> Option<Fresh>, claim: impl FnOnce(Store) -> F) {
    // Starting a server takes its time.
    if let Some((store, _folder)) = tokio::task::block_in_place(open) {
        claim(store).await;
    }
}

fn fresh(kind: Kind) -> Option<Fresh> {
    let server = Server::get(kind)?;
    Some((Store::open(&server.fresh_url(), &server.options(server.port)).unwrap(), None))
}

fn fresh_folder() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    (Store::open(folder.path().to_str().unwrap(), &Default::default()).unwrap(), Some(folder))
}

async fn is_fit(store: Store) {
    for depth in [Depth::Start, Depth::Full] {
        let mut told = 0;
        let report = probe(&store, depth, |races| told = races).await.unwrap();
        println!("{} {depth:?}: {report:?}", store.url());
        assert_eq!((report.races, told), (depth.races(&store), depth.races(&store)));
    }
    assert_eq!(names(&store).await, [], "what it puts it deletes again");
    let left = store.objects().list_with_delimiter(Some(&PROBE_FOLDER.into())).await.unwrap();
    assert_eq!(left.objects, []);
}

async fn lives(store: Store) {
    let clock = StalledClock::new();
    let options = with_clock(clock.clone());
    let mut all = Vec::new();
    let mut one = Collector::new(&store, &options).await;
    let mut two = Collector::new(&store, &options).await;
    for number in 1..=12 {
        let (collector, of) = if number % 2 == 0 { (&mut one, 1) } else { (&mut two, 2) };
        let batch = blocks(stream(of), [number]);
        collector.view.refresh().await.unwrap();
        assert_eq!(collector.deliver(&batch).await, 1);
        all.extend(batch);
        if number % 5 == 0 {
            assert_eq!(write_checkpoint(&store).await.unwrap(), number);
        }
        if number == 10 {
            // Some stores give times in whole seconds: what comes now is newer for all of them.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    }
    let check = async |when: &str| {
        let view = View::open(&store, &options).await.unwrap();
        assert_eq!((view.version(), view.mark(stream(1)), view.mark(stream(2))), (12, 12, 11), "{when}");
        assert_once(&store, &all).await;
        assert_eq!(Snapshot::load(&store).await.unwrap().version, 12, "{when}");
    };
    check("from the checkpoint and the commits after it").await;
    clock.sleep(Duration::from_secs(31 * 24 * 60 * 60));
    let cleaned = clean_up(&store, &without_retention(&options)).await.unwrap();
    assert_eq!(cleaned.kept_from, Some(10));
    assert_eq!(commits(&store).await, [10, 11, 12]);
    check("after the clean-up").await;
    // Asleep for a month: its view is opened anew.
    assert_eq!(one.deliver(&blocks(stream(1), [13])).await, 1);
    store.objects().delete(&Name::LastCheckpoint.path()).await.unwrap();
    assert_eq!(View::open(&store, &options).await.unwrap().version(), 13);
}

async fn reads_back(store: Store) {
    let key =
        |category: &str| Arc::new(RunKey { category: category.into(), source: "source".into(), attributes: vec![] });
    let block = |of: u8, records: u64| -> Block {
        let runs = ["a", "b"].map(|category| {
            let mut rows = Rows::default();
            for n in 0..records {
                let body = format!("{category} {of} {n} {:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                rows.push(&Record {
                    timestamp: Some(n as i64),
                    observed: 7,
                    body: body.as_bytes(),
                    ..Record::default()
                });
            }
            (key(category), rows)
        });
        let place = BlockPlace { stream: stream(of), number: 1, first_record: 0, host: "host" };
        Encoder::default().encode(place, runs, vec![]).unwrap()
    };
    let blocks = [block(1, 3000), block(2, 1000)];
    let settings = FileSettings::from(&logboom_config::Sink::at("memory://"));
    let files = merge(&store, &blocks, date(2026, 1, 2), &settings).await.unwrap();
    let mut rows = 0;
    for file in &files {
        let bytes = store.objects().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let bodies = batch["body"].as_string::<i32>();
            assert!(bodies.iter().flatten().all(|body| body.starts_with("a ") || body.starts_with("b ")));
            rows += batch.num_rows();
        }
    }
    assert_eq!(rows, 8000);
}

async fn races(store: Store) {
    const ROUNDS: u64 = 4;
    let tasks = (1..=8_u8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut collector = Collector::new(&store, &options()).await;
            let mut commits = 0;
            for round in 1..=ROUNDS {
                let shared = blocks(stream(0), 1..=round);
                commits += collector.deliver(&[shared, blocks(stream(n), [round])].concat()).await;
            }
            commits
        })
    });
    let commits: usize = futures::future::try_join_all(tasks).await.unwrap().into_iter().sum();
    let mut expected = blocks(stream(0), 1..=ROUNDS);
    expected.extend((1..=8).flat_map(|n| blocks(stream(n), 1..=ROUNDS)));
    assert_once(&store, &expected).await;
    let version = View::open(&store, &options()).await.unwrap().version();
    assert_eq!(version, commits as u64, "each version is one commit that its collector knows of");
}

async fn survives(store: Store) {
    let faulty = Faulty::new(&store);
    let mut collector = Collector::new(&faulty.store(), &options()).await;
    faulty.next_commits([
        Fault::LoseAnswer,
        Fault::AlreadyExistsButLanded,
        Fault::AlreadyExistsButNot,
        Fault::Refuse,
        Fault::Refuse,
        Fault::LoseAnswer,
    ]);
    for number in 1..=6 {
        collector.deliver(&blocks(stream(1), 1..=number)).await;
    }
    assert_eq!(faulty.faults_left(), 0, "every fault has happened");
    assert_once(&store, &blocks(stream(1), 1..=6)).await;
    assert_eq!(faulty.deleted(), []);
}

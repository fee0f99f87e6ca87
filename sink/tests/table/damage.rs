use logboom_sink::paths::Name;
use logboom_sink::table::{Outcome, Snapshot, View, write_checkpoint};
use logboom_sink::{Error, Store};
use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::table::collector::*;

async fn put(store: &Store, name: Name, text: impl Into<Vec<u8>>) {
    store.objects().put(&name.path(), text.into().into()).await.unwrap();
}

async fn get(store: &Store, name: Name) -> Vec<u8> {
    store.objects().get(&name.path()).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn open(store: &Store) -> Result<View, Error> {
    View::open(store, &options()).await
}

/// A table with commits 0 to 6 and a checkpoint at 4.
async fn table() -> Store {
    let store = memory();
    let mut collector = Collector::new(&store, &options()).await;
    for number in 1..=6 {
        collector.deliver(&blocks(stream(1), [number])).await;
        if number == 4 {
            write_checkpoint(&store).await.unwrap();
        }
    }
    store
}

#[tokio::test]
async fn a_damaged_hint_is_not_needed() {
    for hint in ["", "garbage", "{}", "[]", "{\"version\":-1}", "{\"version\":5}", "{\"version\":18446744073709551615}"]
    {
        let store = table().await;
        put(&store, Name::LastCheckpoint, hint).await;
        let view = open(&store).await.unwrap_or_else(|e| panic!("{hint}: {e}"));
        assert_eq!((view.version(), view.mark(stream(1))), (6, 6), "{hint}");
    }
}

#[tokio::test]
async fn a_damaged_commit_is_named_and_nothing_is_committed() {
    let whole = get(&table().await, Name::Commit(6)).await;
    for text in [&b"garbage"[..], b"", b"{}", &whole[..whole.len() / 2], b"\x00\xff", b"{\"txn\":"] {
        let store = table().await;
        let mut before = Collector::new(&store, &options()).await;
        put(&store, Name::Commit(7), text).await;
        for error in [
            open(&store).await.unwrap_err(),
            before.view.refresh().await.unwrap_err(),
            before.try_deliver(&blocks(stream(2), [1])).await.unwrap().unwrap_err(),
        ] {
            assert!(matches!(error, Error::BadLog { .. }), "{error}");
            assert!(error.to_string().contains("00000000000000000007.json"), "{error}");
        }
        assert_eq!(before.view.version(), 6);
        assert!(Snapshot::load_at(&store, 6).await.is_ok());
    }
}

#[tokio::test]
async fn a_damaged_checkpoint_is_named() {
    let whole = get(&table().await, Name::Checkpoint(4)).await;
    let mut rng = StdRng::seed_from_u64(7);
    let mut refused = 0;
    for round in 0..200 {
        let store = table_with_checkpoint(&whole, |bytes| match round {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() / 2),
            2 => bytes.truncate(bytes.len() - 1),
            3 => *bytes = b"PAR1garbagePAR1".to_vec(),
            _ => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
        })
        .await;
        match open(&store).await {
            // The byte was in a column or a page that a view does not read, or it happened to be the same.
            Ok(view) => assert_eq!(view.version(), 6),
            Err(error) => {
                refused += 1;
                assert!(
                    error.to_string().contains("_delta_log/") || matches!(error, Error::ForeignTable { .. }),
                    "{error}"
                );
            }
        }
    }
    assert!(refused >= 4, "{refused}");
}

async fn table_with_checkpoint(whole: &[u8], damage: impl FnOnce(&mut Vec<u8>)) -> Store {
    let store = table().await;
    let mut bytes = whole.to_vec();
    damage(&mut bytes);
    put(&store, Name::Checkpoint(4), bytes).await;
    store
}

#[tokio::test]
async fn a_gap_in_the_log_is_named() {
    let store = table().await;
    store.objects().delete(&Name::Commit(5).path()).await.unwrap();
    let error = open(&store).await.unwrap_err().to_string();
    assert!(error.contains("00000000000000000005.json"), "{error}");

    let store = table().await;
    store.objects().delete(&Name::Checkpoint(4).path()).await.unwrap();
    assert_eq!(open(&store).await.unwrap().mark(stream(1)), 6, "all commits are there");
    store.objects().delete(&Name::Commit(0).path()).await.unwrap();
    let error = open(&store).await.unwrap_err().to_string();
    assert!(error.contains("00000000000000000000.json"), "{error}");
}

#[tokio::test]
async fn a_commit_that_takes_a_mark_back_is_damage() {
    for mark in [5, -6] {
        let store = table().await;
        let mut before = open(&store).await.unwrap();
        let text = format!("{{\"txn\":{{\"appId\":\"{}\",\"version\":{mark}}}}}", stream(1));
        put(&store, Name::Commit(7), text).await;
        for error in [open(&store).await.unwrap_err(), before.refresh().await.unwrap_err()] {
            assert!(error.to_string().contains(&mark.to_string()), "{error}");
        }
        assert_eq!((before.version(), before.mark(stream(1))), (6, 6), "a view is never half at a version");
    }
}

#[tokio::test]
async fn a_table_of_someone_else_is_refused() {
    let ours = String::from_utf8(get(&table().await, Name::Commit(0)).await).unwrap();
    for (theirs, named) in [
        (ours.replace("\\\"host\\\"", "\\\"machine\\\""), "no column `host`"),
        (ours.replace("\"minReaderVersion\":1", "\"minReaderVersion\":2"), "reader version 2"),
        (ours.replace("[\"date\"]", "[\"host\"]"), "partitioned"),
    ] {
        assert_ne!(theirs, ours);
        let store = memory();
        put(&store, Name::Commit(0), theirs).await;
        for result in [open(&store).await, View::open_or_create(&store, &options()).await] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("memory:") && !error.contains('\n'), "{error}");
        }
        assert_eq!(commits(&store).await, [0], "it was left alone");
    }
    let store = memory();
    put(&store, Name::Commit(0), "{\"commitInfo\":{}}").await;
    assert!(open(&store).await.unwrap_err().to_string().contains("does not say what the table is"));
}

#[tokio::test]
async fn a_change_of_the_table_by_someone_else_is_noticed() {
    let ours = String::from_utf8(get(&table().await, Name::Commit(0)).await).unwrap();
    let metadata = ours.lines().find(|line| line.contains("metaData")).unwrap();

    // A property: the batch is filtered again, and then committed.
    let store = memory();
    put(&store, Name::Commit(0), ours.clone()).await;
    let mut collector = Collector::new(&store, &options()).await;
    put(&store, Name::Commit(1), metadata.replace("interval 7 days", "interval 9 days")).await;
    let outcome = collector.try_deliver(&blocks(stream(1), [1])).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Conflict);
    assert_eq!(collector.deliver(&blocks(stream(1), [1])).await, 1);

    // The schema, the protocol, or the table itself: we stop.
    let id = collector.view.table_id().to_owned();
    for (change, named) in [
        (metadata.replace("\\\"seq\\\"", "\\\"number\\\""), "no column `seq`"),
        (metadata.replace(&id, "another"), "another table"),
        ("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":4}}".to_owned(), "writer version 4"),
    ] {
        let version = collector.view.version() + 1;
        put(&store, Name::Commit(version), change).await;
        let error = collector.try_deliver(&blocks(stream(1), [2])).await.unwrap().unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        store.objects().delete(&Name::Commit(version).path()).await.unwrap();
    }
    assert_eq!(collector.deliver(&blocks(stream(1), [2])).await, 1);
    assert_once(&store, &blocks(stream(1), 1..=2)).await;
}

use logboom_sink::Store;
use logboom_sink::table::{Outcome, View};

use crate::table::collector::*;
use crate::table::faulty::{Fault, Faulty};

#[tokio::test]
async fn of_two_collectors_with_the_same_block_one_commits_it() {
    let dir = tempfile::tempdir().unwrap();
    for store in [memory(), folder(&dir)] {
        let mut one = Collector::new(&store, &options()).await;
        let mut two = Collector::new(&store, &options()).await;
        let first = one.try_deliver(&blocks(stream(1), 1..=3)).await.unwrap().unwrap();
        let second = two.try_deliver(&blocks(stream(1), 2..=5)).await.unwrap().unwrap();
        assert_eq!(first, Outcome::Committed { version: 1 });
        assert_eq!(second, Outcome::Conflict);
        assert_eq!(two.view.mark(stream(1)), 3, "the view has moved on");
        assert_eq!(two.deliver(&blocks(stream(1), 2..=5)).await, 1);
        assert_once(&store, &blocks(stream(1), 1..=5)).await;
    }
}

#[tokio::test]
async fn batches_that_share_no_stream_just_take_the_next_version() {
    let store = memory();
    let mut one = Collector::new(&store, &options()).await;
    let mut two = Collector::new(&store, &options()).await;
    for n in 1..=5 {
        assert_eq!(one.deliver(&blocks(stream(1), [n])).await, 1);
    }
    let outcome = two.try_deliver(&blocks(stream(2), [1])).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 6 });
    assert_eq!((two.view.version(), two.view.mark(stream(1))), (6, 5), "it has read what it passed");
}

#[tokio::test]
async fn a_conflict_behind_harmless_commits_is_found() {
    let store = memory();
    let mut one = Collector::new(&store, &options()).await;
    let mut two = Collector::new(&store, &options()).await;
    for n in 1..=5 {
        one.deliver(&blocks(stream(1), [n])).await;
    }
    one.deliver(&blocks(stream(2), [1])).await;
    let outcome = two.try_deliver(&blocks(stream(2), [1, 2])).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Conflict);
    two.deliver(&blocks(stream(2), [1, 2])).await;
    assert_once(&store, &[blocks(stream(1), 1..=5), blocks(stream(2), 1..=2)].concat()).await;
}

#[tokio::test]
async fn a_lost_answer_in_a_race_is_still_one_copy() {
    for fault in [Fault::LoseAnswer, Fault::AlreadyExistsButLanded, Fault::AlreadyExistsButNot, Fault::Refuse] {
        let inner = memory();
        let faulty = Faulty::new(&inner);
        let mut one = Collector::new(&faulty.store(), &options()).await;
        let mut two = Collector::new(&inner, &options()).await;
        two.deliver(&blocks(stream(2), [1])).await;
        // The first try loses to the other's commit, the second meets the fault.
        faulty.next_commits([Fault::Delay(std::time::Duration::ZERO), fault]);
        one.deliver(&blocks(stream(1), 1..=2)).await;
        two.deliver(&[blocks(stream(1), 1..=3), blocks(stream(2), [2])].concat()).await;
        assert_once(&inner, &[blocks(stream(1), 1..=3), blocks(stream(2), 1..=2)].concat()).await;
    }
}

/// Collectors that each hold the blocks of a shared stream, in batches of their own sizes, and a stream of their own.
async fn race(store: &Store, collectors: u8, rounds: u64) {
    let tasks = (1..=collectors).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut collector = Collector::new(&store, &options()).await;
            let mut commits = 0;
            for round in 1..=rounds {
                // Several at a time, and not the same ones as the others.
                let shared = blocks(stream(0), (round.saturating_sub(u64::from(n)) + 1)..=round);
                commits += collector.deliver(&[shared, blocks(stream(n), [round])].concat()).await;
            }
            commits
        })
    });
    let commits: usize = futures::future::try_join_all(tasks).await.unwrap().into_iter().sum();
    let mut expected = blocks(stream(0), 1..=rounds);
    expected.extend((1..=collectors).flat_map(|n| blocks(stream(n), 1..=rounds)));
    assert_once(store, &expected).await;
    let view = View::open(store, &options()).await.unwrap();
    assert_eq!(view.version(), commits as u64, "each version is one commit that its collector knows of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_collectors_race_for_the_same_stream_in_memory() {
    race(&memory(), 2, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_collectors_race_for_the_same_stream_in_memory() {
    race(&memory(), 8, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_collectors_race_for_the_same_stream_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    race(&folder(&dir), 2, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_collectors_race_for_the_same_stream_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    race(&folder(&dir), 8, 6).await;
}

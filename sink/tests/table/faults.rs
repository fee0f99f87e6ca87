use std::time::Duration;

use logboom_sink::table::{Batch, Outcome, TableOptions, View, commit};
use logboom_sink::{Error, Store};

use crate::table::collector::*;
use crate::table::faulty::{Fault, Faulty};

/// Delivers blocks while the store does this to the commits; nothing may be lost, doubled or deleted.
async fn survives(inner: &Store, options: &TableOptions, faults: Vec<Fault>) {
    let faulty = Faulty::new(inner);
    let store = faulty.store();
    let mut collector = Collector::new(&store, options).await;
    let first = blocks(stream(1), 1..=3);
    collector.deliver(&first).await;

    faulty.next_commits(faults);
    let second = blocks(stream(1), 1..=7);
    collector.deliver(&second).await;
    assert_eq!(faulty.faults_left(), 0, "every fault has happened");
    assert_eq!(collector.view.mark(stream(1)), 7);
    let third = blocks(stream(1), 5..=9);
    collector.deliver(&third).await;

    assert_once(inner, &blocks(stream(1), 1..=9)).await;
    assert_eq!(faulty.deleted(), []);
    let reopened = View::open(inner, options).await.unwrap();
    assert_eq!((reopened.version(), reopened.mark(stream(1))), (collector.view.version(), 9));
}

async fn survives_everywhere(options: TableOptions, faults: impl Fn() -> Vec<Fault>) {
    survives(&memory(), &options, faults()).await;
    let dir = tempfile::tempdir().unwrap();
    survives(&folder(&dir), &options, faults()).await;
}

#[tokio::test]
async fn a_commit_that_landed_while_its_answer_was_lost_is_one_copy() {
    survives_everywhere(options(), || vec![Fault::LoseAnswer]).await;
}

#[tokio::test]
async fn a_commit_that_landed_and_was_never_answered_is_one_copy() {
    survives_everywhere(impatient(), || vec![Fault::Hang]).await;
}

#[tokio::test]
async fn a_commit_that_landed_and_exists_already_is_our_own() {
    survives_everywhere(options(), || vec![Fault::AlreadyExistsButLanded]).await;
}

#[tokio::test]
async fn a_commit_that_was_refused_is_put_again() {
    survives_everywhere(options(), || vec![Fault::Refuse, Fault::Refuse]).await;
}

#[tokio::test]
async fn a_commit_that_exists_already_but_did_not_land_is_put_again() {
    survives_everywhere(options(), || vec![Fault::AlreadyExistsButNot, Fault::AlreadyExistsButNot]).await;
}

#[tokio::test]
async fn a_commit_that_vanished_is_put_again() {
    survives_everywhere(impatient(), || vec![Fault::Vanish]).await;
}

#[tokio::test]
async fn a_commit_that_takes_its_time_is_one_copy() {
    survives_everywhere(options(), || vec![Fault::Delay(Duration::from_millis(100))]).await;
}

#[tokio::test]
async fn a_commit_that_lands_after_its_deadline_is_one_copy() {
    // It lands while the second try hangs, or before or after the third, as the machine has time.
    for late_ms in [160, 250, 320] {
        let inner = memory();
        let faulty = Faulty::new(&inner);
        let mut collector = Collector::new(&faulty.store(), &impatient()).await;
        faulty.next_commits([Fault::Late(Duration::from_millis(late_ms)), Fault::Vanish, Fault::AlreadyExistsButNot]);
        assert_eq!(collector.deliver(&blocks(stream(1), 1..=3)).await, 1);
        faulty.drop_faults();
        collector.deliver(&blocks(stream(1), 1..=5)).await;
        tokio::time::sleep(Duration::from_millis(late_ms)).await;
        assert_once(&inner, &blocks(stream(1), 1..=5)).await;
        assert_eq!(faulty.deleted(), []);
    }
}

#[tokio::test]
async fn any_run_of_faults_is_survived() {
    let faults = || {
        let mut faults = vec![];
        for _ in 0..4 {
            faults.extend([Fault::AlreadyExistsButNot, Fault::Refuse, Fault::Vanish, Fault::Refuse, Fault::Refuse]);
            faults.push(Fault::Late(Duration::from_millis(30)));
        }
        faults.push(Fault::LoseAnswer);
        faults
    };
    let mut options = impatient();
    options.timing.call_deadline = Duration::from_millis(60);
    options.timing.attempts = 4;
    let inner = memory();
    let faulty = Faulty::new(&inner);
    let mut collector = Collector::new(&faulty.store(), &options).await;
    faulty.next_commits(faults());
    let mut number = 0;
    while faulty.faults_left() > 0 {
        number += 1;
        collector.deliver(&blocks(stream(1), 1..=number)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_once(&inner, &blocks(stream(1), 1..=number)).await;
    assert_eq!(faulty.deleted(), []);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_back_is_read_until_it_can() {
    let inner = memory();
    let faulty = Faulty::new(&inner);
    let mut collector = Collector::new(&faulty.store(), &impatient()).await;
    faulty.next_commits([Fault::LoseAnswer]);
    faulty.next_reads([Fault::Refuse, Fault::Vanish, Fault::Refuse]);
    let outcome = collector.try_deliver(&blocks(stream(1), [1])).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 1 });
    assert_once(&inner, &blocks(stream(1), [1])).await;
}

#[tokio::test]
async fn whoever_gives_up_says_that_the_outcome_is_unknown_and_the_next_try_finds_out() {
    let inner = memory();
    let mut options = options();
    options.timing.attempts = 3;
    for landed in [true, false] {
        let of = stream(landed.into());
        let faulty = Faulty::new(&inner);
        let mut collector = Collector::new(&faulty.store(), &options).await;
        let version = collector.view.version();
        let first = if landed { Fault::LoseAnswer } else { Fault::Refuse };
        faulty.next_commits([first, Fault::Refuse, Fault::Refuse]);
        faulty.next_reads((0..3).map(|_| Fault::Refuse).take(if landed { 3 } else { 0 }));
        let error = collector.try_deliver(&blocks(of, [1])).await.unwrap().unwrap_err();
        let Error::OutcomeUnknown { version: tried, attempts: 3, .. } = error else { panic!("{error}") };
        assert_eq!(tried, version + 1);
        assert_eq!(collector.view.mark(of), 0, "nothing is acknowledged");

        faulty.drop_faults();
        // Even a caller who forgets to refresh gets one copy.
        if let Some(outcome) = collector.try_deliver(&blocks(of, [1])).await {
            let is_conflict = outcome.unwrap() == Outcome::Conflict;
            assert_eq!(is_conflict, landed);
        }
        assert_eq!(collector.view.mark(of), 1);
    }
    assert_once(&inner, &[(stream(0), 1), (stream(1), 1)]).await;
}

#[tokio::test]
#[should_panic(expected = "is at 3 already, the batch ends at 3")]
async fn a_batch_that_was_not_filtered_by_the_view_is_a_bug() {
    let store = memory();
    let mut collector = Collector::new(&store, &options()).await;
    collector.deliver(&blocks(stream(1), 1..=3)).await;
    let file = put_file(&store, &[(stream(1), 3)]).await;
    let begun = collector.view.begin_files();
    let _ = commit(&mut collector.view, Batch { files: &[file], marks: &[(stream(1), 3)], begun }).await;
}

//! Commits over HTTP, with a proxy that breaks what passes between the client and a real server.

use std::time::{Duration, Instant};

use hyper::Method;
use logboom_sink::Store;
use logboom_sink::paths::Name;
use logboom_sink::store::probe::{Depth, probe};
use logboom_sink::table::{Outcome, View};
use object_store::{ObjectStoreExt, PutMode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::stores::proxy::{Fault, Proxy};
use crate::stores::server::{Kind, Server};
use crate::table::collector::*;

/// A fresh table behind a proxy: the proxy, the store through it, and the store itself.
fn behind_proxy(kind: Kind) -> Option<(Proxy, Store, Store)> {
    let server = tokio::task::block_in_place(|| Server::get(kind))?;
    let proxy = Proxy::start(server.port);
    let url = server.fresh_url();
    let mut options = server.options(proxy.port);
    // A request that is not answered is given up after this.
    options.insert("timeout".into(), "500ms".into());
    let through = Store::open(&url, &options).unwrap();
    Some((proxy, through, Store::open(&url, &server.options(server.port)).unwrap()))
}

/// Does this to the next commits, one each.
fn next_commits<const N: usize>(proxy: &Proxy, faults: [Fault; N]) {
    let mut faults = faults.into_iter();
    proxy.rule(move |method, path| if is_commit(method, path) { faults.next() } else { None });
}

fn is_commit(method: &Method, path: &str) -> bool {
    *method == Method::PUT && path.contains("/_delta_log/") && path.ends_with(".json")
}

const EVERY_FAULT: [Fault; 8] = [
    Fault::InternalError,
    Fault::SlowDown,
    Fault::NoAnswer,
    Fault::Slow(Duration::from_millis(300)),
    Fault::LoseAnswer,
    Fault::ErrorAfterLanding,
    Fault::HangAfterLanding,
    Fault::Cut,
];

async fn survives_each(kind: Kind) {
    let Some((proxy, store, direct)) = behind_proxy(kind) else { return };
    let mut collector = Collector::new(&store, &options()).await;
    for (number, fault) in (1..).zip(EVERY_FAULT) {
        next_commits(&proxy, [fault, fault]);
        collector.deliver(&blocks(stream(1), [number])).await;
    }
    println!("{kind:?}: {:?}", proxy.counts());
    assert_once(&direct, &blocks(stream(1), 1..=EVERY_FAULT.len() as u64)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_survives_every_fault_on_moto() {
    survives_each(Kind::Moto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_survives_every_fault_on_ceph() {
    survives_each(Kind::Ceph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_survives_every_fault_on_azurite() {
    survives_each(Kind::Azurite).await;
}

/// The client tries again by itself after a 500, and is then told that its own object exists already.
#[tokio::test(flavor = "multi_thread")]
async fn exists_already_may_mean_our_own_commit_and_is_not_believed() {
    let Some((proxy, store, direct)) = behind_proxy(Kind::Moto) else { return };
    let mut collector = Collector::new(&store, &options()).await;
    next_commits(&proxy, [Fault::ErrorAfterLanding]);
    let put = store.objects().put_opts(&Name::Commit(7).path(), "x".into(), PutMode::Create.into()).await;
    assert!(matches!(put, Err(object_store::Error::AlreadyExists { .. })), "{put:?}");
    assert_eq!(direct.objects().get(&Name::Commit(7).path()).await.unwrap().bytes().await.unwrap(), "x", "it landed");
    direct.objects().delete(&Name::Commit(7).path()).await.unwrap();

    next_commits(&proxy, [Fault::ErrorAfterLanding]);
    let outcome = collector.try_deliver(&blocks(stream(1), [1])).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 1 });
    assert_once(&direct, &blocks(stream(1), [1])).await;
}

/// Commits whose answer is lost after they landed, by eight collectors with a table each.
async fn lost_answers(kind: Kind, commits: u64) {
    let begun = Instant::now();
    let tables = (0..8).map(|_| {
        tokio::spawn(async move {
            let (proxy, store, direct) = behind_proxy(kind)?;
            let mut collector = Collector::new(&store, &options()).await;
            let (mut n, mut last) = (0, String::new());
            proxy.rule(move |method, path| {
                // The first try of each: what the client itself tries after that is told that it exists already.
                if !is_commit(method, path) || path == last {
                    return None;
                }
                path.clone_into(&mut last);
                n += 1;
                Some(match n % 25 {
                    0 => Fault::HangAfterLanding,
                    12 => Fault::ErrorAfterLanding,
                    _ => Fault::LoseAnswer,
                })
            });
            for number in 1..=commits {
                let outcome = collector.try_deliver(&blocks(stream(1), [number])).await.unwrap().unwrap();
                assert_eq!(outcome, Outcome::Committed { version: number });
            }
            assert_eq!(proxy.faults(), commits, "every answer was lost");
            assert_once(&direct, &blocks(stream(1), 1..=commits)).await;
            Some(proxy.counts())
        })
    });
    let counts = futures::future::try_join_all(tables).await.unwrap();
    println!("{kind:?}: 8 times {commits} commits in {:?}; each {:?}", begun.elapsed(), counts[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lost_answers_are_a_thousand_commits_on_moto() {
    lost_answers(Kind::Moto, 125).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_lost_answers_are_two_hundred_commits_on_ceph() {
    lost_answers(Kind::Ceph, 25).await;
}

/// Breaks every sixth request, whatever it is.
fn random(proxy: &Proxy, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    proxy.rule(move |_, _| random.random_ratio(1, 6).then(|| EVERY_FAULT[random.random_range(0..EVERY_FAULT.len())]));
}

async fn race_through_faults(kind: Kind) {
    let Some((proxy, store, direct)) = behind_proxy(kind) else { return };
    View::open_or_create(&store, &options()).await.unwrap();
    random(&proxy, 4);
    let tasks = (1..=4_u8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            // Its own opening may fail as well: it is a supervisor's to start it again.
            let mut collector = loop {
                match View::open(&store, &options()).await {
                    Ok(view) => break Collector { store: store.clone(), view },
                    Err(error) => println!("{n}: {error}"),
                }
            };
            for round in 1..=4 {
                let shared = blocks(stream(0), 1..=round);
                let batch = [shared, blocks(stream(n), [round])].concat();
                collector.deliver(&batch).await;
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    println!("{kind:?}: {:?}", proxy.counts());
    assert!(proxy.faults() > 10, "{:?}", proxy.counts());
    let mut expected = blocks(stream(0), 1..=4);
    expected.extend((1..=4).flat_map(|n| blocks(stream(n), 1..=4)));
    assert_once(&direct, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_collectors_race_through_faults_on_moto() {
    race_through_faults(Kind::Moto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_collectors_race_through_faults_on_ceph() {
    race_through_faults(Kind::Ceph).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_probe_takes_no_fault_on_the_way_for_one_of_the_store() {
    let Some((proxy, store, _)) = behind_proxy(Kind::Moto) else { return };
    let mut random = StdRng::seed_from_u64(5);
    // Only what the client does not wait long for.
    proxy.rule(move |method, _| {
        let lost = *method == Method::PUT && random.random_ratio(1, 30);
        lost.then(|| [Fault::LoseAnswer, Fault::Cut, Fault::InternalError][random.random_range(0..3)])
    });
    let report = probe(&store, Depth::Start, |_| {}).await.unwrap();
    println!("{report:?}, {:?}", proxy.counts());
    assert!(proxy.faults() > 0);
}

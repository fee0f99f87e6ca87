//! Batches that go to several tables, on stores that fail, with collectors that die: every record is in the table of its
//! category, once.
//!
//! `world` has the stores, their faults and the oracle.

mod world;

use logboom_config::{Globs, Sink, SinkRoute};
use logboom_sink::table::View;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::task::TaskTracker;

use crate::tables::{TableSettings, Tables, change_routes};
use world::{DEFAULT, Fate, ROUTES, World, options};

/// Every way in which the put of a commit can go wrong.
const FATES: [Fate; 5] = [Fate::DieBefore, Fate::DieAfter, Fate::Refuse, Fate::LoseAnswer, Fate::ExistsAfter];

#[tokio::test(flavor = "multi_thread")]
async fn each_record_goes_to_the_first_table_that_its_category_matches() {
    let world = World::new();
    let mut collector = world.collector().await;
    collector.deliver(&world.blocks(1, 0, 1..=3)).await;
    world.assert_once(&[(1, 3)]).await;
    let rows = world.rows().await;
    let categories = |table: usize| {
        let mut categories: Vec<&str> = rows[table].iter().map(|row| row.category.as_str()).collect();
        categories.sort_unstable();
        categories.dedup();
        categories
    };
    assert_eq!((categories(0), categories(1)), (vec!["audit.login"], vec!["bill.eu"]));
    assert_eq!(categories(DEFAULT), ["app"]);
    // "audit.login" matches the second route as well: the first counts.
    assert!(ROUTES[1].contains(&"audit.login"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_moves_its_mark_only_for_blocks_with_rows_of_it() {
    let world = World::new();
    let mut collector = world.collector().await;
    let blocks = [world.block(1, 1, &["audit.login", "app"]), world.block(1, 2, &["app"]), world.block(1, 3, &["app"])];
    collector.deliver(&blocks).await;
    let mut marks = Vec::new();
    for table in &world.tables {
        let view = View::open(table, &options()).await.unwrap();
        marks.push(view.mark(world::stream(1)));
    }
    assert_eq!(marks, [1, 0, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_commit_of_any_table_loses_and_doubles_nothing() {
    for table in 0..=DEFAULT {
        for fate in FATES {
            let world = World::new();
            let mut collector = world.collector().await;
            collector.deliver(&world.blocks(1, 0, 1..=2)).await;
            collector.faults[table].next([fate]);
            let blocks = world.blocks(1, 2, 3..=6);
            if !collector.try_deliver(&blocks).await {
                assert!(matches!(fate, Fate::DieBefore | Fate::DieAfter), "{fate:?} at {table}");
                // The adaptor sends to another one, which hears the mark of the default table, and some more.
                collector = world.collector().await;
                let mark = world.mark(1).await;
                collector.deliver(&world.blocks(1, mark, mark + 1..=8)).await;
            }
            let last = world.mark(1).await;
            assert!(last >= 6, "{fate:?} at {table}: {last}");
            world.assert_once(&[(1, last)]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_collectors_with_the_same_blocks_each_table_takes_one() {
    for table in 0..=DEFAULT {
        let world = World::new();
        let (mut slow, mut fast) = (world.collector().await, world.collector().await);
        // The slow one stands before the commit of one table while the other commits the same blocks and more.
        let (gate, opened) = slow.faults[table].gate();
        let (first, more) = (world.blocks(1, 0, 1..=3), world.blocks(1, 0, 1..=5));
        let slow = tokio::spawn(async move { slow.deliver(&first).await });
        gate.await.unwrap();
        fast.deliver(&more).await;
        opened.send(()).unwrap();
        slow.await.unwrap();
        world.assert_once(&[(1, 5)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_comes_from_another_collector_goes_on_here() {
    let world = World::new();
    let (mut here, mut there) = (world.collector().await, world.collector().await);
    there.deliver(&world.blocks(1, 0, 1..=3)).await;
    // The view of this one has not seen the mark that the stream was opened by.
    here.deliver(&world.blocks(1, 3, 4..=5)).await;
    assert_eq!(world.mark(1).await, 5);
    world.assert_once(&[(1, 5)]).await;
}

/// `LOGBOOM_SEED` says which; each is another play of faults, deaths and collectors with the same streams.
#[tokio::test(flavor = "multi_thread")]
async fn collectors_that_race_fail_and_die_lose_and_double_nothing() {
    const STREAMS: u8 = 3;
    const BLOCKS: u64 = 12;
    let seed = std::env::var("LOGBOOM_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or_else(|| (0..6).map(|_| rand::random()).collect(), |seed: u64| vec![seed]) {
        println!("LOGBOOM_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new();
        let mut deaths = 0;
        loop {
            let mut tasks = Vec::new();
            for _ in 0..3 {
                let mut collector = world.collector().await;
                let mut blocks = Vec::new();
                for of in 1..=STREAMS {
                    let mark = world.mark(of).await;
                    if mark < BLOCKS {
                        let to = random.random_range(mark + 1..=BLOCKS);
                        blocks.extend(world.blocks(of, mark, mark + 1..=to));
                    }
                }
                for faults in &collector.faults {
                    let count = random.random_range(0..3);
                    faults.next((0..count).map(|_| match random.random_bool(0.4) {
                        true => Fate::Well,
                        false => FATES[random.random_range(0..FATES.len())],
                    }));
                }
                tasks.push(tokio::spawn(async move { collector.try_deliver(&blocks).await }));
            }
            for task in tasks {
                deaths += usize::from(!task.await.unwrap());
            }
            let mut least = BLOCKS;
            for of in 1..=STREAMS {
                least = least.min(world.mark(of).await);
            }
            if least == BLOCKS {
                break;
            }
        }
        println!("{deaths} deaths");
        world.assert_once(&[1, 2, 3].map(|of| (of, BLOCKS))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_cannot_be_read_is_in_no_table_and_holds_up_no_other() {
    let world = World::new();
    let mut collector = world.collector().await;
    let bad = world::hollow(&world.block(1, 2, &["app", "audit.login"]));
    let blocks = [world.block(1, 1, &["app", "audit.login"]), bad, world.block(1, 3, &["audit.login"])];
    collector.deliver(&blocks).await;
    let rows = world.rows().await;
    assert_eq!(rows.map(|rows| rows.len()), [2, 0, 1]);
    assert_eq!(world.mark(1).await, 3);
    assert_eq!(world.rejected().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_with_other_routes_are_refused_also_while_they_run() {
    let world = World::new();
    let mut collector = world.collector().await;
    collector.deliver(&world.blocks(1, 0, 1..=2)).await;
    let error = world.open(&[&["audit.*"], &["bill.*"]]).await.err().unwrap().to_string();
    assert!(error.contains("--change-routes") && error.contains("bill.*"), "{error}");
    // Nothing is committed by the old routes once they are changed by force.
    world.force_routes("[]").await;
    collector.faults.iter().for_each(|faults| faults.next([Fate::Well]));
    let blocks = world.blocks(1, 2, 3..=4);
    let stuck = tokio::time::timeout(std::time::Duration::from_secs(1), collector.deliver(&blocks)).await;
    assert!(stuck.is_err());
    assert_eq!(world.mark(1).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_changed_once_nothing_is_half_committed() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let with_route = |categories: &str| {
        let mut sink = Sink::at(url("default"));
        let categories = Globs::new([categories]).unwrap();
        sink.routes.push(SinkRoute { categories, sink: Sink::at(url("audit")) });
        sink
    };
    let open = async |sink: &Sink| {
        let routes = sink.routes.iter().map(|it| (it.categories.clone(), TableSettings::open(&it.sink).unwrap()));
        Tables::open(TableSettings::open(sink).unwrap(), routes.collect()).await
    };
    let (old, new) = (with_route("audit.*"), with_route("a*"));
    let mut tables = open(&old).await.unwrap();
    let (routes, default) = tables.split_mut();
    // A crash between the commits of block 3.
    let background = TaskTracker::new();
    assert!(default.commit(&[], None, &[(world::stream(1), 2)], &background).await.unwrap());
    assert!(routes[0].commit(&[], None, &[(world::stream(1), 3)], &background).await.unwrap());

    let found = change_routes(&new, false).await.unwrap();
    assert_eq!((found.changed, found.unfinished.values().copied().collect::<Vec<_>>()), (false, vec![1]));
    assert!(open(&new).await.is_err() && open(&old).await.is_ok());
    assert!(default.commit(&[], None, &[(world::stream(1), 3)], &background).await.unwrap());
    let found = change_routes(&new, false).await.unwrap();
    assert!(found.changed && found.unfinished.is_empty());
    assert!(open(&new).await.is_ok() && open(&old).await.is_err());

    // Also to none at all, and by force while there is something left.
    assert!(routes[0].commit(&[], None, &[(world::stream(2), 1)], &background).await.unwrap());
    let none = Sink::at(url("default"));
    assert!(!change_routes(&none, false).await.unwrap().changed);
    assert!(change_routes(&none, true).await.unwrap().changed);
    assert!(open(&none).await.is_ok() && open(&new).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_for_two_parts_is_refused() {
    let world = World::new();
    let error = world.open_with_default_as_route().await.err().unwrap().to_string();
    assert!(error.contains("same table"), "{error}");
}

//! Every named crash point by itself: the process dies there at its first, second and third hit, is started again, and
//! nothing is lost or doubled.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::try_each;
use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};

/// Every point, and at which of its hits the process dies. Points that are passed once for each segment or folded
/// position are passed at every block as well, just later.
const POINTS: [&str; 19] = [
    "spool.create.before_dir_sync",
    "spool.segment.created",
    "spool.write.before",
    "spool.write.after",
    "spool.sync.before",
    "spool.sync.after",
    "spool.replace.before_sync",
    "spool.rename.before",
    "spool.rename.after",
    "spool.delete.before",
    "spool.delete.after",
    "collector.data.before",
    "collector.data.after",
    "collector.route.before",
    "collector.route.after",
    "collector.commit.before",
    "collector.commit.after",
    "collector.acknowledge.before",
    "collector.acknowledge.after",
];
/// The point that only a table of JSON has. Those of the collector are tried with such a table as well.
const JSON_POINT: &str = "collector.index.before";
const HITS: [u32; 3] = [1, 2, 3];
/// Pipelines that run at the same time: they mostly wait.
const AT_ONCE: usize = 6;

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_death_at_any_named_point_loses_and_doubles_nothing() {
    let json = POINTS.iter().filter(|point| point.starts_with("collector.")).chain([&JSON_POINT]);
    let points = POINTS.iter().map(|point| ("parquet", *point)).chain(json.map(|point| ("json", *point)));
    let cases: Vec<(&'static str, &'static str, u32)> =
        points.flat_map(|(format, point)| HITS.map(|hit| (format, point, hit))).collect();
    let outcomes = try_each("crash points", &cases, AT_ONCE, |(format, point, hit)| die_at(format, point, hit));
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err());
    let failed: Vec<_> = failed.map(|((format, point, hit), _)| format!("{point}:{hit} with {format}")).collect();
    assert!(failed.is_empty(), "failed at {failed:?}");
}

fn die_at(format: &'static str, point: &str, hit: u32) {
    let variable = [("LOGBOOM_CRASH_AT", &*format!("{point}:{hit}"))];
    let in_collector = point.starts_with("collector.");
    // In the collector with two tables more: one for most of the lines of files, one that some of the others go to.
    let routes: &[&[&str]] = if in_collector { &[&["file-*"], &["json-*"]] } else { &[] };
    let mut pipeline = Pipeline::new(Plan { routes, format, ..Plan::default() });
    match in_collector {
        true => pipeline.collectors[0].node.start_with(&variable),
        false => pipeline.start_collectors(),
    }
    match in_collector {
        true => pipeline.start_adaptors(),
        false => pipeline.adaptors[0].node.start_with(&variable),
    }
    // Enough for several segments, so that there is something to roll, fold and delete.
    let socket = pipeline.socket_producer(0, 1500, 300);
    let file = pipeline.file_producer(0, 1500, 400, 300);
    let pace = pipeline.pace.clone();
    let mut allowed = 0;
    let node = if in_collector { &mut pipeline.collectors[0].node } else { &mut pipeline.adaptors[0].node };
    let ended = || {
        // Slowly, so that blocks and commits are many.
        allowed += 3;
        pace.allow(allowed);
        node.ended().is_some()
    };
    wait_until(&format!("the crash at {point}, hit {hit}"), PATIENCE, ended);
    assert!(node.log().contains(&format!("crash point {point}")), "{point}:{hit} died of something else");
    std::thread::sleep(Duration::from_millis(100));
    node.start();
    pace.allow(u64::MAX);
    wait_until("the producers end", PATIENCE, || socket.is_finished() && file.is_finished());
    pipeline.finish(PATIENCE).assert_clean(&format!("{point}:{hit} with {format}"));
}

#[test]
fn every_crash_point_in_the_code_is_tried() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for crate_name in ["adaptor", "collector", "sink", "query", "wire", "src"] {
        find_points(&root.join(crate_name), &mut found);
    }
    assert_eq!(found, POINTS.iter().chain([&JSON_POINT]).map(|point| (*point).to_owned()).collect());
}

fn find_points(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_points(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.split("crash::point(\"").skip(1);
            found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

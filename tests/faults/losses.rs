//! What an adaptor gave up is told of in the table, whenever it dies.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};
use crate::oracle::segments;

const FULL: &str = "when_full = \"drop_oldest\"\nmax_size = \"2MiB\"\nblock_size = \"16KiB\"\nbuffer_size = \"64KiB\"\nsegment_size = \"64KiB\"";

/// Deaths amid dropping a segment: before and after the loss is on disk, before and after the segment is gone, and once
/// the loss record may be on its way.
#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_death_while_a_segment_is_dropped_leaves_no_gap_without_a_reason() {
    for (point, hit) in [
        ("spool.replace.before_sync", 1),
        ("spool.rename.after", 1),
        ("spool.delete.before", 1),
        ("spool.delete.after", 1),
        ("spool.delete.after", 7),
    ] {
        let mut pipeline = Pipeline::new(Plan { spool: FULL, ..Plan::default() });
        pipeline.adaptors[0].node.start_with(&[("LOGBOOM_CRASH_AT", &format!("{point}:{hit}"))]);
        pipeline.adaptors[0].wait_ready();
        let socket = pipeline.socket_producer(0, 6000, 1000);
        pipeline.pace.allow(u64::MAX);
        let node = &mut pipeline.adaptors[0].node;
        wait_until(&format!("the crash at {point}"), PATIENCE, || node.ended().is_some());
        assert!(node.log().contains(&format!("crash point {point}")));
        node.start();
        wait_until("the producer ends", PATIENCE, || socket.is_finished());
        pipeline.start_collectors();
        let status = pipeline.adaptors[0].node.terminate(PATIENCE);
        assert!(status.success());
        // What was dropped at the very end is told of at the next start.
        pipeline.adaptors[0].node.start();
        pipeline.adaptors[0].wait_ready();
        let mut found = pipeline.verify(&[]);
        wait_until("the losses are told of", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(300));
            found = pipeline.verify(&[]);
            found.unexplained == 0
        });
        println!("{point}:{hit}: {} there, {:?} missing", found.records, found.explained);
        assert_eq!(found.doubled, 0, "{}", found.json);
        assert!(found.complete && found.explained["drop_oldest"] > 0);
    }
}

#[test]
fn damage_in_a_spool_is_told_of_exactly() {
    let mut pipeline = Pipeline::new(Plan::default());
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, 1000, 300);
    pipeline.pace.allow(u64::MAX);
    wait_until("the producer ends", PATIENCE, || socket.is_finished());
    pipeline.adaptors[0].node.kill();
    // Amid the second segment, so that sound blocks are before and after it.
    let mut paths = segments(&pipeline.adaptors[0].spool);
    paths.sort();
    assert!(paths.len() > 2, "{paths:?}");
    let file = std::fs::File::options().read(true).write(true).open(&paths[1]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 3000).unwrap();
    pipeline.adaptors[0].node.start();
    pipeline.start_collectors();
    let mut found = None;
    wait_until("the damage is told of", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = pipeline.verify(&[]);
        let told = now.explained.contains_key("damaged") && now.unexplained == 0;
        found = Some(now);
        told
    });
    let status = pipeline.adaptors[0].node.terminate(PATIENCE);
    assert!(status.success());
    let counted = pipeline.adaptors[0].node.counter("records_quarantined");
    let verdict = pipeline.judge();
    let found = pipeline.verify(&[]);
    assert!(found.complete && counted > 0);
    assert_eq!((found.explained["damaged"], verdict.lost), (counted, counted), "{}", found.json);
}

#[test]
fn what_rules_drop_is_told_of_at_the_end() {
    let adaptor = "drain_timeout = \"20s\"\n[[adaptor.route]]\nname = \"half\"\nsample = 0.5";
    let mut pipeline = Pipeline::start(Plan { adaptor, ..Plan::default() });
    let socket = pipeline.socket_producer(0, 1000, 100);
    pipeline.pace.allow(u64::MAX);
    wait_until("the producer ends", PATIENCE, || socket.is_finished());
    assert!(pipeline.adaptors[0].node.terminate(PATIENCE).success());
    let verdict = pipeline.judge();
    let found = pipeline.verify(&[]);
    assert!(found.complete, "{}", found.json);
    assert!(verdict.lost > 0);
    assert_eq!(found.unnumbered["rule:half/sample"], verdict.lost);
    let ended = pipeline.adaptors[0].node.counter("records_dropped_by_route");
    assert_eq!(ended, verdict.lost);
}

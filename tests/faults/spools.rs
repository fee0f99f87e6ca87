//! One spool, two adaptors: at the same time, and as a copied disk. And a disk that is set back to what it was.

use std::fs;
use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, copy_folder, logboom, run, wait_until};

#[test]
fn a_second_adaptor_on_the_same_spool_refuses_and_harms_nothing() {
    let mut pipeline = Pipeline::start(Plan::default());
    let socket = pipeline.socket_producer(0, 2000, 100);
    pipeline.pace.allow(1000);
    // Its sockets are the same too; the spool comes first.
    let settings = pipeline.folder().join("adaptor-0.toml");
    let output = run(logboom().arg("adaptor").arg("--config").arg(settings), b"");
    let errors = String::from_utf8(output.stderr).unwrap();
    let last = errors.lines().last().unwrap_or_default();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(last.contains("another adaptor uses it"), "{errors}");
    pipeline.pace.allow(2000);
    wait_until("the producer ends", PATIENCE, || socket.is_finished());
    assert_eq!(socket.join().connections, 1);
    pipeline.finish(PATIENCE).assert_clean("a second adaptor");
}

#[test]
fn a_copied_spool_that_two_adaptors_send_is_in_the_table_once() {
    let plan = Plan::default();
    let mut pipeline = Pipeline::new(plan);
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, 3000, 300);
    pipeline.pace.allow(3000);
    wait_until("the spool is filled", PATIENCE, || socket.is_finished());
    pipeline.adaptors[0].node.kill();
    let clone = pipeline.add_clone(&plan, 0);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    // The copy goes on with records of its own.
    let more = pipeline.other_socket_producer(clone, "after", 500, 100);
    wait_until("the clone takes records", PATIENCE, || more.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean("a copied spool");
    assert_eq!(verdict.rows, 3500);
}

/// As a snapshot of a machine is restored: the spool and the files that it has read, which go on from there.
#[test]
fn a_spool_restored_from_an_old_backup_is_in_the_table_once() {
    let mut pipeline = Pipeline::new(Plan::default());
    pipeline.start_adaptors();
    let socket = pipeline.socket_producer(0, 3000, 300);
    let file = pipeline.file_producer(0, 3000, u64::MAX, 300);
    let sent = |pipeline: &Pipeline, records: u64| {
        pipeline.pace.allow(records);
        wait_until("records are sent", PATIENCE, || pipeline.ledger.sent() == 2 * records);
        // And read, as far as they come from a file.
        std::thread::sleep(Duration::from_millis(500));
    };
    sent(&pipeline, 1000);
    pipeline.adaptors[0].node.kill();
    let (spool, backup) = (pipeline.adaptors[0].spool.clone(), pipeline.folder().join("backup"));
    let log = pipeline.adaptors[0].logs.join("file-0.log");
    copy_folder(&spool, &backup);
    let length = fs::metadata(&log).unwrap().len();

    // All of that is committed, and more.
    pipeline.start_collectors();
    pipeline.start_adaptors();
    sent(&pipeline, 2000);
    let verdict = pipeline.heal(PATIENCE);
    assert_eq!(verdict.lost, 0, "{verdict}");
    pipeline.adaptors[0].node.kill();

    // Blocks that are in the table come back.
    fs::remove_dir_all(&spool).unwrap();
    copy_folder(&backup, &spool);
    fs::File::options().write(true).open(&log).unwrap().set_len(length).unwrap();
    pipeline.start_adaptors();
    sent(&pipeline, 3000);
    wait_until("the producers end", PATIENCE, || socket.is_finished() && file.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    verdict.assert_clean("an old backup");
    // Whole lines that were written count as acknowledged; what was asked of a dying socket does not.
    assert!(verdict.rows >= verdict.acknowledged && verdict.acknowledged > 5500, "{verdict}");
}

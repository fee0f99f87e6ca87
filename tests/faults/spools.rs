//! One spool, two adaptors: at the same time, and as a copied disk.

use crate::harness::{PATIENCE, Pipeline, Plan, logboom, run, wait_until};

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

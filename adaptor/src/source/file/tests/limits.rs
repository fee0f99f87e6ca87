//! Descriptors, fairness and backpressure.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::rig::{Rig, grace, looks};

fn open_files(rig: &Rig) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter(|path| path.starts_with(rig.dir.path()))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_files_are_open_than_allowed_and_all_are_read() {
    let mut rig = Rig::new();
    rig.settings.max_open = 3;
    for file in 0..20 {
        rig.append(&format!("{file}.log"), "1\n");
    }
    let run = rig.start().await;
    for round in 1..=3 {
        rig.until("all lines", |durable| durable.lines.len() == 20 * round).await;
        assert!((1..=3).contains(&open_files(&rig)), "{} files are open", open_files(&rig));
        for file in 0..20 {
            rig.append(&format!("{file}.log"), "1\n");
        }
    }
    rig.until("all lines", |durable| durable.lines.len() == 80).await;
    // A closed one may be renamed, and truncated, too.
    for file in 0..20 {
        rig.rename(&format!("{file}.log"), &format!("{file}.log.1"));
        rig.append(&format!("{file}.log.1"), "2\n");
    }
    rig.until("all lines", |durable| durable.lines.len() == 100).await;
    for file in 0..20 {
        fs::write(rig.path(&format!("{file}.log.1")), "3\n").unwrap();
    }
    rig.until("all lines", |durable| durable.lines.len() == 120).await;
    for file in 0..20 {
        rig.remove(&format!("{file}.log.1"));
    }
    rig.until("forgotten", |durable| durable.positions.is_empty()).await;
    run.stop().await;
    assert_eq!(rig.durable.lock().unwrap().lines.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_that_is_done_with_is_closed() {
    let mut rig = Rig::new();
    rig.append("a.log", "1\n");
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    assert_eq!(open_files(&rig), 1);
    rig.rename("a.log", "a.log.1");
    grace().await;
    assert_eq!(open_files(&rig), 0);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_file_does_not_starve_the_others() {
    let mut rig = Rig::new();
    rig.block_bytes = 1 << 20;
    rig.buffer_bytes = 2 << 20;
    let huge = "a line of the huge file that is 50 bytes in length\n".repeat(400_000);
    rig.append("huge.log", &huge);
    rig.append("small.log", "small\n");
    let run = rig.start().await;
    rig.until("everything", |durable| durable.lines.len() == 400_001).await;
    run.stop().await;
    let durable = rig.durable.lock().unwrap();
    let place = durable.lines.iter().position(|(_, body)| body == "small").unwrap();
    assert!(place < 100_000, "it came after {place} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_waits_for_room_stops_at_once() {
    let mut rig = Rig::new();
    rig.buffer_bytes = 1 << 10;
    rig.append("a.log", &"a line\n".repeat(200_000));
    let run = rig.start().await;
    run.stalled.store(true, Ordering::SeqCst);
    looks(2).await;
    let start = Instant::now();
    run.stop().await;
    assert!(start.elapsed() < Duration::from_secs(2));
    let run = rig.start().await;
    rig.until("everything", |durable| durable.lines.len() == 200_000).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_come_and_are_renamed_while_there_is_no_room_are_not_missed() {
    let mut rig = Rig::new();
    rig.buffer_bytes = 1;
    rig.append("a.log", &"first\n".repeat(100_000));
    let run = rig.start().await;
    run.stalled.store(true, Ordering::SeqCst);
    for file in 2..6 {
        rig.rename("a.log", &format!("a.log.{file}"));
        rig.append("a.log", "one each\n");
        // It is seen, or else it is missed for good.
        let start = Instant::now();
        while open_files(&rig) < file && start.elapsed() < Duration::from_secs(10) {
            looks(1).await;
        }
    }
    run.stalled.store(false, Ordering::SeqCst);
    rig.until("everything", |durable| durable.lines.len() == 100_004).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_is_counted_once_and_tried_again() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mut rig = Rig::new();
    match rustix::process::geteuid().is_root() {
        // Root may open anything but this.
        true => symlink("/sys/bus/platform/drivers_probe", rig.path("a.log")).unwrap(),
        false => {
            rig.append("a.log", "");
            fs::set_permissions(rig.path("a.log"), fs::Permissions::from_mode(0o000)).unwrap();
        }
    }
    if !fs::metadata(rig.path("a.log")).is_ok_and(|meta| meta.is_file()) {
        return;
    }
    rig.append("b.log", "1\n");
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    looks(5).await;
    assert_eq!(run.counters.files_failed.get(), 1);
    rig.remove("a.log");
    rig.append("a.log", "2\n");
    rig.until_bodies(&["1", "2"]).await;
    run.stop().await;
}

#![expect(clippy::disallowed_methods, reason = "the writer runs in a thread, without a runtime")]

use super::*;
use logboom_config::WhenFull;

const ROOM: u64 = 4000;

fn small(path: &Path, when_full: WhenFull) -> Settings {
    Settings { max_size: RESERVE_BYTES + ROOM, when_full, ..settings(path) }
}

/// Appends until the writer is stuck; the receipts of what it is stuck with.
fn fill(writing: &Writing, spool: &Spool) -> (usize, Receipt) {
    for n in 1.. {
        let receipt = writing.append(chunk(&format!("b{n}"), n, None));
        let before = spool.bytes();
        let start = Instant::now();
        while spool.bytes() == before {
            if start.elapsed() > Duration::from_millis(500) {
                return (n, receipt);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    unreachable!("the loop has no end");
}

#[test]
fn a_full_spool_makes_producers_wait_until_something_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&small(folder.path(), WhenFull::Block));
    let writing = Writing::start(&spool);
    let (last, receipt) = fill(&writing, &spool);
    assert!(last > 2 && spool.bytes() <= ROOM);
    assert_eq!(drain(&spool), records_of_blocks(1..last));
    block_on(receipt.durable()).unwrap();
    writing.close();
    assert_eq!(drain(&spool), records_of_blocks([last]));
}

#[test]
fn a_writer_that_gives_up_answers_nobody_and_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path(), WhenFull::Block);
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    let (last, receipt) = fill(&writing, &spool);
    let late = writing.append(chunk("late", 5, Some(("p", "beyond"))));
    writing.give_up.cancel();
    assert_eq!(block_on(receipt.durable()), Err(Refused::Closed));
    assert_eq!(block_on(late.durable()), Err(Refused::Closed));
    assert_eq!(block_on(writing.intake.append(chunk("x", 1, None))).err(), Some(Refused::Closed));
    assert_eq!(writing.close(), last as u64 + 5);
    assert_eq!(drain(&spool), records_of_blocks(1..last));
    drop(spool);
    assert!(open(&settings).1.positions.is_empty());
}

#[test]
fn drop_newest_refuses_until_there_is_room_also_what_was_taken_already() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _, counters) = open(&small(folder.path(), WhenFull::DropNewest));
    let writing = Writing::start(&spool);
    let taken_first = (1..).find(|&n| block_on(writing.append(chunk(&format!("b{n}"), n, None)).durable()).is_err());
    let last = taken_first.unwrap();
    assert!(last > 2 && spool.bytes() <= ROOM);
    assert_eq!(counters.records_refused_full.get(), last as u64);
    assert_eq!(block_on(writing.intake.append(chunk("x", 1, None))).err(), Some(Refused::Full));
    let waits = block_on(writing.intake.append_or_wait(chunk("waits", last, None))).unwrap();
    std::thread::sleep(2 * Duration::from_millis(200));
    assert_eq!(waits.outcome(), None);
    assert_eq!(drain(&spool), records_of_blocks(1..last));
    block_on(waits.durable()).unwrap();
    writing.put(chunk("after", 1, None));
    writing.close();
    let waited = (0..last).map(|n| format!("waits-{n}"));
    assert_eq!(drain(&spool), waited.chain(["after-0".to_owned()]).collect::<Vec<_>>());
}

#[test]
fn there_is_room_again_though_nobody_waits_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&small(folder.path(), WhenFull::DropNewest));
    let writing = Writing::start(&spool);
    let last = (1..).find(|&n| block_on(writing.append(chunk(&format!("b{n}"), n, None)).durable()).is_err()).unwrap();
    assert_eq!(drain(&spool), records_of_blocks(1..last));
    let start = Instant::now();
    while block_on(writing.intake.append(chunk("again", 1, None))).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "nobody looks whether there is room");
        std::thread::sleep(Duration::from_millis(10));
    }
    writing.close();
    assert_eq!(drain(&spool), ["again-0"]);
}

#[test]
fn a_refused_block_leaves_no_gap_and_what_waited_behind_it_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&small(folder.path(), WhenFull::DropNewest));
    let writing = Writing::start(&spool);
    // Both lanes in most blocks that are taken: when the spool is full one is refused, the other waits.
    let mut kept = Vec::new();
    loop {
        kept.push(block_on(writing.intake.append_or_wait(chunk(&format!("must{}", kept.len()), 20, None))).unwrap());
        let taken = block_on(writing.intake.append(chunk("may", 20, None)));
        if taken.map(|receipt| block_on(receipt.durable())) != Ok(Ok(())) {
            break;
        }
        assert!(kept.len() < 100);
    }
    let stream = writing.stream;
    let (musts, mut read) = (kept.len(), drain(&spool));
    for receipt in kept {
        while receipt.outcome().is_none() {
            read.extend(drain(&spool));
        }
    }
    writing.close();
    read.extend(drain(&spool));
    assert_eq!(read.iter().filter(|body| body.starts_with("must")).count(), musts * 20, "{read:?}");
    assert!(spool.streams().iter().all(|status| status.id != stream), "all is committed, without a gap");
}

#[test]
fn a_full_spool_that_blocks_refuses_those_who_can_be_told_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&small(folder.path(), WhenFull::Block));
    let writing = Writing::start(&spool);
    let (last, receipt) = fill(&writing, &spool);
    let asked = block_on(writing.intake.append_asked(chunk("asked", 1, None))).unwrap();
    let start = Instant::now();
    assert_eq!(block_on(asked.durable()), Err(Refused::Full));
    assert!(start.elapsed() > Duration::from_millis(200), "there is time for the collector first");
    assert_eq!(block_on(writing.intake.append_asked(chunk("x", 1, None))).err(), Some(Refused::Full), "now at once");
    assert_eq!(receipt.outcome(), None, "who cannot be told waits");
    assert_eq!(drain(&spool), records_of_blocks(1..last));
    block_on(receipt.durable()).unwrap();
    writing.close();
    assert_eq!(drain(&spool), records_of_blocks([last]));
}

#[test]
fn drop_oldest_counts_exactly_what_it_drops() {
    let folder = tempfile::tempdir().unwrap();
    for segment_size in [1, 1000] {
        let path = folder.path().join(segment_size.to_string());
        let (spool, _, counters) = open(&Settings { segment_size, ..small(&path, WhenFull::DropOldest) });
        let writing = Writing::start(&spool);
        for n in 1..=40 {
            writing.put(chunk(&format!("b{n}"), n, Some(("p", &n.to_string()))));
            assert!(spool.bytes() <= ROOM);
            if n == 3 {
                // Half of what is dropped later is committed, and not dropped.
                spool.trim(&[(writing.stream, 3)].into()).unwrap();
            }
        }
        writing.close();
        let left = drain(&spool).len() as u64;
        assert_eq!(left + counters.records_dropped_oldest.get(), (4..=40).sum::<u64>());
        assert_eq!(counters.records_quarantined.get(), 0, "what was dropped is not counted as damage");
        assert!(counters.records_dropped_oldest.get() > 0 && left >= 40);
    }
}

#[test]
fn what_an_earlier_run_dropped_is_not_counted_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path(), WhenFull::DropOldest);
    let (spool, ..) = open(&settings);
    write_blocks(&spool, 40);
    drop(spool);
    let (spool, recovered, counters) = open(&settings);
    assert_eq!(recovered.positions["p"], "40");
    assert!(!drain(&spool).is_empty());
    assert_eq!(counters.report(), "");
}

#[test]
fn a_block_larger_than_the_spool_is_let_through_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_size: RESERVE_BYTES, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    writing.put(chunk("b1", 1, None));
    let second = writing.append(chunk("b2", 2, None));
    assert_eq!(drain(&spool), records_of_blocks([1]));
    block_on(second.durable()).unwrap();
    writing.close();
}

/// Run it as root: it mounts a small file system.
#[test]
#[ignore = "mounts a tmpfs"]
fn on_a_full_disk_the_reserve_makes_room_for_the_positions() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |command: &str, args: &[&str]| {
        assert!(std::process::Command::new(command).args(args).arg(folder.path()).status().unwrap().success());
    };
    mount("mount", &["-t", "tmpfs", "-o", "size=2m", "none"]);
    let settings = settings(folder.path());
    {
        let (spool, ..) = open(&settings);
        let writing = Writing::start(&spool);
        writing.put(chunk("b1", 1, Some(("p", &"x".repeat(60_000)))));
        let stream = writing.stream;
        let filler = fs::write(folder.path().join("filler"), vec![1; 4 << 20]);
        assert!(filler.is_err(), "the disk is full now");
        let stuck = writing.append(chunk("b2", 2000, None));
        std::thread::sleep(Duration::from_millis(900));
        assert!(segments(&settings, stream).len() <= 2, "tries leave nothing behind");
        spool.trim(&[(stream, 1)].into()).unwrap();
        assert!(!folder.path().join("reserve").exists());
        assert!(folder.path().join("positions").exists());
        block_on(stuck.durable()).unwrap();
        writing.close();
    }
    mount("umount", &[]);
}

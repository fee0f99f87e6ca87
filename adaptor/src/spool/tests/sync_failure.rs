use super::*;
use crate::spool::durable::faults;

#[test]
fn after_a_failed_sync_the_same_blocks_go_to_a_new_segment() {
    let folder = tempfile::tempdir().unwrap();
    for fails_at in 1..=4 {
        let settings = Settings { segment_size: 1 << 20, ..settings(&folder.path().join(fails_at.to_string())) };
        let (spool, _, counters) = open(&settings);
        let writing = Writing::start_after(&spool, move || faults::fail_sync_after(fails_at - 1));
        for n in 1..=4 {
            writing.put(chunk(&format!("b{n}"), n, Some(("p", &n.to_string()))));
        }
        let stream = writing.stream;
        writing.close();
        assert_eq!(counters.syncs_failed.get(), 1);
        let read: Vec<_> = read_all(&spool).remove(&1).unwrap();
        assert_eq!(read.iter().map(|block| block.header().number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(segments(&settings, stream).len(), if fails_at == 1 { 1 } else { 2 });
        drop(spool);

        // As if the cut had not reached the disk: the first segment still ends in the blocks of the second.
        if fails_at > 1 {
            let paths = segments(&settings, stream);
            let again = &fs::read(&paths[1]).unwrap()[44..];
            let cut = fs::metadata(&paths[0]).unwrap().len();
            fs::write(&paths[0], [&fs::read(&paths[0]).unwrap(), again].concat()).unwrap();
            drop(open(&settings));
            assert_eq!(fs::metadata(&paths[0]).unwrap().len(), cut, "what is superseded is cut off for good");
        }
        let (spool, recovered, counters) = open(&settings);
        assert_eq!(recovered.positions["p"], "4");
        assert_eq!(drain(&spool), records_of_blocks(1..=4));
        assert_eq!(counters.report(), "");
        assert!(spool.streams().is_empty());
    }
}

#[test]
fn a_block_whose_sync_failed_never_comes_back_from_the_old_segment() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 3);
    drop(spool);
    // A crash right after the new segment was created for block 3.
    let path = segments(&settings, stream).pop().unwrap();
    fs::write(path.with_file_name("00000000000000000003-1.seg"), "").unwrap();
    for _ in 0..2 {
        let (spool, recovered, _) = open(&settings);
        assert_eq!(recovered.positions["p"], "2");
        assert_eq!(read_all(&spool)[&1].len(), 2);
    }
}

#[test]
fn nobody_is_answered_before_the_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&settings(folder.path()));
    let (entered, wait) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let writing = Writing::start_after(&spool, move || {
        faults::run_before_sync(move || {
            entered.send(()).unwrap();
            released.recv().unwrap();
        });
    });
    let receipt = writing.append(chunk("b1", 1, None));
    wait.recv().unwrap();
    assert!(read_all(&spool)[&1].is_empty(), "what is not synced is not sent");
    let (early, receipt) = block_on(async {
        let mut durable = std::pin::pin!(receipt.durable());
        let early = tokio::time::timeout(Duration::from_millis(20), durable.as_mut()).await.is_ok();
        release.send(()).unwrap();
        (early, durable.await)
    });
    assert!(!early && receipt.is_ok());
    assert_eq!(read_all(&spool)[&1].len(), 1);
    writing.close();
}

/// A power cut could keep the second of them and not the first.
#[test]
fn no_two_blocks_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, _, counters) = open(&settings);
    let (entered, wait) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let writing = Writing::start_after(&spool, move || {
        faults::run_before_sync(move || {
            entered.send(()).unwrap();
            released.recv().unwrap();
            // This one is sound, and two more.
            faults::fail_sync_after(3);
        });
    });
    let mut receipts = vec![writing.append(chunk("b1", 1, None))];
    wait.recv().unwrap();
    // More than the writer's blocks hold, so that each is one; all are there when it comes to take them.
    let padding = "x".repeat(1 << 20);
    for n in 2..=4 {
        receipts.push(writing.append(chunk(&format!("{padding}{n}"), 1, None)));
    }
    release.send(()).unwrap();
    for receipt in receipts {
        block_on(receipt.durable()).unwrap();
    }
    let stream = writing.stream;
    writing.close();
    assert_eq!(counters.syncs_failed.get(), 1);
    let names: Vec<_> = segments(&settings, stream).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert!(names.last().unwrap().to_str().unwrap().ends_with("4-1.seg"), "{names:?}");
}

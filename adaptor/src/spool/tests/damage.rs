use super::*;

#[test]
fn a_flipped_bit_costs_one_block_and_is_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 4);
    drop(spool);
    let path = segments(&settings, stream).pop().unwrap();
    let original = fs::read(&path).unwrap();
    let offsets = frame_offsets(&path);
    for at in (offsets[0]..original.len() as u64).step_by(5) {
        let hit = offsets.iter().rposition(|offset| *offset <= at).unwrap() + 1;
        let mut damaged = original.clone();
        damaged[at as usize] ^= 1 << (at % 8);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &damaged).unwrap();
        let _ = fs::remove_file(settings.path.join("positions"));
        let _ = fs::remove_dir_all(settings.path.join("quarantine"));

        let (spool, recovered, counters) = open(&settings);
        assert_eq!(recovered.positions["p"], if hit == 4 { "3" } else { "4" }, "byte {at}");
        // A connection that is lost before any commit, then one that goes through.
        let _ = read_all(&spool);
        assert_eq!(drain(&spool), records_of_blocks((1..=4).filter(|n| *n != hit)), "byte {at}");
        if counters.frames_torn.get() == 1 {
            assert_eq!(hit, 4, "only a last frame can be torn");
            assert_eq!(counters.frames_quarantined.get() + counters.records_quarantined.get(), 0);
        } else {
            assert_eq!(counters.frames_quarantined.get(), 1, "byte {at}");
            assert_eq!(counters.records_quarantined.get(), hit as u64, "byte {at}");
            let kept = fs::read_dir(settings.path.join("quarantine")).unwrap().next().unwrap().unwrap();
            let kept = fs::read(kept.path()).unwrap();
            assert_eq!(kept, damaged[offsets[hit - 1] as usize..offsets[hit] as usize], "byte {at}");
        }
        assert!(spool.is_drained() && spool.streams().is_empty(), "byte {at}");
        assert!(!path.exists());
    }
}

#[test]
fn damage_found_while_the_stream_is_written_hides_nothing_that_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, _, counters) = open(&settings);
    let writing = Writing::start(&spool);
    let stream = writing.stream;
    writing.put(chunk("b1", 1, None));
    writing.put(chunk("b2", 2, None));
    let path = &segments(&settings, stream)[0];
    let last = frame_offsets(path)[1];
    std::os::unix::fs::FileExt::write_all_at(&fs::File::options().write(true).open(path).unwrap(), b"XXXX", last)
        .unwrap();
    let mut reader = Reader::new(spool.clone(), 1, stream, 0);
    assert_eq!(reader.read(1 << 20).unwrap().len(), 1);
    assert!(reader.read(1 << 20).unwrap().is_empty());
    assert_eq!(counters.records_quarantined.get(), 2, "what was written is known");
    writing.put(chunk("b3", 3, None));
    assert_eq!(reader.read(1 << 20).unwrap().iter().flat_map(bodies).collect::<Vec<_>>(), records_of_blocks([3]));
    writing.close();
    spool.trim(&[(stream, 3)].into()).unwrap();
    assert!(spool.streams().is_empty());
    assert_eq!((counters.frames_quarantined.get(), counters.records_quarantined.get()), (1, 2));
}

#[test]
fn a_reader_that_settles_an_old_end_leaves_what_was_synced_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    writing.put(chunk("b1", 1, None));
    let path = &segments(&settings, writing.stream)[0];
    let old_end = fs::metadata(path).unwrap().len();
    writing.put(chunk("b2", 2, None));
    spool.settle(1, path, old_end, 0, Some(0)).unwrap();
    assert_eq!(spool.streams()[0].last, 2);
    writing.close();
    assert_eq!(drain(&spool), records_of_blocks(1..=2));
}

#[test]
fn damage_at_the_end_of_an_earlier_segment_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    for (damaged, tag) in [(1, "middle"), (0, "first")] {
        let settings = Settings { path: settings.path.join(tag), ..settings.clone() };
        let (spool, ..) = open(&settings);
        let stream = write_blocks(&spool, 3);
        drop(spool);
        let path = &segments(&settings, stream)[damaged];
        let mut bytes = fs::read(path).unwrap();
        bytes[60] ^= 1;
        fs::write(path, bytes).unwrap();
        let (spool, _, counters) = open(&settings);
        let lost = damaged + 1;
        assert_eq!(drain(&spool), records_of_blocks((1..=3).filter(|n| *n != lost)));
        assert_eq!((counters.frames_quarantined.get(), counters.frames_torn.get()), (1, 0));
        assert_eq!(counters.records_quarantined.get(), lost as u64);
        assert!(spool.streams().is_empty());
    }
}

#[test]
fn a_stream_that_ends_in_segments_without_a_sound_block_comes_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 5);
    drop(spool);
    // Their headers are sound: a start takes them for blocks.
    for path in &segments(&settings, stream)[1..] {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let (spool, _, counters) = open(&settings);
    let (done, ended) = std::sync::mpsc::channel();
    let reading = spool.clone();
    std::thread::spawn(move || done.send(drain(&reading)));
    let found = ended.recv_timeout(std::time::Duration::from_secs(60)).expect("it goes round in circles");
    assert_eq!(found, records_of_blocks(1..=1));
    assert_eq!((counters.records_quarantined.get(), counters.frames_torn.get()), (2 + 3 + 4 + 5, 0));
    assert!(spool.is_drained() && spool.streams().is_empty());
}

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::spool::SpoolError;

#[test]
fn what_is_read_is_what_was_written_across_segments_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    for segment_size in [1, 1500, 1 << 20] {
        let settings = Settings { segment_size, ..settings(&folder.path().join(segment_size.to_string())) };
        let (spool, recovered, _) = open(&settings);
        assert!(!recovered.resumed);
        write_blocks(&spool, 6);
        drop(spool);
        let (spool, recovered, _) = open(&settings);
        assert!(recovered.resumed);
        assert_eq!(recovered.positions["p"], "6");
        write_blocks(&spool, 3);
        let generations: Vec<_> = spool.streams().iter().map(|stream| (stream.generation, stream.sealed)).collect();
        assert_eq!(generations, [(1, true), (2, true)]);
        drop(spool);
        let (spool, recovered, counters) = open(&settings);
        assert_eq!(recovered.positions["p"], "3", "the later generation counts");
        assert_eq!(drain(&spool), records_of_blocks((1..=6).chain(1..=3)));
        assert!(spool.is_drained() && spool.streams().is_empty());
        assert_eq!(spool.bytes(), 0);
        assert_eq!(counters.report(), "");
    }
}

#[test]
fn a_live_stream_is_read_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for segment_size in [1, 1 << 20] {
        let (spool, ..) = open(&Settings { segment_size, ..settings(&folder.path().join(segment_size.to_string())) });
        let writing = Writing::start(&spool);
        let mut reader = Reader::new(spool.clone(), 1, writing.stream, 0);
        for n in 1..=5 {
            writing.put(chunk(&format!("b{n}"), n, None));
            let read = reader.read(1 << 20).unwrap();
            assert_eq!(read.iter().flat_map(bodies).collect::<Vec<_>>(), records_of_blocks([n]));
            spool.trim(&[(writing.stream, n as u64)].into()).unwrap();
            assert!(spool.is_drained());
        }
        writing.close();
        assert!(spool.streams().is_empty());
    }
}

#[test]
fn positions_outlive_the_segments_that_brought_them() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 4);
    spool.trim(&[(stream, 4)].into()).unwrap();
    assert!(!settings.path.join(stream.to_string()).exists());
    drop(spool);
    let (spool, recovered, _) = open(&settings);
    assert_eq!(recovered.positions, BTreeMap::from([("p".into(), "4".into())]));
    assert_eq!(Writing::start(&spool).close(), 0);
    assert!(recovered.resumed);
}

#[test]
fn an_end_is_forgotten_only_when_no_older_block_can_bring_the_position_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    writing.put(chunk("a", 1, None));
    writing.put(chunk("b", 1, Some(("p", "old"))));
    let first = writing.stream;
    writing.close();
    let writing = Writing::start(&spool);
    writing.put(chunk("c", 1, Some(("p", ""))));
    let second = writing.stream;
    writing.close();
    let positions = |spool: Arc<Spool>| {
        drop(spool);
        let (spool, recovered, _) = open(&settings);
        (spool, recovered.positions)
    };
    let (spool, found) = positions(spool);
    assert!(found.is_empty());
    // The later stream goes first, then part of the older one: its second segment still says "old".
    spool.trim(&[(second, 1)].into()).unwrap();
    spool.trim(&[(first, 1)].into()).unwrap();
    let (spool, found) = positions(spool);
    assert!(found.is_empty(), "{found:?}");
    spool.trim(&[(first, 2)].into()).unwrap();
    let (spool, found) = positions(spool);
    assert!(found.is_empty(), "{found:?}");
    write_blocks(&spool, 1);
    assert_eq!(drain(&spool).len(), 1);
    let text = fs::read_to_string(folder.path().join("positions")).unwrap();
    assert!(text.ends_with(r#"{"p":[2,1,"1"]}"#) || text.ends_with(r#"{"p":[3,1,"1"]}"#), "{text}");
}

#[test]
fn a_frame_torn_at_any_byte_is_passed_over_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    for (segment_size, step) in [(1, 9), (1 << 20, 1)] {
        let settings = Settings { segment_size, ..settings(&folder.path().join(segment_size.to_string())) };
        let (spool, ..) = open(&settings);
        let stream = write_blocks(&spool, 3);
        drop(spool);
        let path = segments(&settings, stream).pop().unwrap();
        let original = fs::read(&path).unwrap();
        let offsets = frame_offsets(&path);
        let last = offsets[offsets.len() - 2] as usize;
        let keep: Vec<_> =
            segments(&settings, stream).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        for length in (last..original.len()).step_by(step) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            keep.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
            fs::write(&path, &original[..length]).unwrap();
            let _ = fs::remove_file(settings.path.join("positions"));
            let (spool, recovered, counters) = open(&settings);
            assert_eq!(recovered.positions["p"], "2", "torn after {length}");
            assert_eq!(counters.frames_torn.get(), u64::from(length > last), "torn after {length}");
            assert_eq!(drain(&spool), records_of_blocks(1..=2));
            assert_eq!(counters.frames_quarantined.get() + counters.records_quarantined.get(), 0);
            assert!(spool.is_drained() && spool.streams().is_empty());
            assert!(!path.parent().unwrap().exists());
        }
    }
}

#[test]
fn segments_without_blocks_and_foreign_files_are_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 2);
    drop(spool);
    let paths = segments(&settings, stream);
    let header = fs::read(&paths[0]).unwrap()[..44].to_vec();
    for length in [0, 20, 44] {
        let empty = paths[0].with_file_name("00000000000000000003.seg");
        fs::write(&empty, &header[..length]).unwrap();
        fs::create_dir_all(folder.path().join("lost+found")).unwrap();
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        fs::write(paths[0].with_file_name("3.seg"), "x").unwrap();
        let (spool, recovered, counters) = open(&settings);
        assert!(!empty.exists(), "{length} bytes");
        assert_eq!(recovered.positions["p"], "2");
        assert_eq!(read_all(&spool).into_values().map(|blocks| blocks.len()).sum::<usize>(), 2);
        assert_eq!(counters.report(), "");
    }
    let lone = folder.path().join(StreamId::random().to_string());
    fs::create_dir(&lone).unwrap();
    fs::write(lone.join("00000000000000000001.seg"), "").unwrap();
    let (spool, ..) = open(&settings);
    assert!(!lone.exists());
    // The folder is not empty for the foreign file's sake; nothing else suffers from that.
    let _ = drain(&spool);
    assert!(spool.is_drained() && spool.streams().is_empty());
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn a_segment_with_a_damaged_header_is_set_aside_whole() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 3);
    drop(spool);
    let path = &segments(&settings, stream)[1];
    let mut bytes = fs::read(path).unwrap();
    bytes[30] ^= 3;
    fs::write(path, &bytes).unwrap();
    let (spool, _, counters) = open(&settings);
    assert_eq!(drain(&spool), records_of_blocks([1, 3]));
    assert_eq!((counters.frames_quarantined.get(), counters.records_quarantined.get()), (1, 2));
    let name = format!("{stream}-{}", path.file_name().unwrap().to_str().unwrap());
    assert_eq!(fs::read(folder.path().join("quarantine").join(name)).unwrap(), bytes);
}

#[test]
fn nobody_else_reads_what_is_in_the_spool() {
    fn check(folder: &Path, seen: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{mode:o} {}", path.display());
            seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
            if path.is_dir() {
                check(&path, seen);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder.path().join("spool"));
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 4);
    let path = &segments(&settings, stream)[1];
    let mut bytes = fs::read(path).unwrap();
    bytes[60] ^= 1;
    fs::write(path, bytes).unwrap();
    let _ = read_all(&spool);
    spool.trim(&[(stream, 1)].into()).unwrap();
    let mut seen = Vec::new();
    check(folder.path(), &mut seen);
    for name in ["lock", "reserve", "positions", "quarantine"] {
        assert!(seen.iter().any(|seen| seen == name), "{name} in {seen:?}");
    }
    assert!(seen.iter().any(|name| name.ends_with(".seg")) && seen.iter().any(|name| name.ends_with(".bad")));
}

#[test]
fn damaged_positions_are_set_aside_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    write_blocks(&spool, 1);
    drain(&spool);
    drop(spool);
    fs::write(folder.path().join("positions"), "logboom-positions 1 00000000\n{}").unwrap();
    let (_spool, recovered, counters) = open(&settings);
    assert!(recovered.positions.is_empty());
    assert_eq!(counters.frames_quarantined.get(), 1);
}

#[test]
fn a_segment_that_somebody_deletes_is_counted_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, _, counters) = open(&settings);
    let stream = write_blocks(&spool, 3);
    let mut reader = Reader::new(spool.clone(), 1, stream, 0);
    assert_eq!(reader.read(1).unwrap().len(), 1);
    fs::remove_file(&segments(&settings, stream)[1]).unwrap();
    assert_eq!(reader.read(1 << 20).unwrap().iter().flat_map(bodies).collect::<Vec<_>>(), records_of_blocks([3]));
    assert_eq!(counters.records_quarantined.get(), 2);
    let _ = read_all(&spool);
    assert_eq!(counters.records_quarantined.get(), 2, "it is counted once");
    spool.trim(&[(stream, 3)].into()).unwrap();
    assert!(spool.streams().is_empty() && spool.bytes() == 0);
}

#[test]
fn nothing_is_acknowledged_into_a_deleted_segment() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    let stream = writing.stream;
    writing.put(chunk("b1", 1, None));
    fs::remove_file(&segments(&settings, stream)[0]).unwrap();
    writing.put(chunk("b2", 2, None));
    writing.close();
    drop(spool);
    let (spool, ..) = open(&settings);
    assert_eq!(drain(&spool), records_of_blocks([2]));
}

#[test]
fn a_segment_cut_by_somebody_does_not_stop_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, _, counters) = open(&settings);
    let stream = write_blocks(&spool, 4);
    let path = &segments(&settings, stream)[0];
    let cut = frame_offsets(path)[2] + 5;
    fs::File::options().write(true).open(path).unwrap().set_len(cut).unwrap();
    assert_eq!(drain(&spool), records_of_blocks(1..=2));
    assert_eq!((counters.frames_quarantined.get(), counters.records_quarantined.get()), (1, 7));
    assert!(spool.streams().is_empty());
}

#[test]
fn a_spool_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    assert!(matches!(Spool::open(Disk::default(), &settings, Arc::default()), Err(SpoolError::InUse(_))));
    drop(spool);
    open(&settings);
}

#[test]
fn a_mark_beyond_what_was_written_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&settings(folder.path()));
    let writing = Writing::start(&spool);
    let stream = writing.stream;
    writing.put(chunk("b1", 1, None));
    assert!(matches!(spool.trim(&[(stream, 2)].into()), Err(SpoolError::Ahead { mark: 2, last: 1, .. })));
    writing.put(chunk("b2", 2, None));
    assert_eq!(drain(&spool), records_of_blocks(1..=2));
    writing.close();
}

#[test]
fn the_marks_of_many_streams_are_believed_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let mut marks: BTreeMap<StreamId, u64> = (0..20).map(|_| (write_blocks(&spool, 3), 3)).collect();
    let partly = *marks.keys().next().unwrap();
    marks.insert(partly, 1);
    let writing = Writing::start(&spool);
    writing.put(chunk("live", 1, None));
    marks.insert(writing.stream, 2);
    assert!(matches!(spool.trim(&marks), Err(SpoolError::Ahead { mark: 2, last: 1, .. })));
    assert_eq!(read_all(&spool).len(), 21, "nothing of it was believed");
    marks.insert(writing.stream, 1);
    spool.trim(&marks).unwrap();
    writing.close();
    assert_eq!(spool.streams().iter().map(|stream| stream.id).collect::<Vec<_>>(), [partly]);
    drop(spool);
    let (spool, recovered, _) = open(&settings);
    assert_eq!(recovered.positions, BTreeMap::from([("p".into(), "3".into())]));
    assert_eq!(spool.streams().iter().map(|stream| stream.id).collect::<Vec<_>>(), [partly]);
}

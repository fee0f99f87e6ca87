//! What was given up is owed until the table has heard of it, whatever happens in between.

use super::*;
use crate::spool::{Loss, Reason};
use logboom_config::WhenFull;

const ROOM: u64 = 4000;

fn small(path: &Path) -> Settings {
    Settings { max_size: RESERVE_BYTES + ROOM, when_full: WhenFull::DropOldest, ..settings(path) }
}

/// Blocks of 10 records each, with these numbers in their texts.
fn fill(writing: &Writing, blocks: std::ops::RangeInclusive<usize>) {
    blocks.for_each(|n| writing.put(chunk(&format!("b{n}"), 10, None)));
}

/// Writes a loss record, as far as the spool can tell, of everything that is owed.
fn tell(spool: &Spool, writing: &Writing) -> Vec<Loss> {
    let owed = spool.owed_losses();
    let mut told = chunk("loss", 1, None);
    owed.iter().for_each(|loss| told.set_position(Position { key: loss.key(), value: String::new() }));
    writing.put(told);
    owed
}

fn has_losses_on_disk(settings: &Settings) -> bool {
    fs::read_to_string(settings.path.join("positions")).is_ok_and(|text| text.contains("loss/"))
}

#[test]
fn what_is_dropped_is_owed_exactly_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path());
    let (spool, _, counters) = open(&settings);
    let writing = Writing::start(&spool);
    let stream = writing.stream;
    fill(&writing, 1..=40);
    let dropped = counters.records_dropped_oldest.get();
    assert!(dropped >= 100);
    let expected = [Loss { stream, first: 0, last: dropped - 1, reason: Reason::DropOldest }];
    assert_eq!(spool.owed_losses(), expected);
    writing.close();
    drop(spool);
    let (spool, recovered, _) = open(&settings);
    assert_eq!(spool.owed_losses(), expected);
    assert!(recovered.positions.is_empty(), "sources are not told of it");
}

#[test]
fn a_loss_that_was_told_of_is_not_owed_and_is_forgotten_once_that_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path());
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    fill(&writing, 1..=40);
    // Some room, so that nothing is dropped for the loss record.
    spool.trim(&[(writing.stream, 39)].into()).unwrap();
    assert_eq!(tell(&spool, &writing).len(), 1);
    assert_eq!(spool.owed_losses(), []);
    writing.close();
    drop(spool);
    let (spool, ..) = open(&settings);
    assert_eq!(spool.owed_losses(), []);
    assert!(has_losses_on_disk(&settings), "until it is committed");
    drain(&spool);
    assert_eq!(spool.owed_losses(), []);
    assert!(!has_losses_on_disk(&settings));
}

#[test]
fn a_loss_whose_record_is_dropped_in_its_turn_is_owed_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path());
    let (spool, _, counters) = open(&settings);
    let writing = Writing::start(&spool);
    fill(&writing, 1..=40);
    // Some room, so that nothing is dropped for the loss record.
    spool.trim(&[(writing.stream, 38)].into()).unwrap();
    let told = tell(&spool, &writing);
    assert_eq!((told.len(), spool.owed_losses().len()), (1, 0));
    // All before the loss record is committed: what is dropped next begins with it, and is no part of what it tells of.
    let before = counters.records_dropped_oldest.get();
    spool.trim(&[(writing.stream, 40)].into()).unwrap();
    fill(&writing, 41..=120);
    let owed = spool.owed_losses();
    let covered = |seq| owed.iter().any(|loss| (loss.first..=loss.last).contains(&seq));
    assert!((told[0].first..=told[0].last).all(covered), "{owed:?}");
    assert!(!covered(told[0].last + 12) && !covered(399), "what was committed is no loss: {owed:?}");
    let dropped = counters.records_dropped_oldest.get() - before;
    assert!(dropped > 200 && (400..400 + dropped).all(covered) && !covered(400 + dropped), "{owed:?}");
    writing.close();
}

#[test]
fn a_crash_before_the_segment_is_deleted_leaves_both_the_loss_and_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path());
    let (spool, ..) = open(&settings);
    let writing = Writing::start(&spool);
    let stream = writing.stream;
    writing.put(chunk("b1", 10, None));
    writing.put(chunk("b2", 10, None));
    let first = segments(&settings, stream)[0].clone();
    let bytes = fs::read(&first).unwrap();
    assert_eq!(spool.drop_oldest().unwrap(), Some(10));
    writing.close();
    drop(spool);
    fs::write(&first, bytes).unwrap();
    let (spool, ..) = open(&settings);
    assert_eq!(spool.owed_losses(), [Loss { stream, first: 0, last: 9, reason: Reason::DropOldest }]);
    assert_eq!(drain(&spool).len(), 20);
}

#[test]
fn damage_is_owed_before_the_blocks_after_it_can_be_committed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_size: 1 << 20, ..settings(folder.path()) };
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 4);
    drop(spool);
    let path = segments(&settings, stream).pop().unwrap();
    let offsets = frame_offsets(&path);
    let mut bytes = fs::read(&path).unwrap();
    // In the header of the second of the blocks of 1, 2, 3 and 4 records.
    bytes[offsets[1] as usize + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (spool, ..) = open(&settings);
    let expected = [Loss { stream, first: 1, last: 2, reason: Reason::Damaged }];
    let mut reader = Reader::new(spool.clone(), spool.streams()[0].generation, stream, 0);
    let read: Vec<u64> = reader.read(1 << 20).unwrap().iter().map(|block| block.header().number).collect();
    assert_eq!(read, [1, 3, 4]);
    assert_eq!(spool.owed_losses(), expected);
    // The collector commits block 3, then this host crashes: nobody comes by the damage again.
    spool.trim(&[(stream, 3)].into()).unwrap();
    drop((reader, spool));
    let (spool, ..) = open(&settings);
    assert_eq!(spool.owed_losses(), expected);
    let writing = Writing::start(&spool);
    tell(&spool, &writing);
    assert_eq!(spool.owed_losses(), []);
    writing.close();
    drain(&spool);
    assert!(!has_losses_on_disk(&settings));
}

#[test]
fn a_segment_that_somebody_deletes_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let (spool, ..) = open(&settings);
    let stream = write_blocks(&spool, 3);
    fs::remove_file(&segments(&settings, stream)[1]).unwrap();
    drain(&spool);
    assert_eq!(spool.owed_losses(), [Loss { stream, first: 1, last: 2, reason: Reason::Damaged }]);
}

//! Every bit of a segment of 64 KiB, flipped: harmless, or accounted to the record.

use super::image::{Image, folder};
use crate::spool::segment;

/// So many blocks of 4 KiB are 64 KiB.
const BLOCKS: usize = 16;
const BODY_BYTES: usize = 3800;

/// Flips every `step`-th bit of the first segment of a stream with these, and says how many flips cost nothing.
fn flip(segments: &[usize], step: usize) -> (usize, usize) {
    let folder = folder();
    let image = Image::new(folder.path(), segments, BODY_BYTES);
    let mut contents: Vec<_> = image.segments.iter().map(|(_, bytes)| Some(bytes.clone())).collect();
    let whole = image.account(&contents);
    assert_eq!((whole.reported, whole.unreported, whole.torn), (0, 0, 0));
    let bytes = image.segments[0].1.len();
    assert!((60 << 10..70 << 10).contains(&bytes), "the segment has {bytes} bytes");
    let (mut flips, mut harmless) = (0, 0);
    for bit in (0..8 * bytes).step_by(step) {
        let content = contents[0].as_mut().unwrap();
        content[bit / 8] ^= 1 << (bit % 8);
        let account = image.account(&contents);
        contents[0].as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(account.given + account.reported + account.unreported, whole.given);
        if bit / 8 < segment::HEADER_BYTES {
            assert_eq!(account.given, whole.given, "bit {bit}, of the segment's header, costs a record");
        }
        // What may be a write that was never synced is the last block of a stream, and it is counted as torn.
        let may_be_torn = segments.len() == 1 && image.is_in_last_block(0, bit / 8);
        let torn = if may_be_torn && account.torn > 0 { image.last_records() } else { 0 };
        assert_eq!(account.unreported, torn, "bit {bit}: {account:?}");
        assert!(account.torn <= u64::from(may_be_torn), "bit {bit}: {account:?}");
        flips += 1;
        harmless += usize::from(account.given == whole.given);
    }
    (flips, harmless)
}

#[test]
fn a_flipped_bit_of_a_segment_is_harmless_or_accounted_to_the_record() {
    // A prime, so that all bits of a byte and all bytes of a word have their turn.
    flip(&[BLOCKS], 1009);
    flip(&[BLOCKS, 1], 2003);
    // All of the segment's header, the first block's, and the last one's.
    let folder = folder();
    let image = Image::new(folder.path(), &[2], 50);
    let bytes = image.segments[0].1.clone();
    for bit in 0..8 * bytes.len() {
        let mut content = bytes.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        let account = image.account(&[Some(content)]);
        let torn = if account.torn > 0 { image.last_records() } else { 0 };
        assert_eq!(account.unreported, torn, "bit {bit}: {account:?}");
        assert!(account.torn == 0 || image.is_in_last_block(0, bit / 8), "bit {bit}: {account:?}");
    }
}

/// All of them: `cargo test --release -p logboom-adaptor --lib every_bit_of_a_segment -- --ignored --nocapture`.
#[test]
#[ignore = "it takes minutes"]
fn every_bit_of_a_segment_is_harmless_or_accounted_to_the_record() {
    for (segments, place) in [(&[BLOCKS][..], "the only segment"), (&[BLOCKS, 1], "not the last segment")] {
        let begun = std::time::Instant::now();
        let (flips, harmless) = flip(segments, 1);
        let seconds = begun.elapsed().as_secs_f64();
        println!("{place}: {flips} flips, {harmless} harmless, all others accounted for, in {seconds:.0} s");
    }
}

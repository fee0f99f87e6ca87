//! Fuzz target of segments: whatever becomes of the files of a stream, reported loss = actual loss; and at least that where
//! blocks stand there twice.
//!
//! An input is a list of damages, not the bytes themselves: a fuzzer that may write checksums makes blocks that are
//! sound, which is a hostile peer's work and not a disk's.

use super::image::{Image, folder};
use crate::source::testing::fuzz;

/// Bytes of one damage: what, which segment, where, how much, and what with.
const DAMAGE_BYTES: usize = 8;
const DAMAGES_MAX: usize = 12;

/// Does `damage` to the files. What is put in place of what was there is zeros, noise, or comes from elsewhere in them.
fn damage(files: &mut [Option<Vec<u8>>], damage: &[u8]) {
    let number = |at: usize| usize::from(u16::from_le_bytes([damage[at], damage[at + 1]]));
    let segment = usize::from(damage[1]) % files.len();
    let other = files[(segment + 1) % files.len()].clone().unwrap_or_default();
    let Some(file) = &mut files[segment] else { return };
    let from = number(2) % (file.len() + 1);
    let to = (from + number(4)).min(file.len());
    let mut seed = number(6) as u32 | 1;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    };
    match damage[0] % 10 {
        0 | 1 if from < file.len() => file[from] ^= 1 << (damage[6] % 8),
        2 => file[from..to].fill(0),
        3 => file[from..to].fill_with(&mut noise),
        4 => file.truncate(from),
        5 => drop(file.drain(from..to)),
        6 => file.extend(std::iter::repeat_with(noise).take(number(4) % 5000)),
        7 => {
            let piece = file[from..to].to_vec();
            file.extend(piece);
        }
        8 => {
            let piece: Vec<u8> = other.into_iter().skip(from).take(to - from).collect();
            file.splice(from..from, piece);
        }
        // That the first one is gone is what a stream looks like whose beginning is committed.
        9 if damage[6] == 0 && segment > 0 => files[segment] = None,
        _ => {}
    }
}

#[test]
fn whatever_becomes_of_segments_reported_loss_is_actual_loss() {
    let folder = folder();
    let image = Image::new(folder.path(), &[3, 2, 3], 100);
    let length = image.segments[0].1.len() as u16;
    let seed = |kind: u8, segment: u8, at: u16, length: u16, with: u16| {
        [&[kind, segment][..], &at.to_le_bytes(), &length.to_le_bytes(), &with.to_le_bytes()].concat()
    };
    let seeds = [
        seed(0, 0, 60, 0, 3),
        seed(2, 1, 50, 100, 0),
        seed(4, 2, length / 2, 0, 0),
        seed(5, 0, 44, length / 3, 0),
        seed(6, 2, 0, 700, 9),
        seed(7, 1, 44, 2000, 0),
        seed(8, 0, length / 2, 900, 0),
        seed(9, 1, 0, 0, 0),
        [seed(3, 0, 0, 44, 5), seed(0, 2, 100, 0, 1)].concat(),
    ];
    fuzz(&seeds.each_ref().map(Vec::as_slice), |input| {
        let mut files: Vec<_> = image.segments.iter().map(|(_, bytes)| Some(bytes.clone())).collect();
        input.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX).for_each(|bytes| damage(&mut files, bytes));
        // No disk makes copies of blocks; what is reported then may be too much, and never too little.
        let copies = input.chunks_exact(DAMAGE_BYTES).any(|bytes| matches!(bytes[0] % 10, 7 | 8));
        let account = image.account_of(&files, !copies);
        let all: u64 = account.given + account.reported + account.unreported;
        assert!(all > 0 && account.torn <= 3);
    });
}

//! The hybrid of runs and packed bits in which Parquet keeps indices of a dictionary (its specification, `Encodings.md`,
//! section "Run Length Encoding / Bit-Packing Hybrid").

/// Values are packed in groups of so many.
const GROUP: usize = 8;

/// The bits that each of these many ids takes.
pub fn width(ids: usize) -> u8 {
    (usize::BITS - ids.saturating_sub(1).leading_zeros()) as u8
}

/// Appends `ids` (or levels), each of at most `width` bits.
pub fn encode<T: Copy + Eq + Into<u32>>(ids: &[T], width: u8, out: &mut Vec<u8>) {
    let mut rest = ids;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|id| **id == first).count();
        if run >= GROUP || run == rest.len() {
            push_varint((run as u64) << 1, out);
            out.extend_from_slice(&first.into().to_le_bytes()[..usize::from(width.div_ceil(8))]);
            rest = &rest[run..];
            continue;
        }
        // As far as no whole group is one run. Only the last group of all may be filled up.
        let is_mixed = |group: &[T]| group.iter().any(|id| *id != group[0]);
        let more = rest[GROUP.min(rest.len())..].chunks_exact(GROUP).take_while(|group| is_mixed(group)).count();
        let (packed, others) = rest.split_at((GROUP * (1 + more)).min(rest.len()));
        push_varint((1 + more as u64) << 1 | 1, out);
        pack(packed, width, out);
        rest = others;
    }
}

fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Packs whole groups; those that are missing from the last one are zero.
fn pack<T: Copy + Into<u32>>(ids: &[T], width: u8, out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0);
    let filled = ids.len().next_multiple_of(GROUP) - ids.len();
    for id in ids.iter().map(|id| (*id).into()).chain(std::iter::repeat_n(0, filled)) {
        bits |= u64::from(id) << held;
        held += width;
        while held >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            held -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// As the specification has it, one value after the other.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let length = (header >> 1) as usize;
            if header & 1 == 0 {
                let mut value = [0; 4];
                let size = usize::from(width.div_ceil(8));
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                ids.extend(std::iter::repeat_n(u32::from_le_bytes(value), length));
            } else {
                let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                let value = |index: usize| {
                    (0..usize::from(width)).map(|n| bit(index * usize::from(width) + n) << n).sum::<u32>()
                };
                ids.extend((0..length * 8).map(value));
                bytes = &bytes[length * usize::from(width)..];
            }
        }
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        assert!(ids[count..].iter().all(|id| *id == 0) && ids.len() < count + 8);
        ids.truncate(count);
        ids
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut random = StdRng::seed_from_u64(3);
        for round in 0..2000 {
            let kinds = [1, 2, 3, 5, 16, 255, 256, 257, 70_000][round % 9];
            let longest = [1, 2, 7, 8, 9, 20, 300][random.random_range(0..7)];
            let mut ids = Vec::new();
            for _ in 0..random.random_range(1..60) {
                let id = random.random_range(0..kinds as u32);
                ids.extend(std::iter::repeat_n(id, random.random_range(1..=longest)));
            }
            let mut bytes = Vec::new();
            encode(&ids, width(kinds), &mut bytes);
            assert_eq!(decode(&bytes, width(kinds), ids.len()), ids, "{kinds} kinds");
        }
    }

    #[test]
    fn one_value_takes_next_to_nothing() {
        let mut bytes = Vec::new();
        encode(&[0u32; 20_000], width(1), &mut bytes);
        assert_eq!(bytes.len(), 3);
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(width), [0, 0, 1, 2, 2, 3, 8, 9]);
    }
}

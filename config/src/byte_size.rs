//! Sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Unparsable, quoted};

/// A number of bytes, written `64MiB`, `10GB`, `512KiB` or as a plain number of bytes.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `KB` (or `kB`), `MB`, `GB` and `TB` are powers
/// of 1000. Displays with the unit that leaves the smallest whole number, so that nothing is
/// rounded and what is displayed parses to the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<ByteSize, Unparsable> {
        let refuse = |why: &str| Err(Unparsable(format!("`{}` {why}", quoted(text))));
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        if number.is_empty() || unit.starts_with(['.', ',', '_']) {
            return refuse("is not a size; write a whole number and a unit, such as `64MiB`");
        }
        let scale = match unit {
            "" => 1,
            "kB" => 1_000,
            _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, scale)) => *scale,
                None => return refuse("has an unknown unit; the units are B, KiB, MiB, GiB, TiB, KB, MB, GB and TB"),
            },
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
            Some(bytes) => Ok(ByteSize(bytes)),
            None => refuse("is too large; a size is less than 16777216TiB"),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, scale) = UNITS
            .iter()
            .filter(|(_, scale)| self.0.is_multiple_of(*scale) && self.0 >= *scale)
            .max_by_key(|(_, scale)| *scale)
            .unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<ByteSize>().unwrap().0
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(bytes("64MiB"), 64 << 20);
        assert_eq!(bytes("1GiB"), 1 << 30);
        assert_eq!(bytes("10MB"), 10_000_000);
        assert_eq!(bytes("512 KiB"), 512 << 10);
        assert_eq!(bytes("2kB"), 2000);
        assert_eq!(bytes("4096"), 4096);
        assert_eq!(bytes("0"), 0);
    }

    #[test]
    fn a_size_displays_as_it_was_written() {
        for text in ["64MiB", "1GiB", "10MB", "512KiB", "7B", "0B", "10TB", "3TiB", "1500KB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!(ByteSize(1024).to_string(), "1KiB");
        assert_eq!(ByteSize(1001).to_string(), "1001B");
    }

    #[test]
    fn a_displayed_size_parses_to_the_same_size() {
        for shift in 0..64 {
            for size in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift, 1000 * (1_u64 << (shift / 2))] {
                assert_eq!(bytes(&ByteSize(size).to_string()), size);
            }
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_a_fix() {
        for text in ["", "MiB", "-1", "1.5GiB", "64M", "64mib", "1e3", "٣MiB", "64MiB ", "1_000"] {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains("MiB"), "{error}");
        }
        assert!("99999999999999999999".parse::<ByteSize>().is_err());
        assert!("17000000TiB".parse::<ByteSize>().is_err());
    }
}

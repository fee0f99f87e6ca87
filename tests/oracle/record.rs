//! A record that says what it is: `<producer> <n> <checksum of the rest> <filler>`.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// One record. Its text is determined by producer, number and length of the filler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub producer: String,
    pub n: u64,
    filler: String,
}

impl Record {
    /// Record `n` of `producer`, with about `length` bytes that do not compress to nothing.
    pub fn new(producer: &str, n: u64, length: usize) -> Self {
        let seed = u64::from(crc32c::crc32c(producer.as_bytes())) << 32 | (n & 0xffff_ffff);
        let mut bytes = vec![0; length / 2];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let digits = b"0123456789abcdef";
        let filler = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(digits[half as usize]));
        let filler = filler.collect();
        Self { producer: producer.to_owned(), n, filler }
    }

    /// Reads a text back; `None` if it is damaged or none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let mut part = || parts.next();
        let (producer, n, checksum, filler) = (part()?, part()?, part()?, part()?);
        let record = Self { producer: producer.to_owned(), n: n.parse().ok()?, filler: filler.to_owned() };
        (record.checksum() == u32::from_str_radix(checksum, 16).ok()? && record.to_string() == text).then_some(record)
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(format!("{} {} {}", self.producer, self.n, self.filler).as_bytes())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:08x} {}", self.producer, self.n, self.checksum(), self.filler)
    }
}

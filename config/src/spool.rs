//! `[adaptor.spool]`: how records are kept on local disk until they are committed.

use std::path::PathBuf;
use std::time::Duration;

use crate::ByteSize;
use crate::error::Error;
use crate::section::Section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// No disk is larger, and sums of sizes below it do not overflow.
const PIB: u64 = 1 << 50;

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The folder. One adaptor at a time uses it.
    pub path: PathBuf,
    /// The most bytes of disk that it takes; at least 4 times `segment_size`, at most 1 PiB.
    pub max_size: u64,
    /// The bytes of one segment file; 64 KiB to 1 GiB.
    pub segment_size: u64,
    /// The raw bytes at which a block is closed; 4 KiB to 8 MiB. A larger record is a block of its own.
    pub block_size: usize,
    /// The longest time that a record nobody waits for waits for others before its block is written; 0 to 10 s.
    pub linger: Duration,
    /// The raw bytes held in memory before sources wait; at least 2 times `block_size`, at most 1 GiB.
    pub buffer_size: usize,
    /// What happens when `max_size` is reached.
    pub when_full: WhenFull,
    /// A left-over stream older than this is not sent again unless `send_expired`; 1 h to 10 years.
    pub max_age: Duration,
    /// Send left-over streams older than `max_age` all the same.
    pub send_expired: bool,
}

/// What the adaptor does when its spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Sources wait, and producers with them.
    Block,
    /// New records are dropped and counted.
    DropNewest,
    /// The oldest spooled records are dropped and counted.
    DropOldest,
}

impl WhenFull {
    pub(crate) const CHOICES: [(&str, WhenFull); 3] =
        [("block", WhenFull::Block), ("drop_newest", WhenFull::DropNewest), ("drop_oldest", WhenFull::DropOldest)];
}

impl Default for Spool {
    fn default() -> Spool {
        Spool::read(&Section::defaults("adaptor.spool")).expect("the defaults are valid")
    }
}

impl Spool {
    /// The default settings with the spool in the folder `path`.
    pub fn at(path: impl Into<PathBuf>) -> Spool {
        Spool { path: path.into(), ..Spool::default() }
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Spool, Error> {
        let year = Duration::from_hours(24 * 365);
        let spool = Spool {
            path: section.get("path").name(4096)?.into(),
            max_size: section.get("max_size").size(256 * KIB..=PIB)?,
            segment_size: section.get("segment_size").size(64 * KIB..=GIB)?,
            block_size: section.get("block_size").size(4 * KIB..=8 * MIB)? as usize,
            linger: section.get("linger").duration(Duration::ZERO..=Duration::from_secs(10))?,
            buffer_size: section.get("buffer_size").size(8 * KIB..=GIB)? as usize,
            when_full: section.get("when_full").choice(&WhenFull::CHOICES)?,
            max_age: section.get("max_age").duration(Duration::from_hours(1)..=10 * year)?,
            send_expired: section.get("send_expired").flag()?,
        };
        if spool.max_size < 4 * spool.segment_size {
            let (size, segment) = (ByteSize(spool.max_size), ByteSize(spool.segment_size));
            let least = ByteSize(4 * spool.segment_size);
            let message =
                format!("is {size}, but must be at least 4 times segment_size ({segment}); write at least \"{least}\"");
            return Err(section.wrong("max_size", &message));
        }
        if spool.buffer_size < 2 * spool.block_size {
            let (size, block) = (ByteSize(spool.buffer_size as u64), ByteSize(spool.block_size as u64));
            let least = ByteSize(2 * spool.block_size as u64);
            let message =
                format!("is {size}, but must be at least 2 times block_size ({block}); write at least \"{least}\"");
            return Err(section.wrong("buffer_size", &message));
        }
        Ok(spool)
    }
}

//! What a run is made of: drawn from its seed before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use logboom_config::{Adaptor, Collector, Sink, Spool, WhenFull};
use logboom_sink::FileSettings;
use logboom_sink::table::{TableOptions, Timing};

use crate::chance::Chance;

/// What the reserve of a spool takes of its size.
const RESERVE: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Plan {
    pub adaptors: usize,
    pub collectors: usize,
    /// How long things go wrong.
    pub faults: Duration,
    /// The mean time between two faults, ms.
    pub pause_ms: u64,
    /// Whether some categories have a table of their own.
    pub routed: bool,
    /// Whether collectors compact, vacuum and clean up.
    pub maintained: bool,
    /// Which kinds of fault this run has, of all of them.
    pub kinds: Vec<bool>,
    /// How probable it is, all the time, that a commit lands and its answer gets lost.
    pub lost_commits: f64,
    /// The mean time between two records of a producer, ms.
    pub pace_ms: u64,
    pub flush: Duration,
    pub memory: u64,
    pub segment: u64,
    pub block: usize,
    pub room: u64,
    pub linger: Duration,
    pub when_full: WhenFull,
    pub checkpoint_interval: u64,
    pub attempts: u32,
}

impl Plan {
    pub fn draw(chance: &Chance, kinds: usize) -> Self {
        // Few kinds at a time go deeper than all at once.
        let share = *chance.pick(&[0.2, 0.4, 0.7, 1.0]);
        Self {
            adaptors: chance.within(2..5) as usize,
            collectors: chance.within(2..4) as usize,
            faults: chance.millis(8_000..25_000),
            pause_ms: chance.within(300..2500),
            routed: chance.hits(0.4),
            maintained: chance.hits(0.5),
            kinds: (0..kinds).map(|_| chance.hits(share)).collect(),
            lost_commits: *chance.pick(&[0.0, 0.0, 0.0, 0.2, 0.6]),
            pace_ms: chance.within(150..800),
            flush: chance.millis(200..2500),
            memory: 1 << chance.within(14..22),
            segment: chance.within(200..4000),
            block: chance.within(100..2000) as usize,
            room: chance.within(8_000..200_000),
            linger: chance.millis(0..60),
            when_full: if chance.hits(0.3) { WhenFull::DropNewest } else { WhenFull::Block },
            checkpoint_interval: chance.within(3..12),
            attempts: chance.within(2..8) as u32,
        }
    }

    /// Settings of an adaptor.
    pub fn adaptor(&self, host: &str, collectors: Vec<String>, send_expired: bool) -> Adaptor {
        let spool = Spool {
            path: PathBuf::from("/spool"),
            max_size: RESERVE + self.room,
            segment_size: self.segment,
            block_size: self.block,
            linger: self.linger,
            buffer_size: 4 * self.block,
            when_full: self.when_full,
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
            send_expired,
        };
        Adaptor {
            host: Some(host.to_owned()),
            spool,
            collectors,
            control: None,
            drain_timeout: Duration::from_secs(20),
            ..Adaptor::default()
        }
    }

    pub fn collector(&self) -> Collector {
        Collector {
            flush_interval: self.flush,
            memory: self.memory,
            drain_timeout: Duration::from_secs(20),
            http: None,
            maintenance: self.maintained,
            ..Collector::default()
        }
    }

    /// How tables are treated, in minutes where it would be days.
    pub fn options(&self) -> TableOptions {
        TableOptions {
            log_retention: Duration::from_secs(90),
            checkpoint_interval: self.checkpoint_interval,
            vacuum_grace: Duration::from_secs(100),
            timing: Timing {
                call_deadline: Duration::from_secs(6),
                attempts: self.attempts,
                pause_first: Duration::from_millis(50),
                pause_max: Duration::from_secs(1),
                view_age_max: Duration::from_secs(20),
            },
            ..TableOptions::default()
        }
    }

    pub fn files(&self) -> FileSettings {
        FileSettings { row_group_rows: 1024, ..FileSettings::from(&Sink::at("memory://")) }
    }
}

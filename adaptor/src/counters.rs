//! What an adaptor counts: each source by itself, and the adaptor what belongs to none. Every record that does not reach the spool as it came is counted here by reason.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the start of a source or an adaptor. Cheap to add to from anywhere.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Counter,)*
            /// Bytes of followed files that are not read yet, as of the last look at them.
            pub lag_bytes: Gauge,
        }

        impl Counters {
            /// Shows every count with its name.
            pub fn each(&self, mut see: impl FnMut(&'static str, u64)) {
                $(see(stringify!($name), self.$name.get());)*
            }

            /// Shows every name with what it means.
            pub fn meanings(mut see: impl FnMut(&'static str, &'static str)) {
                $(see(stringify!($name), concat!($($doc),*).trim_ascii());)*
            }

            /// Adds all of `other`.
            pub fn add_all(&self, other: &Counters) {
                $(self.$name.add(other.$name.get());)*
                self.lag_bytes.set(self.lag_bytes.get() + other.lag_bytes.get());
            }
        }
    };
}

impl Counters {
    /// Every count that is not zero, as `name=count` separated by spaces.
    pub fn report(&self) -> String {
        let mut report = String::new();
        self.each(|name, count| {
            if count > 0 {
                let space = if report.is_empty() { "" } else { " " };
                let _ = write!(report, "{space}{name}={count}");
            }
        });
        report
    }
}

counters! {
    /// Records taken in, without those that a rule dropped.
    records_in,
    /// Bytes of their bodies.
    bytes_in,
    /// Lines longer than `max_line` that were cut.
    lines_truncated,
    /// Lines longer than `max_line` that were split into several records.
    lines_split,
    /// Lines longer than `max_line` that were dropped, as `on_long_line = "drop"` says.
    lines_dropped_too_long,
    /// Lines that did not parse and were kept as plain records.
    lines_unparsed,
    /// Records refused because the spool was full (`when_full = "drop_newest"`).
    records_refused_full,
    /// Records of blocks that were dropped because the spool was full (`when_full = "drop_oldest"`).
    records_dropped_oldest,
    /// Records that a rule (`[[adaptor.route]]`) dropped: all of it, by sampling or beyond a limit. A record that is refused
    /// and sent again passes the rules again.
    records_dropped_by_route,
    /// Records that were put to `_overflow` because there are too many categories.
    records_overflowed,
    /// Connections refused because there were too many.
    connections_refused,
    /// Handshakes that failed, of TLS or of a protocol's own.
    handshakes_failed,
    /// Messages and requests that were refused because they were malformed, too large or not allowed.
    messages_refused,
    /// Attributes left out because a record had too many or too long ones.
    attributes_dropped,
    /// Connections closed because they were idle, or amid a message, for too long.
    connections_idle,
    /// Datagrams that came truncated.
    datagrams_truncated,
    /// Messages of several datagrams that were dropped because some did not come in time, or too many had begun.
    messages_incomplete,
    /// Files that could not be read.
    files_failed,
    /// Files that were truncated while they were followed.
    files_truncated,
    /// Starts of commands (`exec`, `journald`) that failed.
    commands_failed,
    /// Commands that ran for longer than `timeout` and were killed.
    commands_timed_out,
    /// Damaged frames found in the spool and set aside.
    frames_quarantined,
    /// Records of blocks that were lost in damaged frames, as far as they can be told.
    records_quarantined,
    /// Last frames of a segment that were never synced, and so never acknowledged.
    frames_torn,
    /// Syncs of the spool that failed.
    syncs_failed,
    /// Records that were in memory, unacknowledged, when the adaptor had to end with a full spool.
    records_abandoned,
    /// Streams that were too old to be sent again.
    streams_expired,
    /// Refusals by a collector: of a connection, or of a stream that holds what may not be written there. Nothing is lost
    /// by them: what was refused stays in the spool.
    collector_refusals,
    /// Loss records that were written: what the adaptor itself says about records that it gave up.
    loss_records,
}

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! Streams that a collector does not take, and when it is tried again with them.
//!
//! Owns how little is sent in vain: after a refusal a stream waits, longer each time, and then a single block goes out to
//! see. Pure; time comes in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use logboom_wire::StreamId;
use tokio::time::Instant;

const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A block that has not been refused by then is taken.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// What may be sent of a stream now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Whatever there is.
    All,
    /// One block, then [`Refused::sent`] is to be told.
    One,
    /// Nothing, and the stream is not to be opened.
    Nothing,
    /// Nothing until it is known what became of the one block.
    Wait,
}

struct Entry {
    wait: Duration,
    until: Instant,
    probed: Option<Instant>,
    /// How far it was committed when it was refused last.
    mark: u64,
}

/// What each collector has refused.
#[derive(Default)]
pub struct Refused(HashMap<(SocketAddr, StreamId), Entry>);

impl Refused {
    /// The collector at `at` has refused `stream`, which is committed up to `mark`. How long it waits now.
    pub fn refused(&mut self, now: Instant, at: SocketAddr, stream: StreamId, mark: u64) -> Duration {
        let entry = self.0.entry((at, stream));
        let entry = entry.or_insert(Entry { wait: WAIT_MIN / 2, until: now, probed: None, mark });
        *entry = Entry { wait: (entry.wait * 2).min(WAIT_MAX), until: now, probed: None, mark };
        entry.until += entry.wait;
        entry.wait
    }

    /// What may be sent of `stream` to `at`.
    pub fn allowed(&self, now: Instant, at: SocketAddr, stream: StreamId) -> Allowed {
        match self.0.get(&(at, stream)) {
            None => Allowed::All,
            Some(entry) if now < entry.until => Allowed::Nothing,
            Some(Entry { probed: None, .. }) => Allowed::One,
            Some(Entry { probed: Some(at), .. }) if now.duration_since(*at) < PROBE_TIME => Allowed::Wait,
            Some(_) => Allowed::All,
        }
    }

    /// The one block was sent.
    pub fn sent(&mut self, now: Instant, at: SocketAddr, stream: StreamId) {
        if let Some(entry) = self.0.get_mut(&(at, stream)) {
            entry.probed = Some(now);
        }
    }

    /// Another connection begins: what was sent on the one before may not have arrived.
    pub fn reconnected(&mut self, at: SocketAddr) {
        self.0.iter_mut().filter(|((address, _), _)| *address == at).for_each(|(_, entry)| entry.probed = None);
    }

    /// `stream` is committed up to `mark`: nobody refuses it any more if that is further than it was.
    pub fn committed(&mut self, stream: StreamId, mark: u64) {
        self.0.retain(|(_, refused), entry| *refused != stream || mark <= entry.mark);
    }

    /// Forgets streams that are no more.
    pub fn retain(&mut self, exists: impl Fn(StreamId) -> bool) {
        self.0.retain(|(_, stream), _| exists(*stream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_refusal_it_waits_longer_each_time_and_then_tries_one_block() {
        let (at, other): (SocketAddr, SocketAddr) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let (stream, mut now, mut refused) = (StreamId::random(), Instant::now(), Refused::default());
        assert_eq!(refused.allowed(now, at, stream), Allowed::All);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(refused.refused(now, at, stream, 7), Duration::from_secs(seconds));
            assert_eq!(refused.allowed(now, at, stream), Allowed::Nothing);
            assert_eq!(refused.allowed(now, other, stream), Allowed::All, "another collector may take it");
            assert_eq!(refused.allowed(now, at, StreamId::random()), Allowed::All);
            now += Duration::from_secs(seconds);
            assert_eq!(refused.allowed(now, at, stream), Allowed::One);
            refused.sent(now, at, stream);
            assert_eq!(refused.allowed(now, at, stream), Allowed::Wait);
            refused.reconnected(at);
            assert_eq!(refused.allowed(now, at, stream), Allowed::One);
            refused.sent(now, at, stream);
        }
        refused.committed(stream, 7);
        assert_eq!(refused.allowed(now, at, stream), Allowed::Wait, "nothing new is committed");
        assert_eq!(refused.allowed(now + PROBE_TIME, at, stream), Allowed::All);
        refused.committed(stream, 8);
        assert_eq!(refused.allowed(now, at, stream), Allowed::All);
        assert_eq!(refused.refused(now, at, stream, 8), WAIT_MIN);
        refused.retain(|_| false);
        assert!(refused.0.is_empty());
    }
}

//! Peers that fail to show who they are, and how long each is not listened to.
//!
//! By address, of IPv6 by its first 64 bits, which are one customer's. While somebody who has shown who it is is
//! connected from an address, others from there are let try: behind one address there may be a thousand hosts, and one of
//! them with an old token must not lock the others out. Pure; time comes in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So often one may fail before it has to wait.
const FREE_FAILURES: u32 = 5;
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A failure is forgotten after this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Addresses that are remembered at once. When there are more, those go first that failed longest ago.
const ADDRESSES_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub struct Backoff {
    failures: HashMap<IpAddr, Failures>,
    /// How many are connected from an address. Bounded by the limits of connections.
    inside: HashMap<IpAddr, usize>,
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn wait(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None | Some(0) => Duration::ZERO,
            Some(more) => (WAIT_MIN * 2u32.saturating_pow((more - 1).min(16))).min(WAIT_MAX),
        }
    }
}

impl Backoff {
    /// How long `peer` has to wait until it may try again; `None` if it may now.
    pub fn wait(&self, now: Instant, peer: IpAddr) -> Option<Duration> {
        let peer = key(peer);
        if self.inside.contains_key(&peer) {
            return None;
        }
        let failures = self.failures.get(&peer)?;
        (failures.last + failures.wait()).checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// `peer` has failed.
    pub fn failed(&mut self, now: Instant, peer: IpAddr) {
        let peer = key(peer);
        if self.failures.len() >= ADDRESSES_MAX && !self.failures.contains_key(&peer) {
            self.make_room(now);
        }
        let failures = self.failures.entry(peer).or_insert(Failures { count: 0, last: now });
        if now.duration_since(failures.last) >= FORGOTTEN_AFTER {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// `peer` has shown who it is, and is connected.
    pub fn entered(&mut self, peer: IpAddr) {
        self.failures.remove(&key(peer));
        *self.inside.entry(key(peer)).or_default() += 1;
    }

    /// It is not connected any more.
    pub fn left(&mut self, peer: IpAddr) {
        if let Some(inside) = self.inside.get_mut(&key(peer)) {
            *inside -= 1;
            if *inside == 0 {
                self.inside.remove(&key(peer));
            }
        }
    }

    /// Forgets a tenth at least: of ten thousand, one at a time would be a search each time.
    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.duration_since(failures.last) < FORGOTTEN_AFTER);
        let mut lasts: Vec<_> = self.failures.values().map(|failures| failures.last).collect();
        let surplus = (lasts.len() + ADDRESSES_MAX / 10).saturating_sub(ADDRESSES_MAX);
        if surplus > 0 {
            let (_, oldest, _) = lasts.select_nth_unstable(surplus - 1);
            let oldest = *oldest;
            self.failures.retain(|_, failures| failures.last > oldest);
        }
    }
}

fn key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_fails_again_and_again_waits_longer_and_longer_and_nobody_else_does() {
        let (mut backoff, start, bad) = (Backoff::default(), Instant::now(), ip("192.0.2.1"));
        for _ in 0..FREE_FAILURES {
            backoff.failed(start, bad);
            assert_eq!(backoff.wait(start, bad), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(start, bad);
            assert_eq!(backoff.wait(start, bad), Some(seconds * SECOND));
            assert_eq!(backoff.wait(start + (seconds - 1) * SECOND, bad), Some(SECOND));
            assert_eq!(backoff.wait(start + seconds * SECOND, bad), None);
            assert_eq!(backoff.wait(start, ip("192.0.2.2")), None);
        }
        backoff.failed(start + FORGOTTEN_AFTER, bad);
        assert_eq!(backoff.wait(start + FORGOTTEN_AFTER, bad), None);
    }

    #[test]
    fn who_is_inside_vouches_for_its_address() {
        let (mut backoff, now, shared) = (Backoff::default(), Instant::now(), ip("192.0.2.1"));
        backoff.entered(shared);
        (0..20).for_each(|_| backoff.failed(now, shared));
        assert_eq!(backoff.wait(now, shared), None);
        backoff.left(shared);
        assert!(backoff.wait(now, shared).is_some());
        backoff.entered(shared);
        backoff.entered(shared);
        backoff.left(shared);
        (0..20).for_each(|_| backoff.failed(now, shared));
        assert_eq!(backoff.wait(now, shared), None);
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        (0..20).for_each(|n| backoff.failed(now, ip(&format!("2001:db8::{n}"))));
        assert!(backoff.wait(now, ip("2001:db8::ffff")).is_some());
        assert_eq!(backoff.wait(now, ip("2001:db8:0:1::")), None);
        (0..20).for_each(|_| backoff.failed(now, ip("::ffff:192.0.2.1")));
        assert!(backoff.wait(now, ip("192.0.2.1")).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let (address, last) = (|n: u32| IpAddr::V4(n.into()), 3 * ADDRESSES_MAX as u32);
        for n in 0..last {
            (0..7).for_each(|_| backoff.failed(start + n * Duration::from_millis(1), address(n)));
            assert!(backoff.failures.len() <= ADDRESSES_MAX);
        }
        assert!(backoff.wait(start + last * Duration::from_millis(1), address(last - 1)).is_some());
    }
}

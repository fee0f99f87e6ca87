//! The lease: who maintains a table, so that not everybody does. It saves work; nothing is wrong without it.
//!
//! A lease is an object `_maintenance/lease-<number>.json`, put if it is absent; the one with the highest number counts.
//! Its holder renews it by putting the next number. It has run out when somebody has seen the same number for as long as
//! the lease says, by a clock of their own: no clock is compared with another, and nobody needs to be told that a holder
//! has died. Who wants a lease that has run out puts the next number; of several one succeeds.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};

use crate::paths::{MAINTENANCE_FOLDER, Name, new_id};
use crate::table::{Clock, Moment, SystemClock};
use crate::{Error, Store};

/// A call on the store that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// A lease that says that it lasts longer lasts for this long.
const TTL_MAX: Duration = Duration::from_secs(60 * 60);
/// A lease is a line of JSON. What is larger is none.
const LEASE_BYTES_MAX: u64 = 4096;

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// It runs out so long after it was renewed last. Renew it three times as often.
    pub ttl: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(120), clock: Arc::new(SystemClock) }
    }
}

/// One who wants to be the one who maintains.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    settings: LeaseSettings,
    /// Random, of this one alone.
    holder: String,
    /// The number of a lease of somebody else, and since when it is known to be the newest.
    seen: Option<(u64, Moment)>,
    held: Option<u64>,
}

/// How one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The lease is held until it runs out.
    Held,
    /// Somebody else holds it, or has just been faster.
    Waiting,
}

/// What is in the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    holder: String,
    ttl_ms: u64,
    /// Its holder has gone and wants it no longer.
    #[serde(default)]
    released: bool,
}

/// The newest lease as it was found. Without a text it is damaged, and runs out like any other.
struct Newest {
    number: u64,
    text: Option<Text>,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Put this number.
    Put(u64),
    /// Somebody else's; it has been the newest since then.
    Wait { number: u64, since: Moment },
}

/// The whole rule: `seen` is what was decided to wait for last.
fn decide(newest: Option<&Newest>, holder: &str, seen: Option<(u64, Moment)>, now: Moment, ttl: Duration) -> Decision {
    let Some(Newest { number, text }) = newest else { return Decision::Put(1) };
    let next = Decision::Put(number.saturating_add(1));
    if text.as_ref().is_some_and(|text| text.released || text.holder == holder) {
        return next;
    }
    let since = seen.filter(|(seen, _)| seen == number).map_or(now, |(_, since)| since);
    let lasts = text.as_ref().map_or(ttl, |text| Duration::from_millis(text.ttl_ms)).min(TTL_MAX);
    match now.since(since) >= lasts && seen.is_some() {
        true => next,
        false => Decision::Wait { number: *number, since },
    }
}

impl Lease {
    /// Wants the lease of the table in this store, and does nothing about it yet.
    pub fn new(store: &Store, settings: LeaseSettings) -> Self {
        Self { store: store.clone(), settings, holder: new_id().to_string(), seen: None, held: None }
    }

    /// Takes or renews the lease if that is possible now.
    ///
    /// # Errors
    /// If the store does not answer. Then it is not known who holds it.
    pub async fn step(&mut self) -> Result<Standing, Error> {
        let newest = self.newest().await?;
        match decide(newest.as_ref(), &self.holder, self.seen, self.settings.clock.now(), self.settings.ttl) {
            Decision::Wait { number, since } => {
                self.seen = Some((number, since));
                self.held = None;
                Ok(Standing::Waiting)
            }
            Decision::Put(number) => {
                self.held = self.put(number, false).await?.then_some(number);
                self.seen = None;
                if self.held.is_none() {
                    return Ok(Standing::Waiting);
                }
                self.delete_before(number).await;
                Ok(Standing::Held)
            }
        }
    }

    /// Lets go of the lease, so that another need not wait until it has run out.
    ///
    /// # Errors
    /// If the store does not answer: then it runs out.
    pub async fn release(&mut self) -> Result<(), Error> {
        if let Some(number) = self.held.take() {
            self.put(number + 1, true).await?;
        }
        Ok(())
    }

    /// Puts a lease of our own, and says whether it is the newest then.
    async fn put(&self, number: u64, released: bool) -> Result<bool, Error> {
        let ttl_ms = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        let text = Text { holder: self.holder.clone(), ttl_ms, released };
        let bytes = serde_json::to_vec(&text).expect("a lease is JSON");
        let name = Name::Lease(number);
        let path = name.path();
        let put = self.store.objects().put_opts(&path, bytes.into(), PutMode::Create.into());
        // Whatever the answer: what counts is what is there.
        if let Err(error) = within("writing", name, put).await {
            tracing::debug!(number, %error, "a lease was not answered with success");
        }
        let newest = self.newest().await?;
        Ok(newest.is_some_and(|newest| newest.number == number && newest.text.as_ref() == Some(&text)))
    }

    async fn newest(&self) -> Result<Option<Newest>, Error> {
        loop {
            let Some(number) = self.numbers().await?.into_iter().max() else { return Ok(None) };
            let name = Name::Lease(number);
            let path = name.path();
            let read = async {
                let object = self.store.objects().get(&path).await?;
                if object.meta.size > LEASE_BYTES_MAX {
                    return Ok(None);
                }
                Ok(Some(object.bytes().await?))
            };
            match within("reading", name, read).await {
                Ok(bytes) => {
                    let text = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                    return Ok(Some(Newest { number, text }));
                }
                // A newer one has come, and its holder deleted this.
                Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn numbers(&self) -> Result<Vec<u64>, Error> {
        let folder = Path::from(MAINTENANCE_FOLDER);
        let names = self.store.objects().list(Some(&folder)).try_filter_map(|meta| async move {
            Ok(match Name::parse(meta.location.as_ref()) {
                Some(Name::Lease(number)) => Some(number),
                _ => None,
            })
        });
        within("listing", MAINTENANCE_FOLDER, names.try_collect()).await
    }

    /// Those of no use any more. If that fails, whoever comes next does it.
    async fn delete_before(&self, number: u64) {
        let Ok(numbers) = self.numbers().await else { return };
        let paths: Vec<_> =
            numbers.into_iter().filter(|old| *old < number).map(|old| Ok(Name::Lease(old).path())).collect();
        let deleted = self.store.objects().delete_stream(futures::stream::iter(paths).boxed());
        let all = deleted.for_each(|_| futures::future::ready(()));
        let _ = tokio::time::timeout(DEADLINE, all).await;
    }
}

async fn within<T>(
    action: &'static str,
    object: impl ToString,
    call: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(|source| Error::store(action, object, source)),
        Err(_) => Err(Error::NoAnswer { action, object: object.to_string(), after: DEADLINE }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Moment {
        let steady = Duration::from_secs(seconds as u64);
        Moment { wall: Timestamp::from_second(1_000_000 + seconds).unwrap(), steady }
    }

    fn found(number: u64, holder: &str, released: bool) -> Newest {
        Newest { number, text: Some(Text { holder: holder.into(), ttl_ms: 60_000, released }) }
    }

    #[test]
    fn a_lease_is_taken_where_there_is_none_and_renewed_by_its_holder() {
        assert_eq!(decide(None, "me", None, at(0), TTL), Decision::Put(1));
        assert_eq!(decide(Some(&found(4, "me", false)), "me", None, at(0), TTL), Decision::Put(5));
        assert_eq!(decide(Some(&found(4, "other", true)), "me", None, at(0), TTL), Decision::Put(5));
    }

    #[test]
    fn a_lease_of_another_runs_out_when_it_was_seen_unchanged_for_its_time() {
        let other = found(4, "other", false);
        let wait = |number, since| Decision::Wait { number, since: at(since) };
        assert_eq!(decide(Some(&other), "me", None, at(100), TTL), wait(4, 100));
        assert_eq!(decide(Some(&other), "me", Some((4, at(100))), at(159), TTL), wait(4, 100));
        assert_eq!(decide(Some(&other), "me", Some((4, at(100))), at(160), TTL), Decision::Put(5));
        assert_eq!(decide(Some(&found(5, "other", false)), "me", Some((4, at(100))), at(160), TTL), wait(5, 160));
    }

    #[test]
    fn a_lease_that_cannot_be_read_runs_out_too() {
        let damaged = Newest { number: 4, text: None };
        assert_eq!(
            decide(Some(&damaged), "me", Some((4, at(0))), at(59), TTL),
            Decision::Wait { number: 4, since: at(0) }
        );
        assert_eq!(decide(Some(&damaged), "me", Some((4, at(0))), at(60), TTL), Decision::Put(5));
        let endless = Newest { number: 4, text: Some(Text { holder: "x".into(), ttl_ms: u64::MAX, released: false }) };
        assert_eq!(decide(Some(&endless), "me", Some((4, at(0))), at(3600), TTL), Decision::Put(5));
    }
}

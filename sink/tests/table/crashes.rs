//! A death at every call on the store, of every step of maintenance.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::civil::date;
use logboom_sink::maintain::{Control, Days, Lease, LeaseSettings, Settings, Standing, compact, retain, vacuum};
use logboom_sink::paths::Name;
use logboom_sink::{Error, FileFormat, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::table::bed::*;
use crate::table::collector::{memory, names};

/// Lets so many calls through. Those after it fail; the first of them may still take effect.
#[derive(Clone, Debug)]
struct Dying {
    inner: Arc<dyn ObjectStore>,
    calls: Arc<AtomicU64>,
    lives: u64,
    last_takes_effect: bool,
    /// Whether the call that it dies at changes anything.
    last_is_write: Arc<AtomicBool>,
}

impl Dying {
    fn store(inner: &Store, lives: u64, last_takes_effect: bool) -> (Store, Self) {
        let (calls, last_is_write) = (Arc::default(), Arc::default());
        let dying = Self { inner: inner.objects().clone(), calls, lives, last_takes_effect, last_is_write };
        (Store::from_parts(Arc::new(dying.clone()), "memory:///".parse().unwrap()), dying)
    }

    fn is_dead(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.lives
    }

    /// (it is done, it is answered)
    fn call(&self, is_write: bool) -> (bool, bool) {
        let before = self.calls.fetch_add(1, Ordering::SeqCst);
        if before == self.lives {
            self.last_is_write.store(is_write, Ordering::SeqCst);
        }
        (before < self.lives || (before == self.lives && self.last_takes_effect), before < self.lives)
    }
}

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "dying", source: "the process is dead".into() }
}

impl fmt::Display for Dying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dying {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Dying {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (done, answered) = self.call(true);
        if !done {
            return Err(dead());
        }
        let result = self.inner.put_opts(location, payload, opts).await;
        if answered { result } else { Err(dead()) }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        match self.call(true) {
            (true, true) => self.inner.put_multipart_opts(location, opts).await,
            _ => Err(dead()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.call(false) {
            (_, true) => self.inner.get_opts(location, options).await,
            _ => Err(dead()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        // One by one, so that it can die between two.
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let (done, answered) = this.call(true);
                if done {
                    this.inner.delete(&location).await?;
                }
                if answered { Ok(location) } else { Err(dead()) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.call(false) {
            (_, true) => self.inner.list(prefix),
            _ => futures::stream::iter([Err(dead())]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.call(false) {
            (_, true) => self.inner.list_with_offset(prefix, offset),
            _ => futures::stream::iter([Err(dead())]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.call(false) {
            (_, true) => self.inner.list_with_delimiter(prefix).await,
            _ => Err(dead()),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The same objects in a store of their own.
async fn copy(store: &Store) -> Store {
    let copy = InMemory::new();
    for meta in store.objects().list(None).collect::<Vec<_>>().await {
        let path = meta.unwrap().location;
        let bytes = store.objects().get(&path).await.unwrap().bytes().await.unwrap();
        copy.put(&path, bytes.into()).await.unwrap();
    }
    Store::from_parts(Arc::new(copy), "memory:///".parse().unwrap())
}

/// What is tried at every call.
#[derive(Clone, Copy, Debug)]
enum Step {
    Compact,
    Retain,
    Vacuum,
    Lease,
}

async fn run(step: Step, store: &Store, settings: &Settings) -> std::result::Result<(), Error> {
    let control = Control::default();
    match step {
        Step::Compact => compact(store, settings, Days::Due, &control).await.map(drop),
        Step::Retain => retain(store, settings, false, &control).await.map(drop),
        Step::Vacuum => vacuum(store, settings, false, &control).await.map(drop),
        Step::Lease => {
            let clock = settings.table.clock.clone();
            let mut lease = Lease::new(store, LeaseSettings { ttl: Duration::from_secs(60), clock });
            lease.step().await?;
            lease.step().await?;
            lease.release().await
        }
    }
}

/// Two days, of one of which there is garbage already, and of which some categories are past.
async fn bed(format: FileFormat) -> Bed {
    let mut bed = Bed::of(memory(), format).await;
    for round in 0..6_u8 {
        let of = if round < 3 { day() } else { date(2026, 2, 4) };
        bed.deliver(round % 2, of, &[("b", 3), ("debug.x", 4), ("a", i64::from(round))]).await;
    }
    compact(&bed.store, &bed.settings, Days::One(day()), &Control::default()).await.unwrap();
    bed.deliver(0, day(), &[("debug.x", 1)]).await;
    bed.settings.retention.rules = vec![rule("debug.*", 1)];
    // A death must not be tried for long.
    bed.settings.table.timing.attempts = 1;
    bed
}

async fn survives(step: Step, format: FileFormat, calls_at_least: u64) {
    survives_every(1, step, format, calls_at_least).await;
}

/// Dies at every n-th call.
async fn survives_every(nth: usize, step: Step, format: FileFormat, calls_at_least: u64) {
    let bed = bed(format).await;
    let retained: std::collections::BTreeSet<_> =
        bed.rows.iter().filter(|(_, (_, _, category))| category != "debug.x").cloned().collect();
    for lives in (0..).step_by(nth) {
        for last_takes_effect in [false, true] {
            let inner = copy(&bed.store).await;
            let (store, dying) = Dying::store(&inner, lives, last_takes_effect);
            let result = run(step, &store, &bed.settings).await;
            if !dying.is_dead() {
                result.unwrap();
                assert!(lives >= calls_at_least, "{step:?} took only {lives} calls");
                return;
            }
            // Right after the death every row is there, once; of those that are past, each or none.
            let now = match step {
                Step::Retain => None,
                _ => Some(&bed.rows),
            };
            if let Some(expected) = now {
                assert_rows(&inner, expected).await;
            }
            // Somebody else does all of it.
            for step in [Step::Compact, Step::Retain] {
                run(step, &inner, &bed.settings).await.unwrap_or_else(|e| panic!("{step:?} after {lives}: {e}"));
            }
            assert_rows(&inner, &retained).await;
            assert_no_garbage_after_vacuum(&inner, &bed.settings).await;
            assert_rows(&inner, &retained).await;
            if let Step::Lease = step {
                let clock = bed.settings.table.clock.clone();
                let mut next = Lease::new(&inner, LeaseSettings { ttl: Duration::from_secs(60), clock });
                let first = next.step().await.unwrap();
                bed.clock.sleep(Duration::from_secs(61));
                assert_eq!(next.step().await.unwrap(), Standing::Held, "{first:?} after {lives}");
                assert_eq!(names(&inner).await.iter().filter(|name| matches!(name, Name::Lease(_))).count(), 1);
            }
            // A call that changes nothing cannot take effect without an answer.
            if !dying.last_is_write.load(Ordering::SeqCst) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_call_of_a_compaction_loses_and_doubles_nothing() {
    survives(Step::Compact, FileFormat::Parquet, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_call_of_a_retention_loses_and_doubles_nothing() {
    survives(Step::Retain, FileFormat::Parquet, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_call_of_a_vacuum_loses_and_doubles_nothing() {
    survives(Step::Vacuum, FileFormat::Parquet, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_call_on_the_lease_leaves_a_lease_for_the_next() {
    survives(Step::Lease, FileFormat::Parquet, 8).await;
}

/// What differs from files in Parquet is few of the calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_some_calls_of_a_step_on_files_in_json_loses_and_doubles_nothing() {
    for step in [Step::Compact, Step::Retain, Step::Vacuum] {
        survives_every(3, step, FileFormat::Json, 15).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn full_a_death_at_any_call_of_a_step_on_files_in_json_loses_and_doubles_nothing() {
    for step in [Step::Compact, Step::Retain, Step::Vacuum] {
        survives(step, FileFormat::Json, 15).await;
    }
}

//! The store: objects in memory that all collectors share, and the way there, which fails.
//!
//! The Delta library calls it from threads of its own while everything else stands still. Such calls take no time, and
//! what becomes of them is decided once for each such moment, whatever the order in which they come.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use logboom_sink::paths::Name;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::Instant;

use crate::chance::Chance;
use crate::clock::Date;
use crate::life::Life;
use crate::plan::Plan;
use crate::trace::{Trace, note};

/// A client gives up after this.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is in it.
#[derive(Clone, Debug)]
pub struct Bucket(Arc<Mutex<Objects>>);

#[derive(Debug)]
struct Objects {
    objects: BTreeMap<String, Object>,
    puts: u64,
    date: Date,
    /// The thread of the simulation.
    home: ThreadId,
    /// For calls from other threads: the date when they began, and how they fare.
    frozen_date: Timestamp,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    put_at: Timestamp,
    number: u64,
    /// For listings that are late.
    seen_from: Option<Instant>,
}

/// What goes wrong at present, as probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFaults {
    /// A call is not done, and answered with an error.
    pub refused: f64,
    /// A call is done, and answered with an error.
    pub unanswered: f64,
    /// A commit is done, and answered with an error.
    pub lost_commits: f64,
    /// A put that must create is answered with "exists already", whether it was done or not.
    pub confused: f64,
    /// A call takes seconds.
    pub slow: f64,
    /// A call is done long after its client has given up.
    pub late: f64,
    /// A listing does not have what came in the last seconds.
    pub stale: f64,
}

impl StoreFaults {
    /// What goes wrong all the time.
    pub fn usual(plan: &Plan) -> Self {
        Self { lost_commits: plan.lost_commits, ..Self::default() }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Well,
    Refused,
    Unanswered,
    ExistsDone,
    ExistsNotDone,
    Late,
}

impl Bucket {
    pub fn new(date: &Date) -> Self {
        Self(Arc::new(Mutex::new(Objects {
            objects: BTreeMap::new(),
            puts: 0,
            date: date.clone(),
            home: std::thread::current().id(),
            frozen_date: date.now(),
        })))
    }

    pub fn get(&self, path: &str) -> Option<Bytes> {
        self.0.lock().unwrap().objects.get(path).map(|object| object.bytes.clone())
    }

    /// Whether the simulation calls, or the Delta library from a thread of its own.
    fn is_home(&self) -> bool {
        self.0.lock().unwrap().home == std::thread::current().id()
    }

    fn put(&self, path: &str, bytes: Bytes, create: bool) -> Result<u64> {
        let home = self.is_home();
        let mut inner = self.0.lock().unwrap();
        if home {
            inner.frozen_date = inner.date.now();
        }
        if create && inner.objects.contains_key(path) {
            return Err(exists(path));
        }
        inner.puts += 1;
        let (number, put_at) = (inner.puts, inner.frozen_date);
        let seen_from = home.then(Instant::now);
        inner.objects.insert(path.to_owned(), Object { bytes, put_at, number, seen_from });
        Ok(number)
    }

    fn delete(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Objects below a prefix; of those that came lately none, if there is a limit.
    fn list(&self, prefix: &str, until: Option<Instant>) -> Vec<ObjectMeta> {
        let inner = self.0.lock().unwrap();
        let below =
            |path: &str| prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let seen = |object: &Object| match (until, object.seen_from) {
            (Some(until), Some(from)) => from <= until,
            _ => true,
        };
        let found = inner.objects.iter().filter(|(path, object)| below(path) && seen(object));
        found.map(|(path, object)| meta(path, object)).collect()
    }
}

fn meta(path: &str, object: &Object) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(path),
        last_modified: DateTime::<Utc>::from_timestamp_millis(object.put_at.as_millisecond()).unwrap(),
        size: object.bytes.len() as u64,
        e_tag: Some(object.number.to_string()),
        version: None,
    }
}

fn broken() -> Error {
    Error::Generic { store: "simulated", source: "connection reset".into() }
}

fn exists(path: &str) -> Error {
    Error::AlreadyExists { path: path.to_owned(), source: "412".into() }
}

/// The store as one process reaches it.
#[derive(Clone, Debug)]
pub struct Client {
    pub bucket: Bucket,
    /// Which of several, for the trace.
    pub name: &'static str,
    pub life: Arc<Life>,
    pub faults: Arc<Mutex<StoreFaults>>,
    pub chance: Chance,
    pub trace: Trace,
    /// What was decided for the calls of the Delta library.
    pub library: Arc<Mutex<Option<(u64, bool)>>>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {}", self.name)
    }
}

impl Client {
    /// Waits on the way there, and decides what becomes of the call.
    async fn begin(&self, creates: bool) -> Fate {
        self.life.thaw().await;
        let faults = *self.faults.lock().unwrap();
        let time = match self.chance.hits(faults.slow) {
            true => self.chance.millis(500..20_000),
            false => self.chance.millis(0..15),
        };
        tokio::time::sleep(time).await;
        self.life.thaw().await;
        if !self.life.effect() {
            return std::future::pending().await;
        }
        let draws = [faults.refused, faults.unanswered, faults.confused, faults.late].map(|p| self.chance.hits(p));
        let done = self.chance.hits(0.5);
        match draws {
            [true, ..] => Fate::Refused,
            [_, true, ..] => Fate::Unanswered,
            [_, _, true, _] if creates => {
                if done {
                    Fate::ExistsDone
                } else {
                    Fate::ExistsNotDone
                }
            }
            [_, _, _, true] => Fate::Late,
            _ => Fate::Well,
        }
    }

    /// Waits on the way back.
    async fn answer(&self) {
        tokio::time::sleep(self.chance.millis(0..10)).await;
        self.life.thaw().await;
        if !self.life.effect() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the Delta library gets an answer now.
    fn library_fails(&self) -> bool {
        let events = self.trace.events();
        let mut decided = self.library.lock().unwrap();
        let fails = match *decided {
            Some((at, fails)) if at == events => fails,
            _ => {
                let faults = *self.faults.lock().unwrap();
                let odds = ((faults.refused + faults.unanswered) * 1000.0) as u64;
                // Not drawn: who comes first must not matter.
                let number = events.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                number % 1000 < odds
            }
        };
        *decided = Some((events, fails));
        fails || self.life.is_dead()
    }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (path, bytes) = (location.as_ref(), Bytes::from(payload));
        let create = matches!(opts.mode, PutMode::Create);
        let done = |number: u64| PutResult { e_tag: Some(number.to_string()), version: None };
        if !self.bucket.is_home() {
            // Of its puts all may be done, or none: which, must not depend on their order.
            return match self.library_fails() {
                true => Err(broken()),
                false => self.bucket.put(path, bytes, create).map(done),
            };
        }
        let mut fate = self.begin(create).await;
        if matches!(Name::parse(path), Some(Name::Commit(_))) {
            let lost = self.faults.lock().unwrap().lost_commits;
            if fate == Fate::Well && self.chance.hits(lost) {
                fate = Fate::Unanswered;
            }
            if fate != Fate::Well {
                self.trace.count_ambiguous();
            }
        }
        if matches!(fate, Fate::Refused | Fate::ExistsNotDone) {
            note!(self.trace, self.life.name, "{} put {path}: {fate:?}", self.name);
            self.answer().await;
            return Err(if fate == Fate::Refused { broken() } else { exists(path) });
        }
        if fate == Fate::Late {
            let (this, path) = (self.clone(), path.to_owned());
            let after = self.chance.millis(100..40_000);
            note!(self.trace, self.life.name, "{} put {path}: late by {after:?}", self.name);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let put = this.bucket.put(&path, bytes, create);
                note!(this.trace, this.life.name, "{} put {path} arrives late, {}", this.name, put.is_ok());
            });
            tokio::time::sleep(CLIENT_TIMEOUT).await;
            return Err(broken());
        }
        let put = self.bucket.put(path, bytes, create);
        note!(self.trace, self.life.name, "{} put {path}: {fate:?}, {}", self.name, put.is_ok());
        self.answer().await;
        match fate {
            Fate::Unanswered => Err(broken()),
            Fate::ExistsDone => Err(exists(path)),
            _ => put.map(done),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        panic!("nothing here is so large")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = location.as_ref();
        if !self.bucket.is_home() {
            if self.library_fails() {
                return Err(broken());
            }
        } else if self.begin(false).await != Fate::Well {
            note!(self.trace, self.life.name, "{} get {path} fails", self.name);
            return Err(broken());
        }
        let found = self.bucket.0.lock().unwrap().objects.get(path).cloned();
        if self.bucket.is_home() {
            note!(self.trace, self.life.name, "{} get {path}: {}", self.name, found.is_some());
            self.answer().await;
        }
        let missing = || Error::NotFound { path: path.to_owned(), source: "404".into() };
        let object = found.ok_or_else(missing)?;
        let meta = meta(path, &object);
        options.check_preconditions(&meta)?;
        let size = meta.size;
        let range: Range<u64> = match options.range {
            Some(range) => {
                range.as_range(size).map_err(|error| Error::Generic { store: "simulated", source: Box::new(error) })?
            }
            None => 0..size,
        };
        let bytes = object.bytes.slice(range.start as usize..range.end as usize);
        let payload = GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .then(move |location| {
                let this = this.clone();
                async move {
                    let location = location?;
                    let fate = this.begin(false).await;
                    if fate == Fate::Refused {
                        return Err(broken());
                    }
                    this.bucket.delete(location.as_ref());
                    note!(this.trace, this.life.name, "{} delete {location}", this.name);
                    this.answer().await;
                    if fate == Fate::Well { Ok(location) } else { Err(broken()) }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.map_or(String::new(), ToString::to_string));
        let listed = async move {
            if !this.bucket.is_home() {
                return match this.library_fails() {
                    true => vec![Err(broken())],
                    false => this.bucket.list(&prefix, None).into_iter().map(Ok).collect(),
                };
            }
            if this.begin(false).await != Fate::Well {
                return vec![Err(broken())];
            }
            let stale = this.chance.hits(this.faults.lock().unwrap().stale);
            let age = this.chance.millis(0..3000);
            let until = stale.then(|| Instant::now().checked_sub(age)).flatten();
            let found = this.bucket.list(&prefix, until);
            note!(
                this.trace,
                this.life.name,
                "{} list {prefix}: {}{}",
                this.name,
                found.len(),
                if stale { ", stale" } else { "" }
            );
            this.answer().await;
            found.into_iter().map(Ok).collect()
        };
        futures::stream::once(listed).flat_map(futures::stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        unimplemented!("nobody lists {prefix:?} like that")
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!("nobody copies {from}")
    }
}

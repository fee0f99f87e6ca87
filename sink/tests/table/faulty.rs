//! An object store that misbehaves as it is told, one commit or one read of the log at a time; and a clock that stalls.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use logboom_sink::Store;
use logboom_sink::paths::Name;
use logboom_sink::table::{Clock, Moment};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;

/// What happens to one call.
#[derive(Debug)]
pub enum Fault {
    /// It is done, and its answer is an error.
    LoseAnswer,
    /// It is done, and never answered.
    Hang,
    /// It is done, and answered as S3 does after the client's own retry.
    AlreadyExistsButLanded,
    /// It is not done, and its answer is an error.
    Refuse,
    /// It is not done, and answered as S3 does on a 409.
    AlreadyExistsButNot,
    /// It is not done, and never answered.
    Vanish,
    /// It is not answered, and done this much later.
    Late(Duration),
    /// It is done and answered this much later.
    Delay(Duration),
    /// It says so on the first, waits for the second, and is then done and answered.
    Gate(oneshot::Sender<()>, oneshot::Receiver<()>),
}

/// A gate and its two ends: await the first, then send on the second.
pub fn gate() -> (Fault, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let (reached, at_gate) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    (Fault::Gate(reached, opened), at_gate, open)
}

/// See the module. Faults are used up in order; a call that finds none left is well.
#[derive(Clone, Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    commits: Arc<Mutex<VecDeque<Fault>>>,
    reads: Arc<Mutex<VecDeque<Fault>>>,
    deleted: Arc<Mutex<Vec<Path>>>,
    /// How far its clock is ahead of what the one behind it has, and by how much it was when an object was put.
    ahead: Arc<Mutex<(Duration, HashMap<Path, Duration>)>>,
}

impl Faulty {
    pub fn new(inner: &Store) -> Self {
        Self {
            inner: inner.objects().clone(),
            commits: Arc::default(),
            reads: Arc::default(),
            deleted: Arc::default(),
            ahead: Arc::default(),
        }
    }

    /// So much time goes by for the store. Listings keep to the time of the one behind it.
    pub fn pass(&self, time: Duration) {
        self.ahead.lock().unwrap().0 += time;
    }

    pub fn store(&self) -> Store {
        Store::from_parts(Arc::new(self.clone()), "memory:///".parse().unwrap())
    }

    pub fn next_commits(&self, faults: impl IntoIterator<Item = Fault>) {
        self.commits.lock().unwrap().extend(faults);
    }

    pub fn next_reads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.reads.lock().unwrap().extend(faults);
    }

    pub fn faults_left(&self) -> usize {
        self.commits.lock().unwrap().len() + self.reads.lock().unwrap().len()
    }

    pub fn drop_faults(&self) {
        self.commits.lock().unwrap().clear();
        self.reads.lock().unwrap().clear();
    }

    pub fn deleted(&self) -> Vec<Path> {
        self.deleted.lock().unwrap().clone()
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "connection reset".into() }
}

fn exists(location: &Path) -> Error {
    Error::AlreadyExists { path: location.to_string(), source: "409".into() }
}

fn is_commit(location: &Path) -> bool {
    matches!(Name::parse(location.as_ref()), Some(Name::Commit(_)))
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let fault = if is_commit(location) { self.commits.lock().unwrap().pop_front() } else { None };
        let to_inner = self.inner.put_opts(location, payload.clone(), opts.clone());
        let put = async {
            let put = to_inner.await?;
            let (ahead, puts) = &mut *self.ahead.lock().unwrap();
            puts.insert(location.clone(), *ahead);
            Ok(put)
        };
        match fault {
            None => put.await,
            Some(Fault::LoseAnswer) => put.await.and(Err(broken())),
            Some(Fault::Hang) => {
                put.await?;
                std::future::pending().await
            }
            Some(Fault::AlreadyExistsButLanded) => put.await.and(Err(exists(location))),
            Some(Fault::Refuse) => Err(broken()),
            Some(Fault::AlreadyExistsButNot) => Err(exists(location)),
            Some(Fault::Vanish) => std::future::pending().await,
            Some(Fault::Late(by)) => {
                let (inner, location) = (self.inner.clone(), location.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    let _ = inner.put_opts(&location, payload, opts).await;
                });
                std::future::pending().await
            }
            Some(Fault::Delay(by)) => {
                tokio::time::sleep(by).await;
                put.await
            }
            Some(Fault::Gate(reached, opened)) => {
                reached.send(()).unwrap();
                opened.await.unwrap();
                put.await
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = if is_commit(location) { self.reads.lock().unwrap().pop_front() } else { None };
        match fault {
            None => {}
            Some(Fault::Refuse) => return Err(broken()),
            Some(Fault::Vanish) => std::future::pending().await,
            Some(Fault::Gate(reached, opened)) => {
                reached.send(()).unwrap();
                opened.await.unwrap();
            }
            Some(other) => unreachable!("{other:?} is nothing that happens to a read"),
        }
        let mut found = self.inner.get_opts(location, options).await?;
        if let Some(ahead) = self.ahead.lock().unwrap().1.get(location) {
            found.meta.last_modified += *ahead;
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let deleted = self.deleted.clone();
        self.inner
            .delete_stream(locations)
            .inspect(move |path| deleted.lock().unwrap().extend(path.as_ref().ok().cloned()))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub struct StalledClock(Mutex<Moment>);

impl StalledClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { wall: Timestamp::now(), steady: Duration::ZERO })))
    }

    /// The machine wakes up so much later: only the wall clock has noticed.
    pub fn sleep(&self, time: Duration) {
        self.0.lock().unwrap().wall += time;
    }
}

impl Clock for StalledClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }
}

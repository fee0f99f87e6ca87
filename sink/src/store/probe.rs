//! The probe: whether a store does what a commit needs, shown on objects of its own below the table's root.
//!
//! All that collectors share is that of several who put one version of the log, one wins and every other is told. Some
//! stores that speak S3 ignore the condition; some keep it for puts one after the other and let several of eight
//! concurrent ones win. Either loses committed records without a word, so it is shown before anything is written.
//!
//! An answer that is neither yes nor no says nothing about the store: that race is run again.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};
use uuid::Uuid;

use crate::paths::{Name, PROBE_FOLDER, new_id};
use crate::{Error, Store};

/// So many put one object at the same moment.
const RIVALS: usize = 8;
/// About what a commit has.
const OBJECT_BYTES: usize = 4 << 10;
/// A store that takes longer is not there.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// So many races may come out undecided, because answers were lost,
const UNDECIDED_MAX: u32 = 10;
/// and only until this long after the first put.
const UNDECIDED_WITHIN: Duration = Duration::from_secs(20);

/// How much is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything, with a hundred races: `logboom check --connect`.
    Full,
    /// Ten races, in a folder two: every start of a collector. About 90 requests, half a second on most stores.
    Start,
}

impl Depth {
    /// Races of eight for one object on this store. In a folder the rule is our own code's, and each put waits for the
    /// disk: two races show that the file system plays along.
    pub fn races(self, store: &Store) -> u32 {
        match self {
            Self::Full => 100,
            Self::Start if store.url().scheme() == "file" => 2,
            Self::Start => 10,
        }
    }
}

/// What a fit store was seen to do.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Races of eight for one object; in each exactly one won, and was told so, and is what is read.
    pub races: u32,
    /// Races that were run again, because an answer was lost.
    pub undecided: u32,
    /// The middle of the times that a put took.
    pub put_median: Duration,
    /// All of it.
    pub took: Duration,
}

/// Probes the store, telling `progress` after each race how many were run. What it puts it deletes again.
///
/// # Errors
/// [`Error::UnfitStore`] with what the store did wrong and what would come of it; any other if it cannot be reached,
/// or refuses us.
pub async fn probe(store: &Store, depth: Depth, progress: impl FnMut(u32)) -> Result<Report, Error> {
    let mut probe = Probe {
        store,
        id: new_id(),
        named: 0,
        has_put: AtomicBool::new(false),
        begun: Instant::now(),
        undecided: 0,
        puts: Vec::new(),
    };
    let found = probe.run(depth, progress).await;
    match found {
        Ok(report) => probe.clean_up().await.map(|()| report),
        Err(unfit @ Error::UnfitStore { .. }) => {
            let _ = probe.clean_up().await;
            Err(unfit)
        }
        // It would only fail in the same way.
        Err(error) => Err(error),
    }
}

struct Probe<'a> {
    store: &'a Store,
    id: Uuid,
    /// Names that were given away, from 1.
    named: u64,
    /// Whether anything may be there to be deleted.
    has_put: AtomicBool,
    begun: Instant,
    /// Races that were run again.
    undecided: u32,
    /// How long puts took.
    puts: Vec<Duration>,
}

/// What a put-if-absent was answered with.
enum Answer {
    Won,
    Lost,
    /// Neither: the object may be there or not.
    Unknown(Error),
}

impl Probe<'_> {
    async fn run(&mut self, depth: Depth, mut progress: impl FnMut(u32)) -> Result<Report, Error> {
        let name = self.put_twice().await?;
        self.look(name).await?;
        if depth == Depth::Full {
            self.upload().await?;
        }
        let mut races = 0;
        while races < depth.races(self.store) {
            match self.race(races + 1).await? {
                None => {
                    races += 1;
                    progress(races);
                }
                Some(error) => self.again(error)?,
            }
        }
        self.puts.sort_unstable();
        let put_median = self.puts.get(self.puts.len() / 2).copied().unwrap_or_default();
        Ok(Report { races, undecided: self.undecided, put_median, took: self.begun.elapsed() })
    }

    /// One put after the other. Returns what was put.
    async fn put_twice(&mut self) -> Result<Name, Error> {
        loop {
            let name = self.name();
            let (first, second) = (self.content(name, 1), self.content(name, 2));
            let mut answer = self.put_if_absent(name, first.clone()).await?;
            if let Answer::Won = answer {
                answer = match self.put_if_absent(name, second).await? {
                    Answer::Won => {
                        return Err(self.unfit(
                            "a second put-if-absent of one object was answered with success, so of two collectors that take \
                             the same version of the log one loses its commit without noticing",
                        ));
                    }
                    Answer::Lost if self.read(name).await? != first => {
                        return Err(self.unfit(
                            "a second put-if-absent of one object was refused, and replaced the object all the same",
                        ));
                    }
                    Answer::Lost => return Ok(name),
                    unknown => unknown,
                };
            }
            match answer {
                Answer::Unknown(error) => self.again(error)?,
                _ => self.again(self.unfit("a put-if-absent of a new object is answered with \"exists already\""))?,
            }
        }
    }

    /// Whether to try once more, after nothing was decided.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        self.undecided += 1;
        match self.undecided > UNDECIDED_MAX || self.begun.elapsed() > UNDECIDED_WITHIN {
            true => Err(error),
            false => Ok(()),
        }
    }

    /// Reading and listing right after the put.
    async fn look(&mut self, name: Name) -> Result<(), Error> {
        let (path, content) = (name.path(), self.content(name, 1));
        let (from, to) = (content.len() / 4, content.len() / 2);
        let range = within("reading", &name, self.store.objects().get_range(&path, from as u64..to as u64)).await?;
        if range != content[from..to] {
            return Err(self.unfit("reading a range of an object does not give that range"));
        }
        let folder = Path::from(PROBE_FOLDER);
        // What a log is read by: everything after a name.
        let before = Name::Probe { id: self.id, number: 0 }.path();
        let listing = self.store.objects().list_with_offset(Some(&folder), &before);
        let listed: Vec<_> = within("listing", &name, listing.try_collect()).await?;
        if !listed.iter().any(|meta| meta.location == path && meta.size == content.len() as u64) {
            return Err(self.unfit("an object that was put is not in a listing made after that"));
        }
        Ok(())
    }

    /// An object put in parts, as large sink files are.
    async fn upload(&mut self) -> Result<(), Error> {
        let name = self.name();
        let content = self.content(name, 1);
        let upload = async {
            let mut upload = self.store.objects().put_multipart(&name.path()).await?;
            upload.put_part(content.clone().into()).await?;
            upload.complete().await
        };
        within("writing", &name, upload).await?;
        match self.read(name).await? == content {
            true => Ok(()),
            false => Err(self.unfit("an object that was put in parts is not what is read")),
        }
    }

    /// Eight put one object at the same moment. `Some`: it cannot be said who won.
    async fn race(&mut self, round: u32) -> Result<Option<Error>, Error> {
        let name = self.name();
        let contents: Vec<Bytes> = (1..=RIVALS).map(|rival| self.content(name, rival)).collect();
        let puts = contents.iter().map(|content| async {
            let begun = Instant::now();
            (self.put_if_absent(name, content.clone()).await, begun.elapsed())
        });
        let (mut winners, mut undecided) = (Vec::new(), None);
        for (rival, (answer, took)) in join_all(puts).await.into_iter().enumerate() {
            match answer? {
                Answer::Won => {
                    winners.push(rival);
                    self.puts.push(took);
                }
                Answer::Lost => self.puts.push(took),
                Answer::Unknown(error) => undecided = Some(error),
            }
        }
        let [winner] = winners[..] else {
            if winners.is_empty() {
                let nobody = || self.unfit(format!("none of {RIVALS} concurrent puts of one object won"));
                return Ok(Some(undecided.unwrap_or_else(nobody)));
            }
            return Err(self.unfit(format!(
                "{} of {RIVALS} concurrent puts of one object won in race {round}, so several collectors would each believe \
                 that their commit counts",
                winners.len()
            )));
        };
        match self.read(name).await {
            Ok(found) if found == contents[winner] => Ok(None),
            Ok(_) => Err(self.unfit(format!(
                "one of {RIVALS} concurrent puts of one object won in race {round}, and another one's content is what is read"
            ))),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Deletes all that was put. A delete that fails leaves garbage, and says nothing about the store.
    async fn clean_up(&self) -> Result<(), Error> {
        if !self.has_put.load(Ordering::Relaxed) {
            return Ok(());
        }
        for _ in 0..3 {
            let id = self.id;
            let names = (1..=self.named).map(move |number| Ok(Name::Probe { id, number }.path()));
            let deleted = self.store.objects().delete_stream(futures::stream::iter(names).boxed());
            let failed = deleted.filter_map(|answer| async move {
                match answer {
                    // Of an undecided race there may be nothing to delete.
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => None,
                    Err(error) => Some(error),
                }
            });
            let failed: Vec<_> = within("deleting from", &PROBE_FOLDER, async { Ok(failed.collect().await) }).await?;
            match failed.first() {
                None => return self.nothing_left().await,
                Some(error) => tracing::debug!(%error, "objects of the probe were not deleted"),
            }
        }
        tracing::warn!(store = %self.store.url(), "objects of the probe cannot be deleted; they stay in `{PROBE_FOLDER}`");
        Ok(())
    }

    /// What is deleted is gone from listings, or the log would come back after its clean-up.
    async fn nothing_left(&self) -> Result<(), Error> {
        let listing = self.store.objects().list(Some(&Path::from(PROBE_FOLDER)));
        let listed: Vec<_> = within("listing", &PROBE_FOLDER, listing.try_collect()).await?;
        let is_ours = |path: &Path| matches!(Name::parse(path.as_ref()), Some(Name::Probe { id, .. }) if id == self.id);
        match listed.iter().filter(|meta| is_ours(&meta.location)).count() {
            0 => Ok(()),
            left => Err(self.unfit(format!("{left} objects that were deleted are still listed"))),
        }
    }

    fn name(&mut self) -> Name {
        self.named += 1;
        Name::Probe { id: self.id, number: self.named }
    }

    /// What one of the rivals puts: nobody else's.
    fn content(&self, name: Name, rival: usize) -> Bytes {
        let line = format!("{name} {rival}\n");
        line.repeat(OBJECT_BYTES.div_ceil(line.len())).into()
    }

    async fn put_if_absent(&self, name: Name, content: Bytes) -> Result<Answer, Error> {
        use object_store::Error as Answered;
        let path = name.path();
        let put = self.store.objects().put_opts(&path, content.into(), PutMode::Create.into());
        match within("writing", &name, put).await {
            Ok(_) => {
                self.has_put.store(true, Ordering::Relaxed);
                Ok(Answer::Won)
            }
            Err(Error::Store { source: Answered::AlreadyExists { .. } | Answered::Precondition { .. }, .. }) => {
                Ok(Answer::Lost)
            }
            Err(Error::Store { source: error @ Answered::NotImplemented { .. }, .. }) => {
                Err(self.unfit(format!("it has no put-if-absent ({error})")))
            }
            Err(
                error @ Error::Store {
                    source:
                        Answered::PermissionDenied { .. } | Answered::Unauthenticated { .. } | Answered::NotFound { .. },
                    ..
                },
            ) => Err(error),
            Err(error) => Ok(Answer::Unknown(error)),
        }
    }

    async fn read(&self, name: Name) -> Result<Bytes, Error> {
        let path = name.path();
        within("reading", &name, async { self.store.objects().get(&path).await?.bytes().await }).await
    }

    fn unfit(&self, what: impl Into<String>) -> Error {
        let reason = format!("{}; use a store with an atomic put-if-absent (docs/stores.md)", what.into());
        Error::UnfitStore { url: self.store.url().to_string(), reason }
    }
}

async fn within<T>(
    action: &'static str,
    object: &impl ToString,
    call: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(answer) => answer.map_err(|source| Error::store(action, object.to_string(), source)),
        Err(_) => Err(Error::NoAnswer { action, object: object.to_string(), after: CALL_DEADLINE }),
    }
}

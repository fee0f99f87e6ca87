//! The table as one collector sees it: one version, and the mark of every stream at that version.
//!
//! Owns how a view is opened (newest checkpoint, then commits one by one) and how it goes on (the next commit, until
//! there is none). Blocks are filtered by a view and committed against the very same view: refresh it before
//! filtering, never between. Marks only grow; a log that takes one back is damaged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::FieldRef;
use futures::{StreamExt, TryStreamExt};
use logboom_config::{FileFormat, planted};
use logboom_wire::StreamId;
use object_store::ObjectMeta;

use super::actions::{self, Action, Metadata, Txn};
use super::alter::alter;
use super::change::Begun;
use super::clock::{Clock, Moment};
use super::log::{Found, Log};
use super::stamps::Stamps;
use super::{TableOptions, checkpoint_file, contract};
use crate::paths::Name;
use crate::schema::committed_schema;
use crate::{Error, Store};

/// What a view takes from a checkpoint.
const COLUMNS: [&str; 3] = ["protocol", "metaData", "txn"];
/// So many commits are fetched at a time when a view is opened.
const FETCHES: usize = 16;
/// So often a view is opened anew when clean-up took away what was just listed.
const OPEN_ATTEMPTS: u32 = 5;

/// The table at one version. See the module.
#[derive(Clone, Debug)]
pub struct View {
    log: Log,
    clock: Arc<dyn Clock>,
    /// Files older than this are not committed.
    file_age_max: Duration,
    /// The version that this is a view of.
    version: u64,
    /// The checkpoint it was opened from; what came later, it read commit by commit.
    checkpoint: Option<u64>,
    metadata: Metadata,
    marks: HashMap<StreamId, u64>,
    stamps: Stamps,
    /// When it was last known that the log had no clean-up beyond `version`.
    loaded_at: Moment,
    /// When the newest object of the log that it knows of was put, by the store's clock, in ms since 1970.
    landed_ms: i64,
    /// What came after it came too late to follow it: see [`View::follows`].
    doubtful: bool,
}

/// What comes after a view.
pub(super) enum Next {
    /// This commit.
    Commit(Found),
    /// Nothing yet.
    None,
    /// The view is too old to tell. It has to be opened anew.
    Unsure,
}

impl View {
    /// Opens the table to write to it. It is created first if there is none, and gets the columns that it lacks.
    pub async fn open_or_create(store: &Store, options: &TableOptions) -> Result<Self, Error> {
        let mut view = Self::open_or_put(store, options).await?;
        let of_all = committed_schema(options.format);
        let wanted: Vec<FieldRef> = of_all.fields().iter().chain(&options.columns).cloned().collect();
        // A column of another type ends it without a change; the second look says what is wrong.
        alter(&mut view, "ADD COLUMNS", |view| contract::with_columns(&view.metadata, &wanted).ok().flatten()).await?;
        contract::with_columns(&view.metadata, &wanted).map_err(|reason| view.foreign(reason))?;
        Ok(view)
    }

    async fn open_or_put(store: &Store, options: &TableOptions) -> Result<Self, Error> {
        let log = Log { store: store.clone(), timing: options.timing.clone() };
        let mut tries = 0;
        loop {
            match Self::open(store, options).await {
                Err(Error::NoTable { .. }) => {}
                result => return result,
            }
            let text = actions::write(&contract::first_commit(options));
            let put = log.put(0, text.into()).await;
            // Whatever the answer, and whoever created it: what counts is what is there now.
            match (Self::open(store, options).await, put) {
                (Err(Error::NoTable { .. }), Err(error)) if tries + 1 >= options.timing.attempts => return Err(error),
                (Err(Error::NoTable { .. }), _) if tries + 1 < options.timing.attempts => {}
                (result, _) => return result,
            }
            options.timing.pause(tries).await;
            tries += 1;
        }
    }

    /// Opens the table. An error if there is none, or if its format is another one.
    pub async fn open(store: &Store, options: &TableOptions) -> Result<Self, Error> {
        let view = Self::open_in_any_format(store, options).await?;
        if view.format() != options.format {
            let (found, wanted) = (view.format().name(), options.format.name());
            return Err(Error::OtherFormat { url: store.url().to_string(), found, wanted });
        }
        Ok(view)
    }

    /// Opens the table, whatever its format.
    pub async fn open_in_any_format(store: &Store, options: &TableOptions) -> Result<Self, Error> {
        let log = Log { store: store.clone(), timing: options.timing.clone() };
        Self::load(log, options.clock.clone(), options.vacuum_grace / 2).await
    }

    /// The version that this is a view of.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The highest block of the stream that is committed; 0 if none is.
    pub fn mark(&self, stream: StreamId) -> u64 {
        self.marks.get(&stream).copied().unwrap_or(0)
    }

    /// All marks. A stream that is not among them has none.
    pub fn marks(&self) -> &HashMap<StreamId, u64> {
        &self.marks
    }

    /// The table's identity.
    pub fn table_id(&self) -> &str {
        &self.metadata.id
    }

    /// A property of the table.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.metadata.configuration.get(key)?.as_deref()
    }

    /// To be called before files are begun that are to be committed to this view: it tells later how old they are.
    pub fn begin_files(&self) -> Begun {
        Begun { version: self.version, at: self.clock.now() }
    }

    /// Whether a checkpoint that is written now forgets no mark before its time: not while this machine's clock, or that of
    /// another collector, may have jumped.
    pub fn may_write_checkpoint(&self) -> bool {
        self.stamps.allow_forgetting(self.clock.now().wall.as_millisecond())
    }

    /// What to stamp the marks with that are committed next.
    pub(super) fn next_stamp(&self) -> i64 {
        self.stamps.next(self.clock.now().wall.as_millisecond())
    }

    /// What its sink files are written in.
    pub fn format(&self) -> FileFormat {
        contract::format(self.property(contract::FORMAT_PROPERTY)).expect("it was checked")
    }

    /// How long ago it was last certain that nothing beyond this view had been cleaned up.
    pub fn age(&self) -> Duration {
        self.clock.now().since(self.loaded_at)
    }

    /// Brings the view to the newest version.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        loop {
            match self.next().await? {
                Next::Commit(found) => self.apply(&found)?,
                Next::None => return Ok(()),
                Next::Unsure => return self.reload().await,
            }
        }
    }

    /// Whether the commits after this view may have been cleaned up.
    pub(super) fn is_stale(&self) -> bool {
        self.doubtful || self.age() > self.log.timing.view_age_max && !planted::bug("trust_stale_view")
    }

    /// Whether what landed then, by the store's clock, can have landed on this view before any clean-up. The clocks of
    /// this machine do not tell when it was suspended and did not notice: a virtual machine that is resumed goes on with the
    /// time that it had. After a pause in which nobody committed this says no as well, and costs one opening of the table.
    pub(super) fn follows(&self, landed_ms: i64) -> bool {
        let gap = Duration::from_millis(landed_ms.saturating_sub(self.landed_ms).max(0).unsigned_abs());
        let trusted = planted::bug("trust_own_clock") || planted::bug("trust_stale_view");
        gap <= self.log.timing.view_age_max || trusted
    }

    /// When the newest object of the log that it knows of was put, by the store's clock, in ms since 1970.
    pub(super) fn landed_ms(&self) -> i64 {
        self.landed_ms
    }

    /// Reads the commit after this view.
    pub(super) async fn next(&mut self) -> Result<Next, Error> {
        let asked_at = self.clock.now();
        let found = self.log.read(self.version + 1).await?;
        // Judged after the answer: until then this process may have slept. On a stale view "there is none" may be the
        // work of the clean-up, and "there is one" that of another sleeper, who put it where nobody reads.
        if self.is_stale() {
            return Ok(Next::Unsure);
        }
        Ok(match found {
            Some(found) if !self.follows(found.landed_ms) => {
                self.doubtful = true;
                Next::Unsure
            }
            Some(found) => Next::Commit(found),
            None => {
                self.loaded_at = asked_at;
                Next::None
            }
        })
    }

    /// What the table is.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Files that were written longer ago than this are not committed any more.
    pub(super) fn file_age_max(&self) -> Duration {
        self.file_age_max
    }

    /// The checkpoint that it was opened from.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        self.checkpoint
    }

    /// Opens the table anew and takes over what it says.
    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        let mut fresh = Self::load(self.log.clone(), self.clock.clone(), self.file_age_max).await?;
        if (&fresh.metadata.id, fresh.format()) != (&self.metadata.id, self.format()) {
            return Err(self.foreign("another table has taken its place"));
        }
        if fresh.version < self.version {
            let reason = format!("the log ends at version {}, but {} was seen", fresh.version, self.version);
            return Err(Error::bad_log(Name::Commit(fresh.version), reason));
        }
        for (stream, mark) in self.marks.drain() {
            // A mark that is missing now has outlived its retention. What it said is still true.
            let now = fresh.marks.entry(stream).or_insert(mark);
            if *now < mark {
                let reason = format!("the mark of stream {stream} is {now}, but {mark} was seen");
                return Err(Error::bad_log(Name::Commit(fresh.version), reason));
            }
        }
        *self = fresh;
        Ok(())
    }

    /// Goes on to the next version, whose actions these are.
    pub(super) fn apply(&mut self, found: &Found) -> Result<(), Error> {
        let (version, actions) = (self.version + 1, &found.actions);
        // Checked before anything changes: a view is never half at a version.
        let moved = self.moved_by(version, actions)?;
        let mut changed = None;
        for action in actions {
            match action {
                Action::Protocol(protocol) => {
                    contract::check_protocol(protocol).map_err(|reason| self.foreign(reason))?;
                }
                Action::Metadata(metadata) => {
                    if metadata.id != self.metadata.id {
                        return Err(self.foreign("another table has taken its place"));
                    }
                    let format = contract::check_metadata(metadata).map_err(|reason| self.foreign(reason))?;
                    if format != self.format() {
                        return Err(self.foreign("another table has taken its place"));
                    }
                    changed = Some(metadata);
                }
                _ => {}
            }
        }
        if let Some(metadata) = changed {
            self.metadata.clone_from(metadata);
        }
        self.marks.extend(moved);
        if let Some(stamp) = stamps_of(actions).max() {
            self.stamps.go_on(stamp);
        }
        self.version = version;
        self.landed_ms = self.landed_ms.max(found.landed_ms);
        Ok(())
    }

    /// It is certain that at this moment the log went no further than this view.
    pub(super) fn certain_at(&mut self, moment: Moment) {
        self.loaded_at = moment;
    }

    fn foreign(&self, reason: impl Into<String>) -> Error {
        foreign(&self.log, reason)
    }

    fn moved_by(&self, version: u64, actions: &[Action]) -> Result<Vec<(StreamId, u64)>, Error> {
        let mut moved = Vec::new();
        for action in actions {
            let Action::Txn(txn) = action else { continue };
            // Others may have transactions of their own in the table.
            let Some(stream) = stream_of(txn) else { continue };
            let damaged = |reason: String| Error::bad_log(Name::Commit(version), reason);
            let mark = u64::try_from(txn.version)
                .map_err(|_| damaged(format!("the mark of stream {stream} is {}", txn.version)))?;
            let before = self.mark(stream);
            if mark < before {
                return Err(damaged(format!("it takes the mark of stream {stream} back from {before} to {mark}")));
            }
            moved.push((stream, mark));
        }
        Ok(moved)
    }

    async fn load(log: Log, clock: Arc<dyn Clock>, file_age_max: Duration) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            let missing = match Self::try_load(&log, &clock, file_age_max).await? {
                Loaded::View(mut view) => loop {
                    // Commits that came while the listed ones were read.
                    match view.next().await? {
                        Next::Commit(found) => view.apply(&found)?,
                        Next::None => return Ok(*view),
                        Next::Unsure => break Name::Commit(view.version + 1),
                    }
                },
                Loaded::Missing(name) => name,
            };
            tries += 1;
            if tries == OPEN_ATTEMPTS {
                let reason = "the log needs it and it is missing, or the log cannot be read before it is cleaned up";
                return Err(Error::bad_log(missing, reason));
            }
            log.timing.pause(tries).await;
        }
    }

    async fn try_load(log: &Log, clock: &Arc<dyn Clock>, file_age_max: Duration) -> Result<Loaded, Error> {
        let loaded_at = clock.now();
        let hint = log.hint().await?;
        let mut listed = Listed::new(log.list(hint).await?);
        if hint.is_some() && listed.checkpoint.is_none() {
            listed = Listed::new(log.list(None).await?);
        }
        let mut actions = Vec::new();
        let checkpoint = listed.checkpoint.as_ref().map(|(version, _)| *version);
        for (name, meta) in listed.checkpoint.iter().flat_map(|(_, parts)| parts) {
            match checkpoint_file::read(log, *name, meta.size, &COLUMNS).await {
                Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => {
                    return Ok(Loaded::Missing(*name));
                }
                rows => actions.extend(rows?),
            }
        }
        let first = checkpoint.map_or(0, |version| version + 1);
        let tail: Vec<u64> = listed.commits.into_iter().filter(|version| *version >= first).collect();
        let Some(base) = checkpoint.or(tail.first().copied()) else {
            return Err(Error::NoTable { url: log.store.url().to_string() });
        };
        for (expected, found) in (first..).zip(&tail) {
            if expected != *found {
                return Ok(Loaded::Missing(Name::Commit(expected)));
            }
        }
        let mut commits = futures::stream::iter(
            tail.into_iter().map(|version| async move { Ok::<_, Error>((version, log.read(version).await?)) }),
        )
        .buffered(FETCHES);

        // The object that says what the table is: the checkpoint, or version 0.
        let origin = match checkpoint {
            Some(version) => Name::Checkpoint(version),
            None => {
                let Some((version, Some(first))) = commits.try_next().await? else {
                    return Ok(Loaded::Missing(Name::Commit(0)));
                };
                actions = first.actions;
                Name::Commit(version)
            }
        };
        let mut view = Self {
            log: log.clone(),
            clock: clock.clone(),
            file_age_max,
            version: base,
            checkpoint,
            metadata: check_origin(log, origin, &actions)?,
            marks: HashMap::new(),
            stamps: Stamps::default(),
            loaded_at,
            landed_ms: listed.newest_ms,
            doubtful: false,
        };
        view.marks.extend(view.moved_by(base, &actions)?);
        stamps_of(&actions).for_each(|stamp| view.stamps.start(stamp));
        while let Some((version, found)) = commits.try_next().await? {
            match found {
                Some(found) => view.apply(&found)?,
                None => return Ok(Loaded::Missing(Name::Commit(version))),
            }
        }
        Ok(Loaded::View(Box::new(view)))
    }
}

enum Loaded {
    View(Box<View>),
    /// This was to be there and was not: cleaned up since it was listed, or lost.
    Missing(Name),
}

/// What a listing of the log is good for.
pub(super) struct Listed {
    /// Versions, ascending.
    pub commits: Vec<u64>,
    /// The newest checkpoint that is complete, with its objects.
    pub checkpoint: Option<(u64, Vec<(Name, ObjectMeta)>)>,
    /// When the newest object was put, by the store's clock, in ms since 1970.
    pub newest_ms: i64,
}

impl Listed {
    pub fn new(objects: Vec<(Name, ObjectMeta)>) -> Self {
        let mut commits = Vec::new();
        let mut checkpoints: HashMap<(u64, u32), Vec<(Name, ObjectMeta)>> = HashMap::new();
        let mut newest_ms = i64::MIN;
        for (name, meta) in objects {
            newest_ms = newest_ms.max(meta.last_modified.timestamp_millis());
            match name {
                Name::Commit(version) => commits.push(version),
                Name::Checkpoint(version) => checkpoints.entry((version, 1)).or_default().push((name, meta)),
                // One in parts is another checkpoint than one in a single object, even if it has a single part.
                Name::CheckpointPart { version, parts, .. } if parts > 1 => {
                    checkpoints.entry((version, parts)).or_default().push((name, meta));
                }
                _ => {}
            }
        }
        commits.sort_unstable();
        let checkpoint = checkpoints
            .into_iter()
            .filter(|((_, parts), objects)| objects.len() == *parts as usize)
            .max_by_key(|((version, parts), _)| (*version, u32::MAX - parts))
            .map(|((version, _), objects)| (version, objects));
        Self { commits, checkpoint, newest_ms }
    }
}

/// Checks that these actions say what the table is and that it is ours. Returns what it is.
fn check_origin(log: &Log, origin: Name, actions: &[Action]) -> Result<Metadata, Error> {
    let protocol = actions.iter().rev().find_map(|action| match action {
        Action::Protocol(protocol) => Some(protocol),
        _ => None,
    });
    let metadata = actions.iter().rev().find_map(|action| match action {
        Action::Metadata(metadata) => Some(metadata),
        _ => None,
    });
    let (Some(protocol), Some(metadata)) = (protocol, metadata) else {
        return Err(Error::bad_log(origin, "it does not say what the table is"));
    };
    contract::check_protocol(protocol)
        .and_then(|()| contract::check_metadata(metadata))
        .map_err(|reason| foreign(log, reason))?;
    Ok(metadata.clone())
}

fn foreign(log: &Log, reason: impl Into<String>) -> Error {
    Error::ForeignTable { url: log.store.url().to_string(), reason: reason.into() }
}

/// When marks were moved.
fn stamps_of(actions: &[Action]) -> impl Iterator<Item = i64> {
    actions.iter().filter_map(|action| match action {
        Action::Txn(txn) if stream_of(txn).is_some() => txn.last_updated,
        _ => None,
    })
}

/// The stream whose mark this is; none if the transaction is somebody else's.
pub(super) fn stream_of(txn: &Txn) -> Option<StreamId> {
    txn.app_id.parse().ok()
}

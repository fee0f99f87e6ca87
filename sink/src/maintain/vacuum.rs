//! Vacuum: deletes objects that nothing refers to any more. The rules, with their reasons, are in [`super`].
//!
//! Only names that are ours are ever deleted (`paths`): sink files and old leases; never what lies in `_rejected/`, and
//! never the log, whose clean-up is the table's. A crash leaves what is not deleted yet, for the next one.
//!
//! Files in JSON are reached through indexes only, and each through one. So one is live if a live index lists it, and was
//! removed when the index was that its name tells of. A live index that cannot be read stops everything: it may list
//! anything.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use logboom_config::planted;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::{Control, Settings};
use crate::json::listed_files;
use crate::paths::{JSON_FOLDER, Name};
use crate::table::{Outcome, Rewrite, Snapshot, View, commit, tombstones};
use crate::{Error, FileFormat, Store};

/// So many objects are deleted between two looks at whether to go on.
const DELETES: usize = 1000;
/// A deletion of that many that takes longer has failed; the next vacuum goes on with it.
const DEADLINE: Duration = Duration::from_secs(300);
/// The fence is tried again when somebody else takes the version; each time is a commit of theirs.
const FENCE_TRIES: u32 = 20;

/// An object that nothing refers to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Relative to the table's root.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// When it was put, by the store.
    pub put_at: Timestamp,
}

/// What a vacuum has done, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Deleted; with a dry run, what would be.
    pub garbage: Vec<Garbage>,
    /// Objects that no version names and that are kept because their grace is not over.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}

impl Vacuumed {
    /// Bytes of what was deleted.
    pub fn bytes(&self) -> u64 {
        self.garbage.iter().map(|object| object.size).sum()
    }
}

/// Deletes what nothing refers to and whose grace is over. With `dry_run`, only says what that is, judged by this
/// machine's clock.
///
/// # Errors
/// If the table cannot be read or an object not be deleted. What was deleted before was garbage all the same.
pub async fn vacuum(store: &Store, settings: &Settings, dry_run: bool, control: &Control) -> Result<Vacuumed, Error> {
    // First what there is, then what is referred to: a file that comes in between is in neither.
    let objects = data_objects(store).await?;
    control.check()?;
    let now = settings.table.clock.now().wall;
    let judged = judge(store, settings, &objects, now, now).await?;
    if dry_run || judged.garbage.is_empty() {
        return Ok(judged);
    }
    let fenced_at = if planted::bug("vacuum_without_fence") { now } else { fence(store, settings).await? };
    // The store's own time; this machine's if that is earlier.
    let judged = judge(store, settings, &objects, now, now.min(fenced_at)).await?;
    let total = judged.garbage.len();
    for (round, garbage) in judged.garbage.chunks(DELETES).enumerate() {
        control.check()?;
        control.tell((round * DELETES) as u64, total as u64);
        delete(store, garbage).await?;
    }
    control.tell(total as u64, total as u64);
    Ok(judged)
}

/// Every sink file and every index on the store, of the table or not.
async fn data_objects(store: &Store) -> Result<Vec<ObjectMeta>, Error> {
    let listed = store.objects().list(None);
    // What a probe of the store left behind when it died is garbage too.
    let is_data = |meta: &ObjectMeta| {
        matches!(Name::parse(meta.location.as_ref()), Some(Name::Data { .. } | Name::Json { .. } | Name::Probe { .. }))
    };
    let found = listed.try_filter(|meta| futures::future::ready(is_data(meta))).try_collect();
    found.await.map_err(|source| Error::store("listing", store.url(), source))
}

/// Takes the next version, so that it is nobody's who looked at the clock before. Returns when that was, by the store.
async fn fence(store: &Store, settings: &Settings) -> Result<Timestamp, Error> {
    let mut view = View::open_in_any_format(store, &settings.table).await?;
    for _ in 0..FENCE_TRIES {
        let change = Rewrite::fence(&view);
        if let Outcome::Committed { version } = commit(&mut view, change).await? {
            let name = Name::Commit(version);
            let meta = store.objects().head(&name.path()).await;
            let meta = meta.map_err(|source| Error::store("reading", name, source))?;
            return Ok(time_of(&meta));
        }
    }
    Err(Error::bad_log("_delta_log", "others change what the table is all the time; nothing is deleted"))
}

/// What of `objects` is garbage, at `now` by the clocks of those who maintain and `store_now` by that of the store.
async fn judge(
    store: &Store,
    settings: &Settings,
    objects: &[ObjectMeta],
    now: Timestamp,
    store_now: Timestamp,
) -> Result<Vacuumed, Error> {
    let grace = if planted::bug("vacuum_without_grace") { Duration::ZERO } else { settings.table.vacuum_grace };
    let removed_grace = settings.removed_grace.unwrap_or(grace);
    let before = |now: Timestamp, grace| now.checked_sub(grace).unwrap_or(Timestamp::MIN);
    // The tombstones first: what is removed after that is still among the files.
    let removed = tombstones(store, &settings.table).await?;
    let snapshot = Snapshot::load(store).await?;
    let listed = match snapshot.format {
        FileFormat::Parquet => Vec::new(),
        FileFormat::Json => listed_files(store, &snapshot.files).await?,
    };
    let live: HashSet<&str> = snapshot.files.iter().chain(&listed).map(|file| file.path.as_str()).collect();
    let mut judged = Vacuumed::default();
    for object in objects {
        let path = object.location.as_ref();
        // A table in Parquet has no such files: whoever put them there knows why.
        let is_foreign = snapshot.format == FileFormat::Parquet && path.starts_with(JSON_FOLDER);
        if live.contains(path) || is_foreign {
            continue;
        }
        let garbage = Garbage { path: path.to_owned(), size: object.size, put_at: time_of(object) };
        // What an index lists went with it.
        let of_index = || removed.get(&Name::parse(path)?.index()?.to_string());
        let waits = match removed.get(path).or_else(of_index) {
            Some(removed_ms) => {
                let removed_lately = *removed_ms > before(now, removed_grace).as_millisecond();
                removed_lately || garbage.put_at > before(store_now, removed_grace)
            }
            // It may be about to be committed.
            None => garbage.put_at > before(store_now, grace),
        };
        if waits {
            judged.waiting += 1;
            judged.waiting_bytes += garbage.size;
        } else {
            judged.garbage.push(garbage);
        }
    }
    judged.garbage.sort_by(|a, b| (a.put_at, &a.path).cmp(&(b.put_at, &b.path)));
    Ok(judged)
}

async fn delete(store: &Store, garbage: &[Garbage]) -> Result<(), Error> {
    let paths: Vec<_> = garbage.iter().map(|object| Ok(object.path.as_str().into())).collect();
    let mut deleted = store.objects().delete_stream(futures::stream::iter(paths).boxed());
    let all = async {
        while let Some(result) = deleted.next().await {
            match result {
                // Another vacuum was faster.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::store("deleting from", store.url(), source)),
            }
        }
        Ok(())
    };
    let late = |_| Error::NoAnswer { action: "deleting from", object: store.url().to_string(), after: DEADLINE };
    tokio::time::timeout(DEADLINE, all).await.map_err(late)?
}

fn time_of(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis()).unwrap_or(Timestamp::MAX)
}

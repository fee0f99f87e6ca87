//! All files of a source: who is followed, who is open, whose turn it is, and what is remembered of files that are not
//! there. What happens within one file is `follow`'s.
//!
//! [`Roster::look`] takes in what happened on disk and only collects what is to be handed over, in `outbox` and `moves`;
//! it is handed over before anything else is read, so that positions reach the spool in the order of events. So it may
//! look while a chunk waits for room, and does: a file that comes and is renamed while the spool is full is not missed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logboom_config::{FileSource, ReadFrom, Source};
use logboom_wire::Position;
use rustix::fs::OFlags;

use super::discover::{Complaints, Folders, Found, Globs};
use super::follow::{Check, Followed, Look, Place, Start, forgotten};
use super::identity::{FileId, HEAD_BYTES_MAX, Standing, Verdict, born, born_apart, read_head};
use super::{GRACE_LOOKS, Outlet, Stopped};
use crate::intake::Chunk;
use crate::source::line::is_container;
use crate::source::{Context, observed_now};

/// Bytes of one read, and so about of one chunk.
const READ_BYTES: usize = 256 << 10;
/// Reads of one file in a row before the next file has its turn.
const READS_PER_TURN: usize = 4;
/// A look may take this part of the time at most: with very many files they are looked at less often.
const LOOK_TIME_PART: u32 = 50;
/// However long a look takes, the next one is not later than this.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Most positions of one chunk.
const POSITIONS_PER_CHUNK: usize = 256;
/// Looks that a file must have been left alone for before the next one goes on with what it holds back.
const HANDOVER_LOOKS: u32 = 2;
/// Looks between two searches for a file that is neither there nor certainly gone.
const LOOKS_PER_SEARCH: u64 = 64;

/// A durable position whose file has not turned up in this run.
struct Left {
    id: FileId,
    standing: Standing,
    missing: u32,
}

pub struct Roster {
    source: Arc<Source>,
    context: Context,
    outlet: Outlet,
    globs: Globs,
    read_from: ReadFrom,
    poll_interval: Duration,
    max_open: usize,
    files: HashMap<FileId, Followed>,
    /// By inode.
    left: HashMap<u64, Vec<Left>>,
    /// Files that existed at the start with `read_from = "end"`, but could not be opened: their sizes then.
    ends: HashMap<FileId, u64>,
    /// Open files that may be closed: busy or not, last turn.
    closable: BTreeSet<(bool, u64, FileId)>,
    rank: HashMap<FileId, (bool, u64)>,
    open: usize,
    turns: u64,
    looks: u64,
    next_look: Instant,
    ready: VecDeque<FileId>,
    outbox: Vec<Chunk>,
    /// Positions that changed though nothing was read. All of one look travel together, for keys may swap owners.
    moves: BTreeMap<String, String>,
    complaints: Complaints,
    buffer: Vec<u8>,
}

impl Roster {
    pub fn new(source: Arc<Source>, settings: FileSource, context: Context, outlet: Outlet) -> Result<Self, String> {
        let globs = Globs::new(&settings)?;
        let mut left: HashMap<u64, Vec<Left>> = HashMap::new();
        for (key, value) in context.positions.iter().filter(|(_, value)| !value.is_empty()) {
            let Some(id) = FileId::of_key(&source.name, key) else { continue };
            match serde_json::from_str(value) {
                Ok(standing) => left.entry(id.ino).or_default().push(Left { id, standing, missing: 0 }),
                Err(error) => tracing::warn!(source = source.name, key, %error, "a position does not read; ignored"),
            }
        }
        Ok(Self {
            complaints: Complaints::new(&source.name),
            source,
            context,
            outlet,
            globs,
            read_from: settings.read_from,
            poll_interval: settings.poll_interval,
            max_open: settings.max_open.max(1),
            files: HashMap::new(),
            left,
            ends: HashMap::new(),
            closable: BTreeSet::new(),
            rank: HashMap::new(),
            open: 0,
            turns: 0,
            looks: 0,
            next_look: Instant::now(),
            ready: VecDeque::new(),
            outbox: Vec::new(),
            moves: BTreeMap::new(),
            buffer: Vec::new(),
        })
    }

    /// Follows the files until the source is stopped.
    pub fn run(mut self) {
        // Being stopped is the only way out.
        let Err(Stopped) = self.follow();
        tracing::debug!(source = self.source.name, files = self.files.len(), "stopped");
    }

    fn follow(&mut self) -> Result<std::convert::Infallible, Stopped> {
        if self.files.is_empty() {
            tracing::info!(source = self.source.name, "no file matches yet");
        }
        self.buffer = vec![0; READ_BYTES];
        self.remember_start()?;
        loop {
            while let Some(id) = self.ready.pop_front() {
                self.outlet.check()?;
                if self.turn(id)? {
                    self.enqueue(id);
                }
                if Instant::now() >= self.next_look {
                    break;
                }
            }
            if self.ready.is_empty() {
                self.outlet.sleep_until(self.next_look)?;
            }
            if Instant::now() >= self.next_look {
                self.look();
                self.deliver()?;
            }
        }
    }

    /// Makes durable where files start, if that is not the beginning, before anything behind it is read.
    fn remember_start(&mut self) -> Result<(), Stopped> {
        if self.read_from != ReadFrom::End || self.context.resumed {
            // A file without a position would start at its beginning again.
            return self.deliver();
        }
        // Even if there is no file: one that comes now must not be taken for an old one by a restart.
        self.moves.insert(format!("file/{}/start", self.source.name), "end".into());
        for chunk in self.take_moves() {
            let intake = self.outlet.intake.clone();
            let appending = pin!(async { intake.append_or_wait(chunk).await?.durable().await });
            self.outlet.wait_for(appending, None)?;
        }
        Ok(())
    }

    /// Hands over what the looks collected.
    fn deliver(&mut self) -> Result<(), Stopped> {
        while !self.outbox.is_empty() || !self.moves.is_empty() {
            for chunk in std::mem::take(&mut self.outbox) {
                self.send(chunk)?;
            }
            for chunk in self.take_moves() {
                self.send(chunk)?;
            }
        }
        Ok(())
    }

    fn take_moves(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut moves = std::mem::take(&mut self.moves).into_iter().peekable();
        while moves.peek().is_some() {
            let mut chunk = Chunk::default();
            for (key, value) in moves.by_ref().take(POSITIONS_PER_CHUNK) {
                chunk.set_position(Position { key, value });
            }
            chunks.push(chunk);
        }
        chunks
    }

    /// Hands `chunk` over, waiting while memory is full.
    fn send(&mut self, chunk: Chunk) -> Result<(), Stopped> {
        let context = self.context.clone();
        let mut appending = pin!(context.keep(chunk));
        loop {
            // Nobody waits for the receipt: what is not durable after a crash is still in the file.
            if self.outlet.wait_for(appending.as_mut(), Some(self.next_look))?.is_some() {
                return Ok(());
            }
            self.look();
        }
    }

    // Looking: what happened on disk.

    /// Looks at every file once: finds new ones, follows renamed ones, queues those with news, gives up those that are gone.
    pub fn look(&mut self) {
        let start = Instant::now();
        self.looks += 1;
        self.files.values_mut().for_each(|file| file.matched = false);
        for found in self.globs.scan(&mut self.complaints) {
            self.take_in(found);
        }
        let mut folders = Folders::default();
        let unmatched: Vec<_> = self.files.iter().filter(|(_, file)| !file.matched).map(|(&id, _)| id).collect();
        for id in unmatched {
            self.search(id, &mut folders);
        }
        if self.looks <= u64::from(GRACE_LOOKS) || self.looks.is_multiple_of(LOOKS_PER_SEARCH) {
            self.search_left(&mut folders);
        }
        self.flush_due();
        if is_container(&self.source) {
            self.link();
        }
        let finished: Vec<_> = self.files.iter().filter(|(_, file)| seems_finished(file)).map(|(&id, _)| id).collect();
        for id in finished {
            self.finish(id, &mut folders);
        }
        self.context.counters.lag_bytes.set(self.files.values().map(Followed::lag).sum());
        let pause = (start.elapsed() * LOOK_TIME_PART).min(LOOK_PAUSE_MAX);
        self.next_look = Instant::now() + self.poll_interval.max(pause);
    }

    /// The globs found a file.
    fn take_in(&mut self, found: Found) {
        if let Some(file) = self.files.get_mut(&found.id) {
            if file.is_open() || !born_apart(file.born, born(&found.meta)) {
                file.matched = true;
                file.missing = 0;
                file.seen_as(&found.path);
                let news = file.look(Look::of(&found.meta));
                return self.sort_in(found.id, news);
            }
            // The inode of a file that was not held open went to a new file.
            self.end(found.id);
        }
        self.discover(found);
    }

    /// A file that is not followed yet.
    fn discover(&mut self, found: Found) {
        let Found { id, path, meta } = found;
        let (file, meta) = match open(&path) {
            Ok((file, meta)) if FileId::of(&meta) == id => (file, meta),
            // Another one has come to this path since: the next look sees it.
            Ok(_) => return,
            Err(error) => {
                if self.starts_at_end() {
                    self.ends.insert(id, meta.size());
                }
                return self.complain(&path, &error);
            }
        };
        let at = path.canonicalize().unwrap_or_else(|_| path.clone());
        let start = match self.claim(id, &path, &at, &file, &meta) {
            Ok(Some(resumed)) => Ok(resumed),
            Ok(None) => self.start_of(id, &file, &meta).map(|start| (path.clone(), start)),
            Err(error) => Err(error),
        };
        match start {
            Ok((discovered, start)) => {
                let offset = start.offset;
                tracing::info!(source = self.source.name, path = %path.display(), offset, "following file");
                self.complaints.settled(&path);
                self.admit(id, Place { path: discovered, seen_as: path, at }, file, &meta, start);
            }
            Err(error) => self.complain(&path, &error),
        }
    }

    /// Where a file without a position starts.
    fn start_of(&mut self, id: FileId, file: &File, meta: &Metadata) -> io::Result<Start> {
        let end = match self.starts_at_end() {
            true => Some(meta.size()),
            false => self.ends.get(&id).copied().filter(|&end| end <= meta.size()),
        };
        let mut start = Start::default();
        if let Some(offset) = end.filter(|&end| end > 0) {
            let mut last = [0];
            start.inside_line = file.read_at(&mut last, offset - 1)? == 1 && last != *b"\n";
            start.head = read_head(file, offset.min(HEAD_BYTES_MAX as u64) as usize)?;
            start.offset = offset;
        }
        self.ends.remove(&id);
        // Remembered even at its beginning: it may be renamed while the adaptor is down, or bear the inode of a file whose
        // position is still there.
        start.is_news = true;
        Ok(start)
    }

    fn starts_at_end(&self) -> bool {
        self.read_from == ReadFrom::End && self.looks == 1 && !self.context.resumed
    }

    /// Finds the durable position that belongs to the file found at `path`, which lies at `at`, and takes it. With where
    /// to start comes the path at which the file was discovered.
    fn claim(
        &mut self,
        id: FileId,
        path: &Path,
        at: &Path,
        file: &File,
        meta: &Metadata,
    ) -> io::Result<Option<(PathBuf, Start)>> {
        let Some(candidates) = self.left.get_mut(&id.ino) else { return Ok(None) };
        // Device numbers may change, even swap, when the host restarts; then the path decides, or the folder.
        let nearness = |left: &Left| {
            let place = Path::new(left.standing.place());
            let same_path = place == at || Path::new(&left.standing.path) == path;
            match (same_path, left.id.dev == id.dev) {
                (true, true) => 0,
                (true, false) => 1,
                (false, true) => 2,
                (false, false) if place.parent() == at.parent() => 3,
                (false, false) => 4,
            }
        };
        candidates.sort_by_key(nearness);
        let mut truncated = false;
        for index in 0..candidates.len() {
            if nearness(&candidates[index]) == 4 {
                break;
            }
            match candidates[index].standing.judge(file, meta)? {
                Verdict::Continues(head) => {
                    let left = candidates.remove(index);
                    let discovered = PathBuf::from(&left.standing.path);
                    let moved = Path::new(left.standing.place()) != at;
                    let mut start = Start::resumed(&left.standing, head);
                    start.rotated |= moved && discovered != path;
                    start.is_news = moved || left.id != id;
                    if left.id != id {
                        self.forget(left.id);
                    }
                    return Ok(Some((discovered, start)));
                }
                Verdict::Truncated => truncated |= candidates[index].id == id,
                Verdict::Other => {}
            }
        }
        if truncated {
            self.count_truncated(path);
        }
        Ok(None)
    }

    /// Begins to follow a file.
    fn admit(&mut self, id: FileId, place: Place, file: File, meta: &Metadata, start: Start) {
        let is_news = start.is_news;
        let mut followed = Followed::new(&self.source, &self.context, id, place, meta, start);
        if is_news {
            let Position { key, value } = followed.position();
            self.moves.insert(key, value);
        }
        let news = followed.look(Look::of(meta));
        // While nothing idle can be closed for it, its turn comes later.
        let room = self.open < self.max_open || self.close_one(false);
        if room {
            followed.set_file(Some(file));
            self.open += 1;
        }
        self.files.insert(id, followed);
        self.sort_in(id, news);
    }

    /// Looks for a followed file that the globs no longer find.
    fn search(&mut self, id: FileId, folders: &mut Folders) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let is_it = |file: &Followed, meta: &Metadata| {
            FileId::of(meta) == id && (file.is_open() || !born_apart(file.born, born(meta)))
        };
        let here = fs::metadata(&file.place.at).ok().filter(|meta| is_it(file, meta));
        let found = match here {
            Some(meta) => {
                // It stayed, but a link that led to it may not.
                if !file.rotated && fs::metadata(&file.place.path).is_ok_and(|other| FileId::of(&other) != id) {
                    file.set_rotated();
                }
                Some(meta)
            }
            None => folders.find(&file.place.at, id.ino).filter(|(_, meta)| is_it(file, meta)).map(|(at, meta)| {
                file.moved_to(at);
                meta
            }),
        };
        let news = match (found, file.file()) {
            (Some(meta), _) => {
                file.missing = 0;
                file.look(Look::of(&meta))
            }
            (None, open) => {
                let meta = open.and_then(|open| open.metadata().ok());
                file.missing = file.missing.saturating_add(1);
                meta.is_some_and(|meta| file.look(Look::of(&meta)))
            }
        };
        self.sort_in(id, news);
    }

    /// The writer of a renamed or deleted file seems to be through with it.
    fn finish(&mut self, id: FileId, folders: &mut Folders) {
        let Some(file) = self.files.get_mut(&id) else { return };
        if file.missing == 0 {
            let (has_partial, matched) = (file.has_partial(), file.matched);
            if has_partial && !self.hand_over(id) {
                self.emit(id, |file| file.finish_line(observed_now()));
            }
            if !matched {
                // It stays known, so that it is read on should it grow, and forgotten when it is deleted.
                self.close(id);
            }
            return;
        }
        let unlinked = file.file().and_then(|open| open.metadata().ok()).is_some_and(|meta| meta.nlink() == 0);
        let _ = folders.find(&file.place.at, id.ino);
        if unlinked || folders.gone(&file.place.at, id.dev) {
            tracing::info!(source = self.source.name, path = %file.place.path.display(), "file is gone");
            self.end(id);
        } else if !file.is_open() {
            // Perhaps its file system is not mounted: its position waits for it.
            let left = Left { id, standing: file.standing(), missing: GRACE_LOOKS };
            self.left.entry(id.ino).or_default().push(left);
            self.drop_file(id);
        }
    }

    /// The file does not exist any more.
    fn end(&mut self, id: FileId) {
        self.hand_over(id);
        self.emit(id, |file| file.end(observed_now()));
        self.drop_file(id);
    }

    /// Collects what is to be handed over of a file, with the positions of the files that it goes on with.
    fn emit(&mut self, id: FileId, effect: impl FnOnce(&mut Followed) -> Chunk) {
        if let Some(file) = self.files.get_mut(&id) {
            let mut chunk = effect(file);
            self.release(id, &mut chunk);
            self.outbox.push(chunk);
        }
    }

    /// Hands over the records of several lines that have waited for long enough.
    fn flush_due(&mut self) {
        let now = observed_now();
        let mut due = Vec::new();
        for (&id, file) in &mut self.files {
            if let Some(chunk) = file.flush_due(now) {
                due.push((id, chunk));
            }
        }
        due.into_iter().for_each(|(id, chunk)| self.emit(id, |_| chunk));
    }

    // Containers: a line may begin in one file and end in the next.

    /// Finds out which files go on with others: those discovered at the same path, one renamed after the other. The later
    /// one is read once the earlier is read to its end, for only then is known what it goes on with.
    fn link(&mut self) {
        let mut by_path: HashMap<&Path, Vec<&Followed>> = HashMap::new();
        for file in self.files.values() {
            by_path.entry(&file.place.path).or_default().push(file);
        }
        let mut pairs = Vec::new();
        for mut files in by_path.into_values().filter(|files| files.len() > 1) {
            files.sort_by_key(|file| (file.matched && !file.rotated && file.missing == 0, file.born, file.id));
            for pair in files.windows(2) {
                let (older, newer) = (pair[0], pair[1]);
                if !older.handed_over && !newer.started && newer.predecessor.is_none() {
                    pairs.push((older.id, newer.id));
                }
            }
        }
        for (older, newer) in pairs {
            // Names that are swapped must not make two files wait for each other.
            let before = |id: &FileId| self.files.get(id).and_then(|file| file.predecessor);
            if std::iter::successors(Some(older), before).any(|id| id == newer) {
                continue;
            }
            if let Some(file) = self.files.get_mut(&older) {
                file.successor = Some(newer);
            }
            if let Some(file) = self.files.get_mut(&newer) {
                file.predecessor = Some(older);
            }
        }
        let waiting: Vec<_> = self.files.values().filter_map(|file| file.predecessor).collect();
        for older in waiting {
            self.hand_over_if_done(older);
        }
    }

    /// Whether the file goes on with another that is not read to its end yet.
    fn waits(&self, id: FileId) -> bool {
        let predecessor = self.files.get(&id).and_then(|file| file.predecessor);
        predecessor.is_some_and(|older| self.files.get(&older).is_some_and(|older| !older.handed_over))
    }

    /// Hands over what a file holds back if it is read to its end and its writer has gone on to the next.
    fn hand_over_if_done(&mut self, id: FileId) {
        let Some(file) = self.files.get(&id) else { return };
        let patience = if file.has_partial_line() || file.failed { GRACE_LOOKS } else { HANDOVER_LOOKS };
        if (file.at_end() || file.failed) && file.stable >= patience && !self.waits(id) {
            self.hand_over(id);
        }
    }

    /// Hands over what a file holds back to the one that waits for it, if there is one.
    fn hand_over(&mut self, id: FileId) -> bool {
        let newer = self.files.get(&id).filter(|file| !file.handed_over).and_then(|file| file.successor);
        let newer = newer.and_then(|newer| self.files.get(&newer)).filter(|newer| newer.predecessor == Some(id));
        let Some((newer, fresh)) = newer.map(|newer| (newer.id, newer.fresh())) else { return false };
        let Some(file) = self.files.get_mut(&id) else { return false };
        let (mut chunk, legacy) = file.hand_over(fresh, observed_now());
        if let Some(newer) = self.files.get_mut(&newer) {
            newer.inherit(legacy);
            newer.predecessor = None;
            // It may have to pass over the rest of a line, even after a crash.
            let position = newer.position();
            self.moves.remove(&position.key);
            chunk.set_position(position);
        }
        self.release(newer, &mut chunk);
        self.outbox.push(chunk);
        self.enqueue(newer);
        true
    }

    /// Adds the positions of the files that `id` goes on with to `chunk`, which says what became of their lines.
    fn release(&mut self, id: FileId, chunk: &mut Chunk) {
        let Some(file) = self.files.get_mut(&id) else { return };
        for (older, floors) in file.debts() {
            if let Some(older) = self.files.get_mut(&older).filter(|older| older.is_held_back())
                && older.release(floors)
            {
                chunk.set_position(older.position());
            }
        }
    }

    fn drop_file(&mut self, id: FileId) {
        self.close(id);
        self.files.remove(&id);
    }

    /// Looks for the files of positions that no match has claimed: renamed while the adaptor was down, or gone.
    fn search_left(&mut self, folders: &mut Folders) {
        let mut keep: HashMap<u64, Vec<Left>> = HashMap::new();
        for left in std::mem::take(&mut self.left).into_values().flatten() {
            if self.files.contains_key(&left.id) {
                // Its key speaks of another file now.
                continue;
            }
            if let Some(left) = self.search_one_left(left, folders) {
                keep.entry(left.id.ino).or_default().push(left);
            }
        }
        self.left = keep;
    }

    /// Returns what is still to be remembered.
    fn search_one_left(&mut self, mut left: Left, folders: &mut Folders) -> Option<Left> {
        let place = PathBuf::from(left.standing.place());
        let here = fs::metadata(&place).ok().filter(|meta| meta.is_file() && meta.ino() == left.id.ino);
        let Some((at, meta)) = here.map(|meta| (place.clone(), meta)).or_else(|| folders.find(&place, left.id.ino))
        else {
            left.missing = left.missing.saturating_add(1);
            let _ = folders.find(&place, left.id.ino);
            if left.missing >= GRACE_LOOKS && folders.gone(&place, left.id.dev) {
                self.forget(left.id);
                return None;
            }
            return Some(left);
        };
        left.missing = 0;
        let id = FileId::of(&meta);
        let path = PathBuf::from(&left.standing.path);
        let still_there = fs::metadata(&path).is_ok_and(|meta| FileId::of(&meta) == id);
        if !self.globs.matches(&path) || still_there {
            // The operator took it out of the globs, or it cannot be opened.
            return Some(left);
        }
        if self.files.contains_key(&id) {
            return Some(left);
        }
        let opened = open(&at).and_then(|(file, meta)| Ok((left.standing.judge(&file, &meta)?, file, meta)));
        let (verdict, file, meta) = match opened {
            Ok(opened) if FileId::of(&opened.2) == id => opened,
            Ok(_) => return Some(left),
            Err(error) => {
                self.complain(&at, &error);
                return Some(left);
            }
        };
        let mut start = match verdict {
            Verdict::Continues(head) => Start::resumed(&left.standing, head),
            // Emptied, filled again, and then renamed: surely the same only if its birth says so.
            Verdict::Truncated if left.standing.born.is_some() && left.standing.born == born(&meta) => {
                self.count_truncated(&at);
                Start::default()
            }
            Verdict::Truncated | Verdict::Other => {
                self.forget(left.id);
                return None;
            }
        };
        start.is_news = !left.standing.rotated || at != place || id != left.id || start.offset != left.standing.offset;
        start.rotated = true;
        tracing::info!(source = self.source.name, path = %at.display(), offset = start.offset, "following renamed file");
        if id != left.id {
            self.forget(left.id);
        }
        self.admit(id, Place { path, seen_as: at.clone(), at }, file, &meta, start);
        if let Some(file) = self.files.get_mut(&id) {
            file.matched = false;
        }
        None
    }

    /// Forgets a key, unless another file owns it by now.
    fn forget(&mut self, id: FileId) {
        if !self.files.contains_key(&id) {
            let Position { key, value } = forgotten(id.key(&self.source.name));
            self.moves.entry(key).or_insert(value);
        }
    }

    // Reading.

    fn enqueue(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id)
            && !std::mem::replace(&mut file.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Reads a file for one turn; says whether there is more.
    fn turn(&mut self, id: FileId) -> Result<bool, Stopped> {
        let waits = self.waits(id);
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        file.queued = false;
        if waits || file.is_held_back() {
            // The looks come back to it.
            return Ok(false);
        }
        let was_open = file.is_open();
        let path = file.place.at.clone();
        let readable = match self.open_for_turn(id) {
            Ok(true) => self.check(id, was_open),
            other => other,
        };
        // A truncated file hands over its end before its new beginning is read.
        self.deliver()?;
        let more = match readable {
            Ok(true) => self.read(id)?,
            other => other,
        };
        if let Err(error) = &more {
            self.complain(&path, error);
            self.close(id);
        }
        if let Some(file) = self.files.get_mut(&id) {
            file.failed = more.is_err();
        }
        self.turns += 1;
        self.sort_in(id, false);
        if is_container(&self.source) {
            self.hand_over_if_done(id);
            self.deliver()?;
        }
        Ok(more.unwrap_or(false))
    }

    /// Opens the file if it is closed; says whether it is open and still that file.
    fn open_for_turn(&mut self, id: FileId) -> io::Result<bool> {
        let Some(file) = self.files.get(&id) else { return Ok(false) };
        if file.is_open() {
            return Ok(true);
        }
        let (opened, meta) = match open(&file.place.at) {
            Ok(opened) => opened,
            // The next look finds out where it went.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if FileId::of(&meta) != id || born_apart(file.born, born(&meta)) {
            return Ok(false);
        }
        // Deleted files stay open until they are read, so there may be none to close.
        while self.open >= self.max_open && (self.close_one(false) || self.close_one(true)) {}
        if let Some(file) = self.files.get_mut(&id) {
            self.complaints.settled(&file.place.at);
            file.set_file(Some(opened));
            self.open += 1;
        }
        Ok(true)
    }

    /// Checks that the file is what was read of it; says whether to read on.
    fn check(&mut self, id: FileId, was_open: bool) -> io::Result<bool> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        match file.check()? {
            Check::Intact => Ok(true),
            Check::CutBack => {
                file.rewind();
                Ok(true)
            }
            // Where births are not known: a file that was closed, and now lies elsewhere with another content, is another
            // one with the same inode. The next look discovers it.
            Check::Truncated if !was_open && file.born.is_none() && file.rotated => {
                self.end(id);
                Ok(false)
            }
            Check::Truncated => {
                let path = file.place.path.clone();
                self.emit(id, |file| file.begin_again(observed_now()));
                self.count_truncated(&path);
                Ok(true)
            }
        }
    }

    /// Reads on for one turn; says whether there is more.
    fn read(&mut self, id: FileId) -> Result<io::Result<bool>, Stopped> {
        for _ in 0..READS_PER_TURN {
            self.outlet.check()?;
            // The look that is taken while a chunk waits may have collected something of this file, which comes first…
            self.deliver()?;
            // …or have closed it.
            let readable = |file: &&mut Followed| file.is_open() && !file.is_held_back();
            let Some(file) = self.files.get_mut(&id).filter(readable) else { return Ok(Ok(false)) };
            match file.read(&mut self.buffer, observed_now()) {
                // The next turn checks what became of it.
                Ok(None) => return Ok(Ok(true)),
                Ok(Some((count, mut chunk))) => {
                    self.release(id, &mut chunk);
                    self.send(chunk)?;
                    if count < READ_BYTES {
                        return Ok(Ok(false));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(true))
    }

    // Descriptors.

    /// Notes what may be closed first, and queues the file if there is news.
    fn sort_in(&mut self, id: FileId, news: bool) {
        if let Some((busy, turn)) = self.rank.remove(&id) {
            self.closable.remove(&(busy, turn, id));
        }
        let Some(file) = self.files.get(&id) else { return };
        // A file that is nowhere to be found could not be opened again.
        if file.is_open() && file.missing == 0 {
            let rank = (!file.at_end(), self.turns);
            self.rank.insert(id, rank);
            self.closable.insert((rank.0, rank.1, id));
        }
        if news {
            self.enqueue(id);
        }
    }

    /// Closes the file that had no turn for longest; one with something to read only if `busy`.
    fn close_one(&mut self, busy: bool) -> bool {
        match self.closable.first() {
            Some(&(is_busy, _, id)) if busy || !is_busy => {
                self.close(id);
                true
            }
            _ => false,
        }
    }

    fn close(&mut self, id: FileId) {
        if let Some((busy, turn)) = self.rank.remove(&id) {
            self.closable.remove(&(busy, turn, id));
        }
        if let Some(file) = self.files.get_mut(&id)
            && file.is_open()
        {
            file.set_file(None);
            self.open -= 1;
        }
    }

    // Saying it once.

    fn complain(&mut self, path: &Path, error: &io::Error) {
        if self.complaints.first(path) {
            self.context.counters.files_failed.add(1);
            tracing::warn!(source = self.source.name, path = %path.display(), %error, "cannot read the file; will try again");
        }
    }

    fn count_truncated(&self, path: &Path) {
        self.context.counters.files_truncated.add(1);
        tracing::info!(source = self.source.name, path = %path.display(), "file was truncated; reading it from its beginning");
    }
}

/// Whether nothing came for a while to a file that was renamed or deleted.
fn seems_finished(file: &Followed) -> bool {
    match (file.missing, file.is_open()) {
        (0, open) => {
            file.rotated
                && file.at_end()
                && file.quiet >= GRACE_LOOKS
                && (file.has_partial() || (open && !file.matched))
        }
        (missing, true) => missing >= GRACE_LOOKS && file.at_end() && file.quiet >= GRACE_LOOKS,
        (missing, false) => missing >= GRACE_LOOKS,
    }
}

/// Opens a regular file. Should a fifo have taken its path, opening does not wait for its writer.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

//! One file that is followed: how far it was read, how far its lines are handed over, and whether the file is still the
//! one that was read. Does not know of other files, nor when to read or to give up.
//!
//! The rule that makes it exactly once: rows leave here only in a [`Chunk`] that also holds the position behind them. The
//! position stays before what is held back, such as the first part of a line, even when another file goes on with it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logboom_config::Source;
use logboom_wire::Position;

use super::identity::{self, FileId, Fingerprint, HEAD_BYTES_MAX, Standing};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::Context;
use crate::source::line::{self, LANES, Lane, Lanes, LineSplitter, Parser};

/// Most files that one line or record goes on over.
const CHAIN_MAX: usize = 64;

/// Where following a file starts.
#[derive(Debug, Default)]
pub struct Start {
    pub offset: u64,
    pub lanes: Option<Lanes>,
    /// The first bytes of the file, as many of them as a fingerprint at `offset` covers.
    pub head: Vec<u8>,
    pub rotated: bool,
    pub inside_line: bool,
    /// Whether this is to be remembered before anything is read.
    pub is_news: bool,
}

impl Start {
    /// Goes on where the file stood, which begins with `head`.
    pub fn resumed(standing: &Standing, head: Vec<u8>) -> Self {
        let Standing { offset, lanes, rotated, inside_line, .. } = *standing;
        Self { offset, lanes, head, rotated, inside_line, is_news: false }
    }
}

/// Where a file is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Path under which it was discovered; what its records say.
    pub path: PathBuf,
    /// Path under which the globs saw it last.
    pub seen_as: PathBuf,
    /// Where it lies, free of symbolic links.
    pub at: PathBuf,
}

/// What a look at a file says about its content. A change in it is a reason to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub size: u64,
    modified: (i64, i64),
}

impl Look {
    pub fn of(meta: &Metadata) -> Self {
        Self { size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// Whether what was read of a file is still its beginning.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    Intact,
    /// It was cut back, but only within the unfinished line at its end.
    CutBack,
    /// It was emptied, and perhaps filled again.
    Truncated,
}

/// What a file held back, for the file that goes on with it.
pub struct Legacy {
    chain: Vec<FileId>,
    lanes: [Option<Lane>; LANES],
}

/// A file that is followed.
pub struct Followed {
    pub id: FileId,
    pub key: String,
    pub place: Place,
    pub born: Option<u64>,
    /// Whether it was renamed since it was discovered.
    pub rotated: bool,
    /// Whether the last scan of the globs found it.
    pub matched: bool,
    /// The last look.
    pub look: Look,
    /// Looks in a row that found nothing new in it.
    pub quiet: u32,
    /// Looks in a row that found it as it was, read or not.
    pub stable: u32,
    /// Looks in a row that did not find it anywhere.
    pub missing: u32,
    /// Whether it waits for its turn.
    pub queued: bool,
    /// The file that this one goes on with, while that one is not read to its end.
    pub predecessor: Option<FileId>,
    /// The file that goes on with this one.
    pub successor: Option<FileId>,
    /// Whether what it held back was given to the file that goes on with it.
    pub handed_over: bool,
    /// Whether it could not be read when it was tried last.
    pub failed: bool,
    /// Whether anything was read since it is followed.
    pub started: bool,
    file: Option<File>,
    parser: Parser,
    splitter: LineSplitter,
    source: Arc<Source>,
    counters: Arc<Counters>,
    read: u64,
    offset: u64,
    lanes: Option<Lanes>,
    head: Vec<u8>,
    inside_line: bool,
    /// The files that hold the beginnings of what is held back here, oldest first.
    chain: Vec<FileId>,
    /// Where lanes begin that are held back by a file further on.
    floors: [Option<u64>; LANES],
}

impl Followed {
    pub fn new(
        source: &Arc<Source>,
        context: &Context,
        id: FileId,
        place: Place,
        meta: &Metadata,
        start: Start,
    ) -> Self {
        let mut parser = Parser::of_file(source, context, &place.path, &place.at);
        parser.resume(start.offset, start.lanes);
        Self {
            id,
            key: id.key(&source.name),
            parser,
            place,
            born: identity::born(meta),
            rotated: start.rotated,
            matched: true,
            look: Look::of(meta),
            quiet: 0,
            stable: 0,
            missing: 0,
            queued: false,
            predecessor: None,
            successor: None,
            handed_over: false,
            failed: false,
            started: false,
            file: None,
            splitter: Parser::splitter(source, &context.counters),
            source: source.clone(),
            counters: context.counters.clone(),
            read: start.offset,
            offset: start.offset,
            lanes: start.lanes,
            head: start.head,
            inside_line: start.inside_line,
            chain: Vec::new(),
            floors: [None; LANES],
        }
    }

    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub fn set_file(&mut self, file: Option<File>) {
        self.file = file;
    }

    /// Whether everything that the last look saw was read.
    pub fn at_end(&self) -> bool {
        self.read >= self.look.size
    }

    /// Bytes that the last look saw and that are not read yet.
    pub fn lag(&self) -> u64 {
        self.look.size.saturating_sub(self.read)
    }

    /// Whether something was read that is not handed over: an unfinished line, or record.
    pub fn has_partial(&self) -> bool {
        self.has_partial_line() || self.parser.holds()
    }

    /// Whether an unfinished line was read.
    pub fn has_partial_line(&self) -> bool {
        self.splitter.pending_bytes() > 0
    }

    /// Whether a file that goes on with this one still holds something of it.
    pub fn is_held_back(&self) -> bool {
        self.floors.iter().any(Option::is_some)
    }

    /// Takes a new look; says whether there is something to read or to check.
    pub fn look(&mut self, look: Look) -> bool {
        let news = look != self.look || look.size != self.read;
        self.stable = if look == self.look { self.stable.saturating_add(1) } else { 0 };
        self.look = look;
        self.quiet = if news { 0 } else { self.quiet.saturating_add(1) };
        news
    }

    /// The globs see the file as `path`.
    pub fn seen_as(&mut self, path: &Path) {
        if self.place.seen_as != path {
            self.place.seen_as = path.to_owned();
            self.moved_to(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        }
    }

    /// The file lies at `at`, free of symbolic links.
    pub fn moved_to(&mut self, at: PathBuf) {
        if self.place.at != at {
            self.place.at = at;
            self.set_rotated();
        }
    }

    /// It was renamed. From now on its writer may be through with it, however long it was quiet before.
    pub fn set_rotated(&mut self) {
        self.rotated = true;
        self.quiet = 0;
        self.stable = 0;
    }

    /// Compares the open file with what was read of it: its size and its first bytes. Two system calls.
    pub fn check(&mut self) -> io::Result<Check> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.look = Look::of(&file.metadata()?);
        let size = self.look.size;
        let head = identity::read_head(file, self.head.len())?;
        if size >= self.read {
            return Ok(if head == self.head { Check::Intact } else { Check::Truncated });
        }
        let same_up_to = |end: u64| {
            let covered = self.head.len().min(end as usize);
            end > 0 && size >= end && head.get(..covered) == Some(&self.head[..covered])
        };
        // What other files have begun cannot be read again here.
        let may_rewind = self.chain.is_empty() && !self.is_held_back();
        let cut_back = same_up_to(self.line_end()) || may_rewind && same_up_to(self.reach());
        Ok(if cut_back { Check::CutBack } else { Check::Truncated })
    }

    /// Forgets what was cut back, to read it again.
    pub fn rewind(&mut self) {
        if self.look.size >= self.line_end() {
            self.read = self.line_end();
        } else {
            self.parser.resume(self.offset, self.lanes);
            self.read = self.offset;
        }
        self.splitter = Parser::splitter(&self.source, &self.counters);
        self.head.truncate(self.read.max(self.reach()).min(HEAD_BYTES_MAX as u64) as usize);
    }

    /// Behind the last line that was read to its end.
    fn line_end(&self) -> u64 {
        self.read - self.splitter.pending_bytes()
    }

    /// Behind everything of which anything is handed over.
    fn reach(&self) -> u64 {
        self.lanes.iter().flat_map(|lanes| lanes.done).fold(self.offset, u64::max)
    }

    /// Reads on by one buffer. Returns the count of bytes read, 0 at the end, and what is to be handed over; or nothing
    /// where the file was truncated meanwhile, so that what was read may be the middle of another content.
    pub fn read(&mut self, buffer: &mut [u8], observed: i64) -> io::Result<Option<(usize, Chunk)>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut chunk = Chunk::default();
        let count = file.read_at(buffer, self.read)?;
        if count == 0 {
            return Ok(Some((0, chunk)));
        }
        // Only now: a file that is still the same was the same while it was read.
        let size = file.metadata()?.size();
        if size < self.read + count as u64 || identity::read_head(file, self.head.len())? != self.head {
            return Ok(None);
        }
        let mut bytes = &buffer[..count];
        // What is read again is known already.
        let known = (self.head.len() as u64).saturating_sub(self.read) as usize;
        let head_room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend(bytes.iter().skip(known).take(head_room));
        self.read += count as u64;
        self.quiet = 0;
        self.started = true;
        if self.inside_line {
            match memchr::memchr(b'\n', bytes) {
                Some(newline) => {
                    bytes = &bytes[newline + 1..];
                    self.inside_line = false;
                    self.parser.start_at(self.read - bytes.len() as u64);
                }
                None => bytes = &[],
            }
        }
        let Self { splitter, parser, read, .. } = self;
        splitter.push_counting(bytes, &mut |line, behind| {
            parser.parse_at(observed, line, *read - behind as u64, &mut chunk);
        });
        if self.settle() {
            chunk.set_position(self.position());
        }
        Ok(Some((count, chunk)))
    }

    /// Hands over the records of several lines that have waited for long enough, if nothing that was seen is still to be
    /// read.
    pub fn flush_due(&mut self, now: i64) -> Option<Chunk> {
        if !self.at_end() || !self.parser.wait(now)?.is_zero() {
            return None;
        }
        let mut chunk = Chunk::default();
        self.parser.flush_due(now, &mut chunk);
        if self.settle() {
            chunk.set_position(self.position());
        }
        Some(chunk)
    }

    /// Hands over the unfinished line and record: nobody will finish them. Should the file grow after all, what comes is
    /// new.
    pub fn finish_line(&mut self, observed: i64) -> Chunk {
        let mut chunk = Chunk::default();
        self.end_line(observed, &mut chunk);
        self.parser.finish(&mut chunk);
        self.settle();
        chunk.set_position(self.position());
        chunk
    }

    fn end_line(&mut self, observed: i64, chunk: &mut Chunk) {
        let Self { splitter, parser, read, .. } = self;
        splitter.finish(&mut |line| parser.parse_at(observed, line, *read, chunk));
    }

    /// Finds out how far the file is done with; says whether that changed.
    fn settle(&mut self) -> bool {
        let (own, places) = self.parser.places(self.line_end());
        let mut done = places.map(|place| if place.file == own { place.offset } else { 0 });
        for (done, floor) in done.iter_mut().zip(self.floors) {
            *done = floor.map_or(*done, |floor| floor.min(*done));
        }
        let offset = done.into_iter().fold(u64::MAX, u64::min);
        let lanes = Lanes { done, passing: self.parser.passing() };
        let lanes = (lanes != Lanes { done: [offset; LANES], ..Lanes::default() }).then_some(lanes);
        let changed = (offset, lanes) != (self.offset, self.lanes);
        (self.offset, self.lanes) = (offset, lanes);
        changed
    }

    /// Gives what is held back to the file that goes on with this one, as far as that has read nothing of the lane yet.
    /// What it cannot have is in the chunk.
    pub fn hand_over(&mut self, fresh: [bool; LANES], observed: i64) -> (Chunk, Legacy) {
        let mut chunk = Chunk::default();
        self.end_line(observed, &mut chunk);
        let (own, places) = self.parser.places(self.line_end());
        let fresh = if self.chain.len() < CHAIN_MAX { fresh } else { [false; LANES] };
        let lanes = self.parser.hand_over(fresh, &mut chunk);
        for ((floor, lane), place) in self.floors.iter_mut().zip(&lanes).zip(places) {
            let is_held = lane.as_ref().is_some_and(|lane| lane.since().is_some());
            *floor = is_held.then_some(if place.file == own { place.offset } else { 0 });
        }
        self.parser.forget_files(own);
        self.handed_over = true;
        self.settle();
        chunk.set_position(self.position());
        let mut chain = std::mem::take(&mut self.chain);
        chain.push(self.id);
        (chunk, Legacy { chain, lanes })
    }

    /// Lanes of which nothing was read.
    pub fn fresh(&self) -> [bool; LANES] {
        let (own, places) = self.parser.places(0);
        places.map(|place| place == line::Place { file: own, offset: 0 })
    }

    /// Goes on with what the file before this one held back.
    pub fn inherit(&mut self, legacy: Legacy) {
        self.parser.inherit(legacy.chain.len(), legacy.lanes);
        self.chain = legacy.chain;
        self.settle();
    }

    /// The files whose lines this one goes on with, each with where its lanes are held back, as far as they are.
    pub fn debts(&mut self) -> Vec<(FileId, [Option<u64>; LANES])> {
        let (own, places) = self.parser.places(self.line_end());
        let debts = self.chain.iter().enumerate().map(|(file, &id)| {
            let floor = |place: line::Place| match place.file.cmp(&file) {
                std::cmp::Ordering::Less => Some(0),
                std::cmp::Ordering::Equal => Some(place.offset),
                std::cmp::Ordering::Greater => None,
            };
            (id, places.map(floor))
        });
        let debts = debts.collect();
        let paid = places.iter().map(|place| place.file).fold(own, usize::min);
        self.chain.drain(..paid);
        self.parser.forget_files(paid);
        debts
    }

    /// A file that goes on with this one holds its lanes back from `floors` on, and no further. Says whether that changed
    /// how far this file is done with.
    pub fn release(&mut self, floors: [Option<u64>; LANES]) -> bool {
        for (old, new) in self.floors.iter_mut().zip(floors) {
            // Lanes that never were given away are none of its business.
            *old = old.and(new);
        }
        self.settle()
    }

    /// The file was emptied: what was read of an unfinished line is handed over, for nobody can finish it, and reading
    /// begins again.
    pub fn begin_again(&mut self, observed: i64) -> Chunk {
        let mut chunk = self.finish_line(observed);
        self.read = 0;
        self.parser.resume(0, None);
        self.floors = [None; LANES];
        self.settle();
        self.head.clear();
        self.inside_line = false;
        chunk.set_position(self.position());
        chunk
    }

    /// The file is gone for ever: its unfinished line is handed over and its position forgotten.
    pub fn end(&mut self, observed: i64) -> Chunk {
        let mut chunk = self.finish_line(observed);
        chunk.set_position(forgotten(self.key.clone()));
        chunk
    }

    /// Where the file stands, as it is to be remembered.
    pub fn standing(&self) -> Standing {
        Standing {
            path: self.place.path.to_string_lossy().into_owned(),
            at: (self.place.at != self.place.path).then(|| self.place.at.to_string_lossy().into_owned()),
            offset: self.offset,
            lanes: self.lanes,
            fingerprint: Fingerprint::of(&self.head, self.reach()),
            born: self.born,
            rotated: self.rotated,
            inside_line: self.inside_line,
        }
    }

    pub fn position(&self) -> Position {
        let value = serde_json::to_string(&self.standing()).expect("it is plain text and numbers");
        Position { key: self.key.clone(), value }
    }
}

/// The position that makes the spool forget `key`.
pub fn forgotten(key: String) -> Position {
    Position { key, value: String::new() }
}

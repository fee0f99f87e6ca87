//! One file that is followed: how far it was read, how far its lines are handed over, and whether the file is still the
//! one that was read. Does not know of other files, nor when to read or to give up.
//!
//! The rule that makes it exactly once: rows leave here only in a [`Chunk`] that also holds the position behind them.

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
use crate::source::line::{LineSplitter, Parser};

/// Where following a file starts.
#[derive(Debug, Default)]
pub struct Start {
    pub offset: u64,
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
        let Standing { offset, rotated, inside_line, .. } = *standing;
        Self { offset, head, rotated, inside_line, is_news: false }
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

/// A file that is followed.
pub struct Followed {
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
    /// Looks in a row that did not find it anywhere.
    pub missing: u32,
    /// Whether it waits for its turn.
    pub queued: bool,
    file: Option<File>,
    parser: Parser,
    splitter: LineSplitter,
    source: Arc<Source>,
    counters: Arc<Counters>,
    read: u64,
    offset: u64,
    head: Vec<u8>,
    inside_line: bool,
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
        Self {
            key: id.key(&source.name),
            parser: Parser::new(source, context, Some(&place.path)),
            place,
            born: identity::born(meta),
            rotated: start.rotated,
            matched: true,
            look: Look::of(meta),
            quiet: 0,
            missing: 0,
            queued: false,
            file: None,
            splitter: splitter(source, &context.counters),
            source: source.clone(),
            counters: context.counters.clone(),
            read: start.offset,
            offset: start.offset,
            head: start.head,
            inside_line: start.inside_line,
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

    /// Whether an unfinished line was read.
    pub fn has_partial(&self) -> bool {
        self.splitter.pending_bytes() > 0
    }

    /// Takes a new look; says whether there is something to read or to check.
    pub fn look(&mut self, look: Look) -> bool {
        let news = look != self.look || look.size != self.read;
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
            self.rotated = true;
        }
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
        let covered = self.head.len().min(self.offset as usize);
        let same = head.get(..covered) == Some(&self.head[..covered]);
        Ok(if same && self.offset > 0 && size >= self.offset { Check::CutBack } else { Check::Truncated })
    }

    /// Forgets the unfinished line, to read it again.
    pub fn rewind(&mut self) {
        self.splitter = splitter(&self.source, &self.counters);
        self.read = self.offset;
        self.head.truncate(self.offset.min(HEAD_BYTES_MAX as u64) as usize);
    }

    /// Reads on by one buffer. Returns the count of bytes read, 0 at the end, and what is to be handed over.
    pub fn read(&mut self, buffer: &mut [u8], observed: i64) -> io::Result<(usize, Chunk)> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut chunk = Chunk::default();
        let count = file.read_at(buffer, self.read)?;
        if count == 0 {
            return Ok((0, chunk));
        }
        let mut bytes = &buffer[..count];
        let head_room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(head_room)]);
        self.read += count as u64;
        self.quiet = 0;
        if self.inside_line {
            match memchr::memchr(b'\n', bytes) {
                Some(newline) => {
                    bytes = &bytes[newline + 1..];
                    self.inside_line = false;
                }
                None => bytes = &[],
            }
        }
        let Self { splitter, parser, .. } = self;
        splitter.push(bytes, &mut |line| parser.parse(observed, line, &mut chunk));
        let offset = self.read - self.splitter.pending_bytes();
        if offset != self.offset {
            self.offset = offset;
            chunk.set_position(self.position());
        }
        Ok((count, chunk))
    }

    /// Hands over the unfinished line as a record: nobody will finish it. Should the file grow after all, what comes is a
    /// new line.
    pub fn finish_line(&mut self, observed: i64) -> Chunk {
        let mut chunk = Chunk::default();
        let Self { splitter, parser, .. } = self;
        splitter.finish(&mut |line| parser.parse(observed, line, &mut chunk));
        self.offset = self.read;
        chunk.set_position(self.position());
        chunk
    }

    /// The file was emptied: what was read of an unfinished line is handed over, for nobody can finish it, and reading
    /// begins again.
    pub fn begin_again(&mut self, observed: i64) -> Chunk {
        let mut chunk = self.finish_line(observed);
        self.read = 0;
        self.offset = 0;
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
            fingerprint: Fingerprint::of(&self.head, self.offset),
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

fn splitter(source: &Source, counters: &Arc<Counters>) -> LineSplitter {
    LineSplitter::new(source.max_line, source.on_long_line, counters.clone())
}

/// The position that makes the spool forget `key`.
pub fn forgotten(key: String) -> Position {
    Position { key, value: String::new() }
}

//! Cuts bytes into lines, however they arrive.

use std::sync::Arc;

use logboom_config::OnLongLine;
use memchr::{memchr, memchr_iter};

use crate::counters::Counters;

/// A carried line that needed more than this, in bytes, gives its memory back.
const CARRY_BYTES_KEPT: usize = 64 << 10;

/// Cuts a flow of bytes into lines. The lines do not depend on how the bytes were chunked.
///
/// A line ends at `\n`; one `\r` before it is not part of the line. Empty lines are passed over, unless they are asked for.
/// A line of more than `max_line` bytes is cut, split or dropped as [`OnLongLine`] says, and counted once.
///
/// Holds at most `max_line + 1` bytes: the line that has not ended yet.
pub(crate) struct LineSplitter {
    max_line: usize,
    on_long: OnLongLine,
    counters: Arc<Counters>,
    empty_lines: bool,
    /// What is kept of the line that has not ended.
    carry: Vec<u8>,
    /// The line that has not ended is known to be too long.
    overlong: bool,
    pending: u64,
}

impl LineSplitter {
    /// A splitter at the beginning of a line.
    pub(crate) fn new(max_line: usize, on_long: OnLongLine, counters: Arc<Counters>) -> Self {
        let max_line = max_line.max(1);
        Self { max_line, on_long, counters, empty_lines: false, carry: Vec::new(), overlong: false, pending: 0 }
    }

    /// The same, but that empty lines count as lines if `wanted`.
    pub(crate) fn with_empty_lines(self, wanted: bool) -> Self {
        Self { empty_lines: wanted, ..self }
    }

    /// Takes `bytes` and calls `each` for every line that ends in them, in order. A line that lies in `bytes` as a whole
    /// is not copied.
    pub(crate) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        self.push_counting(bytes, &mut |line, _| each(line));
    }

    /// The same; `each` is also told how many of `bytes` lie behind the line and its end.
    pub(crate) fn push_counting(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8], usize)) {
        let mut rest = bytes;
        if self.pending > 0 {
            let Some(end) = memchr(b'\n', rest) else { return self.carry_on(rest, 0, each) };
            let behind = rest.len() - end - 1;
            self.carry_on(&rest[..end], behind + 1, each);
            self.end_line(behind, each);
            rest = &rest[end + 1..];
        }
        let mut start = 0;
        for end in memchr_iter(b'\n', rest) {
            let line = without_return(&rest[start..end]);
            let behind = rest.len() - end - 1;
            if line.len() > self.max_line {
                self.long_line(line, behind, each);
            } else if !line.is_empty() || self.empty_lines {
                each(line, behind);
            }
            start = end + 1;
        }
        if start < rest.len() {
            self.carry_on(&rest[start..], 0, each);
        }
    }

    /// Nothing follows: calls `each` for the last line if it lacks its `\n`. The splitter is at the beginning of a line
    /// afterwards.
    pub(crate) fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        if self.pending > 0 {
            self.end_line(0, &mut |line, _| each(line));
        }
    }

    /// Bytes taken in since the last line, or piece of a split line, that was emitted or dropped ended. A source that is
    /// at offset `o` of its input resumes at `o - pending_bytes()` without losing or repeating anything.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending
    }

    /// Takes more of a line that has not ended; `behind` bytes follow.
    fn carry_on(&mut self, mut bytes: &[u8], behind: usize, each: &mut impl FnMut(&[u8], usize)) {
        self.pending += bytes.len() as u64;
        while !self.overlong || self.on_long == OnLongLine::Split {
            let room = (self.max_line + 1).saturating_sub(self.carry.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.carry.extend_from_slice(now);
            bytes = later;
            // A `\r` in the byte beyond the limit may still turn out to be part of the line's end.
            let may_fit = self.carry.last() == Some(&b'\r') && bytes.is_empty();
            if self.carry.len() <= self.max_line || may_fit {
                return;
            }
            if !self.overlong {
                self.overlong = true;
                self.count_long();
            }
            match self.on_long {
                OnLongLine::Truncate => self.carry.truncate(self.max_line),
                OnLongLine::Drop => self.carry.clear(),
                OnLongLine::Split => {
                    let kept = self.carry.len() - self.max_line;
                    each(&self.carry[..self.max_line], behind + bytes.len() + kept);
                    self.carry.drain(..self.max_line);
                    self.pending = (self.carry.len() + bytes.len()) as u64;
                }
            }
        }
    }

    /// The carried line has ended.
    fn end_line(&mut self, behind: usize, each: &mut impl FnMut(&[u8], usize)) {
        // What is left of a truncated line is full of its own bytes: a `\r` there is not the line's end.
        let truncated = self.overlong && self.on_long == OnLongLine::Truncate;
        let line = if truncated { &self.carry[..] } else { without_return(&self.carry) };
        // What is left of a line that was dropped, or split at its very end, is no empty line.
        if !line.is_empty() || self.empty_lines && !self.overlong {
            each(line, behind);
        }
        self.carry.clear();
        self.carry.shrink_to(CARRY_BYTES_KEPT);
        self.overlong = false;
        self.pending = 0;
    }

    /// A line that came as a whole is too long.
    fn long_line(&mut self, line: &[u8], behind: usize, each: &mut impl FnMut(&[u8], usize)) {
        self.count_long();
        match self.on_long {
            OnLongLine::Truncate => each(&line[..self.max_line], behind),
            OnLongLine::Drop => {}
            // All of them leave together, so all end where the line does.
            OnLongLine::Split => line.chunks(self.max_line).for_each(|piece| each(piece, behind)),
        }
    }

    fn count_long(&self) {
        match self.on_long {
            OnLongLine::Truncate => self.counters.lines_truncated.add(1),
            OnLongLine::Split => self.counters.lines_split.add(1),
            OnLongLine::Drop => self.counters.lines_dropped_too_long.add(1),
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const POLICIES: [OnLongLine; 3] = [OnLongLine::Truncate, OnLongLine::Split, OnLongLine::Drop];

    fn splitter(max_line: usize, on_long: OnLongLine) -> LineSplitter {
        LineSplitter::new(max_line, on_long, Arc::default())
    }

    fn lines(splitter: &mut LineSplitter, chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut each = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        chunks.iter().for_each(|chunk| splitter.push(chunk, &mut each));
        splitter.finish(&mut each);
        lines
    }

    /// What the splitter must do, said in the simplest way: all bytes at once, line by line.
    fn expected(bytes: &[u8], max_line: usize, on_long: OnLongLine) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for line in bytes.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match on_long {
                _ if line.is_empty() => {}
                _ if line.len() <= max_line => lines.push(line.to_vec()),
                OnLongLine::Truncate => lines.push(line[..max_line].to_vec()),
                OnLongLine::Split => lines.extend(line.chunks(max_line).map(<[u8]>::to_vec)),
                OnLongLine::Drop => {}
            }
        }
        lines
    }

    #[test]
    fn lines_end_at_newlines_and_one_carriage_return_is_not_theirs() {
        let mut splitter = splitter(100, OnLongLine::Drop);
        assert_eq!(lines(&mut splitter, &[b"a\nb\r\n\n\r\nc\r\r\nd\re\nlast"]), ["a", "b", "c\r", "d\re", "last"]);
    }

    #[test]
    fn a_long_line_is_cut_split_or_dropped_and_counted_once() {
        for (on_long, kept) in [
            (OnLongLine::Truncate, &["abcd", "x"][..]),
            (OnLongLine::Split, &["abcd", "efgh", "ij", "x"]),
            (OnLongLine::Drop, &["x"]),
        ] {
            for chunks in [&[&b"abcdefghij\nx\n"[..]][..], &[b"abc", b"defghi", b"j\nx"]] {
                let mut splitter = splitter(4, on_long);
                assert_eq!(lines(&mut splitter, chunks), kept);
                let counters = &splitter.counters;
                let counts = [&counters.lines_truncated, &counters.lines_split, &counters.lines_dropped_too_long]
                    .map(|c| c.get());
                assert_eq!(counts, POLICIES.map(|policy| u64::from(policy == on_long)));
            }
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_long_even_if_its_end_comes_late() {
        for on_long in POLICIES {
            let mut splitter = splitter(4, on_long);
            assert_eq!(lines(&mut splitter, &[b"abcd", b"\r", b"\nefgh\r\n", b"ijkl\r"]), ["abcd", "efgh", "ijkl"]);
            assert_eq!(splitter.counters.report(), "");
        }
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_the_limit() {
        for on_long in POLICIES {
            let mut splitter = splitter(1 << 10, on_long);
            for _ in 0..1000 {
                splitter.push(&[b'x'; 1 << 12], &mut |_| {});
                assert!(splitter.carry.capacity() <= 4 << 10);
            }
        }
    }

    #[test]
    fn empty_lines_are_lines_where_they_are_asked_for_and_every_line_knows_what_lies_behind_it() {
        for bytes in [&b"a\n\r\n\nbcdef\r\n\n"[..], b"\n", b"abcdefgh\n\nabcd\r\nx\n"] {
            for on_long in [OnLongLine::Truncate, OnLongLine::Drop] {
                let mut whole = Vec::new();
                let mut splitter = splitter(5, on_long).with_empty_lines(true);
                splitter.push_counting(bytes, &mut |line, behind| whole.push((line.to_vec(), bytes.len() - behind)));
                let ends: Vec<_> = whole.iter().map(|(_, end)| *end).collect();
                assert!(ends.iter().all(|&end| bytes[end - 1] == b'\n'), "{ends:?}");
                assert!(whole.iter().any(|(line, _)| line.is_empty()));
                crate::source::testing::every_split(bytes, |pieces| {
                    let (mut seen, mut at) = (Vec::new(), 0);
                    let mut splitter = self::splitter(5, on_long).with_empty_lines(true);
                    for piece in pieces {
                        at += piece.len();
                        splitter.push_counting(piece, &mut |line, behind| seen.push((line.to_vec(), at - behind)));
                    }
                    assert_eq!(seen, whole, "{on_long:?}");
                });
            }
        }
    }

    #[test]
    fn any_chunking_of_any_bytes_gives_the_same_lines_and_positions_to_resume_from() {
        let mut random = StdRng::seed_from_u64(1);
        for round in 0..20_000 {
            let on_long = POLICIES[round % 3];
            let max_line = random.random_range(1..12);
            let bytes: Vec<u8> =
                (0..random.random_range(0..80)).map(|_| b"abcdef\r\n"[random.random_range(0..8)]).collect();
            let expected = expected(&bytes, max_line, on_long);

            let mut splitter = splitter(max_line, on_long);
            let mut lines = Vec::new();
            let mut resumable = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let next = random.random_range(at..=bytes.len().min(at + 9));
                splitter.push(&bytes[at..next], &mut |line| lines.push(line.to_vec()));
                at = next;
                resumable.push((at - splitter.pending_bytes() as usize, lines.len()));
            }
            splitter.finish(&mut |line| lines.push(line.to_vec()));
            assert_eq!(lines, expected, "{:?} at {max_line}, {on_long:?}", String::from_utf8_lossy(&bytes));
            assert_eq!(splitter.pending_bytes(), 0);

            for (offset, emitted) in resumable {
                let rest = self::expected(&bytes[offset..], max_line, on_long);
                assert_eq!(rest, expected[emitted..], "resumed at {offset}");
            }
        }
    }
}

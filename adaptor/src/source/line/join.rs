//! Puts together what belongs together: the parts of a container's line, then the lines of a record. Knows for each
//! lane where the oldest byte that it holds began, so that a file is read again from there after a crash.
//!
//! Bounded: a line of parts and a record of lines have at most `max_line` bytes each, a record `lines_max` lines.

use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Multiline, OnLongLine, Source};

use super::container::{LANES, Part};
use super::multiline::{self, Trace};
use crate::counters::Counters;

/// A buffer that needed more than this, in bytes, gives its memory back.
const HELD_BYTES_KEPT: usize = 64 << 10;

/// Where something begins: in which of the files that were read one after the other, and at which byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) offset: u64,
}

/// What was put together, with the time and the attributes of its first part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined<'a> {
    pub(super) lane: usize,
    pub(super) bytes: &'a [u8],
    /// When its first part was read, ns since 1970.
    pub(super) observed: i64,
    pub(super) timestamp: Option<i64>,
    pub(super) attributes: Option<&'a str>,
}

/// What is held of one lane, to be handed to the file that follows.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Parts of a line that has not ended.
    part: Held,
    /// Lines of a record that may go on.
    group: Held,
    trace: Trace,
    /// When the last line came to `group`, ns since 1970.
    last: i64,
    /// The line that has not ended was cut or dropped, so its further parts are passed over.
    passing: bool,
    /// The line that has not ended was split, and counted.
    split: bool,
}

#[derive(Debug, Default)]
struct Held {
    /// Whether anything is held; it may be empty.
    some: bool,
    bytes: Vec<u8>,
    since: Place,
    observed: i64,
    timestamp: Option<i64>,
    attributes: Option<String>,
    lines: usize,
    /// Empty lines that belong to it if it goes on.
    blanks: usize,
}

impl Held {
    fn begin(&mut self, since: Place, first: &Joined<'_>) {
        self.some = true;
        self.since = since;
        self.observed = first.observed;
        self.timestamp = first.timestamp;
        self.attributes = first.attributes.map(str::to_owned);
        self.lines = 1;
        self.blanks = 0;
    }

    fn joined(&self, lane: usize) -> Joined<'_> {
        let Self { bytes, observed, timestamp, attributes, .. } = self;
        Joined { lane, bytes, observed: *observed, timestamp: *timestamp, attributes: attributes.as_deref() }
    }

    /// Holds nothing, and little memory.
    fn clear(&mut self) {
        self.some = false;
        self.bytes.clear();
        self.bytes.shrink_to(HELD_BYTES_KEPT);
        self.attributes = None;
    }
}

impl Lane {
    /// Whether it holds anything, or passes over what follows.
    pub(crate) fn is_busy(&self) -> bool {
        self.since().is_some() || self.passing
    }

    /// Where the oldest thing that it holds begins.
    pub(crate) fn since(&self) -> Option<Place> {
        [&self.group, &self.part].into_iter().find(|held| held.some).map(|held| held.since)
    }
}

/// Puts the lines of one file or connection together.
#[derive(Debug)]
pub(super) struct Joiner {
    lanes: [Lane; LANES],
    limits: Arc<Limits>,
}

#[derive(Debug)]
struct Limits {
    multiline: Option<Multiline>,
    timeout_ns: i64,
    max_line: usize,
    on_long: OnLongLine,
    counters: Arc<Counters>,
}

impl Joiner {
    pub(super) fn new(source: &Source, counters: Arc<Counters>) -> Self {
        let multiline = source.parsing.multiline.clone();
        let timeout = multiline.as_ref().map_or(Duration::ZERO, |multiline| multiline.timeout);
        let timeout_ns = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        let limits =
            Limits { multiline, timeout_ns, max_line: source.max_line, on_long: source.on_long_line, counters };
        Self { lanes: Default::default(), limits: Arc::new(limits) }
    }

    /// One with the same limits that holds nothing.
    pub(super) fn another(&self) -> Self {
        Self { lanes: Default::default(), limits: self.limits.clone() }
    }

    /// Takes the next part, observed at `observed` and beginning at `from`, and calls `emit` for what is complete.
    pub(super) fn add(&mut self, part: &Part<'_>, observed: i64, from: Place, emit: &mut impl FnMut(Joined<'_>)) {
        let limits = &*self.limits;
        let lane = &mut self.lanes[part.lane];
        let Part { timestamp, content: bytes, attributes, .. } = *part;
        let mut piece = Joined { lane: part.lane, bytes, observed, timestamp, attributes };
        if std::mem::take(&mut lane.passing) {
            lane.passing = part.partial;
            return;
        }
        if !part.partial && !lane.part.some {
            lane.split = false;
            return lane.line(limits, piece, from, emit);
        }
        if lane.part.bytes.len() + bytes.len() > limits.max_line {
            let counters = &limits.counters;
            match limits.on_long {
                OnLongLine::Truncate => {
                    counters.lines_truncated.add(1);
                    piece.bytes = &bytes[..limits.max_line - lane.part.bytes.len()];
                    lane.hold_part(piece, from);
                    lane.passing = part.partial;
                    return lane.end_part(limits, part.lane, emit);
                }
                OnLongLine::Drop => {
                    counters.lines_dropped_too_long.add(1);
                    lane.part.clear();
                    lane.passing = part.partial;
                    return;
                }
                OnLongLine::Split => {
                    if !std::mem::replace(&mut lane.split, true) {
                        counters.lines_split.add(1);
                    }
                    lane.end_part(limits, part.lane, emit);
                }
            }
        }
        lane.hold_part(piece, from);
        // A part that is too long by itself is not worth waiting for another.
        if !part.partial || lane.part.bytes.len() > limits.max_line {
            lane.split &= part.partial;
            lane.end_part(limits, part.lane, emit);
        }
    }

    /// Nothing follows: calls `emit` for everything that is held.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Joined<'_>)) {
        (0..LANES).for_each(|lane| self.finish_lane(lane, emit));
    }

    /// The same for one lane.
    pub(super) fn finish_lane(&mut self, index: usize, emit: &mut impl FnMut(Joined<'_>)) {
        let lane = &mut self.lanes[index];
        lane.end_part(&self.limits, index, emit);
        lane.end_group(index, emit);
        lane.passing = false;
        lane.split = false;
        lane.trace = Trace::Outside;
    }

    /// How long it is at `now` (ns since 1970) until a record that may go on has waited for long enough; `None` while none
    /// waits. Parts wait without end.
    pub(super) fn wait(&self, now: i64) -> Option<Duration> {
        let waiting = self.lanes.iter().filter(|lane| lane.group.some);
        let timeout = self.limits.timeout_ns;
        let due = waiting.map(|lane| lane.last.saturating_add(timeout)).min()?;
        // No longer than the timeout, even if the clock was set back.
        Some(Duration::from_nanos(due.saturating_sub(now).clamp(0, timeout) as u64))
    }

    /// Calls `emit` for the records that have waited for long enough at `now`, or longer than time went by: then the
    /// clock was set back.
    pub(super) fn flush_due(&mut self, now: i64, emit: &mut impl FnMut(Joined<'_>)) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.group.some && (now < lane.last || now >= lane.last.saturating_add(self.limits.timeout_ns)) {
                lane.end_group(index, emit);
            }
        }
    }

    pub(super) fn lanes(&self) -> &[Lane; LANES] {
        &self.lanes
    }

    /// Sets which lanes pass over the rest of a line, as they did when their file was read last.
    pub(super) fn set_passing(&mut self, passing: [bool; LANES]) {
        self.lanes = passing.map(|passing| Lane { passing, ..Lane::default() });
    }

    pub(super) fn passing(&self) -> [bool; LANES] {
        self.lanes.each_ref().map(|lane| lane.passing)
    }

    /// Gives what is held of a lane away.
    pub(super) fn take_lane(&mut self, lane: usize) -> Lane {
        std::mem::take(&mut self.lanes[lane])
    }

    /// Goes on with a lane that another file has begun.
    pub(super) fn set_lane(&mut self, index: usize, lane: Lane) {
        self.lanes[index] = lane;
    }

    /// The files before number `files` do not count any more.
    pub(super) fn forget_files(&mut self, files: usize) {
        let held = self.lanes.iter_mut().flat_map(|lane| [&mut lane.part, &mut lane.group]);
        held.for_each(|held| held.since.file = held.since.file.saturating_sub(files));
    }
}

impl Lane {
    fn hold_part(&mut self, piece: Joined<'_>, from: Place) {
        if !self.part.some {
            self.part.begin(from, &piece);
        }
        self.part.bytes.extend_from_slice(piece.bytes);
    }

    fn end_part(&mut self, limits: &Limits, index: usize, emit: &mut impl FnMut(Joined<'_>)) {
        if self.part.some {
            let part = std::mem::take(&mut self.part);
            self.line(limits, part.joined(index), part.since, emit);
            self.part = part;
            self.part.clear();
        }
    }

    /// A line is complete.
    fn line(&mut self, limits: &Limits, line: Joined<'_>, from: Place, emit: &mut impl FnMut(Joined<'_>)) {
        let Some(multiline) = &limits.multiline else {
            if !line.bytes.is_empty() {
                emit(line);
            }
            return;
        };
        let group = &mut self.group;
        if line.bytes.is_empty() {
            group.blanks = group.blanks.saturating_add(1);
            return;
        }
        let goes_on = multiline::continues(&multiline.rule, &mut self.trace, line.bytes);
        let fits = group.lines.saturating_add(group.blanks) < multiline.lines_max
            && group.bytes.len().saturating_add(group.blanks) + 1 + line.bytes.len() <= limits.max_line;
        if group.some && !(goes_on && fits) {
            emit(group.joined(line.lane));
            group.clear();
        }
        if group.some {
            group.lines += group.blanks + 1;
            group.bytes.resize(group.bytes.len() + group.blanks + 1, b'\n');
            group.blanks = 0;
        } else {
            group.begin(from, &line);
        }
        group.bytes.extend_from_slice(line.bytes);
        self.last = line.observed;
    }

    fn end_group(&mut self, index: usize, emit: &mut impl FnMut(Joined<'_>)) {
        if self.group.some {
            emit(self.group.joined(index));
            self.group.clear();
            self.trace = Trace::Outside;
        }
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::{MultilineRule, SourceKind};

    use super::*;

    fn joiner(rule: Option<MultilineRule>, max_line: usize, on_long: OnLongLine) -> Joiner {
        let mut source = Source::new("in", SourceKind::Stdin);
        source.parsing.multiline =
            rule.map(|rule| Multiline { rule, timeout: Duration::from_nanos(100), lines_max: 4 });
        source.max_line = max_line;
        source.on_long_line = on_long;
        Joiner::new(&source, Arc::default())
    }

    fn indented() -> Option<MultilineRule> {
        Some(MultilineRule::Custom { start: None, continuation: None, indented: true })
    }

    /// Feeds parts written as lane, `P` or `F`, and content; part `n` begins at byte `n`, is observed then, and says so.
    fn add(joiner: &mut Joiner, parts: &[&str]) -> Vec<String> {
        let mut emitted = Vec::new();
        for (n, text) in parts.iter().enumerate() {
            let lane = usize::from(text.as_bytes()[0] - b'0');
            let (partial, content) = (text.as_bytes()[1] == b'P', &text.as_bytes()[2..]);
            let part = Part { lane, partial, timestamp: Some(n as i64), content, attributes: None };
            joiner.add(&part, n as i64, Place { file: 0, offset: n as u64 }, &mut emitter(&mut emitted));
        }
        emitted
    }

    fn emitter(emitted: &mut Vec<String>) -> impl FnMut(Joined<'_>) {
        |joined| {
            let Joined { lane, bytes, observed, timestamp, .. } = joined;
            assert_eq!(Some(observed), timestamp, "both are those of the first part");
            emitted.push(format!("{lane}@{observed} {}", String::from_utf8_lossy(bytes)));
        }
    }

    fn since(joiner: &Joiner) -> [Option<u64>; LANES] {
        joiner.lanes().each_ref().map(|lane| lane.since().map(|place| place.offset))
    }

    #[test]
    fn parts_become_lines_and_streams_stay_apart() {
        let mut joiner = joiner(None, 100, OnLongLine::Truncate);
        let parts = ["0Pa", "1Px", "0Pb", "1F", "0Fc", "0Fd", "1Py", "0F", "0P"];
        assert_eq!(add(&mut joiner, &parts), ["1@1 x", "0@0 abc", "0@5 d"]);
        assert_eq!(since(&joiner), [Some(8), Some(6), None]);
        let mut rest = Vec::new();
        joiner.finish(&mut emitter(&mut rest));
        assert_eq!(rest, ["1@6 y"], "an empty line is passed over");
        assert_eq!(since(&joiner), [None; LANES]);
    }

    #[test]
    fn a_line_of_parts_that_is_too_long_is_cut_split_or_dropped_and_counted_once() {
        for (on_long, kept, passing) in [
            (OnLongLine::Truncate, &["0@0 abcd", "0@4 x"][..], true),
            (OnLongLine::Split, &["0@0 abc", "0@1 def", "0@2 ghi", "0@4 x"], false),
            (OnLongLine::Drop, &["0@4 x"], true),
        ] {
            let mut joiner = joiner(None, 4, on_long);
            assert_eq!(add(&mut joiner, &["0Pabc", "0Pdef", "0Pghi", "0F", "0Fx"]), kept);
            let counters = joiner.limits.counters.clone();
            let counts = [&counters.lines_truncated, &counters.lines_split, &counters.lines_dropped_too_long];
            assert_eq!(counts.iter().map(|counter| counter.get()).sum::<u64>(), 1, "{on_long:?}");
            add(&mut joiner, &["0Pabc", "0Pdef"]);
            assert_eq!(joiner.passing()[0], passing);
            assert_eq!(since(&joiner)[0].is_none(), passing, "what is passed over holds no file back");
        }
    }

    #[test]
    fn lines_become_records_and_empty_lines_between_them_stay() {
        let mut joiner = joiner(indented(), 100, OnLongLine::Truncate);
        let parts = ["2Fa", "2F b", "2F", "2F c", "2Fd", "2F", "2Fe", "0F f", "0P g", "0F-"];
        assert_eq!(add(&mut joiner, &parts), ["2@0 a\n b\n\n c", "2@4 d"]);
        assert_eq!(since(&joiner), [Some(7), None, Some(6)]);
        let mut rest = Vec::new();
        joiner.finish(&mut emitter(&mut rest));
        assert_eq!(rest, ["0@7  f\n g-", "2@6 e"]);
    }

    #[test]
    fn a_record_has_no_more_lines_or_bytes_than_allowed() {
        let mut joiner = joiner(indented(), 10, OnLongLine::Truncate);
        let parts = ["2Fa", "2F b", "2F", "2F c", "2F d", "2F 23456", "2F 89", "2F", "2Fx", "2F 23456789"];
        let records = ["2@0 a\n b\n\n c", "2@4  d\n 23456", "2@6  89", "2@8 x"];
        assert_eq!(add(&mut joiner, &parts), records);
        assert_eq!(since(&joiner)[2], Some(9));
    }

    #[test]
    fn a_record_waits_for_its_next_line_until_its_time_is_over() {
        let mut joiner = joiner(indented(), 100, OnLongLine::Truncate);
        assert_eq!(joiner.wait(0), None);
        add(&mut joiner, &["2Fa", "0Fx", "2F b", "1Py"]);
        assert_eq!(joiner.wait(1), Some(Duration::from_nanos(100)));
        assert_eq!(joiner.wait(101), Some(Duration::ZERO));
        assert_eq!(joiner.wait(i64::MIN), Some(Duration::from_nanos(100)));
        let mut flushed = Vec::new();
        joiner.flush_due(100, &mut emitter(&mut flushed));
        assert_eq!(flushed, [""; 0]);
        joiner.flush_due(101, &mut emitter(&mut flushed));
        assert_eq!(flushed, ["0@1 x"]);
        joiner.flush_due(1, &mut emitter(&mut flushed));
        assert_eq!(flushed, ["0@1 x", "2@0 a\n b"], "the clock was set back");
        assert_eq!(joiner.wait(0), None, "a part waits for as long as it takes");
        assert_eq!(since(&joiner), [None, Some(3), None]);
    }
}

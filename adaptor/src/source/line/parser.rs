//! Turns lines into records of a chunk, as their source says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Body, Format, OnLongLine, Source};
use logboom_wire::Record;
use serde::{Deserialize, Serialize};

use super::container::{self, LANES, PLAIN, Part, STREAMS};
use super::fields::{Fields, Unparsed};
use super::join::{Joined, Joiner, Lane, Place};
use super::rules::Rules;
use super::{LineSplitter, PARSE_ERROR, clf, json, logfmt, syslog};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::{Context, Funnel};

/// Attribute with the stream that a container wrote to.
const IO_STREAM: &str = "log.iostream";
/// Most bytes that a byte of a container's output takes in a runtime's file: `\u0000`.
const ESCAPED_BYTES: usize = 6;
/// Most bytes that stand around a container's output in a line of a runtime's file.
const AROUND_BYTES: usize = 4 << 10;

/// Parses the lines of one file, connection or socket. A clone shares what its source says and nothing else.
///
/// It holds lines back where several may be one record (see [`Parser::holds`]): whoever feeds it calls
/// [`Parser::flush_due`] in time, and [`Parser::finish`] when nothing follows.
pub(crate) struct Parser {
    rules: Arc<Rules>,
    /// Where lines are put together.
    joiner: Option<Box<Joiner>>,
    output: Output,
    /// Spare memory for what is escaped in a line.
    unescaped: Vec<u8>,
    /// Which of the files that were read one after the other this is.
    file: usize,
    /// Where the next line begins.
    at: u64,
    /// Where the lanes were when the file was read last: what ends at or before it is done with.
    done: [u64; LANES],
}

/// Where records go.
struct Output {
    rules: Arc<Rules>,
    funnel: Funnel,
    fields: Fields<'static>,
    scratch: syslog::Scratch,
    counters: Arc<Counters>,
}

/// How far the lanes of a file are done with, where that is not the same for all: a stream whose line has not ended holds
/// nothing back but itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lanes {
    /// Offsets, by lane.
    pub(crate) done: [u64; LANES],
    /// Lanes in the middle of a line that was cut or dropped.
    #[serde(default, skip_serializing_if = "is_nowhere")]
    pub(crate) passing: [bool; LANES],
}

fn is_nowhere(flags: &[bool; LANES]) -> bool {
    *flags == [false; LANES]
}

impl Clone for Parser {
    fn clone(&self) -> Self {
        let Output { rules, funnel, counters, .. } = &self.output;
        let output = Output {
            rules: rules.clone(),
            funnel: funnel.clone(),
            fields: Fields::default(),
            scratch: syslog::Scratch::default(),
            counters: counters.clone(),
        };
        Self {
            rules: self.rules.clone(),
            joiner: self.joiner.as_ref().map(|joiner| Box::new(joiner.another())),
            output,
            unescaped: Vec::new(),
            file: 0,
            at: 0,
            done: [0; LANES],
        }
    }
}

impl Parser {
    /// A parser for `source`; for a file source, for its file at `file_path`.
    pub(crate) fn new(source: &Source, context: &Context, file_path: Option<&Path>) -> Self {
        Self::with_funnel(source, context, Funnel::new(source, context, file_path))
    }

    /// A parser for the file of `source` that was found at `path` and lies at `at`, free of symbolic links.
    pub(crate) fn of_file(source: &Source, context: &Context, path: &Path, at: &Path) -> Self {
        Self::with_funnel(source, context, Funnel::of_file(source, context, path, at))
    }

    /// Gives all records these attributes, whatever they say themselves: what the kernel says of a peer. `keys` has their keys.
    pub(crate) fn vouch_for<'a>(
        &mut self,
        keys: &'static [&'static str],
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        self.output.funnel.vouch_for(keys);
        self.output.funnel.set_common(attributes);
    }

    fn with_funnel(source: &Source, context: &Context, funnel: Funnel) -> Self {
        let rules = Arc::new(Rules::of(source));
        let joins = source.parsing.multiline.is_some() || is_container(source);
        let counters = context.counters.clone();
        Self {
            joiner: joins.then(|| Box::new(Joiner::new(source, counters.clone()))),
            output: Output {
                rules: rules.clone(),
                funnel,
                fields: Fields::default(),
                scratch: syslog::Scratch::default(),
                counters,
            },
            rules,
            unescaped: Vec::new(),
            file: 0,
            at: 0,
            done: [0; LANES],
        }
    }

    /// What cuts the bytes of `source` into the lines that its parsers take.
    pub(crate) fn splitter(source: &Source, counters: &Arc<Counters>) -> LineSplitter {
        let max_line = match is_container(source) {
            true => source.max_line * ESCAPED_BYTES + AROUND_BYTES,
            false => source.max_line,
        };
        // Pieces of a runtime's line would make no sense; what it holds is cut or split by itself.
        let on_long = match source.on_long_line {
            OnLongLine::Split if is_container(source) => OnLongLine::Truncate,
            on_long => on_long,
        };
        let splitter = LineSplitter::new(max_line, on_long, counters.clone());
        splitter.with_empty_lines(source.parsing.multiline.is_some() && !is_container(source))
    }

    /// Whether lines are JSON objects.
    pub(crate) fn is_json(&self) -> bool {
        self.rules.format == Format::Json
    }

    /// Takes `line`, observed at `observed_ns` (since 1970), and adds what is complete to `chunk`: the record of the line,
    /// where lines are not put together.
    pub(crate) fn parse(&mut self, observed_ns: i64, line: &[u8], chunk: &mut Chunk) {
        self.parse_at(observed_ns, line, self.at + 1, chunk);
    }

    /// The same for a line that ends before byte `end` of its file.
    pub(crate) fn parse_at(&mut self, observed: i64, line: &[u8], end: u64, chunk: &mut Chunk) {
        let from = Place { file: self.file, offset: std::mem::replace(&mut self.at, end) };
        let Some(joiner) = &mut self.joiner else { return self.output.format(observed, line, chunk) };
        let part = match self.rules.format {
            Format::Cri | Format::DockerJson if line.is_empty() => return,
            Format::Cri => container::cri(line),
            Format::DockerJson => container::docker(line, &mut self.unescaped),
            _ => Ok(Part { lane: PLAIN, partial: false, timestamp: None, content: line, attributes: None }),
        };
        let part = match part {
            Ok(part) if end <= self.done[part.lane] => return,
            Ok(part) => part,
            Err(_) if end <= self.done[PLAIN] => return,
            Err(Unparsed(reason)) => return self.output.unparsed(observed, line, &reason, chunk),
        };
        let output = &mut self.output;
        joiner.add(&part, observed, from, &mut |joined| output.joined(joined, chunk));
    }

    /// Nothing follows: adds what is held to `chunk`.
    pub(crate) fn finish(&mut self, chunk: &mut Chunk) {
        if let Some(joiner) = &mut self.joiner {
            let output = &mut self.output;
            joiner.finish(&mut |joined| output.joined(joined, chunk));
        }
    }

    /// Adds the records that have waited for long enough at `now` (ns since 1970) to `chunk`.
    pub(crate) fn flush_due(&mut self, now: i64, chunk: &mut Chunk) {
        if let Some(joiner) = &mut self.joiner {
            let output = &mut self.output;
            joiner.flush_due(now, &mut |joined| output.joined(joined, chunk));
        }
    }

    /// How long it is at `now` (ns since 1970) until a record has waited for long enough; `None` while none waits.
    pub(crate) fn wait(&self, now: i64) -> Option<Duration> {
        self.joiner.as_ref()?.wait(now)
    }

    /// Whether it holds anything back.
    pub(crate) fn holds(&self) -> bool {
        self.joiner.as_ref().is_some_and(|joiner| joiner.lanes().iter().any(|lane| lane.since().is_some()))
    }

    // What files need to be read again from where they must be, and to go on in one another.

    /// The next line begins at byte `at`.
    pub(crate) fn start_at(&mut self, at: u64) {
        self.at = at;
    }

    /// Holds nothing, and goes on from where the lanes were.
    pub(crate) fn resume(&mut self, at: u64, lanes: Option<Lanes>) {
        self.at = at;
        let Lanes { done, passing } = lanes.unwrap_or_default();
        self.done = done;
        if let Some(joiner) = &mut self.joiner {
            joiner.set_passing(passing);
        }
    }

    /// Number of this file, and for each lane from where it must be read again, when lines were read up to `read`.
    pub(crate) fn places(&self, read: u64) -> (usize, [Place; LANES]) {
        let own = self.done.map(|done| Place { file: self.file, offset: read.max(done) });
        let Some(joiner) = &self.joiner else { return (self.file, own) };
        let mut places = own;
        if !matches!(self.rules.format, Format::Cri | Format::DockerJson) {
            let plain = joiner.lanes()[PLAIN].since().unwrap_or(own[PLAIN]);
            return (self.file, [plain; LANES]);
        }
        for (place, lane) in places.iter_mut().zip(joiner.lanes()) {
            *place = lane.since().unwrap_or(*place);
        }
        (self.file, places)
    }

    /// Which lanes are in the middle of a line that was cut or dropped.
    pub(crate) fn passing(&self) -> [bool; LANES] {
        self.joiner.as_ref().map_or([false; LANES], |joiner| joiner.passing())
    }

    /// Gives away what is held of the lanes for which `wanted` says so, to go on in another file; adds the rest to `chunk`.
    pub(crate) fn hand_over(&mut self, wanted: [bool; LANES], chunk: &mut Chunk) -> [Option<Lane>; LANES] {
        let Some(joiner) = &mut self.joiner else { return Default::default() };
        let output = &mut self.output;
        let mut given: [Option<Lane>; LANES] = Default::default();
        for (index, wanted) in wanted.into_iter().enumerate() {
            match wanted {
                true => given[index] = Some(joiner.take_lane(index)).filter(Lane::is_busy),
                false => joiner.finish_lane(index, &mut |joined| output.joined(joined, chunk)),
            }
        }
        given
    }

    /// Goes on with what another file, number `file - 1`, has begun.
    pub(crate) fn inherit(&mut self, file: usize, lanes: [Option<Lane>; LANES]) {
        self.file = file;
        if let Some(joiner) = &mut self.joiner {
            for (index, lane) in lanes.into_iter().enumerate() {
                if let Some(lane) = lane {
                    joiner.set_lane(index, lane);
                }
            }
        }
    }

    /// The files before number `files` do not count any more.
    pub(crate) fn forget_files(&mut self, files: usize) {
        self.file -= files;
        if let Some(joiner) = &mut self.joiner {
            joiner.forget_files(files);
        }
    }

    /// Category of records that name none, where it does not depend on the record.
    #[cfg(test)]
    fn category(&self) -> &str {
        self.output.funnel.category()
    }
}

/// Whether the lines of `source` are those of a container runtime.
pub(crate) fn is_container(source: &Source) -> bool {
    matches!(source.format, Format::Cri | Format::DockerJson)
}

impl Output {
    /// Adds the record of something put together.
    fn joined(&mut self, joined: Joined<'_>, chunk: &mut Chunk) {
        let Joined { lane, bytes, observed, timestamp, attributes } = joined;
        if !matches!(self.rules.format, Format::Cri | Format::DockerJson) {
            return self.format(observed, bytes, chunk);
        }
        let stream = STREAMS.get(lane).map(|stream| (IO_STREAM, *stream));
        let Some(attributes) = attributes else {
            let attributes = stream.as_slice();
            return self.funnel.record(
                None,
                &Record { timestamp, observed, body: bytes, attributes, ..Record::default() },
                chunk,
            );
        };
        let mut fields = std::mem::take(&mut self.fields).reuse();
        fields.timestamp = timestamp;
        // What does not fit is left out.
        let _ = json::attributes(&mut fields, attributes);
        if let Some((key, value)) = stream {
            let _ = fields.set(key.into(), value.into());
        }
        fields.with_record(observed, bytes, |_, record| self.funnel.record(None, record, chunk));
        self.fields = fields.reuse();
    }

    /// Adds the record of `line`, which is complete: always exactly one, but for a body that is too long.
    fn format(&mut self, observed: i64, line: &[u8], chunk: &mut Chunk) {
        match (self.rules.format, line.first()) {
            (Format::Lines, _) if self.rules.clock.has_formats() => {
                let timestamp = self.rules.clock.beginning(line, observed);
                self.funnel.record(None, &Record { timestamp, observed, body: line, ..Record::default() }, chunk);
            }
            (Format::Json, Some(b'{')) => {
                self.fields(observed, line, chunk, |fields, line, rules| json::read(fields, line, observed, rules));
            }
            (Format::Logfmt, _) => {
                self.texts(observed, line, chunk, |fields, line, rules| logfmt::read(fields, line, observed, rules))
            }
            (Format::Clf, _) => self.texts(observed, line, chunk, |fields, line, _| clf::read(fields, line)),
            (Format::Syslog, _) => self.syslog(observed, line, chunk),
            _ => self.funnel.line(observed, line, chunk),
        }
    }

    fn syslog(&mut self, observed: i64, line: &[u8], chunk: &mut Chunk) {
        let Self { rules, funnel, scratch, counters, .. } = self;
        syslog::parse(line, observed, rules.clock.zone(), scratch, |parsed| {
            counters.lines_unparsed.add(u64::from(parsed.error.is_some()));
            let record = parsed.record(observed);
            let body = if rules.body == Body::Line { line } else { record.body };
            funnel.record(None, &Record { body, ..record }, chunk);
        });
    }

    /// Adds what `read` makes of `line`, or else a plain record that says why not.
    fn fields<'a>(
        &mut self,
        observed: i64,
        line: &'a [u8],
        chunk: &mut Chunk,
        read: impl FnOnce(&mut Fields<'a>, &'a [u8], &Rules) -> Result<(), Unparsed>,
    ) {
        let mut fields = std::mem::take(&mut self.fields).reuse();
        match read(&mut fields, line, &self.rules) {
            Ok(()) => {
                fields.with_record(observed, line, |category, record| self.funnel.record(category, record, chunk));
            }
            Err(Unparsed(reason)) => self.unparsed(observed, line, &reason, chunk),
        }
        self.fields = fields.reuse();
    }

    /// The same where a line is text: what is not UTF-8 in it is replaced in attributes, and stays in the body.
    fn texts(
        &mut self,
        observed: i64,
        line: &[u8],
        chunk: &mut Chunk,
        read: impl for<'a> FnOnce(&mut Fields<'a>, &'a str, &Rules) -> Result<(), Unparsed>,
    ) {
        let text = match simdutf8::basic::from_utf8(line) {
            Ok(text) => text.into(),
            Err(_) => String::from_utf8_lossy(line),
        };
        let mut fields = std::mem::take(&mut self.fields).reuse();
        match read(&mut fields, &text, &self.rules) {
            Ok(()) => {
                fields.with_record(observed, line, |category, record| self.funnel.record(category, record, chunk));
            }
            Err(Unparsed(reason)) => self.unparsed(observed, line, &reason, chunk),
        }
        self.fields = fields.reuse();
    }

    /// Adds a plain record of a line that does not parse.
    fn unparsed(&mut self, observed: i64, line: &[u8], reason: &str, chunk: &mut Chunk) {
        self.counters.lines_unparsed.add(1);
        let attributes = [(PARSE_ERROR, reason)];
        self.funnel.record(None, &Record { observed, body: line, attributes: &attributes, ..Record::default() }, chunk);
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::{Multiline, MultilineRule, SourceKind, Template};

    use super::*;
    use crate::source::testing::{Seen, context, every_split, fuzz, taken};

    fn source(format: Format) -> Source {
        Source { format, ..Source::new("in", SourceKind::Stdin) }
    }

    /// The records of `lines`, through an intake and a block, in the order of their categories.
    fn records(parser: &mut Parser, context: &Context, lines: &[&str]) -> Vec<Seen> {
        let mut chunk = Chunk::default();
        lines.iter().for_each(|line| parser.parse(5, line.as_bytes(), &mut chunk));
        assert_eq!(chunk.records(), lines.len(), "each line is a record");
        taken(&context.intake, chunk)
    }

    #[test]
    fn a_line_is_a_record_with_what_its_source_says() {
        let mut context = context();
        context.labels = Arc::new([("a", "label"), ("b", "label")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let mut source = source(Format::Lines);
        source.category = "web.{file_stem}".parse().unwrap();
        source.attributes.insert("b".to_owned(), "source".to_owned());
        let mut parser = Parser::new(&source, &context, Some(Path::new("/l/access.log")));
        let seen = records(&mut parser, &context, &[r#"{"category":"not JSON here"}"#]);
        let expected = Seen::new("web.access", r#"{"category":"not JSON here"}"#)
            .with("a", "label")
            .with("b", "source")
            .with("log.file.path", "/l/access.log");
        assert_eq!(seen, [expected]);
    }

    #[test]
    fn json_lines_choose_their_category_and_others_are_plain() {
        let context = context();
        let mut parser = Parser::new(&source(Format::Json), &context, None);
        let lines = [
            r#"{"msg":"1","category":"x"}"#,
            "2",
            r#"{"msg":"3"}"#,
            r#"{"msg":"4","category":"x","n":1}"#,
            r#"{"msg":"5","category":"in"}"#,
            r#"{"msg":"6","category":""}"#,
            " {}",
        ];
        let seen = records(&mut parser, &context, &lines);
        let bodies = ["2", "3", "5", "6", " {}"].map(|body| Seen::new("in", body));
        let mut expected = bodies.to_vec();
        expected[3] = expected[3].clone().with("logboom.category", "");
        expected.extend([Seen::new("x", "1"), Seen::new("x", "4").with("n", "1")]);
        assert_eq!(seen, expected);
        assert_eq!(context.counters.lines_unparsed.get(), 0);
    }

    #[test]
    fn a_json_line_that_does_not_parse_is_kept_whole_and_counted() {
        let context = context();
        let mut parser = Parser::new(&source(Format::Json), &context, None);
        let seen = records(&mut parser, &context, &[r#"{"category":"x","a":}"#]);
        assert_eq!(seen[0].body, r#"{"category":"x","a":}"#);
        assert_eq!(seen[0].category, "in");
        assert!(seen[0].attributes["logboom.parse_error"].contains("column 21"), "{seen:?}");
        assert_eq!(context.counters.lines_unparsed.get(), 1);
    }

    /// Everything that comes of `pieces` of bytes, in order, with what was held back at the end.
    fn flow(source: &Source, pieces: &[&[u8]]) -> Vec<Seen> {
        let context = context();
        let mut parser = Parser::new(source, &context, None);
        let mut splitter = Parser::splitter(source, &context.counters);
        let (mut chunk, mut at) = (Chunk::default(), 0);
        for piece in pieces {
            at += piece.len();
            splitter.push_counting(piece, &mut |line, behind| {
                parser.parse_at(5, line, (at - behind) as u64, &mut chunk);
            });
        }
        splitter.finish(&mut |line| parser.parse_at(5, line, at as u64, &mut chunk));
        parser.finish(&mut chunk);
        assert!(!parser.holds());
        taken(&context.intake, chunk)
    }

    const CRI: &str = "2023-11-14T22:13:20Z stdout P a \n\
                       2023-11-14T22:13:20Z stderr F x\r\n\n\
                       2023-11-14T22:13:20Z stdout F b\n\
                       no line of cri\n\
                       2023-11-14T22:13:20Z stderr F  y\n\
                       2023-11-14T22:13:20Z stdout P c";
    const DOCKER: &str = r#"{"log":"a\u00e9","stream":"stdout","time":"2023-11-14T22:13:20Z","attrs":{"tag":"t"}}
{"log":"x\n","stream":"stderr","time":"2023-11-14T22:13:20Z"}
{"log":"b\n","stream":"stdout","time":"2023-11-14T22:13:20Z"}
{"log":5}
"#;

    /// A source of each format, and of each way to join, with something for it to read.
    fn sources() -> Vec<(Source, &'static [u8])> {
        let clf = br#"::1 - - [14/Nov/2023:22:13:20 +0000] "GET /a HTTP/1.1" 200 5 "-" "x"
no access
"#;
        let mut sources = vec![
            (source(Format::Lines), &b"a\n\nb\r\nc"[..]),
            (source(Format::Json), b"{\"msg\":\"a\",\"n\":1}\nplain\n{\"\n"),
            (source(Format::Logfmt), b"level=info msg=\"a b\" n=1\nplain\nx=\xff\n"),
            (source(Format::Clf), clf),
            (source(Format::Syslog), b"<13>Nov 14 22:13:20 h app: a\n"),
            (source(Format::Cri), CRI.as_bytes()),
            (source(Format::DockerJson), DOCKER.as_bytes()),
        ];
        let rules = [
            (MultilineRule::Java, "a\n\tat b\n\nCaused by: c\nd\n"),
            (MultilineRule::Python, "a\nTraceback (most recent call last):\n  f\nE: x\nb"),
            (MultilineRule::Go, "panic: a\n\ngoroutine 1 [running]:\nmain.f()\n\t/a.go:1\nb\r\n"),
            (MultilineRule::Dotnet, "a\n   at b\n\n\n--- End of x\nc\n"),
        ];
        for (rule, text) in rules {
            let mut source = source(Format::Lines);
            source.parsing.multiline = Some(Multiline { rule, timeout: Duration::from_secs(1), lines_max: 4 });
            sources.push((source, text.as_bytes()));
        }
        let custom = MultilineRule::Custom { start: None, continuation: None, indented: true };
        let multiline = Some(Multiline { rule: custom, timeout: Duration::from_secs(1), lines_max: 3 });
        let mut both = source(Format::Cri);
        (both.parsing.multiline, both.max_line) = (multiline, 64);
        for on_long in [OnLongLine::Split, OnLongLine::Drop, OnLongLine::Truncate] {
            sources.push((Source { on_long_line: on_long, ..both.clone() }, CRI.as_bytes()));
        }
        sources
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_records() {
        for (source, bytes) in sources() {
            let whole = flow(&source, &[bytes]);
            assert!(!whole.is_empty());
            every_split(bytes, |pieces| assert_eq!(flow(&source, pieces), whole, "{:?}", source.parsing));
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let sources = sources();
        let corpus: Vec<&[u8]> = sources.iter().map(|(_, bytes)| *bytes).collect();
        let mut turn = 0;
        fuzz(&corpus, |input| {
            turn += 1;
            let (source, _) = &sources[turn % sources.len()];
            let seen = flow(source, &[input]);
            assert!(seen.iter().all(|seen| seen.body.len() <= 3 * source.max_line), "lossy text may be longer");
        });
    }

    #[test]
    fn a_line_that_is_not_of_the_format_is_a_plain_record_that_says_so_and_is_counted() {
        for format in [Format::Json, Format::Logfmt, Format::Clf, Format::Cri, Format::DockerJson] {
            let context = context();
            let mut parser = Parser::new(&source(format), &context, None);
            let seen = records(&mut parser, &context, &["{this is nothing"]);
            assert_eq!((seen[0].body.as_str(), seen[0].attributes.len()), ("{this is nothing", 1), "{format:?}");
            assert!(!seen[0].attributes["logboom.parse_error"].is_empty());
            assert_eq!(context.counters.lines_unparsed.get(), 1);
        }
    }

    #[test]
    fn a_containers_line_is_a_record_with_its_stream_and_what_else_is_known() {
        let seen = flow(&source(Format::DockerJson), &[DOCKER.as_bytes()]);
        let expected = [
            Seen::new("in", "x").with("log.iostream", "stderr"),
            Seen::new("in", "aéb").with("log.iostream", "stdout").with("tag", "t"),
        ];
        assert_eq!(seen[..2], expected);
        let mut seen = flow(&source(Format::Cri), &[CRI.as_bytes()]);
        seen.retain(|seen| seen.attributes.contains_key("log.iostream"));
        let bodies: Vec<_> = seen.iter().map(|seen| seen.body.as_str()).collect();
        assert_eq!(bodies, ["x", "a b", " y", "c"]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_stay_in_the_body_of_a_line_of_text() {
        let mut chunk = Chunk::default();
        let context = context();
        Parser::new(&source(Format::Logfmt), &context, None).parse(5, b"a=\xff", &mut chunk);
        assert_eq!(chunk.body_bytes(), 3);
        assert_eq!(taken(&context.intake, chunk)[0].attributes["a"], "\u{fffd}");
    }

    #[test]
    fn a_producer_that_makes_up_categories_does_not_fill_the_memory() {
        let context = context();
        let mut parser = Parser::new(&source(Format::Json), &context, None);
        for round in 0..5 {
            let mut chunk = Chunk::default();
            for n in 0..700 {
                parser.parse(0, format!(r#"{{"category":"{round}.{n}"}}"#).as_bytes(), &mut chunk);
            }
            assert_eq!(chunk.records(), 700);
        }
    }

    #[test]
    fn a_file_name_that_cannot_be_a_category_is_made_one() {
        let mut source = source(Format::Lines);
        source.category = "{file_name}".parse().unwrap();
        for (path, category) in [
            ("/l/a\nb".to_owned(), "a_b".to_owned()),
            (format!("/l/{}", "é".repeat(127) + "xéé"), "é".repeat(127) + "x"),
            ("/".to_owned(), "in".to_owned()),
        ] {
            let parser = Parser::new(&source, &context(), Some(Path::new(&path)));
            assert_eq!(parser.category(), category);
        }
        source.category = Template::fixed("fixed");
        assert_eq!(Parser::new(&source, &context(), None).category(), "fixed");
    }

    /// What a line costs, in ns. Run it in release: `cargo test --release -p logboom-adaptor --lib line_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "it measures"]
    fn line_costs() {
        let context = context();
        let plain = r#"192.0.2.17 - - [21/Nov/2023:09:04:11 +0000] "GET /a/b/c?d=12345 HTTP/1.1" 200 5123 "-" "curl/8.5.0 (x86_64-pc-linux-gnu)" 0.012"#;
        let json = r#"{"timestamp":"2023-11-21T09:04:11.123Z","severity":"INFO","category":"api","msg":"request done","path":"/a/b/c","status":200,"ms":12.5}"#;
        let logfmt =
            r#"ts=2023-11-21T09:04:11.123Z level=info category=api msg="request done" path=/a/b/c status=200 ms=12.5"#;
        let cri = format!("2023-11-21T09:04:11.123456789Z stdout F {plain}");
        let docker = format!(
            r#"{{"log":{},"stream":"stdout","time":"2023-11-21T09:04:11.123456789Z"}}"#,
            serde_json::to_string(&format!("{plain}\n")).unwrap()
        );
        let mut java = source(Format::Lines);
        let timeout = Duration::from_secs(1);
        java.parsing.multiline = Some(Multiline { rule: MultilineRule::Java, timeout, lines_max: 500 });
        let mut start = java.clone();
        let rule =
            MultilineRule::Custom { start: Some(r"^\d+\.\d+\.".parse().unwrap()), continuation: None, indented: false };
        start.parsing.multiline = Some(Multiline { rule, timeout, lines_max: 500 });
        let mut timed = source(Format::Lines);
        timed.parsing.time.formats = vec![logboom_config::TimeFormat::Pattern("%Y-%m-%d %H:%M:%S%.f".to_owned())];
        for (source, line) in [
            (source(Format::Lines), plain),
            (source(Format::Json), json),
            (source(Format::Logfmt), logfmt),
            (source(Format::Clf), plain),
            (source(Format::Cri), &cri),
            (source(Format::DockerJson), &docker),
            (java, plain),
            (start, plain),
            (timed, "2023-11-21 09:04:11.123 INFO request done"),
        ] {
            let format = (source.format, source.parsing.multiline.is_some());
            let input = format!("{line}\n").repeat(480);
            let mut parser = Parser::new(&source, &context, None);
            let mut splitter = Parser::splitter(&source, &context.counters);
            let (start, mut lines) = (std::time::Instant::now(), 0);
            for _ in 0..2000 {
                let mut chunk = Chunk::default();
                splitter.push(input.as_bytes(), &mut |line| parser.parse(1, line, &mut chunk));
                lines += chunk.records();
            }
            println!("{format:?}: {} ns a line", start.elapsed().as_nanos() / lines as u128);
        }
    }
}

//! Turns lines into records of a chunk, in the format of their source.

use std::path::Path;
use std::sync::Arc;

use logboom_config::{Format, Source};
use logboom_wire::Record;

use super::PARSE_ERROR;
use super::json::{Fields, Unparsed};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::{Context, Funnel};

/// Parses the lines of one file, connection or socket. A clone shares what its source says and nothing else.
pub(crate) struct Parser {
    format: Format,
    funnel: Funnel,
    fields: Fields<'static>,
    counters: Arc<Counters>,
}

impl Clone for Parser {
    fn clone(&self) -> Self {
        Self {
            format: self.format,
            funnel: self.funnel.clone(),
            fields: Fields::default(),
            counters: self.counters.clone(),
        }
    }
}

impl Parser {
    /// A parser for `source`; for a file source, for its file at `file_path`.
    pub(crate) fn new(source: &Source, context: &Context, file_path: Option<&Path>) -> Self {
        Self {
            format: source.format,
            funnel: Funnel::new(source, context, file_path),
            fields: Fields::default(),
            counters: context.counters.clone(),
        }
    }

    /// Whether lines are JSON objects.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Adds the record of `line`, observed at `observed_ns` (since 1970), to `chunk`: always exactly one.
    pub(crate) fn parse(&mut self, observed_ns: i64, line: &[u8], chunk: &mut Chunk) {
        match (self.format, line.first()) {
            (Format::Json, Some(b'{')) => self.parse_json(observed_ns, line, chunk),
            _ => self.funnel.line(observed_ns, line, chunk),
        }
    }

    fn parse_json(&mut self, observed: i64, line: &[u8], chunk: &mut Chunk) {
        let mut fields = std::mem::take(&mut self.fields).reuse();
        match fields.read(line) {
            Ok(()) => {
                fields.with_record(observed, line, |category, record| self.funnel.record(category, record, chunk))
            }
            Err(Unparsed(reason)) => {
                self.counters.lines_unparsed.add(1);
                let attributes = [(PARSE_ERROR, reason.as_ref())];
                self.funnel.record(
                    None,
                    &Record { observed, body: line, attributes: &attributes, ..Record::default() },
                    chunk,
                );
            }
        }
        self.fields = fields.reuse();
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::{SourceKind, Template};

    use super::*;
    use crate::source::testing::{Seen, context, taken};

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
            assert_eq!(parser.funnel.category(), category);
        }
        source.category = Template::fixed("fixed");
        assert_eq!(Parser::new(&source, &context(), None).funnel.category(), "fixed");
    }

    /// What a line costs, in ns. Run it in release: `cargo test --release -p logboom-adaptor --lib line_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "it measures"]
    fn line_costs() {
        let context = context();
        let plain = r#"192.0.2.17 - - [21/Nov/2023:09:04:11 +0000] "GET /a/b/c?d=12345 HTTP/1.1" 200 5123 "-" "curl/8.5.0 (x86_64-pc-linux-gnu)" 0.012"#;
        let json = r#"{"timestamp":"2023-11-21T09:04:11.123Z","severity":"INFO","category":"api","msg":"request done","path":"/a/b/c","status":200,"ms":12.5}"#;
        for (format, line) in [(Format::Lines, plain), (Format::Json, json)] {
            let source = source(format);
            let input = format!("{line}\n").repeat(480);
            let mut parser = Parser::new(&source, &context, None);
            let mut splitter =
                crate::source::line::LineSplitter::new(source.max_line, source.on_long_line, context.counters.clone());
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

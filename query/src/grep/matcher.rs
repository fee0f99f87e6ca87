//! Finding the bodies of a batch that match.
//!
//! The bodies of a batch lie in one buffer, one after the other. Where every match must contain some literal text, the
//! whole buffer is searched for that at once, and only the bodies with a hit are looked at one by one.

use arrow_array::{Array, BooleanArray, StringArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use logboom_config::Pattern;
use memchr::memmem::Finder;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

/// What bodies are searched for.
#[derive(Debug)]
pub struct Matcher {
    /// What every match contains; empty if that is not known.
    literal: Finder<'static>,
    /// What a body with the literal in it has to match besides.
    pattern: Option<Pattern>,
    invert: bool,
}

/// How a pattern is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatchOptions {
    /// It is the text to be found, and no regular expression.
    pub fixed: bool,
    /// Capitals do not matter.
    pub ignore_case: bool,
    /// Bodies that do not match are wanted.
    pub invert: bool,
}

impl Matcher {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// In one line, if it is no regular expression or too large a one.
    pub fn new(pattern: &str, options: MatchOptions) -> Result<Self, String> {
        let text = if options.fixed { regex_syntax::escape(pattern) } else { pattern.to_owned() };
        let text = if options.ignore_case { format!("(?i){text}") } else { text };
        let compiled: Pattern = text.parse().map_err(|error| format!("the pattern {error}"))?;
        let parsed = ParserBuilder::new().utf8(false).build().parse(&text);
        let (literal, exact) = parsed.as_ref().map_or((&[][..], false), required);
        Ok(Self {
            literal: Finder::new(literal).into_owned(),
            pattern: (!exact).then_some(compiled),
            invert: options.invert,
        })
    }

    /// Which of the bodies are wanted.
    pub fn select(&self, bodies: &StringArray) -> BooleanArray {
        let hits = if self.literal.needle().is_empty() {
            BooleanBuffer::collect_bool(bodies.len(), |row| self.verify(bodies.value(row).as_bytes()))
        } else {
            self.search(bodies)
        };
        BooleanArray::from(if self.invert { !&hits } else { hits })
    }

    fn verify(&self, body: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(body))
    }

    fn search(&self, bodies: &StringArray) -> BooleanBuffer {
        let offsets = bodies.value_offsets();
        let offset = |row: usize| offsets[row] as usize;
        let buffer = &bodies.value_data()[..offset(bodies.len())];
        let mut hits = BooleanBufferBuilder::new(bodies.len());
        hits.append_n(bodies.len(), false);
        let (mut row, mut at) = (0, offset(0));
        while let Some(found) = self.literal.find(&buffer[at..]) {
            let start = at + found;
            row += offsets[row + 1..].partition_point(|end| *end as usize <= start);
            let end = offset(row + 1);
            if start + self.literal.needle().len() > end {
                // The end of one body and the start of the next.
                at = start + 1;
                continue;
            }
            if self.verify(&buffer[offset(row)..end]) {
                hits.set_bit(row, true);
            }
            at = end;
        }
        hits.finish()
    }
}

/// The longest text that is in every match, and whether to find it is to match.
fn required(hir: &Hir) -> (&[u8], bool) {
    match hir.kind() {
        HirKind::Literal(literal) => (&literal.0, true),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => (required(&repetition.sub).0, false),
        HirKind::Concat(parts) => {
            (parts.iter().map(|part| required(part).0).max_by_key(|part| part.len()).unwrap_or_default(), false)
        }
        _ => (&[], false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(pattern: &str, options: MatchOptions, bodies: &[&str]) -> Vec<usize> {
        let array = StringArray::from_iter_values(bodies);
        // A slice, so that neither the first offset nor the end of the buffer is where it would be by chance.
        let padded = StringArray::from_iter_values([&["error before"], bodies, &["error after"]].concat());
        let matcher = Matcher::new(pattern, options).unwrap();
        let rows = |wanted: BooleanArray| (0..wanted.len()).filter(|row| wanted.value(*row)).collect::<Vec<_>>();
        let found = rows(matcher.select(&array));
        assert_eq!(rows(matcher.select(&padded.slice(1, bodies.len()))), found);
        found
    }

    const BODIES: [&str; 7] = ["", "an error", "", "no err", "or two", "error: timeout after 30 ms", "Error"];

    #[test]
    fn a_match_never_spans_two_bodies() {
        assert_eq!(select("error", MatchOptions::default(), &BODIES), [1, 5]);
        assert_eq!(select("error", MatchOptions::default(), &["err", "or", "er", "", "rorerror"]), [4]);
        assert_eq!(select("aa", MatchOptions::default(), &["a", "aa", "a", "a"]), [1]);
    }

    #[test]
    fn an_expression_is_asked_of_each_body_alone() {
        let regex = MatchOptions::default();
        assert_eq!(select("^error", regex, &BODIES), [5]);
        assert_eq!(select("error$", regex, &BODIES), [1]);
        assert_eq!(select(r"error.*\d+ ms", regex, &BODIES), [5]);
        assert_eq!(select(r"(?:err){1}or", regex, &BODIES), [1, 5]);
        assert_eq!(select("err|two", regex, &BODIES), [1, 3, 4, 5]);
        assert_eq!(select("(?:timeout)?", regex, &BODIES).len(), BODIES.len());
        assert_eq!(select("^$", regex, &BODIES), [0, 2]);
    }

    #[test]
    fn capitals_inversion_and_plain_text() {
        assert_eq!(select("ERROR", MatchOptions { ignore_case: true, ..Default::default() }, &BODIES), [1, 5, 6]);
        assert_eq!(select("rr", MatchOptions { invert: true, ..Default::default() }, &BODIES), [0, 2, 4]);
        let fixed = MatchOptions { fixed: true, ..Default::default() };
        assert_eq!(select("a.c(", fixed, &["abc(", "a.c("]), [1]);
        assert_eq!(select("", fixed, &["", "a"]), [0, 1]);
    }

    #[test]
    fn what_every_match_contains_is_found() {
        let literal = |text: &str| {
            let matcher = Matcher::new(text, MatchOptions::default()).unwrap();
            (String::from_utf8(matcher.literal.needle().to_vec()).unwrap(), matcher.pattern.is_none())
        };
        assert_eq!(literal("timeout"), ("timeout".into(), true));
        assert_eq!(literal("(timeout)"), ("timeout".into(), true));
        assert_eq!(literal(r"id=\d+ refused$"), (" refused".into(), false));
        assert_eq!(literal("(ab)+c?"), ("ab".into(), false));
        assert_eq!(literal("(ab)*|c"), (String::new(), false));
    }

    #[test]
    fn a_pattern_that_is_wrong_is_refused_in_one_line() {
        let error = Matcher::new("a(", MatchOptions::default()).unwrap_err();
        assert!(error.contains("regular expression") && !error.contains('\n'), "{error}");
    }
}

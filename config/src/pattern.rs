//! Globs and regular expressions, checked and compiled when the settings are read, so that a wrong one never gets
//! further than its line in the file.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::{Regex, RegexBuilder};

use crate::error::{Unparsable, quoted};

/// The most memory that one compiled expression may take, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// The most bytes of the text of an expression.
const PATTERN_BYTES_MAX: usize = 4096;

/// Some globs, of which one has to match a whole text: `*` is any text, `?` any character, `[a-z]` one of these, `{a,b}`
/// one of both; `\` takes the meaning away. Capitals matter. Matching takes time linear in the text.
#[derive(Clone)]
pub struct Globs {
    texts: Vec<String>,
    /// Those without a wildcard.
    exact: Vec<String>,
    wild: GlobSet,
}

impl Globs {
    /// Compiles `texts`.
    ///
    /// # Errors
    /// If one of them is empty or not a glob.
    pub fn new(texts: impl IntoIterator<Item = impl Into<String>>) -> Result<Globs, Unparsable> {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        let (mut exact, mut wild) = (Vec::new(), GlobSetBuilder::new());
        for text in &texts {
            let refuse = |why: &dyn fmt::Display| Unparsable(format!("`{}` is not a glob: {why}", quoted(text)));
            if text.is_empty() {
                return Err(refuse(&"it is empty; write \"*\" for any text"));
            }
            match text.contains(['*', '?', '[', ']', '{', '}', '\\', '/', ',']) {
                false => exact.push(text.clone()),
                true => {
                    let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
                    wild.add(glob.map_err(|error| refuse(error.kind()))?);
                }
            }
        }
        let wild = wild.build().map_err(|error| Unparsable(format!("are not usable: {}", error.kind())))?;
        Ok(Globs { texts, exact, wild })
    }

    /// Whether one of them matches all of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.exact.iter().any(|exact| exact == text) || (!self.wild.is_empty() && self.wild.is_match(text))
    }

    /// The globs as they were written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Globs) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Globs {}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts.fmt(f)
    }
}

impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts.join(" or "))
    }
}

/// A regular expression over bytes, which need not be UTF-8. Matching takes time linear in the text.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The compiled expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }

    /// Whether it matches anywhere in `bytes`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// Whether it can match a text of no length, as `a*` and `\b` do.
    pub(crate) fn matches_nothing(&self) -> bool {
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(self.0.as_str());
        parsed.is_ok_and(|parsed| parsed.properties().minimum_len().is_none_or(|bytes| bytes == 0))
    }
}

impl FromStr for Pattern {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<Pattern, Unparsable> {
        let refuse = |why: String| Unparsable(format!("`{}` is not a regular expression: {why}", quoted(text)));
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(refuse(format!("it must have 1 to {PATTERN_BYTES_MAX} bytes")));
        }
        let built = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
        built.map(Pattern).map_err(|error| {
            let why = match &error {
                regex::Error::CompiledTooBig(_) => {
                    "it would take too much memory; make its repetitions smaller".to_owned()
                }
                // The lines before the last show where, in a picture that does not fit on one line.
                error => {
                    let message = error.to_string();
                    let last = message.lines().last().unwrap_or_default().trim();
                    last.strip_prefix("error: ").unwrap_or(last).to_owned()
                }
            };
            refuse(why)
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_str().fmt(f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_the_whole_text_whatever_it_holds() {
        for (glob, yes, no) in [
            ("nginx.access", "nginx.access", "nginx.access2"),
            ("nginx.*", "nginx.a/b.c", "nginx"),
            ("*", "", "\u{0}"),
            ("a?c", "a\nc", "ac"),
            ("[a-c]x", "bx", "dx"),
            ("{a,b.*}", "b.1", "b"),
            (r"\*", "*", "a"),
            ("a/b", "a/b", "a//b"),
            ("*.LOG", "x.LOG", "x.log"),
        ] {
            let globs = Globs::new([glob]).unwrap();
            assert!(globs.matches(yes), "{glob} {yes:?}");
            assert!(!globs.matches(no) || glob == "*", "{glob} {no:?}");
        }
        let several = Globs::new(["a", "b*"]).unwrap();
        assert!(several.matches("a") && several.matches("bc") && !several.matches("ab"));
    }

    #[test]
    fn what_is_no_glob_or_expression_is_refused_on_one_line() {
        for text in ["", "[a", "{a", "a\\"] {
            let error = Globs::new([text]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a glob: ")) && !error.contains('\n'), "{error}");
        }
        let error = "a(b".parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(error, "`a(b` is not a regular expression: unclosed group");
        let error = "(a{1000}){1000}".parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains("too much memory"), "{error}");
    }

    #[test]
    fn an_expression_sees_bytes() {
        let pattern: Pattern = r"(?-u)\xff+é".parse().unwrap();
        assert!(pattern.regex().is_match(b"a\xff\xff\xc3\xa9"));
    }
}

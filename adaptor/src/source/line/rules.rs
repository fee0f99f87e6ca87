//! What a source says about its lines, ready for use on each of them.

use logboom_config::{Body, Format, Source};

use super::clock::Clock;

/// How to read the lines of a source.
#[derive(Debug)]
pub(in crate::source) struct Rules {
    pub(super) format: Format,
    pub(super) body: Body,
    /// The field with the time; none is the format's own.
    pub(super) time_key: Option<String>,
    pub(super) clock: Clock,
}

impl Rules {
    pub(super) fn of(source: &Source) -> Self {
        Self::of_format(source, source.format)
    }

    /// Those for JSON, whatever the format of the source.
    pub(in crate::source) fn of_json(source: &Source) -> Self {
        Self::of_format(source, Format::Json)
    }

    fn of_format(source: &Source, format: Format) -> Self {
        let parsing = &source.parsing;
        Self {
            format,
            body: parsing.body.unwrap_or(format.body()),
            time_key: parsing.time.key.clone(),
            clock: Clock::of(&parsing.time),
        }
    }
}

#[cfg(test)]
impl Default for Rules {
    fn default() -> Self {
        let source = Source { format: Format::Json, ..Source::new("in", logboom_config::SourceKind::Stdin) };
        Self { body: Body::Message, ..Self::of(&source) }
    }
}

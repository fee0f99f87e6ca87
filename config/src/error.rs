//! What can be wrong with settings, in one line each.

use std::io;

use crate::shown::on_one_line;

/// Why settings were refused. Displays as one line that says where, what and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings file itself cannot be read.
    #[error("{file}: cannot be read: {reason}; check the path, and that this user may read it")]
    Unreadable {
        /// The path as it was given.
        file: String,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The text is not TOML, or a key is unknown, missing or has a value that it may not have.
    #[error("{file}:{line}: {}{message}", named(key))]
    Wrong {
        /// The name of the settings file.
        file: String,
        /// The line of the key, from 1.
        line: usize,
        /// The full dotted key, such as `adaptor.spool.max_size`; none when no key is at fault.
        key: Option<String>,
        /// What is wrong and what to write instead.
        message: String,
    },
}

fn named(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!("key `{key}` ")).unwrap_or_default()
}

/// Why a single value (a size, a duration, a template, an address) could not be parsed.
///
/// It quotes the value and says what to write instead, but cannot know the key or the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unparsable(pub(crate) String);

/// The most characters of a file's text that an error quotes.
const QUOTED_CHARS_MAX: usize = 100;

/// `text` for quoting in an error: on one line, and no longer than helps.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => on_one_line(text),
        Some((end, _)) => on_one_line(&text[..end]) + "…",
    }
}

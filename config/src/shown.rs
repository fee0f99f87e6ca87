//! Texts that somebody else made up, as they may be shown: on a terminal, in a log, in an error.
//!
//! Whoever can log, name a host or answer a request chooses bytes that we print. A terminal obeys some of them (it can be
//! told to retype them as commands), and a line feed in a log begins a line that nobody wrote. This is the one place
//! where they are made harmless.

use std::fmt::Write;

/// Text that a terminal shows and does not obey: `ESC` becomes `\u{1b}`.
///
/// A line feed stays, since it only starts a new line inside its cell, and plans and stack traces need it.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || reorders_text(c) => {
                write!(out, "\\u{{{:x}}}", c as u32).expect("a string takes what it is given");
            }
            c => out.push(c),
        }
    }
    out
}

/// The same on one line: a line feed is shown too, so that what follows it cannot pass for a line of its own.
pub fn on_one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}

/// JSON that a terminal shows and does not obey, and that is still the same JSON.
///
/// JSON itself escapes what is below a space; the rest, and other marks, are between quotes, where escapes are read.
pub fn harmless_json(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            c if c.is_control() || reorders_text(c) => {
                write!(out, "\\u{:04x}", c as u32).expect("a string takes what it is given");
            }
            c => out.push(c),
        }
    }
    out.into_bytes()
}

/// Marks that make a line read otherwise than it is stored, and separators that some terminals take for a new line.
fn reorders_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(harmless("\u{1b}[2Jgone\u{7}"), "\\u{1b}[2Jgone\\u{7}");
        assert_eq!(harmless("\u{9b}31m"), "\\u{9b}31m", "the one-character form of ESC [");
        assert_eq!(harmless("over\rwritten\t\u{7f}\0"), "over\\rwritten\\t\\u{7f}\\u{0}");
        assert_eq!(harmless("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
    }

    #[test]
    fn a_line_feed_begins_no_line() {
        assert_eq!(on_one_line("one\nERROR two\u{1b}[m"), "one\\nERROR two\\u{1b}[m");
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "{\"a\":\"\u{9b}2J\u{202e}\"}\n";
        assert_eq!(harmless_json(text.as_bytes()), b"{\"a\":\"\\u009b2J\\u202e\"}\n");
    }

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        let text = "größer 日志 🪵\nsecond line";
        assert_eq!(harmless(text), text);
    }
}

//! Where messages end on a stream: RFC 6587, both methods, told apart for each message.
//!
//! | a message begins with | it ends |
//! |---|---|
//! | a number, a space and `<`: octet counting, as RFC 5425 has it on TLS | after so many bytes, whatever they are |
//! | a number and a space, after another counted one | likewise |
//! | anything else: non-transparent framing | before the next newline (with one `\r` before it) or NUL |
//!
//! `<` is asked for because a text of several lines, sent line by line, may well have one that begins with a number. Empty
//! messages are passed over. One newline at the end of a counted message is not part of it either: rsyslog puts it there.

use memchr::memchr2;

use crate::source::Malformed;

/// Digits of a count that has no end worth waiting for.
const COUNT_DIGITS_MAX: usize = 10;
/// A carried message that needed more than this, in bytes, gives its memory back.
const CARRY_BYTES_KEPT: usize = 64 << 10;

/// A message and what is known of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed<'a> {
    /// The whole message.
    Whole(&'a [u8]),
    /// The beginning of a message without an end that is longer than allowed; the rest is passed over.
    Head(&'a [u8]),
    /// What came of a counted message before the connection ended.
    Cut(&'a [u8]),
}

/// Cuts a flow of bytes into messages. They do not depend on how the bytes were chunked.
///
/// Holds what came of the message that has not ended, at most `message_max` bytes.
pub(super) struct Framer {
    message_max: usize,
    state: State,
    carry: Vec<u8>,
    /// The last message was a counted one.
    counting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a message; `carry` holds what may be its count, and the space after that.
    Start,
    /// In a message without a count.
    Line,
    /// After the head of one that is too long.
    Tail,
    /// In a message of so many bytes.
    Counted(usize),
}

impl Framer {
    pub(super) fn new(message_max: usize) -> Self {
        Self { message_max, state: State::Start, carry: Vec::new(), counting: false }
    }

    /// Whether a message has begun that has not ended.
    pub(super) fn is_amid(&self) -> bool {
        self.state != State::Start || !self.carry.is_empty()
    }

    /// Takes `bytes` and calls `each` with every message that ends in them, in order. A message that lies in `bytes` as a
    /// whole is not copied.
    ///
    /// # Errors
    /// A message is counted to have more bytes than allowed.
    pub(super) fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Framed<'_>)) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Start => self.start(bytes)?,
                State::Line => self.line(bytes, each),
                State::Tail => match memchr2(b'\n', 0, bytes) {
                    None => &[],
                    Some(end) => {
                        self.state = State::Start;
                        &bytes[end + 1..]
                    }
                },
                State::Counted(count) => self.counted(count, bytes, each),
            };
        }
        Ok(())
    }

    /// Nothing follows: calls `each` with the message that has not ended, if there is one.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Framed<'_>)) {
        match self.state {
            State::Start | State::Line if !self.carry.is_empty() => each(Framed::Whole(without_return(&self.carry))),
            State::Counted(_) => each(Framed::Cut(&self.carry)),
            _ => {}
        }
        self.end();
    }

    /// Finds out how the message is framed.
    fn start<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        for (at, &byte) in bytes.iter().enumerate() {
            let digits = self.carry.strip_suffix(b" ").unwrap_or(&self.carry).len();
            let spaced = digits < self.carry.len();
            match byte {
                b'\n' | 0 if self.carry.is_empty() => {}
                b'1'..=b'9' if self.carry.is_empty() => self.carry.push(byte),
                b'0'..=b'9' if digits > 0 && digits < COUNT_DIGITS_MAX && !spaced => self.carry.push(byte),
                b' ' if digits > 0 && !spaced && !self.counting => self.carry.push(byte),
                b' ' if digits > 0 && !spaced => return self.begin_counted(digits).map(|()| &bytes[at + 1..]),
                b'<' if spaced => return self.begin_counted(digits).map(|()| &bytes[at..]),
                _ => {
                    (self.state, self.counting) = (State::Line, false);
                    return Ok(&bytes[at..]);
                }
            }
        }
        Ok(&[])
    }

    fn begin_counted(&mut self, digits: usize) -> Result<(), Malformed> {
        let count = self.carry[..digits].iter().fold(0u64, |count, digit| count * 10 + u64::from(digit - b'0'));
        if count > self.message_max as u64 {
            return Err(Malformed::fixed("a message is counted to have more bytes than 4 times `max_line`"));
        }
        self.carry.clear();
        (self.state, self.counting) = (State::Counted(count as usize), true);
        Ok(())
    }

    fn counted<'b>(&mut self, count: usize, bytes: &'b [u8], each: &mut impl FnMut(Framed<'_>)) -> &'b [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(count - self.carry.len()));
        if now.len() == count {
            each(Framed::Whole(without_newline(now)));
            self.end();
            return later;
        }
        self.carry.extend_from_slice(now);
        if self.carry.len() == count {
            each(Framed::Whole(without_newline(&self.carry)));
            self.end();
        }
        later
    }

    fn line<'b>(&mut self, bytes: &'b [u8], each: &mut impl FnMut(Framed<'_>)) -> &'b [u8] {
        let end = memchr2(b'\n', 0, bytes);
        let now = &bytes[..end.unwrap_or(bytes.len())];
        if self.carry.len() + now.len() > self.message_max {
            let room = self.message_max - self.carry.len();
            self.carry.extend_from_slice(&now[..room]);
            each(Framed::Head(&self.carry));
            self.end();
            self.state = State::Tail;
            return &bytes[room..];
        }
        let Some(end) = end else {
            self.carry.extend_from_slice(now);
            return &[];
        };
        let line = match self.carry.is_empty() {
            true => now,
            false => {
                self.carry.extend_from_slice(now);
                &self.carry
            }
        };
        let line = if bytes[end] == b'\n' { without_return(line) } else { line };
        if !line.is_empty() {
            each(Framed::Whole(line));
        }
        self.end();
        &bytes[end + 1..]
    }

    /// The next message begins.
    fn end(&mut self) {
        self.carry.clear();
        self.carry.shrink_to(CARRY_BYTES_KEPT);
        self.state = State::Start;
    }
}

fn without_newline(message: &[u8]) -> &[u8] {
    message.strip_suffix(b"\n").unwrap_or(message)
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{every_split, fuzz};

    const MAX: usize = 100;

    /// The messages in `pieces`, with how they ended, and whether they were refused at last.
    fn framed(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut framer = Framer::new(MAX);
        let mut seen = Vec::new();
        let mut each = |framed: Framed<'_>| {
            seen.push(match framed {
                Framed::Whole(bytes) => bytes.escape_ascii().to_string(),
                Framed::Head(bytes) => format!("head {}", bytes.len()),
                Framed::Cut(bytes) => format!("cut {}", bytes.escape_ascii()),
            });
        };
        let refused = pieces.iter().any(|piece| framer.push(piece, &mut each).is_err());
        if !refused {
            framer.finish(&mut each);
            assert!(!framer.is_amid());
        }
        assert!(framer.carry.capacity() <= 2 * MAX);
        (seen, refused)
    }

    fn check(bytes: &[u8], wanted: &[&str]) {
        every_split(bytes, |pieces| {
            assert_eq!(framed(pieces), (wanted.iter().map(|text| text.to_string()).collect(), false));
        });
    }

    #[test]
    fn counted_messages_have_as_many_bytes_as_they_say_whatever_these_are() {
        check(b"5 <1>ab9 <1>\n\0c\xff\r\x003 <1>", &["<1>ab", r"<1>\n\x00c\xff\r\x00", "<1>"]);
        check(b"5 <1>ab\n5 <1>cd\r\n", &["<1>ab", "<1>cd"]);
    }

    #[test]
    fn one_newline_at_the_end_of_a_counted_message_is_not_part_of_it() {
        check(b"5 <1>a\n6 <1>a\n\n6 <1>a\r\n", &["<1>a", r"<1>a\n", r"<1>a\r"]);
    }

    #[test]
    fn messages_without_a_count_end_with_a_newline_or_nul() {
        check(b"<1>a\n<2>b\r\n\n\0<3>c\0<4>d\r\r\0<5>e", &["<1>a", "<2>b", "<3>c", r"<4>d\r\r", "<5>e"]);
        check(b"no syslog\n\r\nat all", &["no syslog", "at all"]);
    }

    #[test]
    fn both_methods_may_follow_one_another() {
        check(b"<1>a\n5 <2>b\0<3>c\n4 <4>d", &["<1>a", r"<2>b\x00", "<3>c", "<4>d"]);
    }

    #[test]
    fn a_number_is_a_count_only_before_a_priority_or_after_another_count() {
        check(b"<1>a\n3 errors\n2023-10-11 b\n12\n7 \n", &["<1>a", "3 errors", "2023-10-11 b", "12", "7 "]);
        check(b"12345678901 <1>a\n0 <1>b\n05 <1>c\n", &["12345678901 <1>a", "0 <1>b", "05 <1>c"]);
        check(b"4 <1>a5 plain3 123", &["<1>a", "plain", "123"]);
    }

    #[test]
    fn what_has_not_ended_when_the_connection_does_is_kept() {
        check(b"<1>a\r", &["<1>a"]);
        check(b"12", &["12"]);
        check(b"12 ", &["12 "]);
        check(b"9 <1>a", &["cut <1>a"]);
    }

    #[test]
    fn a_message_without_a_count_that_is_too_long_keeps_its_head_and_the_next_is_whole() {
        for length in [MAX, MAX + 1, MAX + 2, 3 * MAX] {
            let bytes = ["x".repeat(length).as_bytes(), b"\n<1>a\n"].concat();
            let (messages, _) = framed(&[&bytes]);
            match length {
                MAX => assert_eq!(messages, ["x".repeat(MAX), "<1>a".to_owned()]),
                _ => assert_eq!(messages, ["head 100", "<1>a"]),
            }
            every_split(&bytes, |pieces| assert_eq!(framed(pieces).0, messages));
        }
    }

    #[test]
    fn a_count_beyond_the_limit_is_refused_before_anything_is_held() {
        for count in ["101", "9999999999"] {
            let bytes = format!("4 <1>a{count} <1>x");
            every_split(bytes.as_bytes(), |pieces| assert_eq!(framed(pieces), (vec!["<1>a".to_owned()], true)));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_any_split_gives_the_same() {
        let corpus: &[&[u8]] = &[
            b"5 <1>ab9 <1>\n\0c\xff\r\n3 <1>",
            b"<1>a\n<2>b\r\n\n\0<3>c\0<4>d\r\r\0<5>e",
            b"<1>a\n3 errors\n2023-10-11 b\n12\n7 \n",
            b"99 <1>xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n100 <1>",
        ];
        fuzz(corpus, |bytes| {
            let whole = framed(&[bytes]);
            let (a, b) = bytes.split_at(bytes.len() / 2);
            assert_eq!(framed(&[a, b]), whole);
            assert_eq!(framed(&bytes.chunks(1).collect::<Vec<_>>()), whole);
        });
    }
}

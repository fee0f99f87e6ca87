//! What container runtimes write around a container's output: one line, or a part of one, in each line of their files.
//!
//! | format | written as |
//! |---|---|
//! | `cri` | `<RFC 3339> <stdout or stderr> <tags> <content>`, of the tags `P` for a part that is not the last and `F` for the last, joined by colons (Kubernetes, `kubelet/kuberuntime/logs`) |
//! | `docker-json` | `{"log":"content\n","stream":"stdout","time":"<RFC 3339>","attrs":{…}}`; without the newline it is a part that is not the last (Docker's `json-file`) |

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::Unparsed;
use super::timestamp;

/// Lanes that the lines of a file come in, for parts of one may come between the parts of another: standard output,
/// standard error, and what says neither.
pub(crate) const LANES: usize = 3;
/// The lane of lines that are no container's.
pub(super) const PLAIN: usize = 2;

/// Names of the lanes, as `log.iostream` has them.
pub(super) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// One line of a runtime's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) lane: usize,
    /// Whether the container's line goes on in the next part of this lane.
    pub(super) partial: bool,
    pub(super) timestamp: Option<i64>,
    pub(super) content: &'a [u8],
    /// Further attributes, as a JSON object.
    pub(super) attributes: Option<&'a str>,
}

fn lane(stream: &[u8]) -> Option<usize> {
    STREAMS.iter().position(|name| name.as_bytes() == stream)
}

/// Reads a line of the `cri` format.
pub(super) fn cri(line: &[u8]) -> Result<Part<'_>, Unparsed> {
    let word = |rest: &mut &'_ [u8]| -> Option<usize> { memchr::memchr(b' ', rest) };
    let refuse = |what: &'static str| Unparsed(what.into());
    let mut rest = line;
    let end = word(&mut rest).ok_or(refuse("it has no time and no stream"))?;
    let time = std::str::from_utf8(&rest[..end]).map_err(|_| refuse("its time is not UTF-8"))?;
    let timestamp = timestamp::from_text(time).ok_or(refuse("it does not begin with a time"))?;
    rest = &rest[end + 1..];
    let end = word(&mut rest).ok_or(refuse("it has no stream"))?;
    let lane = lane(&rest[..end]).ok_or(refuse("its stream is neither stdout nor stderr"))?;
    rest = &rest[end + 1..];
    // Nothing follows the tags of an empty line but perhaps a space.
    let (tags, content) = match word(&mut rest) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (rest, &b""[..]),
    };
    let partial = match tags.split(|&byte| byte == b':').next() {
        Some(b"P") => true,
        Some(b"F") => false,
        _ => return Err(refuse("its tag is neither P nor F")),
    };
    Ok(Part { lane, partial, timestamp: Some(timestamp), content, attributes: None })
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attrs: Option<&'a RawValue>,
}

/// Reads a line of the `docker-json` format. What is escaped in it is written to `unescaped`.
pub(super) fn docker<'a>(line: &'a [u8], unescaped: &'a mut Vec<u8>) -> Result<Part<'a>, Unparsed> {
    let text = simdutf8::basic::from_utf8(line).map_err(|_| Unparsed("it is not UTF-8".into()))?;
    let entry: Entry<'a> = serde_json::from_str(text)?;
    let log = entry.log.and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"'));
    let log = log.ok_or(Unparsed("it has no text `log`".into()))?;
    unescaped.clear();
    unescape(log.as_bytes(), unescaped);
    let lane = entry.stream.as_deref().and_then(|stream| lane(stream.as_bytes())).unwrap_or(PLAIN);
    let timestamp = entry.time.as_deref().and_then(timestamp::from_text);
    let attributes = entry.attrs.map(RawValue::get).filter(|raw| raw.starts_with('{'));
    let (partial, content) = match unescaped.strip_suffix(b"\n") {
        Some(content) => (false, content.strip_suffix(b"\r").unwrap_or(content)),
        None => (true, &unescaped[..]),
    };
    Ok(Part { lane, partial, timestamp, content, attributes })
}

/// Writes the text of a JSON string, which is known to be sound but for lone surrogates, to `text`.
fn unescape(mut rest: &[u8], text: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied();
        rest = rest.get(at + 2..).unwrap_or_default();
        let plain = match escape {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'u') => {
                let unit = take_unit(&mut rest);
                let mut low = rest.strip_prefix(b"\\u").unwrap_or_default();
                let c = match (unit, take_unit(&mut low)) {
                    (Some(high @ 0xd800..0xdc00), Some(second @ 0xdc00..0xe000)) => {
                        rest = low;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (second - 0xdc00))
                    }
                    (Some(unit), _) => char::from_u32(unit),
                    (None, _) => None,
                };
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            Some(other) => other,
            None => return,
        };
        text.push(plain);
    }
    text.extend_from_slice(rest);
}

/// Takes the four hexadecimal digits that `rest` begins with.
fn take_unit(rest: &mut &[u8]) -> Option<u32> {
    let digits = rest.get(..4)?;
    let unit = digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))?;
    *rest = &rest[4..];
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    const TIME: i64 = 1_700_000_000_123_456_789;

    #[test]
    fn a_line_of_cri_says_its_stream_its_time_and_whether_it_goes_on() {
        for (line, lane, partial, content) in [
            ("2023-11-14T22:13:20.123456789Z stdout F a line", 0, false, "a line"),
            ("2023-11-14T23:13:20.123456789+01:00 stderr P  two spaces", 1, true, " two spaces"),
            ("2023-11-14T22:13:20.123456789Z stdout P:x:y a", 0, true, "a"),
            ("2023-11-14T22:13:20.123456789Z stdout F ", 0, false, ""),
            ("2023-11-14T22:13:20.123456789Z stdout F", 0, false, ""),
        ] {
            let content = content.as_bytes();
            let part = Part { lane, partial, timestamp: Some(TIME), content, attributes: None };
            assert_eq!(cri(line.as_bytes()).unwrap(), part, "{line}");
        }
        let bytes = b"2023-11-14T22:13:20.123456789Z stdout F \xff\0";
        assert_eq!(cri(bytes).unwrap().content, b"\xff\0");
    }

    #[test]
    fn what_is_no_line_of_cri_is_refused_with_the_reason() {
        for (line, reason) in [
            ("", "no time"),
            ("a plain line", "begin with a time"),
            ("2023-11-14T22:13:20Z", "no time and no stream"),
            ("2023-11-14T22:13:20Z stdin F a", "neither stdout nor stderr"),
            ("2023-11-14T22:13:20Z stdout X a", "neither P nor F"),
            ("2023-11-14T22:13:20Z stdout", "no stream"),
        ] {
            let Unparsed(why) = cri(line.as_bytes()).unwrap_err();
            assert!(why.contains(reason), "{line}: {why}");
        }
    }

    #[test]
    fn a_line_of_docker_says_its_stream_its_time_and_by_its_newline_whether_it_goes_on() {
        let time = r#""time":"2023-11-14T22:13:20.123456789Z""#;
        for (log, partial, content) in [
            (r"a\n", false, "a"),
            (r"a\r\n", false, "a"),
            ("a", true, "a"),
            (r"\n", false, ""),
            (r"\u0000\u001b[1m\t\\\/\u00e9\ud83e\udeb5\n", false, "\0\u{1b}[1m\t\\/é🪵"),
            (r"\ud83e\n\ud83ex\udeb5", true, "\u{fffd}\n\u{fffd}x\u{fffd}"),
        ] {
            let line = format!(r#"{{"log":"{log}","stream":"stderr",{time}}}"#);
            let mut unescaped = Vec::new();
            let part = docker(line.as_bytes(), &mut unescaped).unwrap();
            assert_eq!(String::from_utf8_lossy(part.content), content);
            assert_eq!((part.lane, part.partial, part.timestamp), (1, partial, Some(TIME)), "{log}");
        }
        let line = format!(r#"{{"log":"a\n","stream":"stdout","attrs":{{"tag":"x"}},{time},"new":[1]}}"#);
        assert_eq!(docker(line.as_bytes(), &mut Vec::new()).unwrap().attributes, Some(r#"{"tag":"x"}"#));
    }

    #[test]
    fn what_is_no_line_of_docker_is_refused() {
        for line in ["", "plain", "{}", r#"{"log":5}"#, r#"{"log":"a"} x"#, r#"{"log":"\x"}"#, r#"["log"]"#] {
            assert!(docker(line.as_bytes(), &mut Vec::new()).is_err(), "{line}");
        }
        assert!(docker(b"{\"log\":\"\xff\"}", &mut Vec::new()).is_err());
    }

    #[test]
    fn no_line_makes_them_panic() {
        let corpus: [&[u8]; 3] = [
            b"2023-11-14T22:13:20.123456789Z stdout P:x a line",
            br#"{"log":"a\u00e9\ud83e\udeb5\n","stream":"stderr","attrs":{"tag":"x"},"time":"2023-11-14T22:13:20Z"}"#,
            br#"{"log":"a\ud83e\ud83e\u","stream":"stdout"}"#,
        ];
        fuzz(&corpus, |input| {
            let _ = cri(input);
            let mut unescaped = Vec::new();
            if let Ok(part) = docker(input, &mut unescaped) {
                assert!(std::str::from_utf8(part.content).is_ok() && part.content.len() <= input.len());
            }
            unescape(input, &mut unescaped);
        });
    }
}

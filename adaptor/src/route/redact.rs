//! Replaces what must not be stored.

use logboom_config::Redaction;

/// Writes `text` to `out`, which is cleared, with every match of the redaction replaced; whether there was one. Without
/// one `out` is of no use. A text that becomes longer than `bytes_max` is cut there.
pub(super) fn redact(redaction: &Redaction, text: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> bool {
    let (regex, with) = (redaction.pattern.regex(), redaction.with.as_bytes());
    out.clear();
    let mut end = 0;
    let mut replaced = |start: usize, stop: usize, out: &mut Vec<u8>| {
        out.extend_from_slice(&text[std::mem::replace(&mut end, stop)..start]);
    };
    let mut any = false;
    if with.contains(&b'$') {
        for groups in regex.captures_iter(text) {
            let all = groups.get_match();
            any = true;
            replaced(all.start(), all.end(), out);
            groups.expand(with, out);
            if out.len() >= bytes_max {
                break;
            }
        }
    } else {
        for found in regex.find_iter(text) {
            any = true;
            replaced(found.start(), found.end(), out);
            out.extend_from_slice(with);
            if out.len() >= bytes_max {
                break;
            }
        }
    }
    if any && out.len() < bytes_max {
        replaced(text.len(), text.len(), out);
    }
    out.truncate(bytes_max);
    any
}

/// Redacts attributes: their values, where the redaction names them. Together they stay within `bytes_max`, or within
/// what they have. `set` is given each one that changes, by its index.
pub(super) fn redact_attributes<'a>(
    redaction: &Redaction,
    attributes: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    bytes_max: usize,
    mut set: impl FnMut(usize, String),
) {
    let Some(globs) = &redaction.attributes else { return };
    let mut bytes: usize = attributes.clone().map(|(name, value)| name.len() + value.len()).sum();
    let bytes_max = bytes_max.max(bytes);
    let mut out = Vec::new();
    for (index, (_, value)) in attributes.enumerate().filter(|(_, (name, _))| globs.matches(name)) {
        let others = bytes - value.len();
        if redact(redaction, value.as_bytes(), bytes_max - others, &mut out) {
            // An expression over bytes may have cut a character apart.
            let text = String::from_utf8_lossy(&out);
            let text = &text[..text.floor_char_boundary(bytes_max - others)];
            bytes = others + text.len();
            set(index, text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(pattern: &str, with: &str) -> Redaction {
        let attributes = Some(logboom_config::Globs::new(["*"]).unwrap());
        Redaction { pattern: pattern.parse().unwrap(), with: with.to_owned(), body: true, attributes }
    }

    fn redacted(pattern: &str, with: &str, text: &[u8], bytes_max: usize) -> Option<String> {
        let mut out = b"left over".to_vec();
        let any = redact(&redaction(pattern, with), text, bytes_max, &mut out);
        any.then(|| out.escape_ascii().to_string())
    }

    #[test]
    fn every_match_is_replaced_and_the_rest_stays_byte_for_byte() {
        for (pattern, with, text, expected) in [
            (r"\d{4,}", "***", &b"a 12345 b 123 c 9999"[..], Some("a *** b 123 c ***")),
            (r"\d{4,}", "***", b"nothing", None),
            (r"\d{4,}", "", b"12345", Some("")),
            ("x", "y", b"\xff\x00x\n\xfe", Some(r"\xff\x00y\n\xfe")),
            (r"(\w+)@(?<host>\w+)", "$1 at ${host}$$", b"to me@home!", Some("to me at home$!")),
            (r"(a)|b", "<$1>", b"ab", Some("<a><>")),
        ] {
            assert_eq!(redacted(pattern, with, text, 100).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn what_grows_is_cut() {
        assert_eq!(redacted("a", "12345", b"aaab", 7).unwrap(), "1234512");
        assert_eq!(redacted("(a)", "$1$1", b"aaab", 7).unwrap(), "aaaaaab");
        assert_eq!(redacted("(a)", "$1$1", b"aaab", 5).unwrap(), "aaaaa");
        assert_eq!(redacted("a", "12", b"ab", 2).unwrap(), "12");
    }

    #[test]
    fn attributes_are_redacted_within_their_bound_and_stay_text() {
        let attributes = [("a", "xx"), ("b", "1"), ("c", "xx")];
        let mut changed = Vec::new();
        redact_attributes(&redaction("x", "1234"), attributes.into_iter(), 14, |index, text| {
            changed.push((index, text))
        });
        assert_eq!(changed, [(0, "12341234".to_owned()), (2, "12".to_owned())]);
        let mut changed = Vec::new();
        redact_attributes(&redaction(r"(?-u)\xc3", "."), [("a", "é")].into_iter(), 1, |_, text| changed.push(text));
        assert_eq!(changed, ["."]);
    }
}

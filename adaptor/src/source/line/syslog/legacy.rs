//! RFC 3164, which describes what was found in 2001, and the shapes that are found since.
//!
//! | shape, after the priority | who sends it |
//! |---|---|
//! | `Oct 11 22:14:15 host tag[pid]: text` | RFC 3164, `logger --rfc3164`, rsyslog |
//! | `Oct 11 22:14:15 tag[pid]: text` | `syslog()` of the C library and `logger`, to `/dev/log` |
//! | `2023-10-11T22:14:15.003Z host tag[pid]: text` | rsyslog's `RSYSLOG_ForwardFormat` |
//! | `tag[pid]: text`, `tag: text`, `text` | libraries that leave the header out |
//! | `45: *Oct 11 22:14:15.123: %SYS-5-CONFIG_I: text` | Cisco IOS, with its sequence number |
//!
//! A tag ends with a colon, or with its process id in brackets. One space after it is not part of the body.

use std::net::IpAddr;

use memchr::memchr;

use super::{Reading, time};

/// Longest tag or host, in bytes. RFC 3164 has 32 for a tag, names of hosts have 255.
const NAME_BYTES_MAX: usize = 255;

struct Tag<'m> {
    app: &'m [u8],
    process: Option<&'m [u8]>,
    body: &'m [u8],
}

impl<'m> Reading<'m, '_> {
    /// Reads what follows the priority, where that is a timestamp. Says whether it is.
    pub(super) fn dated(&mut self, content: &'m [u8]) -> bool {
        let rest = match (self.timestamp(content), sequence(content)) {
            (Some(rest), _) => rest,
            (None, Some((sequence, after))) => {
                let Some(rest) = self.timestamp(after) else { return false };
                self.field("syslog.sequence", sequence);
                rest
            }
            (None, None) => return false,
        };
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let rest = &rest[rest.iter().take_while(|&&byte| byte == b' ').count()..];
        self.body = rest;
        if let Some(tag) = tag(rest, true) {
            self.tag(tag);
        } else if let Some((host, after)) = host(rest) {
            self.field("syslog.hostname", host);
            let after = after.strip_prefix(b": ").unwrap_or(after);
            self.body = after;
            if let Some(tag) = tag(after, true) {
                self.tag(tag);
            }
        }
        true
    }

    /// Reads what follows the priority, where that is no timestamp.
    pub(super) fn undated(&mut self, content: &'m [u8]) {
        if let Some(tag) = tag(content, false) {
            self.tag(tag);
        }
    }

    /// Reads the timestamp that `content` begins with, and returns what follows it.
    fn timestamp(&mut self, content: &'m [u8]) -> Option<&'m [u8]> {
        // Cisco says in this way that the clock is not set, or that it lost its server.
        let content = content.strip_prefix(b"*").or(content.strip_prefix(b".")).unwrap_or(content);
        let (timestamp, length) = match time::iso_length(content) {
            Some(length) => (time::iso(&content[..length], self.clock)?, length),
            None => time::traditional(content, self.clock)?,
        };
        self.timestamp = Some(timestamp);
        Some(&content[length..])
    }

    fn tag(&mut self, tag: Tag<'m>) {
        self.field("syslog.app_name", tag.app);
        if let Some(process) = tag.process {
            self.field("syslog.proc_id", process);
        }
        self.body = tag.body;
    }
}

/// The number that `content` begins with, where a colon and a space follow it, and what follows them.
fn sequence(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = content.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let rest = content[digits..].strip_prefix(b": ")?;
    (digits > 0).then_some((&content[..digits], rest))
}

/// The host that `text` begins with, and what follows its space.
fn host(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', &text[..text.len().min(NAME_BYTES_MAX + 1)])?;
    let (host, after) = (&text[..end], &text[end + 1..]);
    let is_host = |&byte: &u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
    (end > 0 && (host.iter().all(is_host) || is_address(host))).then_some((host, after))
}

fn is_address(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.split('%').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// The tag that `text` begins with. After a timestamp (`dated`) one is expected, so less of it is enough.
fn tag(text: &[u8], dated: bool) -> Option<Tag<'_>> {
    let end = text.iter().take(NAME_BYTES_MAX + 1).position(|&byte| byte <= b' ' || b":[".contains(&byte))?;
    let (app, rest) = text.split_at(end);
    if app.iter().all(u8::is_ascii_digit) || app.iter().any(|byte| b"]\"'{}<>,;=".contains(byte)) {
        return None;
    }
    if let Some(after) = rest.strip_prefix(b"[") {
        let end = after.iter().take(NAME_BYTES_MAX).position(|&byte| byte <= b' ' || byte == b']')?;
        let process = Some(&after[..end]).filter(|process| !process.is_empty());
        let body = match after[end..].strip_prefix(b"]")? {
            [b':', b' ', body @ ..] | [b':', body @ ..] => body,
            [b' ', body @ ..] if dated => body,
            [] if dated => b"",
            _ => return None,
        };
        return Some(Tag { app, process, body });
    }
    let body = match rest.strip_prefix(b":")? {
        [b' ', body @ ..] => body,
        [] => b"",
        // Neither the second colon of a name or an address, nor the slashes of a URL.
        body @ [first, ..] if dated && !b":/".contains(first) && !is_address(word(text)) => body,
        _ => return None,
    };
    Some(Tag { app, process: None, body })
}

fn word(text: &[u8]) -> &[u8] {
    let text = &text[..text.len().min(NAME_BYTES_MAX)];
    &text[..memchr(b' ', text).unwrap_or(text.len())]
}

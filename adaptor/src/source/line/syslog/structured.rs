//! Structured data of RFC 5424 (6.3): `[id name="value" …][id …]`.

use memchr::{memchr, memchr2};

use super::{Reading, Text};

/// Most attributes of a message, header included.
const ATTRIBUTES_MAX: usize = 256;
/// Longest id of an element or name of a parameter, in bytes. RFC 5424 has 32.
const NAME_BYTES_MAX: usize = 256;

const MALFORMED: &str = "its structured data is malformed";

impl<'m> Reading<'m, '_> {
    /// Reads the elements that `data` begins with. Returns what follows them.
    pub(super) fn structured(&mut self, data: &'m [u8]) -> Result<&'m [u8], &'static str> {
        let mut rest = data;
        while let Some(element) = rest.strip_prefix(b"[") {
            rest = self.element(element)?;
        }
        Ok(rest)
    }

    /// Reads an element after its `[`. Returns what follows its `]`.
    fn element(&mut self, element: &'m [u8]) -> Result<&'m [u8], &'static str> {
        let (id, mut rest) = name(element)?;
        if let Some(rest) = rest.strip_prefix(b"]") {
            let key = self.key(id, None)?;
            self.fields.push((key, Text::Plain("")));
            return Ok(rest);
        }
        loop {
            let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
            let parameter = &rest[spaces..];
            if let Some(rest) = parameter.strip_prefix(b"]") {
                return Ok(rest);
            }
            if spaces == 0 {
                return Err(MALFORMED);
            }
            let (name, after) = name(parameter)?;
            let value = after.strip_prefix(b"=\"").ok_or(MALFORMED)?;
            let key = self.key(id, Some(name))?;
            let (value, after) = self.value(value)?;
            self.fields.push((key, value));
            rest = after;
        }
    }

    /// Reads a value after its `"`. Returns it and what follows the `"` that ends it.
    fn value(&mut self, text: &'m [u8]) -> Result<(Text<'m>, &'m [u8]), &'static str> {
        let end = value_end(text).ok_or(MALFORMED)?;
        let (raw, rest) = (&text[..end], &text[end + 1..]);
        if memchr(b'\\', raw).is_none() {
            return Ok((self.text(raw), rest));
        }
        let start = self.made.len();
        // An escape is ASCII, so it cuts no character in two.
        let mut pieces = raw;
        while let Some(at) = memchr(b'\\', pieces) {
            self.push_lossy(&pieces[..at]);
            match pieces.get(at + 1) {
                Some(&escaped @ (b'"' | b'\\' | b']')) => {
                    self.made.push(char::from(escaped));
                    pieces = &pieces[at + 2..];
                }
                // Before anything else a backslash is one.
                _ => {
                    self.made.push('\\');
                    pieces = &pieces[at + 1..];
                }
            }
        }
        self.push_lossy(pieces);
        Ok((Text::Made(start..self.made.len()), rest))
    }

    /// The attribute's key: `syslog.id.name`, or with a number where there is one of that name.
    fn key(&mut self, id: &[u8], name: Option<&[u8]>) -> Result<Text<'m>, &'static str> {
        if self.fields.len() >= ATTRIBUTES_MAX {
            return Err("it has more than 256 attributes");
        }
        let start = self.made.len();
        self.made.push_str("syslog.");
        self.push_lossy(id);
        if let Some(name) = name {
            self.made.push('.');
            self.push_lossy(name);
        }
        // The number behind the largest is free. One look at all, for a sender may repeat a name as often as there is room.
        let (mut taken, mut last) = (false, 1);
        for (other, _) in &self.fields {
            match other.of(&self.made).strip_prefix(&self.made[start..]) {
                Some("") => taken = true,
                Some(rest) => {
                    let number = rest.strip_prefix('.').and_then(|digits| digits.parse::<u32>().ok());
                    last = last.max(number.map_or(1, u64::from));
                }
                None => {}
            }
        }
        if taken {
            self.made.push_str(&format!(".{}", last + 1));
        }
        Ok(Text::Made(start..self.made.len()))
    }

    fn push_lossy(&mut self, bytes: &[u8]) {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => self.made.push_str(text),
            Err(_) => self.made.push_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

/// The name that `text` begins with, and what follows it.
fn name(text: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let is_end = |&byte: &u8| byte <= b' ' || matches!(byte, b'=' | b']' | b'"' | 0x7f);
    let end = text.iter().take(NAME_BYTES_MAX + 1).position(is_end);
    match end {
        Some(end @ 1..) => Ok(text.split_at(end)),
        _ => Err(MALFORMED),
    }
}

/// Where the `"` is that ends a value.
fn value_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at),
            // Whatever it escapes, it is not the end.
            _ => at += 2,
        }
    }
}

//! Conditions on a record's severity, such as `>=warn`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Unparsable, quoted};

/// Largest OpenTelemetry severity number.
const NUMBER_MAX: u8 = 24;

/// Names, and the first and last severity number that each stands for. OpenTelemetry's own come first; of each of
/// them `1` to `4` may be added for one of the four.
const NAMES: [(&str, u8, u8); 19] = [
    ("trace", 1, 4),
    ("debug", 5, 8),
    ("info", 9, 12),
    ("warn", 13, 16),
    ("error", 17, 20),
    ("fatal", 21, 24),
    ("verbose", 1, 4),
    ("information", 9, 12),
    ("informational", 9, 12),
    ("notice", 10, 10),
    ("warning", 13, 16),
    ("err", 17, 20),
    ("severe", 17, 20),
    ("critical", 18, 18),
    ("crit", 18, 18),
    ("alert", 19, 19),
    ("emergency", 21, 24),
    ("emerg", 21, 24),
    ("panic", 21, 24),
];

/// A set of severities: one or several conditions, of which one has to hold.
///
/// A condition is a severity, or one after `>=`, `>`, `<=` or `<`. A severity is a name, which stands for all its numbers
/// (`warn` for 13 to 16), or a number from 1 to 24. A record without a severity is below and above nothing; `none` stands
/// for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Severities {
    /// Bit n stands for severity number n; bit 0 for none.
    numbers: u32,
    text: String,
}

impl Severities {
    /// Whether this severity number is in the set; 0 is a record without a severity.
    pub fn contains(&self, number: u8) -> bool {
        self.numbers.checked_shr(number.into()).is_some_and(|bits| bits & 1 == 1)
    }

    /// Adds those of `other`.
    pub(crate) fn or(self, other: Severities) -> Severities {
        Severities { numbers: self.numbers | other.numbers, text: format!("{} or {}", self.text, other.text) }
    }
}

impl FromStr for Severities {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<Severities, Unparsable> {
        let at = text.find(|c| !matches!(c, '<' | '>' | '=')).unwrap_or(text.len());
        let (sign, name) = (text[..at].trim(), text[at..].trim());
        let refuse = |why: &str| Unparsable(format!("`{}` {why}", quoted(text)));
        if sign.is_empty() && name == "none" {
            return Ok(Severities { numbers: 1, text: text.to_owned() });
        }
        let (first, last) = range(name).ok_or_else(|| {
            refuse("is not a severity; write trace, debug, info, warn, error, fatal, none or a number from 1 to 24, the first after >=, >, <= or < if need be")
        })?;
        let (low, high) = match sign {
            "" | "=" => (first, last),
            ">=" => (first, NUMBER_MAX),
            ">" => (last + 1, NUMBER_MAX),
            "<=" => (1, last),
            "<" => (1, first - 1),
            _ => return Err(refuse("begins with an unknown sign; write >=, >, <= or <")),
        };
        match (low..=high).fold(0, |numbers, number| numbers | 1 << number) {
            0 => Err(refuse("is no severity at all; the lowest is 1, the highest 24")),
            numbers => Ok(Severities { numbers, text: text.to_owned() }),
        }
    }
}

/// First and last number of a severity.
fn range(name: &str) -> Option<(u8, u8)> {
    if let Ok(number) = name.parse::<u8>() {
        return (1..=NUMBER_MAX).contains(&number).then_some((number, number));
    }
    let lower = name.to_ascii_lowercase();
    if let Some((_, first, last)) = NAMES.iter().find(|(name, ..)| *name == lower) {
        return Some((*first, *last));
    }
    let step = lower.bytes().last().filter(|last| (b'1'..=b'4').contains(last))? - b'1';
    let (_, first, _) = NAMES[..6].iter().find(|(name, ..)| *name == &lower[..lower.len() - 1])?;
    Some((first + step, first + step))
}

impl fmt::Debug for Severities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Severities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_stands_for_numbers() {
        for (text, numbers) in [
            ("warn", 13..17),
            ("WARNING", 13..17),
            ("=warn2", 14..15),
            ("17", 17..18),
            (">=warn", 13..25),
            ("> warn", 17..25),
            ("<=info", 1..13),
            ("<info", 1..9),
            (">=17", 17..25),
            ("notice", 10..11),
            ("none", 0..1),
        ] {
            let severities: Severities = text.parse().unwrap();
            let found: Vec<u8> = (0..=255).filter(|number| severities.contains(*number)).collect();
            assert_eq!(found, numbers.collect::<Vec<u8>>(), "{text}");
            assert_eq!(severities.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "wran", ">=", "=>warn", "!warn", "0", "25", "<trace", ">fatal", "<none", "notice2", "é1", "-1"]
        {
            assert!(text.parse::<Severities>().is_err(), "{text}");
        }
    }
}

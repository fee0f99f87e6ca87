//! Durations, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Unparsable, quoted};

/// A duration, written as a whole number and one unit: `200ms`, `30s`, `5m`, `2h`, `30d`.
///
/// `ns` and `us` are understood too. Displays with the largest unit that leaves a whole number, so
/// that nothing is rounded and what is displayed parses to the same duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

const UNITS_NANOS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("m", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const NANOS: u128 = 1_000_000_000;

impl FromStr for HumanDuration {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<HumanDuration, Unparsable> {
        let refuse = |why: &str| Err(Unparsable(format!("`{}` {why}", quoted(text))));
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        if number.is_empty() || unit.starts_with(['.', ',', '_']) {
            return refuse("is not a duration; write a whole number and a unit, such as `30s`");
        }
        if unit.is_empty() {
            return refuse("has no unit; write for example `30s`; the units are ms, s, m, h and d");
        }
        let Some((_, scale)) = UNITS_NANOS.iter().find(|(name, _)| *name == unit) else {
            return refuse("must be one number with one of the units ms, s, m, h and d, such as `30s`");
        };
        let nanos = number.parse::<u128>().ok().and_then(|number| number.checked_mul(*scale));
        let parts = nanos.and_then(|nanos| Some((u64::try_from(nanos / NANOS).ok()?, (nanos % NANOS) as u32)));
        match parts {
            Some((secs, nanos)) => Ok(HumanDuration(Duration::new(secs, nanos))),
            None => refuse("is too long; write a duration such as `30d`"),
        }
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let mut units = UNITS_NANOS.iter().filter(|(_, scale)| nanos.is_multiple_of(*scale));
        let (name, scale) = units.next().unwrap_or(&("ns", 1));
        write!(f, "{}{name}", nanos / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_displays_as_it_was_written() {
        for (text, millis) in
            [("200ms", 200), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("30d", 2_592_000_000), ("0s", 0)]
        {
            let parsed = text.parse::<HumanDuration>().unwrap();
            assert_eq!(parsed.0, Duration::from_millis(millis));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_displayed_duration_parses_to_the_same_duration() {
        let odd = [Duration::MAX, Duration::new(1, 1), Duration::new(0, 999_000), Duration::from_secs(90)];
        for duration in odd {
            let text = HumanDuration(duration).to_string();
            assert_eq!(text.parse::<HumanDuration>().unwrap().0, duration);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_a_fix() {
        for text in ["", "30", "s", "1.5s", "1h30m", "30 sec", "-1s", "5M", "\n1s"] {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.contains("30s") && !error.contains('\n'), "{error}");
        }
        assert!("99999999999999999999999999d".parse::<HumanDuration>().is_err());
        assert!(format!("{}d", u64::MAX).parse::<HumanDuration>().is_err());
    }
}

//! Instants and spans of time as people give them to a command.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use logboom_config::HumanDuration;
use logboom_sink::table::{Clock, SystemClock};

/// An instant: RFC 3339 (`2026-03-01T10:00:00Z`), a date or a date and time in UTC (`2026-03-01`, `2026-03-01T10:00`), or how
/// long ago (`90s`, `1h`, `7d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub Timestamp);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        instant(text, SystemClock.now().wall).map(Self)
    }
}

/// A state of the table: that of a version, or the newest at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Right after this commit.
    Version(u64),
    /// With everything that was committed by then.
    Instant(Timestamp),
}

impl FromStr for AsOf {
    type Err = String;

    /// A bare number is a version; all else is a [`When`].
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(version) => Ok(Self::Version(version)),
            Err(_) => text.parse().map(|When(instant)| Self::Instant(instant)),
        }
    }
}

/// A span of event time, open on the side where nothing is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant that belongs to it.
    pub since: Option<Timestamp>,
    /// The first instant after it.
    pub until: Option<Timestamp>,
}

fn instant(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    if let Ok(HumanDuration(ago)) = text.strip_suffix("ago").unwrap_or(text).trim_end().parse() {
        return now.checked_sub(ago).map_err(|_| format!("`{text}` is too long ago"));
    }
    // Without a zone: the table's times are UTC, and so are those that it prints.
    let civil = text.parse::<DateTime>().ok().and_then(|civil| civil.to_zoned(TimeZone::UTC).ok());
    civil.map(|zoned| zoned.timestamp()).ok_or_else(|| {
        format!(
            "`{text}` is no time; write 2026-03-01T10:00:00Z, 2026-03-01 (UTC), or how long ago, such as 30m, 1h or 7d"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_given_in_full_by_its_date_or_by_how_long_ago_it_was() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01T10:00:00.5+02:00", "2026-03-01T08:00:00.5Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("2026-03-01T10:30", "2026-03-01T10:30:00Z"),
            ("2026-03-01 10:30:15", "2026-03-01T10:30:15Z"),
            ("90s", "2026-03-01T11:58:30Z"),
            ("1h ago", "2026-03-01T11:00:00Z"),
            ("7d", "2026-02-22T12:00:00Z"),
        ] {
            assert_eq!(instant(text, now), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "10", "1h30m", "2026-13-01", "99999999d"] {
            assert!(instant(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_a_version() {
        assert_eq!("12".parse(), Ok(AsOf::Version(12)));
        assert_eq!("2026-03-01".parse(), Ok(AsOf::Instant("2026-03-01T00:00:00Z".parse().unwrap())));
        assert!("-1".parse::<AsOf>().is_err());
    }
}

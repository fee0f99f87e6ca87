//! Times as a source says that they are written: its patterns, and the zone of times that name none.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use logboom_config::{Time, TimeFormat};

use super::timestamp;

/// How far in the future an event without a year may be before it counts as last year's: clocks differ.
const AHEAD_NS: i64 = 24 * 3600 * 1_000_000_000;

/// Reads times in the formats of a source.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    formats: Vec<TimeFormat>,
    zone: TimeZone,
}

impl Clock {
    pub(super) fn of(time: &Time) -> Self {
        Self { formats: time.formats.clone(), zone: time.zone.clone() }
    }

    /// Where times that name no zone were taken.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether the settings name a format.
    pub(super) fn has_formats(&self) -> bool {
        !self.formats.is_empty()
    }

    /// Nanoseconds since 1970 of a text that is nothing but a time, in a record observed at `observed`.
    pub(super) fn text(&self, text: &str, observed: i64) -> Option<i64> {
        if self.formats.is_empty() {
            return self.rfc3339(text);
        }
        self.formats.iter().find_map(|format| match format {
            TimeFormat::Rfc3339 => self.rfc3339(text),
            TimeFormat::Epoch => timestamp::from_number(text),
            TimeFormat::Pattern(pattern) => self.resolve(BrokenDownTime::parse(pattern, text).ok()?, observed),
        })
    }

    /// The same of a number, or a text that may be one.
    pub(super) fn number(&self, text: &str, observed: i64) -> Option<i64> {
        match self.formats.is_empty() {
            true => timestamp::from_number(text),
            false => self.text(text, observed),
        }
    }

    /// The same of what `line` begins with, if the settings name a format that it can be in.
    pub(super) fn beginning(&self, line: &[u8], observed: i64) -> Option<i64> {
        self.formats.iter().find_map(|format| match format {
            TimeFormat::Rfc3339 => {
                let (time, offset, _) = timestamp::rfc3339(line)?;
                self.at(time, offset)
            }
            TimeFormat::Epoch => {
                let end = line.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.')).unwrap_or(line.len());
                timestamp::from_number(std::str::from_utf8(&line[..end]).ok()?)
            }
            TimeFormat::Pattern(pattern) => self.resolve(BrokenDownTime::parse_prefix(pattern, line).ok()?.0, observed),
        })
    }

    fn rfc3339(&self, text: &str) -> Option<i64> {
        match timestamp::rfc3339(text.as_bytes()) {
            Some((time, offset, len)) if len == text.len() => self.at(time, offset),
            _ => timestamp::from_text(text),
        }
    }

    /// A time on the wall in this zone, or with an offset of its own.
    fn at(&self, time: DateTime, offset: Option<Offset>) -> Option<i64> {
        let timestamp = match offset {
            Some(offset) => offset.to_timestamp(time),
            None => self.zone.to_timestamp(time),
        };
        i64::try_from(timestamp.ok()?.as_nanosecond()).ok()
    }

    fn resolve(&self, mut read: BrokenDownTime, observed: i64) -> Option<i64> {
        if let Some(timestamp) = read.timestamp() {
            return i64::try_from(timestamp.as_nanosecond()).ok();
        }
        if read.year().is_some() || read.iso_week_year().is_some() {
            return self.at(read.to_datetime().ok()?, read.offset());
        }
        let now = Timestamp::from_nanosecond(observed.into()).ok()?;
        let year = now.to_zoned(self.zone.clone()).checked_add(1.day()).ok()?.year();
        (0..=8).find_map(|back| {
            // The year of a leap day may be some years ago.
            read.set_year(Some(year - back)).ok()?;
            let time = self.at(read.to_datetime().ok()?, read.offset())?;
            (time <= observed.saturating_add(AHEAD_NS)).then_some(time)
        })
    }
}

#[cfg(test)]
mod tests {
    use logboom_config::{Source, SourceKind};

    use super::*;
    use crate::source::testing::fuzz;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn clock(formats: &[TimeFormat], zone: &str) -> Clock {
        let mut time = Source::new("in", SourceKind::Stdin).parsing.time;
        time.formats = formats.to_vec();
        time.zone = TimeZone::get(zone).unwrap();
        Clock::of(&time)
    }

    fn pattern(text: &str) -> TimeFormat {
        TimeFormat::Pattern(text.to_owned())
    }

    fn at(text: &str) -> Option<i64> {
        Some(text.parse::<Timestamp>().unwrap().as_nanosecond() as i64)
    }

    #[test]
    fn a_time_without_an_offset_is_in_the_zone_of_its_source() {
        for (zone, utc) in [("UTC", "2023-07-01T10:00:00Z"), ("Europe/Paris", "2023-07-01T08:00:00Z")] {
            let clock = clock(&[], zone);
            assert_eq!(clock.text("2023-07-01T10:00:00", NOW), at(utc));
            assert_eq!(clock.text("2023-07-01 10:00:00,000", NOW), at(utc));
            assert_eq!(clock.text("2023-07-01T10:00:00Z", NOW), at("2023-07-01T10:00:00Z"));
            assert_eq!(clock.text("2023-07-01T10:00:00 or so", NOW), None);
        }
    }

    #[test]
    fn the_first_format_that_fits_counts_and_no_other() {
        let formats = [pattern("%d.%m.%Y %H:%M"), TimeFormat::Epoch, pattern("%Y%m%d %H%M%S %z")];
        let clock = clock(&formats, "Europe/Paris");
        assert_eq!(clock.text("01.07.2023 10:00", NOW), at("2023-07-01T08:00:00Z"));
        assert_eq!(clock.text("1688205600", NOW), at("2023-07-01T10:00:00Z"));
        assert_eq!(clock.number("1688205600.5", NOW), at("2023-07-01T10:00:00.5Z"));
        assert_eq!(clock.text("20230701 100000 +0100", NOW), at("2023-07-01T09:00:00Z"));
        assert_eq!(clock.text("2023-07-01T10:00:00Z", NOW), None);
    }

    #[test]
    fn lines_begin_with_a_time_where_the_settings_say_so() {
        let formats = [pattern("[%b %d %H:%M:%S]"), TimeFormat::Rfc3339, TimeFormat::Epoch];
        let clock = clock(&formats, "UTC");
        for (line, time) in [
            ("[Nov 14 10:00:00] INFO", at("2023-11-14T10:00:00Z")),
            ("2023-07-01 10:00:00,250 INFO", at("2023-07-01T10:00:00.25Z")),
            ("2023-07-01T10:00:00+02:00: x", at("2023-07-01T08:00:00Z")),
            ("1688205600.25 x", at("2023-07-01T10:00:00.25Z")),
            ("no time", None),
            ("", None),
        ] {
            assert_eq!(clock.beginning(line.as_bytes(), NOW), time, "{line}");
        }
        assert_eq!(self::clock(&[], "UTC").beginning(b"2023-07-01T10:00:00Z", NOW), None);
    }

    #[test]
    fn a_missing_year_is_the_one_that_makes_it_a_time_just_past() {
        let clock = clock(&[pattern("%b %d %H:%M:%S")], "UTC");
        for (now, text, time) in [
            ("2023-11-14T22:13:20Z", "Nov 14 22:13:19", "2023-11-14T22:13:19Z"),
            ("2023-11-14T22:13:20Z", "Nov 15 22:13:00", "2023-11-15T22:13:00Z"),
            ("2023-11-14T22:13:20Z", "Nov 16 22:13:00", "2022-11-16T22:13:00Z"),
            ("2024-01-01T00:00:05Z", "Dec 31 23:59:59", "2023-12-31T23:59:59Z"),
            ("2023-12-31T23:59:59Z", "Jan  1 00:00:01", "2024-01-01T00:00:01Z"),
            ("2023-11-14T22:13:20Z", "Feb 29 01:00:00", "2020-02-29T01:00:00Z"),
        ] {
            assert_eq!(clock.text(text, at(now).unwrap()), at(time), "{text} at {now}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let formats =
            [pattern("%b %d %H:%M:%S"), pattern("%s"), pattern("%A, %F %I:%M:%S%.f %p %z"), TimeFormat::Rfc3339];
        let clocks = [clock(&formats, "Europe/Paris"), clock(&[TimeFormat::Epoch], "UTC"), clock(&[], "UTC")];
        let corpus: [&[u8]; 5] = [
            b"Feb 29 23:59:60",
            b"-9223372036",
            b"Friday, 2023-07-01 11:00:00.5 PM +2359",
            b"2023-07-01T10:00:00.123456789+02:00",
            b"1688205600.25",
        ];
        fuzz(&corpus, |input| {
            let now = input.iter().fold(NOW, |now, &byte| now.wrapping_mul(31).wrapping_add(byte.into()));
            for clock in &clocks {
                clock.beginning(input, now);
                clock.text(&String::from_utf8_lossy(input), now);
                clock.number(&String::from_utf8_lossy(input), now);
            }
        });
    }
}

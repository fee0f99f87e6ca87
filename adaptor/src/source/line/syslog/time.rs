//! Timestamps of syslog: RFC 3339, with and without an offset, and `Mmm dd hh:mm:ss` with its many additions.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::Clock;

/// A date without a year is at most this far from now, unless there is none so near: February 29.
const HALF_YEAR_NS: i64 = 183 * 24 * 3600 * 1_000_000_000;
/// February 29 comes again after so many years at most.
const LEAP_YEARS: i16 = 8;
const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// Nanoseconds since 1970 of a date and time of ISO 8601, `T` or a space between them, with an offset or in the zone of
/// `clock`. `None` for anything else and for times that do not fit (before 1677, after 2262).
pub(super) fn iso(text: &[u8], clock: Clock<'_>) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    // Dates without a time would pass as midnight.
    text.get(13..14).filter(|&colon| colon == ":")?;
    match text.parse::<Timestamp>() {
        Ok(timestamp) => nanos(timestamp),
        // A date and time followed by an offset that is wrong is not read without it.
        Err(_) if text.get(19..)?.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.' && byte != b',') => None,
        Err(_) => nearest(text.parse().ok()?, clock),
    }
}

/// How many bytes the date and time of ISO 8601 take that `text` begins with, if it does.
pub(super) fn iso_length(text: &[u8]) -> Option<usize> {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let fits = text.get(..19)?.iter().zip(SHAPE).all(|(&byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        mark => byte == *mark,
    });
    let more = text[19..].iter().position(|&byte| byte == b' ').unwrap_or(text.len() - 19);
    let end = 19 + more;
    // Some senders put a colon behind it.
    fits.then_some(if text[end - 1] == b':' { end - 1 } else { end })
}

/// The `Mmm dd hh:mm:ss` that `text` begins with, as ns since 1970, and how many bytes it takes. Forgives a year after the
/// day or after the time, a fraction, a day with zeros, one space or two, and upper or lower case.
pub(super) fn traditional(text: &[u8], clock: Clock<'_>) -> Option<(i64, usize)> {
    let mut scan = Scan { text, at: 3 };
    let month = text.get(..3)?;
    let month = 1 + MONTHS.iter().position(|name| month.eq_ignore_ascii_case(&name[..]))? as i8;
    let spaces = scan.spaces();
    let day = scan.number(1, 2)?;
    if !(1..=2).contains(&spaces) || scan.spaces() != 1 {
        return None;
    }
    let mut year = scan.year();
    if year.is_some() {
        scan.expect(b' ')?;
    }
    let hour = scan.number(1, 2)?;
    scan.expect(b':')?;
    let minute = scan.number(2, 2)?;
    scan.expect(b':')?;
    // A leap second counts as the one before.
    let second = scan.number(2, 2).filter(|&second| second <= 60)?.min(59);
    let nanos = scan.fraction();
    let end = scan.at;
    if year.is_none() && scan.expect(b' ').is_some() {
        year = scan.year();
        scan.at = if year.is_some() { scan.at } else { end };
    }
    if !matches!(scan.text.get(scan.at), None | Some(b' ' | b':')) {
        return None;
    }
    let at = |year| DateTime::new(year, month, day as i8, hour as i8, minute as i8, second as i8, nanos).ok();
    let time = match year {
        Some(year) => nearest(at(year as i16)?, clock)?,
        None => guessed(at, clock)?,
    };
    Some((time, scan.at))
}

/// The time in the year that puts it nearest to now.
fn guessed(at: impl Fn(i16) -> Option<DateTime>, clock: Clock<'_>) -> Option<i64> {
    let this_year = clock.zone.to_datetime(Timestamp::from_nanosecond(clock.now.into()).ok()?).year();
    let distance = |time: &i64| time.abs_diff(clock.now);
    let this = at(this_year).and_then(|time| nearest(time, clock));
    if let Some(time) = this.filter(|time| distance(time) < HALF_YEAR_NS as u64) {
        return Some(time);
    }
    let years = this_year - LEAP_YEARS..=this_year + LEAP_YEARS;
    years.filter_map(|year| nearest(at(year)?, clock)).min_by_key(distance)
}

/// The time, where clocks show it twice the one that is nearer to now, in nanoseconds since 1970.
fn nearest(time: DateTime, clock: Clock<'_>) -> Option<i64> {
    let ambiguous = clock.zone.to_ambiguous_timestamp(time);
    if !ambiguous.is_ambiguous() {
        return nanos(ambiguous.compatible().ok()?);
    }
    let (earlier, later) = (nanos(ambiguous.clone().earlier().ok()?)?, nanos(ambiguous.later().ok()?)?);
    Some(if earlier.abs_diff(clock.now) < later.abs_diff(clock.now) { earlier } else { later })
}

fn nanos(timestamp: Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// The zone of timestamps without one: this machine's.
pub(in crate::source) fn local_zone() -> TimeZone {
    TimeZone::system()
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn spaces(&mut self) -> usize {
        let count = self.text[self.at..].iter().take_while(|&&byte| byte == b' ').count();
        self.at += count;
        count
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.text.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// A number of `min` to `max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits = self.text[self.at..].iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
        let number =
            self.text[self.at..][..digits].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        self.at += digits;
        (digits >= min).then_some(number)
    }

    /// A year from 1970 to 2261; nothing is passed over where there is none.
    fn year(&mut self) -> Option<u32> {
        let start = self.at;
        let year = self.number(4, 4).filter(|year| (1970..2262).contains(year));
        let ended = matches!(self.text.get(self.at), None | Some(b' ' | b':'));
        if year.is_none() || !ended {
            self.at = start;
            return None;
        }
        year
    }

    /// Nanoseconds of the fraction of a second, if there is one.
    fn fraction(&mut self) -> i32 {
        let [b'.' | b',', digits @ ..] = &self.text[self.at..] else { return 0 };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        self.at += 1 + count;
        let nanos = digits[..count].iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanos.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'))
    }
}

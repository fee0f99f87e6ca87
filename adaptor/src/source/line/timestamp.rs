//! Timestamps as producers write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

const SECOND_NS: i128 = 1_000_000_000;

/// Nanoseconds since 1970 of an RFC 3339 text. `None` for anything else and for times that do not fit (before 1677,
/// after 2262).
pub(in crate::source) fn from_text(text: &str) -> Option<i64> {
    let timestamp = match rfc3339(text.as_bytes()) {
        Some((time, Some(offset), len)) if len == text.len() => offset.to_timestamp(time).ok()?,
        // A looser form.
        _ => text.parse::<Timestamp>().ok()?,
    };
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// The RFC 3339 time that `bytes` begin with, its offset if it has one, and its length in bytes. The `T` may be a space,
/// the offset may lack its colon, and a comma may stand before the fraction.
pub(super) fn rfc3339(bytes: &[u8]) -> Option<(DateTime, Option<Offset>, usize)> {
    let number = |from: usize, digits: usize| -> Option<i32> {
        let digits = bytes.get(from..from + digits)?;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i32::from(digit - b'0')))
    };
    let two = |from: usize| number(from, 2).and_then(|number| i8::try_from(number).ok());
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let date = Date::new(i16::try_from(number(0, 4)?).ok()?, two(5)?, two(8)?).ok()?;
    // A leap second is the one before it.
    let second = two(17)?;
    let second = if second == 60 { 59 } else { second };
    let (mut at, mut nanos) = (19, 0);
    if is(19, b".,") && is(20, b"0123456789") {
        let digits = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at = 20 + digits;
        let padded = bytes[20..at].iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanos = padded.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'));
    }
    let time = jiff::civil::Time::new(two(11)?, two(14)?, second, nanos).ok()?;
    let offset = if is(at, b"Zz") {
        at += 1;
        Some(Offset::UTC)
    } else if is(at, b"+-")
        && let Some(hours) = number(at + 1, 2)
    {
        let colon = usize::from(is(at + 3, b":"));
        let minutes = number(at + 3 + colon, 2).filter(|&minutes| minutes < 60)?;
        let seconds = (hours * 60 + minutes) * 60;
        let offset = Offset::from_seconds(if bytes[at] == b'-' { -seconds } else { seconds }).ok()?;
        at += 5 + colon;
        Some(offset)
    } else {
        None
    };
    Some((DateTime::from_parts(date, time), offset, at))
}

/// Nanoseconds since 1970 of a JSON number that counts seconds, milliseconds, microseconds or nanoseconds since 1970,
/// told apart by magnitude: below 10^11 it is seconds (until the year 5138), below 10^14 milliseconds (since 1973), below
/// 10^17 microseconds, else nanoseconds. Fractions are exact to the nanosecond. `None` for what does not fit, and for
/// 0, by which producers mean that they do not know.
pub(in crate::source) fn from_number(number: &str) -> Option<i64> {
    if number.contains(['e', 'E']) {
        let number: f64 = number.parse().ok()?;
        let unit = unit_ns(number.abs() as u128);
        return in_range((number * unit as f64) as i128);
    }
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = whole.parse().ok()?;
    let unit = unit_ns(whole.into());
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |nanos, digit| nanos * 10 + i128::from(digit.wrapping_sub(b'0')));
    in_range(sign * (i128::from(whole) * unit + nanos * unit / SECOND_NS))
}

fn unit_ns(magnitude: u128) -> i128 {
    match magnitude {
        ..100_000_000_000 => SECOND_NS,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    }
}

fn in_range(nanos: i128) -> Option<i64> {
    i64::try_from(nanos).ok().filter(|&nanos| nanos != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_texts_are_read_in_any_offset() {
        for text in [
            "2023-11-14T22:13:20.5Z",
            "2023-11-14t22:13:20.500000000z",
            "2023-11-15T00:13:20.5+02:00",
            "2023-11-14 22:13:20.5Z",
        ] {
            assert_eq!(from_text(text), Some(1_700_000_000_500_000_000), "{text}");
        }
        for text in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "9999-01-01T00:00:00Z", "1700000000"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_unit_of_a_number_is_told_by_its_magnitude() {
        for number in [
            "1700000000.123456789",
            "1700000000123.456789",
            "1700000000123456.789",
            "1700000000123456789",
            "1700000000123456789.9",
        ] {
            assert_eq!(from_number(number), Some(1_700_000_000_123_456_789), "{number}");
        }
        assert_eq!(from_number("1.7e9"), Some(1_700_000_000_000_000_000));
        assert_eq!(from_number("-1.5"), Some(-1_500_000_000));
        for number in ["0", "0.0", "99999999999", "9223372036854775808", "99999999999999999999999", "1e400", "-", ""] {
            assert_eq!(from_number(number), None, "{number}");
        }
    }
}

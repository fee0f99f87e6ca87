//! Timestamps as producers write them.

use jiff::Timestamp;

const SECOND_NS: i128 = 1_000_000_000;

/// Nanoseconds since 1970 of an RFC 3339 text. `None` for anything else and for times that do not fit (before 1677,
/// after 2262).
pub(super) fn from_text(text: &str) -> Option<i64> {
    let timestamp: Timestamp = text.parse().ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok()
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

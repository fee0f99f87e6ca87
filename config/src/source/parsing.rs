//! How a source's lines become records: where the body and the time come from, and which lines belong together.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};

use super::Format;
use crate::error::{Error, quoted};
use crate::pattern::Pattern;
use crate::section::{Section, Value};

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;
/// The most patterns of a timestamp.
const TIME_FORMATS_MAX: usize = 16;

/// How a source's lines become records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsing {
    /// What the body of a record is; none is the format's own (see [`Format::body`]).
    pub body: Option<Body>,
    /// Where its time comes from.
    pub time: Time,
    /// Which lines belong together.
    pub multiline: Option<Multiline>,
}

/// What the body of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The whole line.
    Line,
    /// The message in it, if it has one.
    Message,
}

/// Where the time of a record comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// The field that holds it; none is the format's own.
    pub key: Option<String>,
    /// How it is written; the first that fits counts. Empty: RFC 3339 or a number since 1970 in a field, and for
    /// `lines` nothing.
    pub formats: Vec<TimeFormat>,
    /// The zone of times that name none.
    pub zone: TimeZone,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339; a space instead of the `T` and a missing offset are allowed.
    Rfc3339,
    /// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude.
    Epoch,
    /// A pattern of strptime, which has been tried out. A missing year is the one that makes it a time just past.
    Pattern(String),
}

/// Which lines belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiline {
    /// How it is told.
    pub rule: MultilineRule,
    /// How long a record waits for its next line; 10 ms to 1 hour.
    pub timeout: Duration,
    /// The most lines of a record; 2 to 100,000.
    pub lines_max: usize,
}

/// How it is told that a line belongs to the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultilineRule {
    /// Stack traces of Java and its like.
    Java,
    /// Tracebacks of Python.
    Python,
    /// Panics of Go.
    Go,
    /// Stack traces of .NET.
    Dotnet,
    /// As the settings say; at least one of them is set.
    Custom {
        /// A line that this matches begins a record. Alone, every other line goes on with one.
        start: Option<Pattern>,
        /// A line that this matches goes on with a record.
        continuation: Option<Pattern>,
        /// So does a line that begins with a space or a tab.
        indented: bool,
    },
}

impl Parsing {
    pub(super) fn read(section: &Section<'_>, format: Format) -> Result<Parsing, Error> {
        Ok(Parsing {
            body: read_body(section, format)?,
            time: read_time(section, format)?,
            multiline: read_multiline(section)?,
        })
    }
}

impl Format {
    /// What the body of a record is unless the settings say otherwise.
    pub fn body(self) -> Body {
        match self {
            Format::Lines | Format::Clf | Format::Logfmt | Format::Syslog => Body::Line,
            Format::Json | Format::Cri | Format::DockerJson => Body::Message,
        }
    }
}

fn read_body(section: &Section<'_>, format: Format) -> Result<Option<Body>, Error> {
    let Some(value) = section.given("body") else { return Ok(None) };
    let body = value.choice(&[("line", Body::Line), ("message", Body::Message)])?;
    match body == format.body() || matches!(format, Format::Json | Format::Logfmt | Format::Syslog) {
        true => Ok(Some(body)),
        false => Err(value
            .wrong(format!("has no meaning with `format = \"{}\"`, whose body is fixed; remove it", format.name()))),
    }
}

fn read_time(section: &Section<'_>, format: Format) -> Result<Time, Error> {
    let has = |key: &str| match (key, format) {
        (_, Format::Json | Format::Logfmt) => true,
        ("timestamp_format", Format::Lines) => true,
        ("timezone", Format::Lines | Format::Syslog) => true,
        _ => false,
    };
    for key in ["timestamp_key", "timestamp_format", "timezone"] {
        if let Some(value) = section.given(key).filter(|_| !has(key)) {
            return Err(value.wrong(format!("has no meaning with `format = \"{}\"`; remove it", format.name())));
        }
    }
    let formats = match section.given("timestamp_format") {
        None => Vec::new(),
        Some(value) => read_formats(&value)?,
    };
    Ok(Time {
        key: section.given("timestamp_key").map(|value| value.name(1024)).transpose()?,
        formats,
        zone: read_zone(&section.get("timezone"))?,
    })
}

fn read_formats(value: &Value<'_>) -> Result<Vec<TimeFormat>, Error> {
    let items = match value.text() {
        Ok(text) => vec![read_format(value, text)?],
        Err(_) => value.list()?.iter().map(|item| read_format(item, item.text()?)).collect::<Result<_, Error>>()?,
    };
    match (1..=TIME_FORMATS_MAX).contains(&items.len()) {
        true => Ok(items),
        false => {
            Err(value.wrong(format!("must have 1 to {TIME_FORMATS_MAX} patterns, such as [\"%Y-%m-%d %H:%M:%S\"]")))
        }
    }
}

fn read_format(value: &Value<'_>, text: String) -> Result<TimeFormat, Error> {
    match text.as_str() {
        "rfc3339" => Ok(TimeFormat::Rfc3339),
        "epoch" => Ok(TimeFormat::Epoch),
        pattern => match tried(pattern) {
            Ok(()) => Ok(TimeFormat::Pattern(text)),
            Err(why) => Err(value.wrong(format!(
                "has `{}`, which {why}; write \"rfc3339\", \"epoch\" or a pattern such as \"%Y-%m-%d %H:%M:%S%.f\"",
                quoted(pattern)
            ))),
        },
    }
}

/// Tries a pattern out: a time that is written with it must read back.
fn tried(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX || !pattern.contains('%') {
        return Err("is not a pattern of strptime".to_owned());
    }
    let sample =
        DateTime::constant(2001, 2, 3, 16, 5, 6, 0).to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let written =
        strtime::format(pattern, &sample).map_err(|error| format!("is not a pattern of strptime: {error}"))?;
    let mut read = BrokenDownTime::parse(pattern, &written).map_err(|error| format!("cannot be read back: {error}"))?;
    if read.timestamp().is_some() {
        return Ok(());
    }
    if read.hour().is_none() {
        return Err("has no time of day".to_owned());
    }
    if read.year().is_none() && read.iso_week_year().is_none() {
        read.set_year(Some(2001)).map_err(|error| error.to_string())?;
    }
    read.to_datetime().map(drop).map_err(|_| "has no date".to_owned())
}

fn read_zone(value: &Value<'_>) -> Result<TimeZone, Error> {
    let text = value.name(128)?;
    let zone = match text.as_str() {
        "UTC" | "Z" => Some(TimeZone::UTC),
        text if text.starts_with(['+', '-']) => offset(text).map(Offset::to_time_zone),
        text => TimeZone::get(text).ok(),
    };
    zone.ok_or_else(|| {
        let text = quoted(&text);
        value.wrong(format!(
            "is `{text}`, which this machine's zoneinfo does not have; write a name such as \"Europe/Paris\", or \"+02:00\""
        ))
    })
}

/// Reads `+02:00` or `+0200`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let digits = digits.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok().filter(|_| minutes < 60)
}

fn read_multiline(section: &Section<'_>) -> Result<Option<Multiline>, Error> {
    let millis = Duration::from_millis(1);
    let timeout = section.get("multiline_timeout").duration(10 * millis..=3_600_000 * millis)?;
    let lines_max = section.get("multiline_max_lines").count(2..=100_000)? as usize;
    let Some(value) = section.given("multiline") else { return Ok(None) };
    let rule = match value.text().is_ok() {
        true => value.choice(&[("java", 0), ("python", 1), ("go", 2), ("dotnet", 3)]).map(|name| match name {
            0 => MultilineRule::Java,
            1 => MultilineRule::Python,
            2 => MultilineRule::Go,
            _ => MultilineRule::Dotnet,
        })?,
        false => custom(&value)?,
    };
    Ok(Some(Multiline { rule, timeout, lines_max }))
}

fn custom(value: &Value<'_>) -> Result<MultilineRule, Error> {
    let (mut start, mut continuation, mut indented) = (None, None, false);
    let Ok(entries) = value.entries() else {
        return Err(value
            .wrong("must be \"java\", \"python\", \"go\", \"dotnet\", or a table such as { start = \"^\\\\d{4}-\" }"));
    };
    for (name, entry) in entries {
        match name.as_str() {
            "start" => start = Some(entry.parsed("a regular expression in quotes")?),
            "continuation" => continuation = Some(entry.parsed("a regular expression in quotes")?),
            "indented" => indented = entry.flag()?,
            _ => return Err(entry.wrong("is not known; the keys here are start, continuation, indented")),
        }
    }
    match start.is_some() || continuation.is_some() || indented {
        true => Ok(MultilineRule::Custom { start, continuation, indented }),
        false => Err(value.wrong("says nothing; give it `start`, `continuation` or `indented = true`")),
    }
}

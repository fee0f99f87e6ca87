//! `[[adaptor.source]]`: one input of the adaptor. What every source has is here; what belongs to
//! one type is in that type's file.

mod clash;
mod file;
mod local;
mod parsing;
mod protocols;
mod tcp;
mod udp;
mod unix;

use std::collections::BTreeMap;

pub use file::{FileSource, ReadFrom};
pub use local::{ExecSource, HeartbeatSource, JournaldSource};
pub use parsing::{Body, Multiline, MultilineRule, Parsing, Time, TimeFormat};
pub use protocols::{ForwardSource, GelfSource, HttpSource, OtlpSource, ScribeSource, SyslogSource, Transport};
pub use tcp::TcpSource;
pub use udp::UdpSource;
pub use unix::{UnixSocketKind, UnixSource};

use crate::document::{self, Origin};
use crate::error::Error;
use crate::keys::{self, SOURCE, SOURCE_TYPES};
use crate::section::{Section, Value};
use crate::template::Template;

/// The most bytes of a source's name.
const NAME_BYTES_MAX: usize = 128;

/// One input of the adaptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Unique among the sources; 1 to 128 bytes without control characters.
    pub name: String,
    /// Where records come from.
    pub kind: SourceKind,
    /// How records are written.
    pub format: Format,
    /// How its lines become records.
    pub parsing: Parsing,
    /// How the category is made. Names a file only if the source is a file source.
    pub category: Template,
    /// The longest line in bytes that is taken as it is; 64 B to 4 MiB.
    pub max_line: usize,
    /// What becomes of a longer line.
    pub on_long_line: OnLongLine,
    /// Attributes put on every record of this source.
    pub attributes: BTreeMap<String, String>,
}

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Files that are followed as they grow and rotate.
    File(FileSource),
    /// A Unix domain socket.
    Unix(UnixSource),
    /// A TCP listener.
    Tcp(TcpSource),
    /// A UDP listener.
    Udp(UdpSource),
    /// Standard input, to its end.
    Stdin,
    /// Scribe's Thrift protocol.
    Scribe(ScribeSource),
    /// syslog, RFC 3164 and RFC 5424.
    Syslog(SyslogSource),
    /// Fluentd's Forward protocol.
    Forward(ForwardSource),
    /// OpenTelemetry logs.
    Otlp(OtlpSource),
    /// HTTP, with the intakes of Elasticsearch, Loki and Splunk.
    Http(HttpSource),
    /// Graylog's GELF.
    Gelf(GelfSource),
    /// The systemd journal.
    Journald(JournaldSource),
    /// A command's output.
    Exec(ExecSource),
    /// A record on an interval.
    Heartbeat(HeartbeatSource),
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Each line is the body of a record.
    Lines,
    /// Each line is a JSON object.
    Json,
    /// Each line has `key=value` pairs.
    Logfmt,
    /// Each line is an access log's, common or combined.
    Clf,
    /// Each line is a syslog message, RFC 3164 or RFC 5424.
    Syslog,
    /// Each line is a part of a container's line, as Kubernetes' container runtimes write it.
    Cri,
    /// Each line is a part of a container's line, as Docker's `json-file` driver writes it.
    DockerJson,
}

const FORMATS: [(&str, Format); 7] = [
    ("lines", Format::Lines),
    ("json", Format::Json),
    ("logfmt", Format::Logfmt),
    ("clf", Format::Clf),
    ("syslog", Format::Syslog),
    ("cri", Format::Cri),
    ("docker-json", Format::DockerJson),
];

impl Format {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// What becomes of a line longer than `max_line`. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLongLine {
    /// Its first `max_line` bytes are kept.
    Truncate,
    /// It becomes several records of at most `max_line` bytes.
    Split,
    /// It is dropped.
    Drop,
}

impl SourceKind {
    /// The type as it is written in settings, such as `file`.
    pub fn type_name(&self) -> &'static str {
        match self {
            SourceKind::File(_) => "file",
            SourceKind::Unix(_) => "unix",
            SourceKind::Tcp(_) => "tcp",
            SourceKind::Udp(_) => "udp",
            SourceKind::Stdin => "stdin",
            SourceKind::Scribe(_) => "scribe",
            SourceKind::Syslog(_) => "syslog",
            SourceKind::Forward(_) => "forward",
            SourceKind::Otlp(_) => "otlp",
            SourceKind::Http(_) => "http",
            SourceKind::Gelf(_) => "gelf",
            SourceKind::Journald(_) => "journald",
            SourceKind::Exec(_) => "exec",
            SourceKind::Heartbeat(_) => "heartbeat",
        }
    }

    fn read(source_type: &str, section: &Section<'_>) -> Result<SourceKind, Error> {
        Ok(match source_type {
            "file" => SourceKind::File(FileSource::read(section)?),
            "unix" => SourceKind::Unix(UnixSource::read(section)?),
            "tcp" => SourceKind::Tcp(TcpSource::read(section)?),
            "udp" => SourceKind::Udp(UdpSource::read(section)?),
            "scribe" => SourceKind::Scribe(ScribeSource::read(section)?),
            "syslog" => SourceKind::Syslog(SyslogSource::read(section)?),
            "forward" => SourceKind::Forward(ForwardSource::read(section)?),
            "otlp" => SourceKind::Otlp(OtlpSource::read(section)?),
            "http" => SourceKind::Http(HttpSource::read(section)?),
            "gelf" => SourceKind::Gelf(GelfSource::read(section)?),
            "journald" => SourceKind::Journald(JournaldSource::read(section)?),
            "exec" => SourceKind::Exec(ExecSource::read(section)?),
            "heartbeat" => SourceKind::Heartbeat(HeartbeatSource::read(section)?),
            _ => SourceKind::Stdin,
        })
    }

    /// Where it listens on TCP.
    pub fn tcp_listeners(&self) -> Vec<&TcpSource> {
        match self {
            SourceKind::Tcp(tcp)
            | SourceKind::Scribe(ScribeSource { tcp, .. })
            | SourceKind::Http(HttpSource { tcp, .. }) => vec![tcp],
            SourceKind::Otlp(otlp) => otlp.grpc.iter().chain(&otlp.http).collect(),
            SourceKind::Syslog(SyslogSource { transport: Transport::Tcp(tcp) })
            | SourceKind::Forward(ForwardSource { transport: Transport::Tcp(tcp), .. })
            | SourceKind::Gelf(GelfSource { transport: Transport::Tcp(tcp), .. }) => vec![tcp],
            _ => vec![],
        }
    }

    /// Where it listens on UDP.
    pub fn udp_listener(&self) -> Option<&UdpSource> {
        match self {
            SourceKind::Udp(udp)
            | SourceKind::Syslog(SyslogSource { transport: Transport::Udp(udp) })
            | SourceKind::Gelf(GelfSource { transport: Transport::Udp(udp), .. }) => Some(udp),
            _ => None,
        }
    }

    /// Its Unix socket.
    pub fn unix_socket(&self) -> Option<&UnixSource> {
        match self {
            SourceKind::Unix(unix)
            | SourceKind::Syslog(SyslogSource { transport: Transport::Unix(unix) })
            | SourceKind::Forward(ForwardSource { transport: Transport::Unix(unix), .. }) => Some(unix),
            _ => None,
        }
    }
}

impl Source {
    /// Checks one source in TOML, whose keys are those of `[[adaptor.source]]`; errors name `file_name`. Without a name it
    /// gets one that none of `others` has. Reads the secret files that it names.
    ///
    /// # Errors
    /// As [`crate::Settings::parse`]. Whether it clashes with others is for [`Source::clash`] to tell.
    pub fn parse(file_name: &str, text: &str, others: &[Source]) -> Result<Source, Error> {
        let origin = Origin { file: file_name, text };
        let table = document::parse_table(origin, SOURCE)?;
        let section = Section::new(origin, SOURCE, &table, 0);
        let source_type = source_type(&section)?;
        let kind = SourceKind::read(source_type, &section)?;
        let name = match section.given("name") {
            Some(name) => name.name(NAME_BYTES_MAX)?,
            None => free_name(source_type, |name| others.iter().any(|other| other.name == name)),
        };
        Source::with_kind(name, kind, &section)
    }

    /// Why it cannot run beside `other`: the key and what is wrong with it, in one line. They may not share a name, nor
    /// take the same records in.
    pub fn clash(&self, other: &Source) -> Option<String> {
        if self.name == other.name {
            return Some(format!("key `{SOURCE}.name` is `{}`, the name of another source; choose another", self.name));
        }
        clash::between(self, other).map(|(key, message)| format!("key `{SOURCE}.{key}` {message}"))
    }

    /// A source with the defaults of its kind. Nothing is checked: names must be unique.
    pub fn new(name: impl Into<String>, kind: SourceKind) -> Source {
        Source::with_kind(name.into(), kind, &Section::defaults(SOURCE)).expect("the defaults are valid")
    }

    fn with_kind(name: String, kind: SourceKind, section: &Section<'_>) -> Result<Source, Error> {
        let category = match (section.given("category"), &kind) {
            (Some(category), _) => read_category(&category, &kind)?,
            (None, SourceKind::File(_)) => Template::file_stem(),
            (None, SourceKind::Forward(_)) => Template::field("tag"),
            (None, SourceKind::Otlp(_)) => Template::field("service.name"),
            (None, _) => Template::source_name(),
        };
        let format = section.get("format").choice(&FORMATS)?;
        Ok(Source {
            name,
            kind,
            format,
            parsing: Parsing::read(section, format)?,
            category,
            max_line: section.get("max_line").size(64..=4 << 20)? as usize,
            on_long_line: section.get("on_long_line").choice(&[
                ("truncate", OnLongLine::Truncate),
                ("split", OnLongLine::Split),
                ("drop", OnLongLine::Drop),
            ])?,
            attributes: section.get("attributes").texts()?,
        })
    }
}

fn read_category(value: &Value<'_>, kind: &SourceKind) -> Result<Template, Error> {
    let category: Template = value.parsed("text in quotes")?;
    if category.needs_category() {
        return Err(
            value.wrong("holds `{category}`, which only a rule's `set_category` can; use {source} or other text")
        );
    }
    match category.needs_file() && !matches!(kind, SourceKind::File(_)) {
        true => Err(value.wrong(format!(
            "names a file, which a source of type \"{}\" does not have; use {{source}} and {{host}} only",
            kind.type_name()
        ))),
        false => Ok(category),
    }
}

/// Reads every source, names those without a name, and refuses those that clash.
pub(crate) fn read_all(sections: &[Section<'_>]) -> Result<Vec<Source>, Error> {
    let mut names = names(sections)?.into_iter();
    let mut sources: Vec<Source> = Vec::with_capacity(sections.len());
    for section in sections {
        let source_type = source_type(section)?;
        let kind = SourceKind::read(source_type, section)?;
        let source = Source::with_kind(names.next().unwrap_or_default(), kind, section)?;
        if let Some((key, message)) = sources.iter().find_map(|other| clash::between(&source, other)) {
            return Err(section.wrong(key, &message));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// The type of a source, once none of its keys belongs to another type.
fn source_type(section: &Section<'_>) -> Result<&'static str, Error> {
    let found = section.required("type")?.choice(&SOURCE_TYPES.map(|name| (name, name)))?;
    for (name, _) in section.given_keys() {
        let key = keys::find(&format!("{SOURCE}.{name}"));
        if let Some(key) = key.filter(|key| !key.is_for(found)) {
            let types = key.types.join("\" or \"");
            let message = format!("belongs to a source of type \"{types}\", not \"{found}\"; remove it");
            return Err(section.wrong(name, &message));
        }
    }
    Ok(found)
}

/// The names of the sources: the given ones, and for the others the type with the first free number.
fn names(sections: &[Section<'_>]) -> Result<Vec<String>, Error> {
    let mut given = Vec::with_capacity(sections.len());
    for section in sections {
        let name = section.given("name").map(|name| name.name(NAME_BYTES_MAX)).transpose()?;
        if name.is_some() && given.contains(&name) {
            let name = name.unwrap_or_default();
            let message = format!("is `{name}`, the name of another source; names must be unique");
            return Err(section.wrong("name", &message));
        }
        given.push(name);
    }
    let mut names: Vec<String> = Vec::with_capacity(sections.len());
    for (section, name) in sections.iter().zip(&given) {
        let name = match name {
            Some(name) => name.clone(),
            None => {
                let source_type = source_type(section)?;
                let taken = |name: &str| names.iter().chain(given.iter().flatten()).any(|taken| taken == name);
                free_name(source_type, taken)
            }
        };
        names.push(name);
    }
    Ok(names)
}

/// The type, or else the type with the first number that makes it a name that is not `taken`.
fn free_name(source_type: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut numbered = (2..).map(|n| format!("{source_type}-{n}"));
    match taken(source_type) {
        false => source_type.to_owned(),
        true => numbered.find(|name| !taken(name)).unwrap_or_default(),
    }
}

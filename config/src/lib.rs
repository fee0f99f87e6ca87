//! Settings of every role of Logboom: read once, checked, turned into types that cannot be wrong.
//!
//! One TOML file may hold `[adaptor]`, `[collector]` and `[sink]`; [`Settings::parse`] turns its
//! text into checked types or into one line that names the file, the line, the key and the fix.
//! [`keys::KEYS`] is the one table of keys and defaults. It drives the check for unknown keys, the
//! values of keys that are absent, `Default` of the settings and [`defaults_toml`], so that they
//! cannot drift apart.
//!
//! This crate opens nothing but the settings file and the secret files that it names.

mod adaptor;
mod address;
mod byte_size;
mod client;
mod collector;
pub mod crash;
mod defaults;
mod describe;
mod document;
mod duration;
mod error;
pub mod keys;
mod pattern;
pub mod planted;
mod promote;
pub mod random;
mod route;
mod secret;
mod section;
mod settings;
mod severity;
mod shown;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sink;
mod source;
mod spool;
mod template;
mod tls;
mod token;

pub use adaptor::Adaptor;
pub use address::{COLLECTOR_PORT, is_loopback_name};
pub use byte_size::ByteSize;
pub use client::Client;
pub use collector::Collector;
pub use defaults::defaults_toml;
pub use duration::HumanDuration;
pub use error::{Error, Unparsable};
pub use pattern::{Globs, Pattern};
pub use promote::{Promoted, PromotedType, TABLE_COLUMNS};
pub use route::{Limit, Redaction, Route, Share};
pub use secret::Secret;
pub use settings::{SETTINGS_BYTES_MAX, Settings};
pub use severity::Severities;
pub use shown::{harmless, harmless_json, on_one_line};
pub use sink::{FileFormat, RetentionRule, Sink, SinkRoute};
pub use source::{
    Body, ExecSource, FileSource, Format, ForwardSource, GelfSource, HeartbeatSource, HttpSource, JournaldSource,
    Multiline, MultilineRule, OnLongLine, OtlpSource, Parsing, ReadFrom, ScribeSource, Source, SourceKind,
    SyslogSource, TcpSource, Time, TimeFormat, Transport, UdpSource, UnixSocketKind, UnixSource,
};
pub use spool::{Spool, WhenFull};
pub use template::{CATEGORY_BYTES_MAX, RecordValues, Template, TemplateValues, category_is_valid};
pub use tls::{ClientTls, Tls};
pub use token::{TokenHash, Tokens};

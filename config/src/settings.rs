//! A whole settings file: its sections, and what must hold between them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::document::{self, Origin};
use crate::error::Error;
use crate::shown::on_one_line;
use crate::{Adaptor, ByteSize, Collector, Sink};

/// The most bytes of a settings file: 1 MiB.
pub const SETTINGS_BYTES_MAX: u64 = 1 << 20;

/// The checked settings of one process: at least one section, and a sink if there is a collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `[adaptor]`, if this process is one.
    pub adaptor: Option<Adaptor>,
    /// `[collector]`, if this process is one.
    pub collector: Option<Collector>,
    /// `[sink]`: where a collector commits and queries read.
    pub sink: Option<Sink>,
}

impl Settings {
    /// Reads and checks the settings file at `path`, and the secret files that it names.
    ///
    /// # Errors
    /// If the file cannot be read, is larger than [`SETTINGS_BYTES_MAX`], is not UTF-8, or
    /// [`Settings::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Settings, Error> {
        let file = path.display().to_string();
        let bytes = read(path).map_err(|reason| Error::Unreadable { file: on_one_line(&file), reason })?;
        let text = String::from_utf8_lossy(&bytes);
        let origin = Origin { file: &file, text: &text };
        match std::str::from_utf8(&bytes) {
            Err(error) if bytes.len() as u64 <= SETTINGS_BYTES_MAX => {
                Err(origin.wrong(error.valid_up_to(), None, "is not UTF-8; save the file as UTF-8"))
            }
            _ => {
                let mut settings = Settings::parse(&file, &text)?;
                if let Some(collector) = &mut settings.collector {
                    collector.file = Some(path.to_owned());
                }
                Ok(settings)
            }
        }
    }

    /// Checks settings in TOML; errors name `file_name`. Reads the secret files that they name.
    ///
    /// # Errors
    /// If the text is not TOML, or a key is unknown, missing or has a value that it may not have:
    /// one line, for the first thing found.
    pub fn parse(file_name: &str, text: &str) -> Result<Settings, Error> {
        let origin = Origin { file: file_name, text };
        if text.len() as u64 > SETTINGS_BYTES_MAX {
            let message = format!("has more than {}; no settings need that much", ByteSize(SETTINGS_BYTES_MAX));
            return Err(origin.wrong(0, None, &message));
        }
        let document = document::parse(origin)?;
        let section = |name| document::section(origin, &document, name);
        let (adaptor, collector, sink) = (section("adaptor"), section("collector"), section("sink"));
        let settings = Settings {
            adaptor: adaptor.as_ref().map(Adaptor::read).transpose()?,
            collector: collector.as_ref().map(Collector::read).transpose()?,
            sink: sink.as_ref().map(Sink::read).transpose()?,
        };
        if adaptor.is_none() && collector.is_none() && sink.is_none() {
            let message = "has none of the sections [adaptor], [collector] and [sink]; write at least one";
            return Err(origin.wrong(0, None, message));
        }
        if let Some(collector) = collector {
            if settings.sink.is_none() {
                let message = "is missing; a collector needs a sink: add `[sink]` with `url = \"s3://bucket/prefix\"`";
                return Err(collector.at_head("sink.url", message));
            }
            if let Some(source) = settings.source_at_collector() {
                let message = format!("is the address of source `{source}` too; choose another port for one of them");
                return Err(collector.wrong("listen", &message));
            }
        }
        Ok(settings)
    }

    /// The TCP source that listens where the collector does.
    fn source_at_collector(&self) -> Option<&str> {
        let listen = self.collector.as_ref()?.listen;
        let sources = &self.adaptor.as_ref()?.sources;
        let clash = sources.iter().find(|source| {
            let mut listeners = source.kind.tcp_listeners().into_iter();
            listeners.any(|tcp| tcp.listen == listen && listen.port() != 0)
        });
        clash.map(|source| source.name.as_str())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SETTINGS_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

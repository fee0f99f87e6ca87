//! Where the table is that a command asks, as its options and a settings file say.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use logboom_config::{Settings, Sink};

use super::up::DEFAULT_STORE;

/// `[sink]` of this settings file, if there is a file and it has one.
pub fn sink_of(config: Option<&Path>) -> Result<Option<Sink>> {
    Ok(config.map(Settings::load).transpose()?.and_then(|settings| settings.sink))
}

/// Where the table of this file is, else the default place; and the options of its store.
pub fn place_of(config: Option<&Path>) -> Result<(String, BTreeMap<String, String>)> {
    let sink = sink_of(config)?;
    Ok(sink.map_or_else(|| (DEFAULT_STORE.to_owned(), BTreeMap::new()), |sink| (sink.url, sink.options)))
}

//! The file `sources.json` in the spool's folder: sources that were added while an adaptor ran.
//!
//! `{"version": 1, "added": [{"name": "…", "settings": "…"}]}`, the settings in TOML as they were given, without a name if
//! they had none. It is replaced in one durable step. A file that does not read is set aside under `quarantine/`.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing::error;

use crate::spool::{Spool, durable, quarantine};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    added: Vec<Added>,
}

/// One source that was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Added {
    pub(super) name: String,
    /// In TOML, with the keys of `[[adaptor.source]]`.
    pub(super) settings: String,
}

pub(super) fn path(spool: &Spool) -> PathBuf {
    spool.path().join("sources.json")
}

/// What was added and not removed since. What does not read is logged, set aside and counts as nothing.
pub(super) fn load(spool: &Spool) -> Vec<Added> {
    let path = path(spool);
    let read = match spool.disk().read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => Err(error.to_string()),
        Ok(bytes) => match serde_json::from_slice::<File>(&bytes) {
            Ok(File { version: VERSION, added }) => Ok(added),
            Ok(File { version, .. }) => Err(format!("it is of version {version}, and this adaptor knows {VERSION}")),
            Err(error) => Err(error.to_string()),
        },
    };
    read.unwrap_or_else(|reason| {
        error!(path = %path.display(), reason, "the sources that were added cannot be read; going on without them");
        let _ = quarantine::take(spool.disk(), spool.path(), &path);
        Vec::new()
    })
}

/// Makes `added` what [`load`] finds.
pub(super) fn store(spool: &Spool, added: Vec<Added>) -> io::Result<()> {
    let file = File { version: VERSION, added };
    durable::replace(spool.disk(), &path(spool), &serde_json::to_vec_pretty(&file).map_err(io::Error::other)?)
}

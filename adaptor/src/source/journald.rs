//! TODO: this module.

use logboom_config::{JournaldSource, Source};
use tokio_util::sync::CancellationToken;

use super::{Context, Running};

/// Opens the source.
pub(super) fn open(
    _source: Source,
    _settings: JournaldSource,
    _context: Context,
    _stop: CancellationToken,
) -> Result<Running, String> {
    Err("this type of source is not built yet".to_owned())
}

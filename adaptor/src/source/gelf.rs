//! TODO: this module.

use logboom_config::{GelfSource, Source};
use tokio_util::sync::CancellationToken;

use super::{Context, Running};

/// Opens the source.
pub(super) fn open(
    _source: Source,
    _settings: GelfSource,
    _context: Context,
    _stop: CancellationToken,
) -> Result<Running, String> {
    Err("this type of source is not built yet".to_owned())
}

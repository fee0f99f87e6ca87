//! Changes of what the table is: a commit of `metaData` alone.
//!
//! Everyone whose commit loses its version to such a change gets [`Outcome::Conflict`](super::Outcome::Conflict), and so
//! filters, and looks at what the table is, again. There is no identity to find an own change by: what counts is whether
//! the table is now as it was to be.

use bytes::Bytes;

use super::actions::{self, Action, CommitInfo, Metadata};
use super::view::View;
use crate::Error;
use crate::paths::new_id;

/// Sets a property of the table, if `agreed` by the view that the change is put upon. The view goes along to the newest
/// version; what [`View::property`] says then is what there is.
///
/// # Errors
/// The store fails again and again. The property may be set all the same: refresh the view to know.
pub async fn set_property(
    view: &mut View,
    key: &str,
    value: &str,
    agreed: impl Fn(&View) -> bool,
) -> Result<(), Error> {
    alter(view, "SET TBLPROPERTIES", |view| {
        if view.property(key) == Some(value) || !agreed(view) {
            return None;
        }
        let mut metadata = view.metadata().clone();
        metadata.configuration.insert(key.to_owned(), Some(value.to_owned()));
        Some(metadata)
    })
    .await
}

/// Commits what `change` makes of the newest view, until it makes no change.
pub(super) async fn alter(
    view: &mut View,
    operation: &str,
    change: impl Fn(&View) -> Option<Metadata>,
) -> Result<(), Error> {
    let timing = view.log().timing.clone();
    let mut tries = 0;
    while let Some(metadata) = change(view) {
        let now_ms = view.clock().now().wall.as_millisecond();
        let info = CommitInfo::new(&new_id().to_string(), operation, now_ms);
        let text = actions::write(&[Action::CommitInfo(info), Action::Metadata(metadata)]);
        // Never upon a view that may have missed the clean-up of the log.
        if view.is_stale() {
            view.reload().await?;
            continue;
        }
        let before = view.version();
        let put = view.log().put(before + 1, Bytes::from(text)).await;
        // Whatever the answer: what the log says is what happened.
        view.refresh().await?;
        if let (Err(error), true) = (put, view.version() == before) {
            tries += 1;
            if tries >= timing.attempts {
                return Err(error);
            }
            timing.pause(tries).await;
        }
    }
    Ok(())
}

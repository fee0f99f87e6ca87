//! Files that are followed as they grow and rotate.
//!
//! Owns which files are read, in which order and how far; the lines and their parsing are `line`'s, the memory that
//! waits for the disk is the intake's. Rows and the position behind them travel in one chunk, so that a restart goes on
//! exactly where the spool ends. What can happen to a file, and what becomes of it:
//!
//! | event | what becomes of it |
//! |---|---|
//! | renamed, with or without a match | followed under its new name to its end; its records keep the path at which it was discovered. After a restart it is searched for by inode in the folder where it was |
//! | moved to another folder, or deleted | the open file is read to its end, then forgotten. If the adaptor dies before that, the rest is lost |
//! | renamed out of the globs before its first position is durable, and the adaptor dies | missed: include the rotated names where that matters |
//! | truncated, also by copytruncate | read again from its beginning. Lines that copytruncate itself loses, those written between its copy and its truncation, are lost |
//! | truncated and grown again between two looks | noticed by the first 256 bytes being others. What was read meanwhile counts only if the file is the same after it. A file that begins with the very bytes that were read is taken for the same |
//! | inode taken by a new file | noticed by its time of birth, or else its first 256 bytes: a new file, read from its beginning |
//! | a last line without newline | waits. Once the file was renamed or deleted and nothing came for [`GRACE_LOOKS`] looks, or when it is truncated, it is a record; what comes later is a new line. When the adaptor stops it stays in the file for the restart |
//! | a record of several lines (`multiline`) that may go on | waits like a line without newline, but no longer than `multiline_timeout` |
//! | a container's line (`cri`, `docker-json`) whose last part is missing | waits like a line without newline. If the file was renamed and another one was found at its path, that one goes on with the line: it is read once nothing came to the renamed one for two looks. Its streams are apart: what one of them waits for holds the other not back |
//! | renamed before it was found, so that it never was at the container's path | nothing goes on with it: its unfinished line is a record, and the rest another |
//! | more files than `max_open` | those idle for longest are closed, and opened again when they change. One that is deleted while closed loses what was written since |
//!
//! `read_from = "end"` applies to files that exist when an adaptor starts on a fresh spool. It starts after the last
//! byte; if that is not a newline, the rest of that line is skipped too. The positions are durable before anything is read.

mod discover;
mod follow;
mod identity;
mod roster;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use logboom_config::{FileSource, Source};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::roster::Roster;
use super::{Context, Running};
use crate::intake::{Intake, Refused};

/// Looks without news after which a renamed or deleted file counts as finished by its writer, and without a trace
/// after which a missing one counts as gone: a listing that races with renames can miss a file.
const GRACE_LOOKS: u32 = 10;

/// Opens the source: checks the globs and looks at the files that exist now.
pub async fn open(
    source: Source,
    settings: FileSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    // Whoever drops the future stops the thread too.
    let stop = stop.child_token();
    let guard = stop.clone().drop_guard();
    let outlet = Outlet { intake: context.intake.clone(), runtime: Handle::current(), stop };
    let mut roster = Roster::new(Arc::new(source), settings, context, outlet)?;
    let first_look = tokio::task::spawn_blocking(move || {
        roster.look();
        roster
    });
    let roster = first_look.await.map_err(|error| format!("looking for files failed: {error}"))?;
    Ok(Box::pin(async move {
        let _guard = guard;
        // File reads block, so all of this source lives on a thread of its own.
        if let Err(error) = tokio::task::spawn_blocking(move || roster.run()).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }))
}

/// The source is told to stop, or the intake takes no more.
#[derive(Debug)]
struct Stopped;

/// Where chunks go, from a thread that may block.
struct Outlet {
    intake: Intake,
    runtime: Handle,
    stop: CancellationToken,
}

impl Outlet {
    /// Waits for `appending` to take a chunk, at most until `until`. `None` when it takes longer.
    ///
    /// What is not handed over when the source stops is read again after the restart.
    fn wait_for<T>(
        &self,
        appending: Pin<&mut impl Future<Output = Result<T, Refused>>>,
        until: Option<Instant>,
    ) -> Result<Option<T>, Stopped> {
        let patience = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                taken = appending => taken.map(Some).map_err(|_| Stopped),
                () = self.stop.cancelled() => Err(Stopped),
                () = patience => Ok(None),
            }
        })
    }

    fn check(&self) -> Result<(), Stopped> {
        if self.stop.is_cancelled() { Err(Stopped) } else { Ok(()) }
    }

    fn sleep_until(&self, until: Instant) -> Result<(), Stopped> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Stopped),
                () = tokio::time::sleep_until(until.into()) => Ok(()),
            }
        })
    }
}

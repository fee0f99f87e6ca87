//! What the first statement of a process pays for beside its own work: tables of functions that are made, pages of the planner's
//! code that are mapped. Here it is paid while the log of the table is read, by a core that has nothing else to do then.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use logboom_sink::table::Snapshot;
use logboom_sink::{FileFormat, Store};
use tokio::runtime::Builder;

use crate::error::Error;
use crate::session::Session;

/// Takes most of the planner's ways: functions, filters that prune, groups and an order.
const STATEMENT: &str = "select category, count(*), max(length(body)) from logs where severity_number >= 17 \
    and timestamp >= '2026-01-01T00:00:00Z' and body like '%a%' group by category order by 2 desc limit 9";

/// Begins to make ready for the first statement of this process, and does not wait for it.
pub fn warm_up() {
    // A thread and a runtime of its own, so that it is in the way of nobody who reads. An answer or none: it is about time,
    // and nothing else.
    std::thread::spawn(|| Builder::new_current_thread().build().is_ok_and(|own| own.block_on(ask_nothing()).is_ok()));
}

/// Asks a table without files.
async fn ask_nothing() -> Result<(), Error> {
    let url = "memory://";
    let store = Store::open(url, &BTreeMap::new()).map_err(|error| Error::from_sink(url, error))?;
    let nothing = Snapshot { version: 0, format: FileFormat::Parquet, files: Vec::new(), columns: Vec::new() };
    let rows = Session::over(nothing, &store)?.sql(STATEMENT).await?;
    rows.try_collect::<Vec<_>>().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_statement_that_makes_ready_can_be_answered() {
        super::ask_nothing().await.unwrap();
    }
}

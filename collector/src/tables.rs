//! The tables of a collector: those of the routes, and the default table that takes the rest.
//!
//! Owns how they are opened, and that all collectors of a default table have the same routes: they are a property of that
//! table. With other routes, what is left of a batch after a crash would go to other tables than what was committed
//! before it, and the same block from two collectors to two tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use logboom_config::{Globs, Sink, planted};
use logboom_sink::table::{self, Begun, DataFile, Outcome, TableOptions, View, checkpoint_due};
use logboom_sink::{Error, FileSettings, Store};
use logboom_wire::StreamId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::StartError;
use crate::routing::{Routing, text_of, urls_in};

/// The property of the default table that holds the routes.
const ROUTES_PROPERTY: &str = "logboom.routes";
const NO_ROUTES: &str = "[]";

/// A place for a table, and how Logboom is to treat it.
#[derive(Clone, Debug)]
pub struct TableSettings {
    /// The place.
    pub store: Store,
    /// How its files are made.
    pub files: FileSettings,
    /// How its log is kept.
    pub options: TableOptions,
}

impl TableSettings {
    /// Opens the place of these settings; the table itself is not looked at.
    ///
    /// # Errors
    /// The place cannot be one.
    pub fn open(sink: &Sink) -> Result<Self, Error> {
        let store = Store::open(&sink.url, &sink.options)?;
        Ok(Self { store, files: FileSettings::from(sink), options: TableOptions::from(sink) })
    }
}

/// A table that this collector commits to.
pub struct Table {
    /// Its place, and how it is treated.
    pub settings: TableSettings,
    /// The version that batches are filtered by and committed against.
    pub view: View,
    /// One checkpoint at a time.
    checkpointing: Arc<Semaphore>,
}

/// All tables, in the order in which they commit: the default table is the last.
pub struct Tables {
    tables: Vec<Table>,
    routing: Routing,
    /// The routes as the default table is to have them.
    routes: String,
}

impl Tables {
    /// Opens the default table and those of `routes`, and creates those that are missing. A default table that was never
    /// committed to takes these routes.
    ///
    /// # Errors
    /// A table cannot be used, or the default table is fed with other routes.
    pub async fn open(default: TableSettings, routes: Vec<(Globs, TableSettings)>) -> Result<Self, StartError> {
        let text = text_of(routes.iter().map(|(globs, table)| (globs, table.store.url().as_str())));
        let mut last = Table::open(default).await?;
        if routes_of(&last.view) != text {
            let unused = |view: &View| view.marks().is_empty();
            table::set_property(&mut last.view, ROUTES_PROPERTY, &text, unused).await?;
        }
        check_routes(&last, &text)?;
        let (globs, places): (Vec<Globs>, Vec<TableSettings>) = routes.into_iter().unzip();
        let mut tables = Vec::with_capacity(places.len() + 1);
        for place in places {
            let table = Table::open(place).await?;
            // By identity: a place may have several names. With one table for two parts, the first would move the marks
            // past the rows of the second.
            let same =
                tables.iter().chain([&last]).find(|other: &&Table| other.view.table_id() == table.view.table_id());
            if let Some(other) = same {
                let (url, other) = (table.settings.store.url().to_string(), other.settings.store.url().to_string());
                return Err(StartError::SameTable { url, other });
            }
            tables.push(table);
        }
        tables.push(last);
        Ok(Self { tables, routing: Routing::new(globs), routes: text })
    }

    /// Every table, the default table last.
    pub fn each(&self) -> &[Table] {
        &self.tables
    }

    /// The tables of the routes, and the default table.
    pub fn split_mut(&mut self) -> (&mut [Table], &mut Table) {
        let (default, routes) = self.tables.split_last_mut().expect("there is a default table");
        (routes, default)
    }

    /// The table whose marks decide what is done.
    pub fn default_table(&self) -> &Table {
        self.tables.last().expect("there is a default table")
    }

    /// Which table a record goes to.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Whether the default table still has our routes. To be asked before every commit to any table.
    ///
    /// # Errors
    /// It has others: nothing may be committed.
    pub fn check_routes(&self) -> Result<(), OtherRoutes> {
        check_routes(self.default_table(), &self.routes)
    }

    /// Brings all views to the newest version.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        for table in &mut self.tables {
            table.view.refresh().await?;
        }
        Ok(())
    }
}

impl Table {
    async fn open(settings: TableSettings) -> Result<Self, Error> {
        let view = View::open_or_create(&settings.store, &settings.options).await?;
        Ok(Self { settings, view, checkpointing: Arc::new(Semaphore::new(1)) })
    }

    /// Commits `files`, which were begun after `begun`, with these marks, for which the batch was filtered by this very
    /// view. Whether it did; if not, another collector was faster, and it has to be filtered again.
    ///
    /// # Errors
    /// The outcome is unknown: refresh the view, and filter again.
    pub async fn commit(
        &mut self,
        files: &[DataFile],
        begun: Option<Begun>,
        marks: &[(StreamId, u64)],
        background: &TaskTracker,
    ) -> Result<bool, Error> {
        let begun = begun.unwrap_or_else(|| self.view.begin_files());
        let rows: u64 = files.iter().map(|file| file.stats.records).sum();
        let table = self.settings.store.url().clone();
        let started = Instant::now();
        if planted::bug("refresh_before_commit") {
            self.view.refresh().await?;
        }
        match table::commit(&mut self.view, table::Batch { files, marks, begun }).await? {
            Outcome::Committed { version } => {
                info!(version, rows, files = files.len(), streams = marks.len(), commit_ms = started.elapsed().as_millis() as u64, %table, "committed");
                self.checkpoint(version, background);
                Ok(true)
            }
            Outcome::Conflict => {
                debug!(%table, "another collector has committed some of these blocks; filtering again");
                Ok(false)
            }
        }
    }

    /// Writes a checkpoint when one is due. A failing checkpoint is not a failing commit.
    fn checkpoint(&self, version: u64, background: &TaskTracker) {
        if !checkpoint_due(version, self.settings.options.checkpoint_interval) {
            return;
        }
        if !self.view.may_write_checkpoint() {
            let table = self.settings.store.url();
            info!(version, %table, "no checkpoint for an hour: by the clock more than a day has passed between two commits");
            return;
        }
        let Ok(permit) = self.checkpointing.clone().try_acquire_owned() else { return };
        let TableSettings { store, options, .. } = self.settings.clone();
        background.spawn(async move {
            let _permit = permit;
            match table::write_checkpoint(&store).await {
                Ok(version) => debug!(version, "checkpoint written"),
                Err(error) => {
                    warn!(%error, "cannot write a checkpoint; the next one will cover it");
                    return;
                }
            }
            if let Err(error) = table::clean_up(&store, &options).await {
                warn!(%error, "cannot clean up the log; trying again after the next checkpoint");
            }
        });
    }
}

fn routes_of(view: &View) -> &str {
    view.property(ROUTES_PROPERTY).unwrap_or(NO_ROUTES)
}

fn check_routes(default: &Table, routes: &str) -> Result<(), OtherRoutes> {
    match routes_of(&default.view) {
        theirs if theirs == routes => Ok(()),
        theirs => Err(OtherRoutes {
            url: default.settings.store.url().to_string(),
            theirs: theirs.to_owned(),
            ours: routes.to_owned(),
        }),
    }
}

/// Collectors of one default table have to have the same routes.
#[derive(Debug, thiserror::Error)]
#[error(
    "the table at `{url}` has the routes {theirs}, these settings have {ours}; write the same [[sink.route]] into the \
     settings of all its collectors, or stop them all and start one with --change-routes"
)]
pub struct OtherRoutes {
    url: String,
    theirs: String,
    ours: String,
}

/// What was found in the tables of the routes that a default table had.
#[derive(Debug, Default)]
pub struct ChangeOfRoutes {
    /// Whether the default table has the new routes now.
    pub changed: bool,
    /// Tables that had them already, and of each the number of streams of which it has blocks that the default table
    /// has not: after a crash that is the rest of a batch. Whoever takes it up has to have the old routes.
    pub unfinished: BTreeMap<String, usize>,
}

/// Gives the default table of `sink` the routes of `sink`, unless blocks are half committed by the old ones; with
/// `force` also then. Every collector of that table has to be stopped.
///
/// # Errors
/// A table cannot be read, or the default table not be written to.
pub async fn change_routes(sink: &Sink, force: bool) -> Result<ChangeOfRoutes, Error> {
    let default = TableSettings::open(sink)?;
    let mut view = View::open_or_create(&default.store, &default.options).await?;
    let mut text = Vec::new();
    let mut known = BTreeMap::new();
    for route in &sink.routes {
        let table = TableSettings::open(&route.sink)?;
        let url = table.store.url().to_string();
        known.insert(url.clone(), table);
        text.push((&route.categories, url));
    }
    let text = text_of(text.iter().map(|(globs, url)| (*globs, url.as_str())));
    let old = routes_of(&view).to_owned();
    let mut found = ChangeOfRoutes { changed: old == text, ..ChangeOfRoutes::default() };
    if found.changed {
        return Ok(found);
    }
    for url in urls_in(&old) {
        let place = known.get(&url).map_or_else(|| Store::open_to_read(&url, &sink.options), |at| Ok(at.store.clone()));
        let unfinished = match place {
            Ok(store) => unfinished(&store, &default.options, &view).await,
            Err(error) => Err(error),
        };
        match unfinished {
            Ok(0) => {}
            Ok(streams) => drop(found.unfinished.insert(url, streams)),
            Err(error) if force => warn!(%error, "a table of the old routes cannot be read"),
            Err(error) => return Err(error),
        }
    }
    if force || found.unfinished.is_empty() {
        table::set_property(&mut view, ROUTES_PROPERTY, &text, |view| routes_of(view) == old).await?;
        found.changed = routes_of(&view) == text;
    }
    Ok(found)
}

/// Streams of which the table at `store` has blocks that the default table has not.
async fn unfinished(store: &Store, options: &TableOptions, default: &View) -> Result<usize, Error> {
    let view = View::open(store, options).await?;
    Ok(view.marks().iter().filter(|(stream, mark)| **mark > default.mark(**stream)).count())
}

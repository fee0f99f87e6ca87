//! The sources of an adaptor: the one owner that opens, stops and lists them.
//!
//! Owns which sources there are, those of the settings and those that were added while the adaptor ran, and what each has
//! counted. What a source does is its own business (`source`); who may ask for one is `control`'s.
//!
//! What was added is in `sources.json` in the spool's folder before it is answered with yes, so it survives a restart; so
//! does its removal. The removal of a source of the settings lasts until the next start: the settings are the operator's
//! word. An added source that cannot be opened at a start, or that clashes with the settings by then, is logged and
//! listed with the reason, and does not keep the adaptor from starting.
//!
//! Positions of files and journals stay when their source is removed. One that is added under the same name goes on there.

mod stored;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use logboom_config::{Source, SourceKind};
use logboom_wire::Position;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::{self, Context, OpenError, Running};
use crate::spool::Spool;

/// The most sources that may have been added.
const ADDED_MAX: usize = 1000;
/// How long one source has to hand over what it holds when it is removed.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was handed over may take to be durable before a source is opened that may go on from there.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// What errors call the text of a source that is added.
const REQUEST: &str = "the request";

/// See the module.
pub(crate) struct Sources {
    context: Context,
    spool: Arc<Spool>,
    /// One change at a time. Held while sources are opened and stopped.
    changing: tokio::sync::Mutex<()>,
    list: Mutex<List>,
    stop: CancellationToken,
}

#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// What was added in earlier runs and is not understood now: a token file that is gone, say. Kept for the next start.
    left_out: Vec<stored::Added>,
    /// What removed sources have counted.
    removed: Counters,
}

struct Entry {
    source: Source,
    /// The settings of an added source, in TOML.
    added: Option<String>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    state: State,
}

enum State {
    /// Open, and about to run.
    Open(Running),
    Runs(JoinHandle<()>),
    Failed(String),
}

/// A source as others see it.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) source: Source,
    /// Whether it was added, and not in the settings.
    pub(crate) added: bool,
    pub(crate) running: bool,
    /// Why it could not be opened.
    pub(crate) error: Option<String>,
    pub(crate) counters: Arc<Counters>,
}

/// Why a source is not added or removed. One line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Its settings are wrong.
    #[error("{0}")]
    Wrong(String),
    /// It cannot be as things are: its name or its address is taken.
    #[error("{0}")]
    Conflict(String),
    /// Whoever asks may not add what runs programs.
    #[error(
        "a source that runs a program can be added through `adaptor.control_socket` only, or with the token of \
         `adaptor.control_token_file`; set one of them"
    )]
    Forbidden,
    /// There is none of this name.
    #[error("there is no source `{0}`")]
    Unknown(String),
    /// Not now.
    #[error("{0}; try again")]
    Busy(&'static str),
    /// The change cannot be made to last.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl Sources {
    /// No source yet. `context` counts what belongs to none.
    pub(crate) fn new(context: Context, spool: Arc<Spool>) -> Self {
        Self { context, spool, changing: Default::default(), list: Mutex::default(), stop: CancellationToken::new() }
    }

    /// Opens a source of the settings. It runs from [`Sources::run`] on.
    ///
    /// # Errors
    /// As [`source::open`].
    pub(crate) async fn open(&self, source: Source) -> Result<(), OpenError> {
        let entry = self.opened(source, None, self.context.clone()).await?;
        self.lock().entries.push(entry);
        Ok(())
    }

    /// Opens what was added in earlier runs, as far as that is possible.
    pub(crate) async fn open_added(&self) {
        for stored::Added { name, settings } in stored::load(&self.spool) {
            let others = self.sources();
            let source = match Source::parse("sources.json", &settings, &others) {
                Ok(source) => Source { name, ..source },
                Err(error) => {
                    warn!(source = name, %error, "a source that was added is left out");
                    self.lock().left_out.push(stored::Added { name, settings });
                    continue;
                }
            };
            let clash = others.iter().find_map(|other| source.clash(other));
            let context = self.context_of_added(&source, self.context.positions.as_ref().clone());
            let opened = match clash {
                Some(clash) => Err(clash),
                None => {
                    self.opened(source.clone(), Some(settings.clone()), context).await.map_err(|error| error.message)
                }
            };
            let entry = opened.unwrap_or_else(|error| {
                warn!(source = source.name, error, "a source that was added cannot be opened");
                let (counters, stop) = (Arc::default(), CancellationToken::new());
                Entry { source, added: Some(settings), counters, stop, state: State::Failed(error) }
            });
            self.lock().entries.push(entry);
        }
    }

    /// Lets every source run that is open.
    pub(crate) fn run(&self) {
        self.lock().entries.iter_mut().for_each(Entry::run);
    }

    /// Adds and runs the source that `settings` describe, in TOML; `trusted` is who may have programs run.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub(crate) async fn add(&self, settings: &str, trusted: bool) -> Result<Listed, Refusal> {
        let _changing = self.change().await?;
        let others = self.sources();
        let source = Source::parse(REQUEST, settings, &others).map_err(|error| Refusal::Wrong(error.to_string()))?;
        if runs_programs(&source) && !trusted {
            return Err(Refusal::Forbidden);
        }
        if let Some(clash) = others.iter().find_map(|other| source.clash(other)) {
            return Err(Refusal::Conflict(format!("{REQUEST}: {clash}")));
        }
        if self.lock().entries.iter().filter(|entry| entry.added.is_some()).count() >= ADDED_MAX {
            return Err(Refusal::Conflict(format!("{ADDED_MAX} sources were added already; remove some")));
        }
        let positions = match source.kind {
            SourceKind::File(_) | SourceKind::Journald(_) => self.settled_positions().await?,
            _ => Default::default(),
        };
        let context = self.context_of_added(&source, positions);
        let opened = self.opened(source, Some(settings.to_owned()), context).await;
        let mut entry = opened.map_err(|error| Refusal::Conflict(error.to_string()))?;
        let (name, new) = (entry.source.name.clone(), entry.stored());
        self.store(|stored| {
            stored.retain(|added| added.name != name);
            stored.extend(new);
        })
        .await?;
        // A stop that came meanwhile waits for this change, and the source's token has heard of it.
        entry.run();
        let listed = entry.listed();
        let mut list = self.lock();
        list.left_out.retain(|added| added.name != name);
        list.entries.push(entry);
        info!(source = listed.source.name, "source added: {}", listed.source.describe());
        Ok(listed)
    }

    /// Removes a source: it hands over what it took and is closed. For a source of the settings that lasts until the next
    /// start. Whether it was an added one.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub(crate) async fn remove(&self, name: &str) -> Result<bool, Refusal> {
        let _changing = self.change().await?;
        let known = |list: &List| list.entries.iter().position(|entry| entry.source.name == name);
        let (index, added) = {
            let list = self.lock();
            let index = known(&list);
            let left_out = list.left_out.iter().any(|added| added.name == name);
            (index, index.map_or(left_out, |index| list.entries[index].added.is_some()))
        };
        if index.is_none() && !added {
            return Err(Refusal::Unknown(name.to_owned()));
        }
        if added {
            self.store(|stored| stored.retain(|added| added.name != name)).await?;
        }
        let entry = {
            let mut list = self.lock();
            list.left_out.retain(|added| added.name != name);
            index.map(|index| list.entries.remove(index))
        };
        if let Some(entry) = entry {
            self.close(entry).await;
        }
        info!(source = name, "source removed");
        Ok(added)
    }

    async fn close(&self, entry: Entry) {
        let Entry { source, counters, stop, state, .. } = entry;
        stop.cancel();
        if let State::Runs(mut task) = state
            && timeout(REMOVE_TIMEOUT, &mut task).await.is_err()
        {
            warn!(
                source = source.name,
                "the source is slow to end; ending it without what it still holds unacknowledged"
            );
            task.abort();
        }
        counters.lag_bytes.set(0);
        self.lock().removed.add_all(&counters);
    }

    /// The right to change something.
    async fn change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        let changing = self.changing.lock().await;
        match self.stop.is_cancelled() {
            true => Err(Refusal::Busy("the adaptor is about to end")),
            false => Ok(changing),
        }
    }

    /// Makes durable what there is of added sources, as `edit` leaves it.
    async fn store(&self, edit: impl FnOnce(&mut Vec<stored::Added>)) -> Result<(), Refusal> {
        let mut added: Vec<_> = {
            let list = self.lock();
            list.entries.iter().filter_map(Entry::stored).chain(list.left_out.iter().cloned()).collect()
        };
        edit(&mut added);
        let spool = self.spool.clone();
        let stored = tokio::task::spawn_blocking(move || stored::store(&spool, added)).await;
        let path = stored::path(&self.spool);
        stored.unwrap_or_else(|error| Err(error.into())).map_err(|error| Refusal::Unwritable { path, error })
    }

    /// Every source, in the order in which they were opened.
    pub(crate) fn list(&self) -> Vec<Listed> {
        self.lock().entries.iter().map(Entry::listed).collect()
    }

    /// What all have counted, and what belongs to none.
    pub(crate) fn totals(&self) -> Counters {
        let totals = Counters::default();
        let list = self.lock();
        totals.add_all(&self.context.counters);
        totals.add_all(&list.removed);
        list.entries.iter().for_each(|entry| totals.add_all(&entry.counters));
        totals
    }

    /// What belongs to no source that there is.
    pub(crate) fn others(&self) -> Counters {
        let others = Counters::default();
        others.add_all(&self.context.counters);
        others.add_all(&self.lock().removed);
        others
    }

    /// What belongs to no source.
    pub(crate) fn own(&self) -> &Counters {
        &self.context.counters
    }

    /// Stops all and waits until they have handed over what they hold, at most for `patience`. Whether they have.
    pub(crate) async fn stop(&self, patience: Duration) -> bool {
        self.stop.cancel();
        let ended = async {
            join_all(self.take_tasks()).await;
            // One that was just added.
            let _changing = self.changing.lock().await;
            join_all(self.take_tasks()).await;
        };
        timeout(patience, ended).await.is_ok()
    }

    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for entry in &mut self.lock().entries {
            let ended = State::Failed("the adaptor ends".to_owned());
            if let State::Runs(task) = std::mem::replace(&mut entry.state, ended) {
                tasks.push(task);
            }
        }
        tasks
    }

    fn sources(&self) -> Vec<Source> {
        self.lock().entries.iter().map(|entry| entry.source.clone()).collect()
    }

    async fn opened(&self, source: Source, added: Option<String>, context: Context) -> Result<Entry, OpenError> {
        let (counters, stop) = (Arc::new(Counters::default()), self.stop.child_token());
        let context = Context { counters: counters.clone(), ..context };
        let running = source::open(source.clone(), context, stop.clone()).await?;
        Ok(Entry { source, added, counters, stop, state: State::Open(running) })
    }

    /// An added source is a fresh one, whatever the spool's age, until it has left a position.
    fn context_of_added(&self, source: &Source, positions: BTreeMap<String, String>) -> Context {
        let prefix = format!("file/{}/", source.name);
        let resumed = positions.keys().any(|key| key.starts_with(&prefix));
        Context { positions: Arc::new(positions), resumed, ..self.context.clone() }
    }

    /// The positions after everything that was handed over up to now, by sources that are gone since perhaps.
    async fn settled_positions(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let mut chunk = Chunk::default();
        // An empty value is forgotten.
        chunk.set_position(Position { key: "sources/settled".to_owned(), value: String::new() });
        let settled = async { self.context.intake.append_or_wait(chunk).await?.durable().await };
        match timeout(SETTLE_TIMEOUT, settled).await {
            Ok(Ok(())) => Ok(self.spool.positions()),
            Ok(Err(_)) => Err(Refusal::Busy("the adaptor is about to end")),
            Err(_) => Err(Refusal::Busy("the spool is full, so it is not known yet where the source would start")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn run(&mut self) {
        let none = State::Failed(String::new());
        self.state = match std::mem::replace(&mut self.state, none) {
            State::Open(running) => State::Runs(tokio::spawn(running)),
            other => other,
        };
    }

    fn stored(&self) -> Option<stored::Added> {
        let settings = self.added.clone()?;
        Some(stored::Added { name: self.source.name.clone(), settings })
    }

    fn listed(&self) -> Listed {
        Listed {
            source: self.source.clone(),
            added: self.added.is_some(),
            running: match &self.state {
                State::Open(_) => true,
                State::Runs(task) => !task.is_finished(),
                State::Failed(_) => false,
            },
            error: match &self.state {
                State::Failed(error) => Some(error.clone()),
                _ => None,
            },
            counters: self.counters.clone(),
        }
    }
}

/// Whether a source would let whoever may add it do what the adaptor's user may do.
fn runs_programs(source: &Source) -> bool {
    match &source.kind {
        SourceKind::Exec(_) => true,
        SourceKind::Journald(journald) => journald.journalctl.as_os_str() != "journalctl",
        _ => false,
    }
}

//! One snapshot of a table, opened for questions.
//!
//! Owns what a statement may do (read), how much memory it may take, and that two statements of a session see the
//! same commit. Opening again sees what was committed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::utils::conjunction;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use jiff::Timestamp;
use logboom_sink::table::Snapshot;
use logboom_sink::{FileFormat, Store};
use object_store::ObjectStore;

use crate::counts::CountByCategory;
use crate::error::Error;
use crate::functions;
use crate::json::{Indexes, JsonTable};
use crate::rows::Rows;
use crate::store::{CountingStore, Gap};
use crate::table::{Files, LogTable};
use crate::usage::Meter;
use crate::when::{AsOf, TimeRange};

/// The name of the one table.
const TABLE: &str = "logs";

/// Sorts, joins and groups beyond this go to the disk of the machine that asks.
const MEMORY_BYTES_MAX: usize = 2 << 30;

/// How many operators an error names that a query ran out of memory in.
const CONSUMERS_NAMED: usize = 3;

/// A snapshot of a table, open for queries.
#[derive(Debug)]
pub struct Session {
    contents: Contents,
    store: Arc<dyn ObjectStore>,
    gap: Gap,
    runtime: Arc<RuntimeEnv>,
    version: u64,
    range: TimeRange,
}

/// What a snapshot names, by the format of its table.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    /// Sink files.
    Parquet(Arc<Files>),
    /// Indexes of sink files.
    Json(Arc<Indexes>),
}

impl Contents {
    /// Number and bytes of the files, as far as they are known.
    pub(crate) fn total(&self) -> (u64, u64) {
        match self {
            Self::Parquet(files) => (files.count(), files.bytes()),
            Self::Json(indexes) => (indexes.count(), indexes.bytes()),
        }
    }

    fn table(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn TableProvider> {
        match self {
            Self::Parquet(files) => Arc::new(LogTable::new(files.clone(), store, store_url())),
            Self::Json(indexes) => Arc::new(JsonTable::new(indexes.clone(), store, store_url())),
        }
    }
}

impl Session {
    /// A session over this snapshot of the table in `store`.
    pub fn over(snapshot: Snapshot, store: &Store) -> Result<Self, Error> {
        let pool = TrackConsumersPool::new(
            FairSpillPool::new(MEMORY_BYTES_MAX),
            CONSUMERS_NAMED.try_into().expect("it is not zero"),
        );
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
        runtime.register_object_store(store_url().as_ref(), store.objects().clone());
        Ok(Self {
            version: snapshot.version,
            contents: match snapshot.format {
                FileFormat::Parquet => Contents::Parquet(Arc::new(Files::new(snapshot))),
                FileFormat::Json => Contents::Json(Arc::new(Indexes::new(snapshot))),
            },
            store: store.objects().clone(),
            gap: Gap::of(store.url()),
            runtime,
            range: TimeRange::default(),
        })
    }

    /// The version of the table that every query of this session sees.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Statements see only records with a timestamp in `range`.
    pub fn within(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub(crate) fn gap(&self) -> Gap {
        self.gap
    }

    /// Answers one statement. It is planned when this returns; rows are read as the answer is polled.
    pub async fn sql(&self, sql: &str) -> Result<Rows, Error> {
        let meter = Arc::new(Meter::default());
        let store = Arc::new(CountingStore::new(self.store.clone(), meter.clone(), self.gap));
        let mut context = SessionContext::new_with_config_rt(config(), self.runtime.clone());
        functions::register(&mut context)?;
        context.add_optimizer_rule(Arc::new(CountByCategory));
        context.register_table(TABLE, within(self.contents.table(store), self.range)?)?;

        let state = context.state();
        let statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        refuse_changes(&statement)?;
        let plan = state.statement_to_plan(statement).await?;
        // The plan is the second fence: it knows what the words have become.
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        let stream = context.execute_logical_plan(plan).await?.execute_stream().await?;
        Ok(Rows::new(stream, meter, self.contents.clone()))
    }
}

/// Opens the newest committed snapshot of the table at `url`, a folder or an object store's URL, with the store's
/// `options`. Nothing is created there.
pub async fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Session, Error> {
    let store = Store::open_to_read(url, options).map_err(|error| Error::from_sink(url, error))?;
    let snapshot = Snapshot::load(&store).await.map_err(|error| Error::from_sink(url, error))?;
    Session::over(snapshot, &store)
}

/// Opens the table as it was.
pub async fn open_as_of(url: &str, options: &BTreeMap<String, String>, as_of: AsOf) -> Result<Session, Error> {
    let store = Store::open_to_read(url, options).map_err(|error| Error::from_sink(url, error))?;
    let snapshot = match as_of {
        AsOf::Version(version) => Snapshot::load_at(&store, version).await,
        AsOf::Instant(instant) => Snapshot::load_as_of(&store, instant).await,
    };
    Session::over(snapshot.map_err(|error| Error::from_sink(url, error))?, &store)
}

/// A view of the table: the planner puts its filter together with those of the query, so that it prunes like them.
fn within(table: Arc<dyn TableProvider>, range: TimeRange) -> Result<Arc<dyn TableProvider>, Error> {
    let instant = |at: Timestamp| lit(ScalarValue::TimestampMicrosecond(Some(at.as_microsecond()), Some("UTC".into())));
    let since = range.since.map(|since| col("timestamp").gt_eq(instant(since)));
    let until = range.until.map(|until| col("timestamp").lt(instant(until)));
    let Some(filter) = conjunction(since.into_iter().chain(until)) else { return Ok(table) };
    let plan = LogicalPlanBuilder::scan(TABLE, provider_as_source(table), None)?.filter(filter)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn config() -> SessionConfig {
    let mut config =
        SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema("logboom", "public");
    let parquet = &mut config.options_mut().execution.parquet;
    // A filter runs on its own columns first, and the others are fetched only for the pages that it leaves over.
    parquet.pushdown_filters = true;
    parquet.reorder_filters = true;
    config
}

/// The planner looks stores up by URL; a session has one store, whatever it is in truth.
fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("logboom://table").expect("it is a URL")
}

fn refuse_changes(statement: &Statement) -> Result<(), Error> {
    use ast::Statement::{ExplainTable, Query, ShowColumns, ShowFunctions, ShowTables, ShowVariable};
    let reads = match statement {
        Statement::Explain(explain) => return refuse_changes(&explain.statement),
        Statement::Statement(statement) => matches!(
            **statement,
            Query(_)
                | ExplainTable { .. }
                | ShowColumns { .. }
                | ShowFunctions { .. }
                | ShowTables { .. }
                | ShowVariable { .. }
        ),
        _ => false,
    };
    if reads {
        return Ok(());
    }
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or("an empty statement");
    Err(Error::ReadOnly { statement: word.to_uppercase() })
}

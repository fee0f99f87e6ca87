//! One snapshot of a table, or of each of several, opened for questions.
//!
//! Owns what a statement may do (read), how much memory it may take, and that two statements of a session see the
//! same commit. Opening again sees what was committed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use logboom_sink::table::Snapshot;
use logboom_sink::{FileFormat, Store};

use crate::counts::CountByCategory;
use crate::error::Error;
use crate::functions;
use crate::json::Indexes;
use crate::rows::Rows;
use crate::table::Files;
use crate::tables::{self, Contents, LOGS, Table, store_url};
use crate::usage::Meter;
use crate::when::{AsOf, TimeRange};

/// Sorts, joins and groups beyond this go to the disk of the machine that asks.
const MEMORY_BYTES_MAX: usize = 2 << 30;

/// How many operators an error names that a query ran out of memory in.
const CONSUMERS_NAMED: usize = 3;

/// A snapshot of a table, or of several, open for queries.
#[derive(Debug)]
pub struct Session {
    tables: Arc<[Table]>,
    runtime: Arc<RuntimeEnv>,
    range: TimeRange,
}

impl Session {
    /// A session over this snapshot of the table in `store`.
    pub fn over(snapshot: Snapshot, store: &Store) -> Result<Self, Error> {
        let table = Table {
            name: LOGS.to_owned(),
            version: snapshot.version,
            contents: match snapshot.format {
                FileFormat::Parquet => Contents::Parquet(Arc::new(Files::new(snapshot))),
                FileFormat::Json => Contents::Json(Arc::new(Indexes::new(snapshot))),
            },
            store: store.objects().clone(),
            url: store.url().clone(),
        };
        Self::on(vec![table])
    }

    /// One session of several, each of a table: their tables by these names, and all records of them as `logs`.
    pub fn joined(sessions: Vec<(String, Self)>) -> Result<Self, Error> {
        let named = sessions.into_iter().flat_map(|(name, session)| {
            let named = |table: &Table| Table { name: name.clone(), ..table.clone() };
            session.tables.iter().map(named).collect::<Vec<_>>()
        });
        Self::on(named.collect())
    }

    fn on(tables: Vec<Table>) -> Result<Self, Error> {
        let pool = TrackConsumersPool::new(
            FairSpillPool::new(MEMORY_BYTES_MAX),
            CONSUMERS_NAMED.try_into().expect("it is not zero"),
        );
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
        for (index, table) in tables.iter().enumerate() {
            runtime.register_object_store(store_url(index).as_ref(), table.store.clone());
        }
        Ok(Self { tables: tables.into(), runtime, range: TimeRange::default() })
    }

    /// The version of the table that every query of this session sees; of several tables, of the first.
    pub fn version(&self) -> u64 {
        self.tables.first().map_or(0, |table| table.version)
    }

    /// Statements see only records with a timestamp in `range`.
    pub fn within(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    pub(crate) fn tables(&self) -> &Arc<[Table]> {
        &self.tables
    }

    pub(crate) fn config(&self) -> SessionConfig {
        let mut config =
            SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema("logboom", "public");
        let options = config.options_mut();
        // A filter runs on its own columns first, and the others are fetched only for the pages that it leaves over.
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.reorder_filters = true;
        // Below a union this rule finds the same column with and without a table's name, and gives up with an error.
        options.optimizer.enable_leaf_expression_pushdown = self.tables.len() == 1;
        config
    }

    /// Answers one statement. It is planned when this returns; rows are read as the answer is polled.
    pub async fn sql(&self, sql: &str) -> Result<Rows, Error> {
        let meter = Arc::new(Meter::default());
        let (context, plan) = self.plan(sql, self.config(), &self.tables, &meter).await?;
        context.add_optimizer_rule(Arc::new(CountByCategory));
        let stream = context.execute_logical_plan(plan).await?.execute_stream().await?;
        Ok(Rows::new(stream, meter, self.tables.clone()))
    }

    /// What a statement means over these tables, and where it can be executed; nothing is read yet.
    pub(crate) async fn plan(
        &self,
        sql: &str,
        config: SessionConfig,
        tables: &[Table],
        meter: &Arc<Meter>,
    ) -> Result<(SessionContext, LogicalPlan), Error> {
        let mut context = SessionContext::new_with_config_rt(config, self.runtime.clone());
        functions::register(&mut context)?;
        tables::register(tables, self.range, meter, &context)?;

        let state = context.state();
        let statement = state.sql_to_statement(sql, &state.config_options().sql_parser.dialect)?;
        refuse_changes(&statement)?;
        let plan = state.statement_to_plan(statement).await?;
        // The plan is the second fence: it knows what the words have become.
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        Ok((context, plan))
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

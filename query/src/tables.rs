//! The tables of a session, each by its name, and all of them together as `logs`.
//!
//! Where there is one, `logs` is that table. Where there are several, `logs` is all of their records: every column that
//! one of them has, null in the records of those that lack it. Filters reach each table, and prune there.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::{SessionContext, ident, lit};
use datafusion::scalar::ScalarValue;
use jiff::Timestamp;
use logboom_sink::schema::PARTITION_COLUMN;
use object_store::ObjectStore;
use url::Url;

use crate::error::Error;
use crate::json::{Indexes, JsonTable};
use crate::store::{CountingStore, Gap};
use crate::table::{Files, LogTable};
use crate::usage::Meter;
use crate::when::TimeRange;

/// The name of all records.
pub(crate) const LOGS: &str = "logs";

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
    fn total(&self) -> (u64, u64) {
        match self {
            Self::Parquet(files) => (files.count(), files.bytes()),
            Self::Json(indexes) => (indexes.count(), indexes.bytes()),
        }
    }
}

/// A table of the session.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) contents: Contents,
    pub(crate) version: u64,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where it is, as others name it.
    pub(crate) url: Url,
}

impl Table {
    /// Its store, counted by `meter`.
    pub(crate) fn counted(&self, meter: &Arc<Meter>) -> Arc<CountingStore> {
        Arc::new(CountingStore::new(self.store.clone(), meter.clone(), Gap::of(&self.url)))
    }

    fn provider(&self, url: ObjectStoreUrl, meter: &Arc<Meter>) -> Arc<dyn TableProvider> {
        let store = self.counted(meter);
        match &self.contents {
            Contents::Parquet(files) => Arc::new(LogTable::new(files.clone(), store, url)),
            Contents::Json(indexes) => Arc::new(JsonTable::new(indexes.clone(), store, url)),
        }
    }
}

/// Number and bytes of the files of all of them.
pub(crate) fn total(tables: &[Table]) -> (u64, u64) {
    tables.iter().map(|table| table.contents.total()).fold((0, 0), |(files, bytes), (f, b)| (files + f, bytes + b))
}

/// The planner looks stores up by URL; each table has one, whatever it is in truth.
pub(crate) fn store_url(index: usize) -> ObjectStoreUrl {
    ObjectStoreUrl::parse(format!("logboom://table-{index}")).expect("it is a URL")
}

/// Makes the records of `range` known to the planner, through stores that `meter` counts.
pub(crate) fn register(
    tables: &[Table],
    range: TimeRange,
    meter: &Arc<Meter>,
    context: &SessionContext,
) -> Result<(), Error> {
    let providers: Vec<_> =
        tables.iter().enumerate().map(|(index, table)| table.provider(store_url(index), meter)).collect();
    if let ([only], [table]) = (&providers[..], tables) {
        let only = within(LOGS, only.clone(), range)?;
        context.register_table(LOGS, only.clone())?;
        if table.name != LOGS {
            context.register_table(table.name.as_str(), only)?;
        }
        return Ok(());
    }
    let columns = common(&providers.iter().map(|provider| provider.schema()).collect::<Vec<_>>());
    let mut all: Option<LogicalPlanBuilder> = None;
    for (table, provider) in tables.iter().zip(providers) {
        let schema = provider.schema();
        let ranged = within(&table.name, provider, range)?;
        let plan = LogicalPlanBuilder::scan(&table.name, provider_as_source(ranged.clone()), None)?;
        let exprs: Vec<Expr> = columns.fields().iter().map(|field| conformed(field, &schema)).collect();
        let plan = plan.project(exprs)?;
        all = Some(match all {
            Some(all) => all.union(plan.build()?)?,
            None => plan,
        });
        context.register_table(table.name.as_str(), ranged)?;
    }
    if let Some(all) = all {
        context.register_table(LOGS, view(all.build()?))?;
    }
    Ok(())
}

/// The columns of all: those that the first has, then what others have besides; the partition column is the last.
fn common(schemas: &[SchemaRef]) -> Schema {
    let mut fields: Vec<Field> = Vec::new();
    for field in schemas.iter().flat_map(|schema| schema.fields()) {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            None => fields.push(field.as_ref().clone().with_nullable(true)),
            Some(known) if known.data_type() != field.data_type() => {
                let data_type = both(known.data_type(), field.data_type());
                known.set_data_type(data_type);
            }
            Some(_) => {}
        }
    }
    let (date, mut others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|field| field.name() == PARTITION_COLUMN);
    others.extend(date);
    Schema::new(others)
}

/// A type that has the values of both.
fn both(one: &DataType, other: &DataType) -> DataType {
    let is = |data_type: &DataType| one == data_type || other == data_type;
    match () {
        () if is(&DataType::BinaryView) && is(&DataType::Binary) => DataType::BinaryView,
        () if is(&DataType::Float64) && (is(&DataType::Int64) || is(&DataType::Int32)) => DataType::Float64,
        () if is(&DataType::Int64) && is(&DataType::Int32) => DataType::Int64,
        () => DataType::Utf8View,
    }
}

/// The column of a table with this schema as all of them have it.
fn conformed(wanted: &Field, schema: &Schema) -> Expr {
    let column = match schema.field_with_name(wanted.name()) {
        Ok(field) if field.data_type() == wanted.data_type() => ident(wanted.name()),
        Ok(_) => cast(ident(wanted.name()), wanted.data_type().clone()),
        Err(_) => cast(lit(ScalarValue::Null), wanted.data_type().clone()),
    };
    column.alias(wanted.name())
}

/// A view of the table: the planner puts its filter together with those of the query, so that it prunes like them.
fn within(name: &str, table: Arc<dyn TableProvider>, range: TimeRange) -> Result<Arc<dyn TableProvider>, Error> {
    let instant = |at: Timestamp| lit(ScalarValue::TimestampMicrosecond(Some(at.as_microsecond()), Some("UTC".into())));
    let since = range.since.map(|since| ident("timestamp").gt_eq(instant(since)));
    let until = range.until.map(|until| ident("timestamp").lt(instant(until)));
    let Some(filter) = conjunction(since.into_iter().chain(until)) else { return Ok(table) };
    Ok(view(LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.filter(filter)?.build()?))
}

fn view(plan: LogicalPlan) -> Arc<dyn TableProvider> {
    Arc::new(ViewTable::new(plan, None))
}

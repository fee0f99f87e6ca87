//! A query that a Ballista cluster answers, so that one machine is not the limit.
//!
//! It is planned here, by the table's log, and files are pruned as they always are. The plan goes to the scheduler with
//! its files named as executors reach them, who have the store's credentials themselves. What needs no file, such as
//! `DESCRIBE`, is answered here.

use std::sync::Arc;

use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt as _;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use object_store::path::Path;
use url::{Position, Url};

use crate::cluster::Cluster;
use crate::error::{Error, reason};
use crate::functions;
use crate::rows::Rows;
use crate::session::Session;
use crate::tables::{Contents, Table, store_url, total};
use crate::usage::Meter;

/// A query is cut into as many parts as there are files, within these limits.
const PARTS: std::ops::RangeInclusive<u64> = 16..=256;

impl Session {
    /// Answers one statement as [`Session::sql`] does, but has the files read and the work done by a cluster. Its executors
    /// must reach the table by its URL.
    ///
    /// # Errors
    /// [`Error::Cluster`] for what only this machine can do: tables in JSON, tables in memory, Logboom's own functions.
    pub async fn sql_on(&self, cluster: &Cluster, sql: &str) -> Result<Rows, Error> {
        let failed = |reason: String| Error::from_cluster(cluster, reason);
        let (files, _) = total(self.tables());
        let parts = files.clamp(*PARTS.start(), *PARTS.end()) as usize;
        let tls = cluster.scheduler().starts_with("https:");
        let config = self.config().with_target_partitions(parts).upgrade_for_ballista().with_ballista_use_tls(tls);
        let meter = Arc::new(Meter::elsewhere());
        let tables: Vec<Table> = self.tables().iter().map(without_views).collect();
        let (context, plan) = self.plan(sql, config.clone(), &tables, &meter).await?;
        if let Some(function) = own_function(&plan)? {
            return Err(failed(format!("it does not have the function `{function}`; ask without --remote")));
        }
        let planned = context.state().create_physical_plan(&plan).await?;
        let places: Vec<_> = tables.iter().map(|table| place(&table.url)).collect();
        let mut reads = false;
        let sent = planned.transform_up(|node| {
            let Some(scan) = node.downcast_ref::<DataSourceExec>() else { return Ok(Transformed::no(node)) };
            let Some(files) = scan.data_source().downcast_ref::<FileScanConfig>() else {
                return Ok(Transformed::no(node));
            };
            reads = true;
            named_for_executors(files, &places).map(Transformed::yes)
        });
        let sent = sent.map_err(|error| failed(reason(&error)))?.data;
        if !reads {
            return self.sql(sql).await;
        }
        let stream = execute_physical_plan::<PhysicalPlanNode>(
            cluster.scheduler().to_owned(),
            &config.ballista_config(),
            sent,
            config.ballista_physical_extension_codec().as_ref(),
            context.session_id(),
            config.clone(),
        )
        .await;
        let stream = stream.map_err(|error| failed(reason(&error)))?;
        Ok(Rows::new(stream, meter, self.tables().clone()))
    }
}

fn without_views(table: &Table) -> Table {
    let contents = match &table.contents {
        Contents::Parquet(files) => Contents::Parquet(Arc::new(files.without_views())),
        json => json.clone(),
    };
    Table { contents, ..table.clone() }
}

/// A function in the plan that executors do not have.
fn own_function(plan: &LogicalPlan) -> PlanResult<Option<String>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| match expr {
                Expr::ScalarFunction(call) if functions::is_ours(call.name()) => {
                    found = Some(call.name().to_owned());
                    Ok(TreeNodeRecursion::Stop)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    Ok(found)
}

/// The store that a table is in, and where it is in there. In words, why nobody else finds it.
fn place(url: &Url) -> Result<(ObjectStoreUrl, Path), String> {
    let unfit = |error: &dyn std::fmt::Display| format!("{url} is no place that others could read: {error}");
    if url.scheme() == "memory" {
        return Err(unfit(&"it is in the memory of this process"));
    }
    let store = ObjectStoreUrl::parse(&url[..Position::BeforePath]).map_err(|error| unfit(&error))?;
    Ok((store, Path::from_url_path(url.path()).map_err(|error| unfit(&error))?))
}

fn named_for_executors(
    files: &FileScanConfig,
    places: &[Result<(ObjectStoreUrl, Path), String>],
) -> PlanResult<Arc<dyn ExecutionPlan>> {
    if files.file_source().downcast_ref::<ParquetSource>().is_none() {
        let json = "executors cannot read tables with `format = \"json\"`; ask without --remote";
        return Err(DataFusionError::Plan(json.to_owned()));
    }
    let table = (0..places.len()).find(|index| store_url(*index) == files.object_store_url);
    let place = &places[table.expect("a session has no other files")];
    let (store, folder) = place.as_ref().map_err(|reason| DataFusionError::Plan(reason.clone()))?;
    let named = |group: &FileGroup| {
        let files = group.iter().cloned().map(|mut file| {
            file.object_meta.location = folder.parts().chain(file.object_meta.location.parts()).collect();
            file
        });
        FileGroup::new(files.collect())
    };
    let mut renamed = files.clone();
    renamed.object_store_url = store.clone();
    renamed.file_groups = files.file_groups.iter().map(named).collect();
    Ok(DataSourceExec::from_data_source(renamed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_in_a_store_at_a_path() {
        let at = |url: &str| place(&Url::parse(url).unwrap()).map(|(store, path)| format!("{store} {path}"));
        assert_eq!(at("file:///var/lib/logs/").unwrap(), "file:/// var/lib/logs");
        assert_eq!(at("s3://bucket/some%20logs").unwrap(), "s3://bucket/ some logs");
        assert_eq!(at("s3://bucket").unwrap(), "s3://bucket/ ");
        assert!(at("memory://").unwrap_err().contains("memory of this process"));
    }
}

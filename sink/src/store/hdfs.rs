//! HDFS, with the cargo feature `hdfs`: no Java and no C. Put-if-absent is a file written under another name and a
//! rename that does not overwrite, which the name node does in one step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::Error;

/// Opens a folder of HDFS. Options are Hadoop's own (`dfs.nameservices` …), over those in `$HADOOP_CONF_DIR`; they are
/// not checked here.
pub(super) fn open(url: &Url, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>, Error> {
    let bad = |reason: String| Error::BadUrl { url: url.to_string(), reason };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no name node; write `hdfs://namenode:9000/folder`".into()));
    }
    let prefix = Path::from_url_path(url.path()).map_err(|e| bad(e.to_string()))?;
    let mut root = url.clone();
    root.set_path("");
    let options: HashMap<String, String> = options.clone().into_iter().collect();
    let client = HdfsObjectStoreBuilder::new().with_url(root.as_str()).with_config(options).build();
    Ok(Arc::new(PrefixStore::new(client.map_err(|e| bad(e.to_string()))?, prefix)))
}

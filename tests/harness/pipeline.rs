//! A whole pipeline: adaptors, collectors, one table in a folder or a bucket, and the ledger of its producers.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use logboom_config::Globs;
use tempfile::TempDir;

use super::producer::{FileProducer, Pace, SocketProducer, Target};
use super::verified::Verified;
use super::{Bucket, Network, Node, PATIENCE, free_port, logboom, quoted, run, wait_until};
use crate::oracle::{Account, Ledger, Promise, Table, Verdict, judge, segments};

/// What a pipeline is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub adaptors: usize,
    pub collectors: usize,
    /// Lines of the adaptors' settings under `[adaptor]`.
    pub adaptor: &'static str,
    /// Lines of their settings under `[adaptor.spool]`.
    pub spool: &'static str,
    /// Lines of the collectors' settings under `[collector]`.
    pub collector: &'static str,
    /// Lines of the collectors' settings under `[sink]`.
    pub sink: &'static str,
    /// Categories that go to tables of their own, by route.
    pub routes: &'static [&'static [&'static str]],
    /// The format of the sink files.
    pub format: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            adaptors: 1,
            collectors: 1,
            adaptor: "drain_timeout = \"20s\"",
            spool: "linger = \"20ms\"\nblock_size = \"16KiB\"\nsegment_size = \"64KiB\"",
            collector: "flush_interval = \"200ms\"",
            sink: "checkpoint_interval = 10",
            routes: &[],
            format: "parquet",
        }
    }
}

/// One adaptor with its folders.
pub struct AdaptorNode {
    pub node: Node,
    pub spool: PathBuf,
    /// Files here, by names that hold `.log`, are followed.
    pub logs: PathBuf,
    pub socket: PathBuf,
    pub tcp: u16,
    /// Port and Unix socket of the source that a test has added.
    pub extra: (u16, PathBuf),
}

impl AdaptorNode {
    /// Where its socket producers send to: every other one has a Unix socket.
    pub fn target(&self, index: usize) -> Target {
        match index % 2 {
            0 => Target::Unix(self.socket.clone()),
            _ => Target::Tcp(self.tcp),
        }
    }

    /// Waits until it takes records.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.node.wait_for("adaptor started", PATIENCE);
        wait_until("the adaptor listens", PATIENCE, || UnixStream::connect(&self.socket).is_ok());
    }
}

/// One collector.
pub struct CollectorNode {
    pub node: Node,
    /// Where it listens.
    pub address: String,
    pub port: u16,
    /// On a machine of its own, where only its adaptor reaches it.
    is_remote: bool,
}

impl CollectorNode {
    /// Waits until it takes blocks.
    #[track_caller]
    pub fn wait_ready(&self) {
        if self.is_remote {
            self.node.wait_for("collector started", PATIENCE);
            return;
        }
        wait_until("the collector listens", PATIENCE, || TcpStream::connect(&self.address).is_ok());
    }
}

/// How adaptors reach their collectors.
#[derive(Clone, Copy)]
enum Way<'a> {
    Straight,
    /// At other ports.
    Through(&'a dyn Fn(&[u16]) -> Vec<u16>),
    /// On machines of their own.
    Over(&'a Network),
}

/// See the module.
pub struct Pipeline {
    // Processes end before the folder is deleted.
    pub adaptors: Vec<AdaptorNode>,
    pub collectors: Vec<CollectorNode>,
    pub ledger: Ledger,
    pub pace: Arc<Pace>,
    table: Table,
    folder: TempDir,
}

impl Pipeline {
    /// Lays out folders and settings. Nothing is started yet.
    pub fn new(plan: Plan) -> Self {
        Self::with_source(plan, "")
    }

    /// The same with its table in a bucket.
    pub fn in_bucket(plan: Plan, bucket: &Bucket) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::lay_out(plan, "", folder, &[&bucket.sink], bucket.table.clone(), Way::Straight)
    }

    /// The same with a sink of its own for each collector, all of them ways to one table.
    pub fn with_sinks(plan: Plan, sinks: &[&str], table: Table) -> Self {
        Self::lay_out(plan, "", tempfile::tempdir().unwrap(), sinks, table, Way::Straight)
    }

    /// Collectors that adaptors reach at other ports, which `through` gives.
    pub fn behind(plan: Plan, through: impl Fn(&[u16]) -> Vec<u16>) -> Self {
        let (folder, sink, table) = folder_with_table();
        Self::lay_out(plan, "", folder, &[&sink], table, Way::Through(&through))
    }

    /// The same with each process on a machine of its own, and the table in a folder that they share.
    pub fn in_network(plan: Plan, network: &Network) -> Self {
        let (folder, sink, table) = folder_with_table();
        let mut pipeline = Self::lay_out(plan, "", folder, &[&sink], table, Way::Over(network));
        pipeline.adaptors.iter_mut().for_each(|adaptor| adaptor.node.wrap(&network.at_adaptor()));
        for (index, collector) in pipeline.collectors.iter_mut().enumerate() {
            collector.node.wrap(&network.at_collector(index));
        }
        pipeline
    }

    /// The same with one more source on every adaptor, given by the lines of its settings with `{port}` for its port and
    /// `{socket}` for the path of its Unix socket.
    pub fn with_source(plan: Plan, source: &str) -> Self {
        let (folder, sink, table) = folder_with_table();
        Self::lay_out(plan, source, folder, &[&sink], table, Way::Straight)
    }

    fn lay_out(plan: Plan, source: &str, folder: TempDir, sinks: &[&str], table: Table, way: Way<'_>) -> Self {
        let root = folder.path();
        let routes: Vec<(Globs, PathBuf)> = plan
            .routes
            .iter()
            .enumerate()
            .map(|(index, categories)| {
                (Globs::new(categories.iter().copied()).unwrap(), root.join(format!("store-{index}")))
            })
            .collect();
        let of_route = |(globs, folder): &(Globs, PathBuf)| {
            format!("[[sink.route]]\ncategories = {:?}\nurl = {}\n", globs.texts(), quoted(folder))
        };
        let routes_settings: String = routes.iter().map(of_route).collect();
        let collectors: Vec<CollectorNode> = (0..plan.collectors)
            .map(|index| {
                let (port, sink) = (free_port(), sinks[index % sinks.len()]);
                let address = match way {
                    Way::Over(network) => format!("{}:{port}", network.collector_address(index)),
                    _ => format!("127.0.0.1:{port}"),
                };
                let settings = format!(
                    "[collector]\nlisten = {address:?}\n{}\n[sink]\nformat = {:?}\n{}\n{sink}\n{routes_settings}",
                    plan.collector, plan.format, plan.sink,
                );
                let node = node(root, "collector", &format!("collector-{index}"), &settings);
                CollectorNode { node, address, port, is_remote: matches!(way, Way::Over(_)) }
            })
            .collect();
        let mut addresses: Vec<String> = collectors.iter().map(|collector| collector.address.clone()).collect();
        if let Way::Through(through) = way {
            let ports = through(&collectors.iter().map(|collector| collector.port).collect::<Vec<u16>>());
            addresses = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        }
        let adaptors =
            (0..plan.adaptors).map(|index| adaptor(root, &plan, &addresses, &format!("adaptor-{index}"), source));
        let adaptors = adaptors.collect();
        let table = table.with_routes(routes);
        Self { adaptors, collectors, ledger: Ledger::default(), pace: Arc::default(), table, folder }
    }

    /// Lays out and starts.
    pub fn start(plan: Plan) -> Self {
        let mut pipeline = Self::new(plan);
        pipeline.start_collectors();
        pipeline.start_adaptors();
        pipeline
    }

    pub fn start_collectors(&mut self) {
        self.collectors.iter_mut().for_each(|collector| collector.node.start());
        self.collectors.iter().for_each(CollectorNode::wait_ready);
    }

    pub fn start_adaptors(&mut self) {
        self.adaptors.iter_mut().for_each(|adaptor| adaptor.node.start());
        self.adaptors.iter().for_each(AdaptorNode::wait_ready);
    }

    /// Starts an adaptor that does not run any more.
    pub fn start_adaptor(&mut self, index: usize) {
        self.adaptors[index].node.start();
        self.adaptors[index].wait_ready();
    }

    /// Waits until all of them are up, so far that they end in order when they are told to.
    #[track_caller]
    pub fn wait_ready(&self) {
        for collector in &self.collectors {
            collector.node.wait_for("collector started", PATIENCE);
        }
        self.adaptors.iter().for_each(AdaptorNode::wait_ready);
    }

    /// `text` with port and socket of the source that the test has added to the first adaptor.
    pub fn address_of(&self, text: &str) -> String {
        filled(text, &self.adaptors[0].extra)
    }

    /// The bodies in the table, byte for byte.
    pub fn rows(&mut self) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        self.table.visit(|_, rows| {
            let rows = rows.unwrap_or_else(|error| panic!("{error}")).to_vec();
            bodies.extend(rows.into_iter().map(|row| row.original.unwrap_or_else(|| row.body.into_bytes())));
        });
        bodies
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A socket producer on adaptor `index`, which sends `last` records in groups of up to 50.
    pub fn socket_producer(&self, index: usize, last: u64, length: usize) -> SocketProducer {
        self.other_socket_producer(index, &format!("socket-{index}"), last, length)
    }

    /// The same under another name.
    pub fn other_socket_producer(&self, index: usize, name: &str, last: u64, length: usize) -> SocketProducer {
        let target = self.adaptors[index].target(index);
        SocketProducer::start(self.account(name), target, self.pace.clone(), last, 50, length)
    }

    /// A file producer on adaptor `index`, which writes `last` records and rotates after every `rotate_after`.
    pub fn file_producer(&self, index: usize, last: u64, rotate_after: u64, length: usize) -> FileProducer {
        let account = self.account(&format!("file-{index}"));
        FileProducer::start(account, &self.adaptors[index].logs, self.pace.clone(), last, rotate_after, length)
    }

    fn account(&self, producer: &str) -> Arc<Account> {
        self.ledger.open(producer)
    }

    /// The verdict on the table as it is now.
    pub fn judge(&mut self) -> Verdict {
        judge(&self.ledger, &mut self.table, &[])
    }

    /// What `logboom table verify` says about the table.
    #[track_caller]
    pub fn verify(&self, arguments: &[&str]) -> Verified {
        let store = self.folder.path().join("store");
        let mut command = logboom();
        command.args(["table", "verify", "--json", "--store"]).arg(&store).args(arguments);
        Verified::of(&run(&mut command, b""))
    }

    /// Waits until everything that was acknowledged is in the table; what is not there after `limit` is lost.
    pub fn heal(&mut self, limit: Duration) -> Verdict {
        let begun = Instant::now();
        loop {
            // To read all of a large table takes long; as long as it has too few rows there is no need to.
            let acknowledged = self.ledger.count(Promise::Acknowledged);
            let may_be_there = self.table.rows_listed().is_none_or(|rows| rows >= acknowledged);
            if may_be_there || begun.elapsed() > limit {
                let verdict = self.judge();
                if verdict.lost == 0 || begun.elapsed() > limit {
                    return verdict;
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of a test whose producers have ended: waits for what was acknowledged, stops every process that runs,
    /// and judges what it leaves: the table read afresh, and the spools.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) -> Verdict {
        self.heal(limit);
        self.stop(limit)
    }

    /// The same without the wait: adaptors commit what they hold within their `drain_timeout`. For more records than fit
    /// into memory.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> Verdict {
        for adaptor in &mut self.adaptors {
            adaptor.node.signal(rustix::process::Signal::TERM);
        }
        for adaptor in &mut self.adaptors {
            let status = adaptor.node.wait(limit);
            assert!(status.success(), "{}: {status}", adaptor.node.name());
        }
        for collector in &mut self.collectors {
            let status = collector.node.terminate(limit);
            assert!(status.success(), "{}: {status}", collector.node.name());
        }
        let spools: Vec<PathBuf> = self.adaptors.iter().map(|adaptor| adaptor.spool.clone()).collect();
        judge(&self.ledger, &mut self.table.afresh(), &spools)
    }

    /// One more adaptor with the settings of `plan`, its spool a copy of that of adaptor `of`. Not started.
    pub fn add_clone(&mut self, plan: &Plan, of: usize) -> usize {
        let addresses: Vec<String> = self.collectors.iter().map(|collector| collector.address.clone()).collect();
        let clone = adaptor(self.folder.path(), plan, &addresses, &format!("clone-{}", self.adaptors.len()), "");
        copy_folder(&self.adaptors[of].spool, &clone.spool);
        self.adaptors.push(clone);
        self.adaptors.len() - 1
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.pace.end();
    }
}

/// A folder, the setting that has a table in it, and that table.
fn folder_with_table() -> (TempDir, String, Table) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let (sink, table) = (format!("url = {}", quoted(&store)), Table::at(&store));
    (folder, sink, table)
}

fn adaptor(root: &Path, plan: &Plan, collectors: &[String], name: &str, source: &str) -> AdaptorNode {
    let folder = root.join(name);
    let (spool, logs, socket) = (folder.join("spool"), folder.join("logs"), folder.join("in.sock"));
    let (tcp, extra) = (free_port(), (free_port(), folder.join("extra.sock")));
    let source = match source.is_empty() {
        true => String::new(),
        false => format!("[[adaptor.source]]\n{}\n", filled(source, &extra)),
    };
    fs::create_dir_all(&logs).unwrap();
    let addresses: Vec<String> = collectors.iter().map(|address| format!("{address:?}")).collect();
    let settings = format!(
        r#"
[adaptor]
host = "{name}"
collectors = [{addresses}]
control = ""
{adaptor}
[adaptor.spool]
path = {spool}
{spool_settings}
[[adaptor.source]]
type = "unix"
path = {socket}
format = "json"
[[adaptor.source]]
type = "tcp"
listen = "127.0.0.1:{tcp}"
format = "json"
[[adaptor.source]]
type = "file"
include = [{include}]
poll_interval = "50ms"
{source}"#,
        addresses = addresses.join(", "),
        adaptor = plan.adaptor,
        spool = quoted(&spool),
        spool_settings = plan.spool,
        socket = quoted(&socket),
        include = quoted(&logs.join("*.log*")),
    );
    AdaptorNode { node: node(root, "adaptor", name, &settings), spool, logs, socket, tcp, extra }
}

/// Bytes of the segments in the spools of all adaptors.
pub fn spooled_bytes(pipeline: &Pipeline) -> u64 {
    let segments = pipeline.adaptors.iter().flat_map(|adaptor| segments(&adaptor.spool));
    segments.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn filled(text: &str, (port, socket): &(u16, PathBuf)) -> String {
    text.replace("{port}", &port.to_string()).replace("{socket}", socket.to_str().unwrap())
}

fn node(root: &Path, role: &str, name: &str, settings: &str) -> Node {
    let path = root.join(format!("{name}.toml"));
    fs::write(&path, settings).unwrap();
    Node::new(root, name, &[role, "--config", path.to_str().unwrap()])
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

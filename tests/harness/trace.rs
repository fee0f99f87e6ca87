//! What `tests/tools/src/tracer.rs` does to a process at one of its system calls, and what it says about it.

use super::Node;
use super::tools::tool;

/// Which calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// All that have to do with files or the network.
    All,
    /// Those that change what is on disk, or make it durable.
    Disk,
}

/// What becomes of the process at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is killed before the call is made.
    Killed,
    /// The call is not made and fails with `EIO`.
    InputOutput,
    /// The call is not made and fails with `ENOSPC`.
    NoSpace,
}

/// What a tracer is to do.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    pub calls: Calls,
    pub fate: Fate,
    /// At which call, from 1 on; 0 to count only.
    pub at: u64,
}

impl Trace {
    /// Starts a node under a tracer.
    pub fn start(&self, node: &mut Node) {
        let calls = match self.calls {
            Calls::All => "all",
            Calls::Disk => "disk",
        };
        let fate = match self.fate {
            Fate::Killed => "kill",
            Fate::InputOutput => "eio",
            Fate::NoSpace => "enospc",
        };
        let tracer = tool("tracer");
        node.start_traced(&[tracer.to_str().unwrap(), calls, fate, &self.at.to_string()]);
    }
}

/// The name of the call at which a node's tracer has done its work.
pub fn traced_call(node: &Node) -> Option<String> {
    let log = node.log();
    let (_, rest) = log.split_once("the tracer has come to ")?;
    Some(rest.split_whitespace().next()?.to_owned())
}

/// How many calls a node has made that has ended; `None` if its tracer has failed.
pub fn traced_calls(node: &Node) -> Option<u64> {
    node.number_behind("the tracer has counted ")
}

//! A collector whose network, store and clock are simulated: what the simulation needs to see of it. Everything between them
//! is the product's. With the cargo feature of the same name only.

use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Collector as Settings, Globs};
use logboom_sink::{Store, maintain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

use crate::door::Door;
use crate::maintenance::Schedule;
use crate::session::{self, Shown};
use crate::tables::Tables;
use crate::{Collector, StartError, TableSettings};

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a simulated collector is given.
pub struct Machine {
    /// The table that takes the rest.
    pub default: TableSettings,
    /// The tables of routes.
    pub routes: Vec<(Globs, TableSettings)>,
    /// What it maintains.
    pub maintained: Vec<(Store, maintain::Settings)>,
    /// How often: the lease, a pass, a look for garbage.
    pub schedule: [Duration; 3],
    /// Connections of adaptors.
    pub connections: mpsc::UnboundedReceiver<Box<dyn Stream>>,
}

impl Collector {
    /// Starts it on this machine.
    ///
    /// # Errors
    /// A table cannot be used.
    pub async fn start_simulated(settings: &Settings, machine: Machine) -> Result<Self, StartError> {
        let Machine { default, routes, maintained, schedule: [lease, pass, vacuum], mut connections } = machine;
        let tables = Tables::open(default, routes).await?;
        let schedule = Schedule { lease, pass, vacuum };
        let door = Arc::new(Door::open(settings).map_err(StartError::Key)?);
        Ok(Self::assemble(settings, door, tables, maintained, schedule, None, |context, sessions, drain, stop| {
            tokio::spawn(async move {
                while let Some(Some(stream)) = stop.run_until_cancelled(connections.recv()).await {
                    let shown = Shown { peer: ([127, 0, 0, 1], 1).into(), tls: false, certificate: None };
                    sessions.spawn(session::serve(stream, shown, context.clone(), drain.child_token()));
                }
            })
        }))
    }

    /// Its tasks, to kill it. Those of sessions notice that their connections are gone.
    pub fn tasks(&self) -> Vec<AbortHandle> {
        [&self.batcher, &self.committer, &self.listener].map(JoinHandle::abort_handle).into()
    }
}

//! An adaptor whose disk, network and clock are simulated: what the simulation needs to see of it. Everything between them
//! is the product's. With the cargo feature of the same name only.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use logboom_config::Adaptor as Settings;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinHandle};

pub use crate::intake::{Chunk, Intake, Receipt, Refused};
use crate::spool::disk::Disk;
pub use crate::spool::disk::{Create, SimulatedDisk};
use crate::{Adaptor, Machine, StartError};

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the collectors are.
pub trait Network: fmt::Debug + Send + Sync {
    /// Connects to the collector that the settings call `name`.
    fn connect(&self, name: &str) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

impl Adaptor {
    /// Starts it on this disk and in this network. It has no sources but what is put into its [`Intake`].
    ///
    /// # Errors
    /// The spool cannot be used.
    pub async fn start_simulated(
        settings: Settings,
        disk: Arc<dyn SimulatedDisk>,
        network: Arc<dyn Network>,
    ) -> Result<Self, StartError> {
        let machine = Machine { disk: Disk::simulated(disk), network: Some(network) };
        Ok(Self::start_on(machine, settings, Vec::new()).await?.0)
    }

    /// Where records go in.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Where each source would go on after a restart.
    pub fn positions(&self) -> BTreeMap<String, String> {
        self.spool.positions()
    }

    /// Tells whether all of the spool is committed.
    pub fn is_drained_probe(&self) -> Box<dyn Fn() -> bool + Send + Sync> {
        let spool = self.spool.clone();
        Box::new(move || spool.is_drained())
    }

    /// Its tasks, to kill it.
    pub fn tasks(&self) -> Vec<AbortHandle> {
        let losses = self.losses.as_ref().map(JoinHandle::abort_handle);
        [self.sender.abort_handle(), self.writer.abort_handle()].into_iter().chain(losses).collect()
    }
}

//! Machines with cables between them: namespaces of the kernel, and `nft` for scissors.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which way nothing gets through any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Both,
    ToCollector,
    FromCollector,
}

/// A machine for an adaptor, joined by a cable each to those of some collectors.
pub struct Network {
    adaptor: String,
    collectors: Vec<String>,
}

impl Network {
    /// `None`, with the reason printed, where that is not allowed.
    pub fn new(collectors: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("logboom-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = (0..collectors).map(|index| format!("{name}-{index}")).collect();
        let network = Self { adaptor: name, collectors: names };
        match network.lay() {
            Ok(()) => Some(network),
            Err(reason) => {
                println!("skipped: {reason}");
                None
            }
        }
    }

    fn lay(&self) -> Result<(), String> {
        let adaptor = &self.adaptor;
        run(&format!("ip netns add {adaptor}"))?;
        run(&format!("ip -n {adaptor} link set lo up"))?;
        for (index, collector) in self.collectors.iter().enumerate() {
            run(&format!("ip netns add {collector}"))?;
            run(&format!("ip -n {collector} link set lo up"))?;
            run(&format!("ip -n {adaptor} link add c{index} type veth peer name cable netns {collector}"))?;
            run(&format!("ip -n {adaptor} addr add 10.77.{index}.1/24 dev c{index}"))?;
            run(&format!("ip -n {collector} addr add {}/24 dev cable", self.collector_address(index)))?;
            run(&format!("ip -n {adaptor} link set c{index} up"))?;
            run(&format!("ip -n {collector} link set cable up"))?;
        }
        let nft = format!("ip netns exec {adaptor} nft");
        run(&format!("{nft} add table inet cut"))?;
        run(&format!("{nft} add chain inet cut input {{ type filter hook input priority 0 ; }}"))?;
        run(&format!("{nft} add chain inet cut output {{ type filter hook output priority 0 ; }}"))
    }

    /// What runs a program on the adaptor's machine.
    pub fn at_adaptor(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.adaptor]
    }

    /// What runs a program on the machine of this collector.
    pub fn at_collector(&self, index: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.collectors[index]]
    }

    /// Its address.
    pub fn collector_address(&self, index: usize) -> String {
        format!("10.77.{index}.2")
    }

    /// Cuts the cable to this collector: nobody is told, packets just vanish.
    pub fn cut(&self, index: usize, direction: Direction) {
        let nft = format!("ip netns exec {} nft", self.adaptor);
        if direction != Direction::ToCollector {
            run(&format!("{nft} add rule inet cut input iifname c{index} drop")).unwrap();
        }
        if direction != Direction::FromCollector {
            run(&format!("{nft} add rule inet cut output oifname c{index} drop")).unwrap();
        }
    }

    /// Mends all cables.
    pub fn heal(&self) {
        for chain in ["input", "output"] {
            run(&format!("ip netns exec {} nft flush chain inet cut {chain}", self.adaptor)).unwrap();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.collectors.iter().chain([&self.adaptor]) {
            let _ = run(&format!("ip netns del {name}"));
        }
    }
}

/// The words of a command are parted by single spaces.
fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
    }
}

//! Machines of a test's own: network namespaces on a bridge, whose links can be cut one direction at a time.
//!
//! Needs root and `ip`; nothing of the firewall's tools. Where either is missing the test has nothing to do.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Networks to choose from: 198.18.0.0/24 to 198.18.255.0/24, which are set aside for tests of network devices
/// (RFC 2544).
const NETWORKS: u32 = 256;
/// This side's address on the bridge: what lets the test itself reach every machine.
const BRIDGE_HOST: u8 = 254;
/// An address on the link that nobody has: what is sent there is lost, and the sender hears nothing.
const NOBODY: &str = "02:00:00:00:00:fe";

/// Machines number 1, 2, … of one network. They are gone when this is dropped, with whatever still runs on them.
#[derive(Debug)]
pub struct Lab {
    network: u8,
    machines: u8,
}

impl Lab {
    /// Sets up machines, or says on standard error why it cannot: then the test has nothing to do.
    ///
    /// # Panics
    /// If it can, and it does not work.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub fn open(machines: u8) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !crate::is_root() {
            eprintln!("skipped: this needs root, to make network namespaces");
            return None;
        }
        if !ip(&["netns", "list"]) {
            eprintln!(
                "skipped: this needs network namespaces, and `ip netns` of the package iproute2 does not work here"
            );
            return None;
        }
        let begin = std::process::id();
        let network = (0..NETWORKS)
            // Never the one that was used last: the kernel takes its time to forget its links.
            .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % NETWORKS)
            .filter_map(|number| u8::try_from(number).ok())
            // That the bridge is not there yet is the claim on the network.
            .find(|network| ip(&["link", "add", &bridge(*network), "type", "bridge"]))
            .expect("a bridge can be made");
        let mut lab = Self { network, machines: 0 };
        must(&format!("addr add {}/24 dev {}", lab.ip(BRIDGE_HOST), bridge(network)));
        must(&format!("link set {} up", bridge(network)));
        for machine in 1..=machines {
            lab.machines = machine;
            let (space, link) = (lab.namespace(machine), link(network, machine));
            must(&format!("netns add {space}"));
            must(&format!("link add {link} type veth peer name eth0 netns {space}"));
            must(&format!("link set {link} master {} up", bridge(network)));
            must(&format!("-n {space} addr add {}/24 dev eth0", lab.ip(machine)));
            must(&format!("-n {space} link set eth0 up"));
            must(&format!("-n {space} link set lo up"));
        }
        Some(lab)
    }

    /// The address of a machine.
    pub fn ip(&self, machine: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.network, machine)
    }

    /// The words before a command that is to run on a machine.
    pub fn on(&self, machine: u8) -> Vec<String> {
        ["ip", "netns", "exec"].into_iter().map(str::to_owned).chain([self.namespace(machine)]).collect()
    }

    /// From now on what `from` sends `to` is lost. The other direction is as it was.
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn cut(&self, from: u8, to: u8) {
        let (space, to) = (self.namespace(from), self.ip(to));
        must(&format!("-n {space} neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"));
    }

    /// Undoes [`Lab::cut`].
    ///
    /// # Panics
    /// If it cannot be done.
    pub fn heal(&self, from: u8, to: u8) {
        let (space, to) = (self.namespace(from), self.ip(to));
        must(&format!("-n {space} neigh del {to} dev eth0"));
    }

    fn namespace(&self, machine: u8) -> String {
        format!("{}-{machine}", bridge(self.network))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in 1..=self.machines {
            let space = self.namespace(machine);
            let pids = Command::new("ip").args(["netns", "pids", &space]).output();
            for pid in String::from_utf8_lossy(&pids.map(|it| it.stdout).unwrap_or_default()).split_whitespace() {
                let _ = Command::new("kill").args(["-s", "KILL", pid]).status();
            }
            ip(&["link", "del", &link(self.network, machine)]);
            ip(&["netns", "del", &space]);
        }
        ip(&["link", "del", &bridge(self.network)]);
    }
}

fn bridge(network: u8) -> String {
    format!("wktest{network}")
}

/// The bridge's end of a machine's link.
fn link(network: u8, machine: u8) -> String {
    format!("{}m{machine}", bridge(network))
}

fn ip(words: &[&str]) -> bool {
    let status = Command::new("ip").args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[track_caller]
fn must(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

//! Peers of either side as processes: started, asked who leads, killed, started again.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::Instant;

use super::client::{Client, Place};
use super::{Side, ours};

/// Ports of a peer of etcd: its defaults, for clients and for peers.
const ETCD_PORTS: [u16; 2] = [2379, 2380];
/// Ports of a peer of ours.
const OUR_PORTS: [u16; 2] = [2381, 2382];
/// Connections of the load to each peer.
pub(super) const CONNECTIONS: usize = 4;
/// Peers start in well under a second.
const START_MAX: Duration = Duration::from_secs(30);
/// Between two looks at whether a peer answers.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Above the default of 2 GiB, which the data of all parts together would come near to.
const ETCD_QUOTA: &str = "--quota-backend-bytes=8589934592";

/// What a cluster is made of.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) side: Side,
    /// etcd, or this very program.
    pub(super) program: PathBuf,
    /// The address of the first peer; others take those that follow it.
    pub(super) base: Ipv4Addr,
    pub(super) dir: PathBuf,
    pub(super) peers: usize,
}

impl Plan {
    fn address(&self, peer: usize, port: usize) -> SocketAddr {
        let ports = if self.side == Side::Ours { OUR_PORTS } else { ETCD_PORTS };
        let peer = u32::try_from(peer).expect("few peers");
        (Ipv4Addr::from_bits(self.base.to_bits() + peer), ports[port]).into()
    }

    pub(super) fn check_ports(&self) -> Result<()> {
        for peer in 0..self.peers {
            for port in [0, 1] {
                let address = self.address(peer, port);
                let bound = TcpListener::bind(address);
                bound.with_context(|| format!("cannot listen on {address}; other addresses: --base-ip"))?;
            }
        }
        Ok(())
    }

    fn command(&self, peer: usize) -> Command {
        let mut command = Command::new(&self.program);
        let dir = self.dir.join(format!("peer-{}", peer + 1));
        let of_all = |port, form: &dyn Fn(usize, SocketAddr) -> String| {
            (0..self.peers).map(|peer| form(peer, self.address(peer, port))).collect::<Vec<_>>().join(",")
        };
        match self.side {
            Side::Ours => {
                command.args(["store-peer", "--member", &(peer + 1).to_string()]);
                command.args(["--peers", &of_all(1, &|_, address| address.to_string())]);
                command.args(["--clients", &self.address(peer, 0).to_string(), "--dir"]).arg(dir);
            }
            Side::Etcd => {
                let (clients, peers) = (self.address(peer, 0), self.address(peer, 1));
                command.args(["--logger=zap", "--log-level=warn", "--initial-cluster-state=new", ETCD_QUOTA]);
                command.arg(format!("--name=e{}", peer + 1)).arg("--data-dir").arg(dir);
                command.arg(format!("--listen-client-urls=http://{clients}"));
                command.arg(format!("--advertise-client-urls=http://{clients}"));
                command.arg(format!("--listen-peer-urls=http://{peers}"));
                command.arg(format!("--initial-advertise-peer-urls=http://{peers}"));
                let all = of_all(1, &|peer, address| format!("e{}=http://{address}", peer + 1));
                command.arg(format!("--initial-cluster={all}"));
                for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
                    command.env_remove(name);
                }
            }
        }
        command
    }
}

/// Has the kernel end the process when this one ends, also when it is killed.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library cannot ask for it")]
fn end_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let ask = || {
        // SAFETY: a system call that changes nothing but this attribute of the new process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: between fork and exec only that call is made, which needs no lock and no memory.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

/// Peers that run, or did. Those that do are killed when this is dropped.
pub(super) struct Cluster {
    pub(super) plan: Plan,
    children: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts all peers and waits until each of them answers.
    pub(super) async fn start(plan: Plan) -> Result<Self> {
        plan.check_ports()?;
        std::fs::create_dir_all(&plan.dir).context("make a folder for the data")?;
        let mut cluster = Self { children: (0..plan.peers).map(|_| None).collect(), plan };
        for peer in 0..cluster.plan.peers {
            cluster.spawn(peer)?;
            if cluster.plan.side == Side::Ours && peer > 0 {
                cluster.add(peer).await?;
            }
        }
        for peer in 0..cluster.plan.peers {
            cluster.answers(peer).await?;
        }
        Ok(cluster)
    }

    pub(super) fn spawn(&mut self, peer: usize) -> Result<()> {
        let log = self.plan.dir.join(format!("peer-{}.log", peer + 1));
        let log = File::options().create(true).append(true).open(log).context("open a peer's log")?;
        let mut command = self.plan.command(peer);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_us(&mut command);
        let child = command.spawn().with_context(|| format!("start {}", self.plan.program.display()))?;
        self.children[peer] = Some(child);
        Ok(())
    }

    /// Ends a peer as a power cut would.
    pub(super) fn kill(&mut self, peer: usize) -> Result<()> {
        let mut child = self.children[peer].take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Makes a peer of ours, just started, a voter.
    async fn add(&mut self, peer: usize) -> Result<()> {
        let first = self.plan.address(0, 0);
        let member = peer as u64 + 1;
        self.until(0, "adds a peer", async || ours::Client::connect(first).await?.add(member).await).await
    }

    /// Waits until a peer answers a linearizable read.
    pub(super) async fn answers(&mut self, peer: usize) -> Result<()> {
        let (side, address) = (self.plan.side, self.address(peer));
        let nothing = Place::new("nothing", "here");
        self.until(peer, "answers", async || Client::connect(side, address).await?.get(&nothing).await.map(drop)).await
    }

    async fn until(&mut self, peer: usize, what: &str, mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let end = Instant::now() + START_MAX;
        loop {
            let error = match tokio::time::timeout_at(end, look()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => bail!("no peer {} {what} within {START_MAX:?}", peer + 1),
            };
            if let Some(status) = self.children[peer].as_mut().and_then(|child| child.try_wait().transpose()) {
                let log = std::fs::read_to_string(self.plan.dir.join(format!("peer-{}.log", peer + 1)));
                bail!("peer {} ended with {}: {}", peer + 1, status?, log.unwrap_or_default());
            }
            ensure!(Instant::now() < end, "peer {} has not: {what}: {error:#}", peer + 1);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Where a peer hears clients.
    pub(super) fn address(&self, peer: usize) -> SocketAddr {
        self.plan.address(peer, 0)
    }

    /// The process of a peer.
    pub(super) fn pid(&self, peer: usize) -> Result<u32> {
        self.children[peer].as_ref().map(Child::id).context("it does not run")
    }

    /// The processes that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.children.iter().flatten().map(Child::id).collect()
    }

    /// Who leads. Waits until somebody does.
    pub(super) async fn leader(&self) -> Result<usize> {
        let end = Instant::now() + START_MAX;
        while Instant::now() < end {
            for peer in (0..self.plan.peers).filter(|&peer| self.children[peer].is_some()) {
                let client = Client::connect(self.plan.side, self.address(peer)).await?;
                if client.leads().await? {
                    return Ok(peer);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("nobody leads after {START_MAX:?}")
    }

    /// Connections for a load: some to each of these peers, in turns.
    pub(super) async fn connect(&self, peers: &[usize]) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for peer in std::iter::repeat_n(peers, CONNECTIONS).flatten() {
            clients.push(Client::connect(self.plan.side, self.address(*peer)).await?);
        }
        Ok(clients)
    }

    pub(super) async fn connect_all(&self) -> Result<Vec<Client>> {
        self.connect(&(0..self.plan.peers).collect::<Vec<_>>()).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

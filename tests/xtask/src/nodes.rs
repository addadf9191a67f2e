//! Nodes of wk as child processes on this machine's loopback addresses.
//!
//! A node that is dropped is killed; [`Node::stop`] asks it to stop.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// The ports of a node unless it is told otherwise.
const PORTS: [u16; 4] = [6443, 7443, 8080, 8443];
/// The ingress' port among them.
pub(crate) const HTTP_PORT: u16 = 8080;
/// A node on a slow machine in a debug build is up well before this.
const START_MAX: Duration = Duration::from_mins(1);
/// A node gives its requests in flight ten seconds; more than twice that is a node that hangs.
const STOP_MAX: Duration = Duration::from_secs(25);
/// Lines of a node's log that are shown when it does not start.
const LOG_LINES_SHOWN: usize = 12;

/// How a node is started.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) wk: PathBuf,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) data_dir: PathBuf,
}

impl Plan {
    /// Plans for `count` nodes, `n1` on `base` and the others on the addresses that follow, each with its own folder in `dir`.
    pub(crate) fn several(wk: &Path, dir: &Path, base: Ipv4Addr, count: u8) -> Vec<Self> {
        (0..u32::from(count))
            .map(|index| {
                let name = format!("n{}", index + 1);
                let address = Ipv4Addr::from_bits(base.to_bits().wrapping_add(index));
                Self { wk: wk.to_owned(), data_dir: dir.join(&name), name, address }
            })
            .collect()
    }

    /// Whether it was started before.
    pub(crate) fn has_data(&self) -> bool {
        self.data_dir.join("identity").exists()
    }

    /// The command that starts it again.
    pub(crate) fn restart_line(&self) -> String {
        let Self { wk, name, address, data_dir } = self;
        format!("{} up --name {name} --listen {address} --data-dir {}", wk.display(), data_dir.display())
    }

    /// Says what is wrong when a node cannot listen there.
    pub(crate) fn check_ports(&self) -> Result<()> {
        for port in PORTS {
            let Err(error) = TcpListener::bind((self.address, port)) else { continue };
            let address = self.address;
            match error.kind() {
                std::io::ErrorKind::AddrInUse => bail!(
                    "another program, perhaps another wk, listens on {address}:{port}: stop it, or let the nodes use other \
                     addresses with --base-ip 127.0.0.11"
                ),
                std::io::ErrorKind::AddrNotAvailable => bail!(
                    "this machine does not answer for {address}: on macOS run `sudo ifconfig lo0 alias {address}` first, or \
                     start one node with --nodes 1"
                ),
                _ => bail!("cannot listen on {address}:{port}: {error}"),
            }
        }
        Ok(())
    }
}

/// What a node prints when it serves.
#[derive(Debug, Default)]
struct Greeting {
    token: Option<String>,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) plan: Plan,
    pub(crate) pid: u32,
    /// From its start to the moment it said that it is up.
    pub(crate) took: Duration,
    token: Option<String>,
    child: Child,
}

impl Node {
    /// Starts a node and waits until it is up. With `join` it joins that node's cluster.
    pub(crate) async fn start(plan: Plan, join: Option<&Node>) -> Result<Self> {
        let begun = Instant::now();
        let mut child = spawn(&plan, join)?;
        let pid = child.id().context("a process has an id until it has ended")?;
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let greeted = tokio::time::timeout(START_MAX, greeting(output)).await;
        match greeted {
            Ok(Some(Greeting { token })) => Ok(Self { plan, pid, took: begun.elapsed(), token, child }),
            Ok(None) => {
                let status = child.wait().await?;
                bail!("{} did not start ({status}):\n{}", plan.name, log_tail(&plan))
            }
            Err(_) => bail!("{} is not up after {START_MAX:?}:\n{}", plan.name, log_tail(&plan)),
        }
    }

    /// Its administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plan.data_dir.join("admin.kubeconfig")
    }

    /// The URL of its ingress.
    pub(crate) fn ingress(&self) -> String {
        format!("http://{}:{HTTP_PORT}/", self.plan.address)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Runs `wk` with this node's kubeconfig and returns what it printed.
    pub(crate) async fn wk(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.plan.wk)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .context("start wk")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "wk {}: {}\n{complaint}", arguments.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks it to stop, and kills it when it does not.
    pub(crate) async fn stop(mut self) -> Result<()> {
        ask_to_stop(&self.child);
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_err() {
            self.child.kill().await.context("kill a node")?;
            bail!("{} did not stop within {STOP_MAX:?} and was killed", self.plan.name);
        }
        Ok(())
    }
}

/// Starts `plans`, all at once where they have data, else the first and then those that join it.
///
/// Nodes are added to `nodes` as they come up, so that a caller who is interrupted still has them.
pub(crate) async fn start_all(plans: Vec<Plan>, nodes: &mut Vec<Node>) -> Result<()> {
    let (mut old, mut new): (Vec<_>, Vec<_>) = plans.into_iter().partition(Plan::has_data);
    if old.is_empty() && !new.is_empty() {
        old.push(new.remove(0));
    }
    // None of several is up before a majority is.
    together(old, None, nodes).await?;
    let (first, mut joined) = (nodes.first(), Vec::new());
    let result = together(new, first, &mut joined).await;
    nodes.append(&mut joined);
    result
}

async fn together(plans: Vec<Plan>, join: Option<&Node>, nodes: &mut Vec<Node>) -> Result<()> {
    let mut starting: Vec<_> = plans.into_iter().map(|plan| Box::pin(Node::start(plan, join))).collect();
    let mut started: Vec<Option<Result<Node>>> = starting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, slot) in starting.iter_mut().zip(&mut started) {
            if slot.is_none()
                && let std::task::Poll::Ready(node) = future.as_mut().poll(cx)
            {
                *slot = Some(node);
            }
        }
        let done = started.iter().all(Option::is_some) || started.iter().flatten().any(Result::is_err);
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    for node in started.into_iter().flatten() {
        nodes.push(node?);
    }
    Ok(())
}

/// Asks all of them to stop, and waits for that.
pub(crate) async fn stop_all(nodes: Vec<Node>) -> Result<()> {
    // The last one standing has no quorum left to say goodbye to, so all are told before any is waited for.
    for node in &nodes {
        ask_to_stop(&node.child);
    }
    let mut result = Ok(());
    for node in nodes {
        result = result.and(node.stop().await);
    }
    result
}

fn spawn(plan: &Plan, join: Option<&Node>) -> Result<Child> {
    std::fs::create_dir_all(plan.data_dir.parent().context("a data directory lies in another")?)?;
    let log = File::create(log_path(plan)).context("make a node's log")?;
    let mut command = Command::new(&plan.wk);
    command.args(["up", "--name", &plan.name, "--listen", &plan.address.to_string(), "--data-dir"]).arg(&plan.data_dir);
    if let Some(peer) = join {
        let token = peer.token.as_deref().context("the first node printed no token")?;
        command.args(["--join", &IpAddr::from(peer.plan.address).to_string(), "--token", token]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C reaches this process alone, which then stops its nodes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", plan.wk.display()))
}

/// Reads up to the blank line that ends the greeting; the rest goes nowhere. None if the node ended first.
async fn greeting(output: BufReader<impl AsyncRead + Unpin + Send + 'static>) -> Option<Greeting> {
    let mut lines = output.lines();
    let mut greeting: Option<Greeting> = None;
    while let Some(line) = lines.next_line().await.ok()? {
        if line.starts_with("wk is up") {
            greeting = Some(Greeting::default());
        }
        if let (Some(greeting), Some((_, token))) = (&mut greeting, line.split_once("--token ")) {
            greeting.token = token.split_whitespace().next().map(str::to_owned);
        }
        if line.is_empty() && greeting.is_some() {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return greeting;
        }
    }
    None
}

/// Where a node's standard error goes.
pub(crate) fn log_path(plan: &Plan) -> PathBuf {
    plan.data_dir.with_extension("log")
}

fn log_tail(plan: &Plan) -> String {
    let log = std::fs::read_to_string(log_path(plan)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[expect(unsafe_code, reason = "the standard library can kill a child, and not ask it to stop")]
fn ask_to_stop(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // SAFETY: it has not been waited for, so the id is still that of our child.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn greeting_ends_at_its_blank_line_and_has_the_token() {
        let text =
            "wk is up: node n1 of cluster 1\n  more nodes  wk up --join 127.0.0.1:7443 --token wk1.a.b.c\n\nmore\n";
        let greeting = greeting(BufReader::new(text.as_bytes())).await.expect("it is whole");
        assert_eq!(greeting.token.as_deref(), Some("wk1.a.b.c"));
        assert!(super::greeting(BufReader::new(&b"wk is up"[..])).await.is_none());
    }

    #[test]
    fn nodes_are_planned_on_addresses_that_follow_each_other() {
        let plans = Plan::several(Path::new("wk"), Path::new("data"), Ipv4Addr::new(127, 0, 0, 9), 3);
        let addresses: Vec<String> = plans.iter().map(|plan| format!("{} {}", plan.name, plan.address)).collect();
        assert_eq!(addresses, ["n1 127.0.0.9", "n2 127.0.0.10", "n3 127.0.0.11"]);
        assert_eq!(plans[1].data_dir, Path::new("data/n2"));
    }

    #[test]
    fn taken_port_is_named_with_a_way_out() {
        let address = Ipv4Addr::new(127, 0, 93, 1);
        let _taken = TcpListener::bind((address, HTTP_PORT)).expect("an address that nothing else uses");
        let plan = &Plan::several(Path::new("wk"), Path::new("data"), address, 1)[0];
        let complaint = plan.check_ports().expect_err("the port is taken").to_string();
        assert!(complaint.contains("127.0.93.1:8080") && complaint.contains("--base-ip"), "{complaint}");
    }
}

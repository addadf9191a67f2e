//! Servers that answer the same requests, under the same load, in turns.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

use super::ingress::{Load, Tools, press};
use super::table::{median, ratio};
use super::{Bench, LOOK_EVERY, WAIT_MAX, process, progress};
use crate::nodes::Node;

/// One server, and what was seen of it.
pub(super) struct Server {
    pub(super) label: String,
    pid: u32,
    url: String,
    /// The app asked for.
    app: String,
    rounds: Vec<Load>,
    /// Killed when dropped; None for the node, which is stopped elsewhere.
    _child: Option<Child>,
}

impl Server {
    /// An app behind a node's ingress, asked for this path.
    pub(super) fn wk(node: &Node, label: &str, app: &str, path: &str) -> Self {
        Self {
            label: label.to_owned(),
            pid: node.pid,
            url: node.ingress() + path,
            app: app.to_owned(),
            rounds: Vec::new(),
            _child: None,
        }
    }

    /// `wasmtime serve` with this component, once it listens.
    pub(super) async fn peer(
        tools: &Tools,
        label: &str,
        flags: &[&str],
        component: &Path,
        path: &str,
        at: SocketAddrV4,
    ) -> Result<Self> {
        let mut child = Command::new(&tools.wasmtime)
            .args(["serve", "-S", "cli", "--env", "WK_POD_NAME=hello-0000000000-00000", "--addr", &at.to_string()])
            .args(flags)
            .arg(component)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start wasmtime serve")?;
        let begun = Instant::now();
        while std::net::TcpStream::connect(at).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("wasmtime serve ended: {status}");
            }
            ensure!(begun.elapsed() < WAIT_MAX, "wasmtime serve does not listen after {WAIT_MAX:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let pid = child.id().context("it has just been seen alive")?;
        let url = format!("http://{at}/{path}");
        Ok(Self { label: label.to_owned(), pid, url, app: "peer".to_owned(), rounds: Vec::new(), _child: Some(child) })
    }

    /// The median of its rounds.
    fn median(&self, figure: fn(&Load) -> f64) -> f64 {
        median(&self.figures(figure))
    }

    /// The median of the rounds' quotients of this one and another.
    fn ratio_to(&self, other: &Self, figure: fn(&Load) -> f64) -> f64 {
        ratio(&self.figures(figure), &other.figures(figure))
    }

    /// Its figures in a table, with what the rate and the CPU of one are of another's.
    pub(super) fn cells(&self, quotient: Option<[&Self; 2]>) -> [String; 6] {
        let beside = |figure: fn(&Load) -> f64| {
            quotient.map(|[one, other]| format!("{:.2}x", one.ratio_to(other, figure))).unwrap_or_default()
        };
        [
            format!("{:.0}", self.median(|load| load.per_second)),
            beside(|load| load.per_second),
            format!("{:.1} us", self.median(|load| load.cpu)),
            beside(|load| load.cpu),
            format!("{:.2} ms", self.median(|load| load.median_ms)),
            format!("{:.2} ms", self.median(|load| load.p99_ms)),
        ]
    }

    fn figures(&self, figure: fn(&Load) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    async fn load(&self, wrk: &Path, connections: u16, seconds: u8) -> Result<Load> {
        let before = process::cpu(self.pid)?;
        let mut load = press(wrk, &self.url, &self.app, connections, seconds).await.context(self.label.clone())?;
        let used = process::cpu(self.pid)?.saturating_sub(before);
        load.cpu = used.as_secs_f64() * 1e6 / load.requests;
        Ok(load)
    }
}

/// Loads each with so many connections, round by round. What was seen before is forgotten.
pub(super) async fn hold(bench: &Bench<'_>, wrk: &Path, servers: &mut [Server], connections: u16) -> Result<()> {
    for server in &mut *servers {
        server.rounds.clear();
    }
    for round in 0..=bench.rounds() {
        progress(&format!("load with {connections} connections, round {round} of {}", bench.rounds()));
        // Every other round the other way round, and the first one, short, only warms up.
        let seconds = if round == 0 { 1 } else { bench.arguments.seconds };
        let mut order: Vec<usize> = (0..servers.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            let load = servers[index].load(wrk, connections, seconds).await?;
            if round > 0 {
                servers[index].rounds.push(load);
            }
        }
    }
    Ok(())
}

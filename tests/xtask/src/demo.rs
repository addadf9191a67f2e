//! `cargo xtask demo`: the main job, on one machine: nodes on loopback addresses, an app on all of them.

#![expect(clippy::print_stdout, reason = "it talks to the person who runs it")]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::build::{self, Profile};
use crate::nodes::{self, Node, Plan};
use crate::root;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build with optimisations: takes longer to build, starts and serves faster.
    #[arg(long)]
    release: bool,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Address of the first node; the others take those that follow it.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    base_ip: Ipv4Addr,
    /// Keep the nodes' data here; they carry on with it the next time [default: a folder that is removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const APP: &str = "examples/hello-http/hello-http.wasm";
const HOST: &str = "hello-http.localhost";
/// How often it is looked whether a node has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Before the build, which takes longer than reading this.
    for plan in Plan::several(Path::new("wk"), Path::new("."), arguments.base_ip, arguments.nodes) {
        plan.check_ports()?;
    }
    println!("Building wk (the first time takes some minutes) ...");
    let wk = build::wk(if arguments.release { Profile::Release } else { Profile::Dev })?;
    let temporary = tempfile::Builder::new().prefix("wk-demo-").tempdir().context("make a folder for the data")?;
    let dir = match &arguments.data_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => temporary.path().to_owned(),
    };
    let plans = Plan::several(&wk, &dir, arguments.base_ip, arguments.nodes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(demo(plans, arguments.data_dir.is_none(), &dir))
}

async fn demo(plans: Vec<Plan>, temporary: bool, dir: &Path) -> Result<()> {
    let mut nodes = Vec::new();
    let result = tokio::select! {
        result = serve(plans, &mut nodes, temporary, dir) => result,
        result = interrupted() => result,
    };
    if !nodes.is_empty() {
        println!("\nStopping {} ...", number(nodes.len()));
    }
    let stopped = nodes::stop_all(nodes).await;
    result.and(stopped)
}

/// Ctrl-C, a polite kill, or the terminal's end.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

async fn serve(plans: Vec<Plan>, nodes: &mut Vec<Node>, temporary: bool, dir: &Path) -> Result<()> {
    println!("Starting {} ...", number(plans.len()));
    nodes::start_all(plans, nodes).await?;
    println!("Deploying {APP} ...");
    let first = nodes.first().context("there is at least one node")?;
    let replicas = nodes.len().max(3).to_string();
    let deployed = Command::new(&first.plan.wk)
        .arg("--kubeconfig")
        .arg(first.kubeconfig())
        .arg("deploy")
        .arg(root().join(APP))
        .args(["--replicas", &replicas])
        .stdout(std::process::Stdio::null())
        .status()
        .await
        .context("start wk deploy")?;
    ensure!(deployed.success(), "wk deploy failed; the nodes' logs are in {}", dir.display());
    println!("{}", what_next(nodes, &replicas));
    let end = if temporary { "removes their data" } else { "keeps their data" };
    println!("Ctrl-C stops the nodes and {end} ({}).", dir.display());
    watch(nodes).await
}

fn what_next(nodes: &[Node], replicas: &str) -> String {
    let (first, last) = (&nodes[0], &nodes[nodes.len() - 1]);
    let url = format!("http://{HOST}:{}/", nodes::HTTP_PORT);
    let curl = |node: &Node| format!("curl -H 'Host: {HOST}' {}", node.ingress());
    let mut commands = Vec::new();
    // Names below localhost lead to 127.0.0.1 and nowhere else.
    if first.plan.address == Ipv4Addr::LOCALHOST {
        commands.push((format!("curl {url}"), "each time another replica; a browser will do too"));
    }
    commands.extend([
        (curl(last), "any node answers"),
        (format!("export KUBECONFIG={}", last.kubeconfig().display()), ""),
        (format!("{} status", here(&first.plan.wk).display()), "or: kubectl get nodes,pods,deploy,svc -o wide"),
        (format!("kill -9 {}", first.pid), "any of them; then ask the others again"),
    ]);
    let width = commands.iter().filter(|(_, why)| !why.is_empty()).map(|(command, _)| command.len()).max().unwrap_or(0);
    let commands: Vec<String> = commands
        .iter()
        .map(
            |(command, why)| {
                if why.is_empty() { format!("  {command}") } else { format!("  {command:width$}  # {why}") }
            },
        )
        .collect();
    let rows: Vec<String> = nodes
        .iter()
        .map(|node| format!("  {}  pid {:<7}  {:<16}  {}", node.plan.name, node.pid, node.plan.address, node.ingress()))
        .collect();
    format!(
        "\nhello-http is served by {replicas} replicas on {} at {url}\n\n{}\n\nTry, in another terminal:\n\n{}\n",
        number(nodes.len()),
        rows.join("\n"),
        commands.join("\n"),
    )
}

/// A path as one would type it from here.
fn here(path: &Path) -> PathBuf {
    let below = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned())
}

fn number(nodes: usize) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

/// Says when a node ends, until the last one has.
async fn watch(nodes: &mut Vec<Node>) -> Result<()> {
    while !nodes.is_empty() {
        tokio::time::sleep(LOOK_EVERY).await;
        nodes.retain_mut(|node| match node.ended() {
            None => true,
            Some(status) => {
                let Node { plan, pid, .. } = node;
                println!("{} (pid {pid}) ended: {status}. To bring it back:\n  {}", plan.name, plan.restart_line());
                false
            }
        });
    }
    Ok(())
}

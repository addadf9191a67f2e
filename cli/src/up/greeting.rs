//! What a person needs next, printed once the node serves.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::admin;
use super::bootstrap;
use super::data_dir::DataDir;
use super::node::Node;
use super::settings::Settings;

/// Writes `admin.kubeconfig` and prints where everything is.
pub(crate) fn print(settings: &Settings, data_dir: &DataDir, node: &Node) -> anyhow::Result<()> {
    let at = |port| SocketAddr::new(settings.listen, port);
    let kubeconfig = admin::kubeconfig(data_dir, node, at(settings.api_port)).context("make admin.kubeconfig")?;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| writeln!(text, "  {label:<11} {value}").expect("a String takes all");
    line("API", &format!("https://{}", at(settings.api_port)));
    line("kubeconfig", &kubeconfig.display().to_string());
    if node.witness {
        line("witness", "votes, holds no objects and runs no pods; wk cluster status tells more");
    } else {
        line("ingress", &format!("http://{}  https://{}", at(settings.http_port), at(settings.https_port)));
        line("deploy", &format!("wk --kubeconfig {} deploy app.wasm --replicas 3", kubeconfig.display()));
    }
    if let Some(token) = bootstrap::join_token(&node.cluster, node.ca) {
        line("more nodes", &format!("wk up --join {} --token {token}", at(settings.mesh_port)));
    }
    if let Some(remark) = &node.remark {
        line("note", remark);
    }
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; the node runs all the same.
    let _ = writeln!(out, "wk is up: node {} of cluster {}\n{text}", node.name, node.cluster_id);
    let _ = out.flush();
    Ok(())
}

/// Says that the node is about to stop.
pub(crate) fn stopping() {
    let _ = writeln!(std::io::stderr(), "stopping: finishing what is in flight (again to stop at once)");
}

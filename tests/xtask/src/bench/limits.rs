//! What limits cost: a node beside one whose engine was built without interruption, metering and limits of memory.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::contest::{self, Server};
use super::ingress::wrk;
use super::table::Table;
use super::{Bench, app};
use crate::build::{self, Profile};
use crate::nodes::{self, Plan};
use crate::root;

/// What the engine is built with to have none.
const UNLIMITED: [&str; 2] = ["--features", "wk-engine/unlimited"];
const REPLICAS: u16 = 1;
const CONNECTIONS: u16 = 32;

/// Builds the node without limits into `dir`.
pub(super) fn build(dir: &Path) -> Result<PathBuf> {
    let built = build::wk_with(Profile::Dist, &UNLIMITED)?;
    let kept = dir.join("wk-unlimited");
    std::fs::copy(built, &kept).context("keep the binary")?;
    Ok(kept)
}

pub(super) async fn measure(bench: &Bench<'_>, unlimited: &Path) -> Result<String> {
    let mut table = Table::new(
        &format!(
            "`wrk -t2 -c{CONNECTIONS} -d{}s` against one replica behind the ingress of a node, and of one built with `{}`, {} \
             rounds in turns. `compute` adds up and mixes for about a millisecond:",
            bench.arguments.seconds,
            UNLIMITED.join(" "),
            bench.rounds()
        ),
        &["guest", "limits", "requests/s", "to none", "CPU a request", "to none", "p50", "p99"],
    );
    let mut plans = Plan::several(&bench.wk, &bench.dir.join("limits"), bench.arguments.base_ip, 2);
    unlimited.clone_into(&mut plans[1].wk);
    let mut nodes = Vec::new();
    for plan in plans {
        nodes::start_all(vec![plan], &mut nodes).await?;
    }
    for (name, component, path) in [("hello", app(), ""), ("compute", root().join("tests/guests/http.wasm"), "compute")]
    {
        let mut servers = Vec::new();
        for (node, label) in nodes.iter().zip(["held to them", "none"]) {
            super::deploy(node, &component, name, REPLICAS).await?;
            servers.push(Server::wk(node, label, name, path));
        }
        contest::hold(bench, &wrk()?, &mut servers, CONNECTIONS).await?;
        for server in &servers {
            let of = [name.to_owned(), server.label.clone()];
            table.row(&[&of[..], &server.cells(Some([server, &servers[1]]))].concat());
        }
    }
    nodes::stop_all(nodes).await?;
    Ok(table.finish())
}

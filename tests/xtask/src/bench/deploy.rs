//! From `wk deploy` to replicas that are all ready.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::table::{Table, duration, median, range};
use super::{Bench, app, progress};
use crate::nodes::{self, Node};

/// What the nodes have of the module beforehand.
#[derive(Clone, Copy)]
enum Module {
    /// Compiled code, from an app that is gone.
    Known,
    /// Nothing: it is uploaded, passed on and compiled.
    New,
}

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut table = Table::new(
        "`wk deploy hello-http.wasm --name NEW --replicas N`, process start to exit, which is when all replicas are ready:",
        &["nodes", "replicas", "module", "median", "range"],
    );
    for count in [1, 3] {
        let nodes = bench.nodes(&format!("deploy-{count}"), count).await?;
        // Once, so that the module is known where it is meant to be.
        once(&nodes[0], &app(), "first", u16::from(count) * 2).await?;
        for replicas in [3, 50] {
            for module in [Module::Known, Module::New] {
                let figures = series(bench, &nodes[0], replicas, module).await?;
                let (low, high) = range(&figures);
                table.row(&[
                    count.to_string(),
                    replicas.to_string(),
                    match module {
                        Module::Known => "compiled before".to_owned(),
                        Module::New => "never seen".to_owned(),
                    },
                    duration(median(&figures)),
                    format!("{} to {}", duration(low), duration(high)),
                ]);
            }
        }
        nodes::stop_all(nodes).await?;
    }
    Ok(table.finish())
}

async fn series(bench: &Bench<'_>, node: &Node, replicas: u16, module: Module) -> Result<Vec<f64>> {
    let mut figures = Vec::new();
    for round in 1..=bench.rounds() {
        progress(&format!("deploy {replicas} replicas, round {round} of {}", bench.rounds()));
        let file = match module {
            Module::Known => app(),
            Module::New => like_no_other(bench.dir)?,
        };
        figures.push(once(node, &file, &format!("app-{replicas}-{round}"), replicas).await?);
    }
    Ok(figures)
}

/// Milliseconds until ready. Leaves nothing behind.
async fn once(node: &Node, file: &Path, name: &str, replicas: u16) -> Result<f64> {
    let begun = Instant::now();
    super::deploy(node, file, name, replicas).await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    super::delete(node, name).await?;
    Ok(took)
}

/// The same component with another digest: a custom section says what time it is.
pub(super) fn like_no_other(dir: &Path) -> Result<PathBuf> {
    let mut wasm = std::fs::read(app()).context("read the app")?;
    let name = b"bench";
    let mark = std::time::UNIX_EPOCH.elapsed()?.as_nanos().to_le_bytes();
    let length = u8::try_from(1 + name.len() + mark.len()).context("a length in one byte")?;
    // Id 0, the section's length, its name with length, its content.
    wasm.extend([0, length, u8::try_from(name.len())?]);
    wasm.extend(name);
    wasm.extend(mark);
    let path = dir.join("new.wasm");
    std::fs::write(&path, wasm).context("write a module")?;
    Ok(path)
}

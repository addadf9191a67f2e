//! `wk deploy`: from a WebAssembly file to ready replicas and a URL.
//!
//! Order: judge the file (nothing is sent for a wrong one), upload it, write Deployment, Service and Ingress, wait,
//! print the URLs. Deploying again changes only what the command line speaks of; see `objects`.

mod objects;
pub(super) mod rollout;
mod upload;
mod urls;
mod wait;
pub(super) mod wasm;
mod write;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;

use crate::args::{DeployArgs, EnvChange, Route, is_dns_label};
use crate::client::{Client, Resource};
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

use self::wasm::World;

/// Everything decided before the cluster is asked.
#[derive(Debug)]
pub(super) struct App {
    name: String,
    bytes: Bytes,
    form: wasm::Form,
    world: World,
    replicas: Option<u16>,
    route: Option<Route>,
    env: Vec<EnvChange>,
    memory: Option<String>,
    cpu: Option<String>,
    egress: Option<String>,
    args: Vec<String>,
    timeout: Duration,
}

/// No guest starts with less: a page of memory is 64 KiB, and a small one uses a dozen.
const MEMORY_MIN: i64 = 1 << 20;

/// Judges the file and the options.
pub(super) fn resolve(args: DeployArgs) -> anyhow::Result<App> {
    let name = match args.name {
        Some(name) if is_dns_label(&name) => name,
        Some(name) => {
            let message =
                format!("--name {name:?} is not a DNS label: lower-case letters, digits and dashes, at most 63");
            return Err(usage(message).into());
        }
        None => name_of(&args.file)?,
    };
    let bytes = read(&args.file)?;
    let (form, world) = wasm::inspect(&bytes).map_err(|why| usage(format!("{}: {why}", args.file.display())))?;
    if world != World::Http && args.route.is_some() {
        let is = if world == World::Command { "a command" } else { "functions alone" };
        let message = format!("is {is}: it serves no HTTP, so --route means nothing for it");
        return Err(usage(format!("{} {message}", args.file.display())).into());
    }
    // A Service's name begins with a letter (RFC 1035); an app that is half made because of it helps nobody.
    if world == World::Http && !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(
            usage(format!("an app that serves HTTP needs a name that begins with a letter, not {name:?}")).into()
        );
    }
    if let Some(memory) = &args.memory {
        let bytes = wk_api::quantity::Quantity::parse(memory).ok().map(wk_api::quantity::Quantity::value);
        if bytes.is_none_or(|bytes| bytes < MEMORY_MIN) {
            return Err(usage(format!("--memory {memory:?} is not an amount of at least 1Mi, such as 64Mi")).into());
        }
    }
    Ok(App {
        name,
        bytes,
        form,
        world,
        replicas: args.replicas,
        route: args.route,
        env: args.env,
        memory: args.memory,
        cpu: args.cpu,
        egress: args.egress,
        args: args.args,
        timeout: args.timeout,
    })
}

/// A name for the app from the name of its file.
fn name_of(file: &Path) -> anyhow::Result<String> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if stem.chars().any(|c| c.is_alphanumeric() && !c.is_ascii()) {
        return Err(usage(format!("no name can be made of {}; give one with --name", file.display())).into());
    }
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-').to_owned();
    if is_dns_label(&name) {
        return Ok(name);
    }
    Err(usage(format!("no name can be made of {}; give one with --name", file.display())).into())
}

fn read(file: &Path) -> anyhow::Result<Bytes> {
    let metadata = std::fs::metadata(file).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Usage };
        ExitError::new(code, format!("read {}", file.display())).because(error)
    })?;
    if metadata.is_dir() {
        return Err(usage(format!("{} is a directory; give the .wasm file", file.display())).into());
    }
    // The nodes refuse larger layers.
    let limit = wk_image::LAYER_BYTES_MAX;
    if metadata.len() > limit {
        return Err(usage(format!("{} is larger than {} MiB", file.display(), limit >> 20)).into());
    }
    Ok(std::fs::read(file).with_context(|| format!("read {}", file.display()))?.into())
}

/// Deploys the app and returns when all its replicas serve.
pub(super) async fn run(client: &Client, app: App, ui: &mut Ui) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + app.timeout;
    let image = upload::upload(client, &app, ui).await?;
    let written = write::write_all(client, &app, &image, ui).await?;
    if app.world == World::Http {
        // Who may not see other namespaces is told of none.
        if let Ok(all) = client.get(&Resource::ingresses().collection(None), crate::client::JSON).await {
            for line in urls::taken(&all, client.namespace(), &app.name) {
                ui.note(&line);
            }
        }
    }
    wait::until_ready(client, &app, &written, deadline, ui).await?;
    if app.world == World::Http {
        let ingress =
            client.get(&Resource::ingresses().object(client.namespace(), &app.name), crate::client::JSON).await?;
        let nodes = client.get(&Resource::nodes().collection(None), crate::client::JSON).await?;
        for line in urls::urls(&urls::routes(&ingress, &app.name), &urls::listeners(&nodes)) {
            ui.line(&line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

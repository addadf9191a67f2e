//! `wk version`: what runs here and there.

use serde_json::{Value, json};

use crate::args::{GlobalArgs, StructuredFormat, VersionArgs};
use crate::client::{Client, JSON};
use crate::render::{Ui, json as json_text, yaml};

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Prints the version of this program, then that of the server, which may be out of reach.
pub(super) async fn run(global: &GlobalArgs, args: &VersionArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if args.output.is_none() {
        ui.line(&format!("client: wk {CLIENT}"))?;
    }
    let server = if args.client { None } else { Some(ask(global, ui).await) };
    let (server, failure) = match server {
        Some(Ok(version)) => (Some(version), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let known = server.as_ref();
    match args.output {
        None => {
            if let Some(version) = known {
                let text = |key: &str| version.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
                ui.line(&format!(
                    "server: {} (Kubernetes API {}.{})",
                    text("gitVersion"),
                    text("major"),
                    text("minor")
                ))?;
            }
        }
        Some(format) => {
            let facts = json!({"client": {"version": CLIENT}, "server": known});
            let text = match format {
                StructuredFormat::Json => json_text(&facts)?,
                StructuredFormat::Yaml => yaml(&facts)?,
            };
            ui.data(text.as_bytes())?;
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn ask(global: &GlobalArgs, ui: &Ui) -> anyhow::Result<Value> {
    Client::open(global, ui).await?.get("/version", JSON).await
}

//! Sending the module to the cluster: the OCI distribution's push, on the API server's port.

use bytes::Bytes;
use http::Method;
use wk_image::{Digest, Manifest, Reference, WasmOs, media_type};

use super::App;
use super::wasm::Form;
use crate::client::{Client, JSON, Payload, Query, is_not_found};
use crate::render::Ui;

/// Uploads the module unless the cluster has it, and says under which image name it is known.
pub(super) async fn upload(client: &Client, app: &App, ui: &mut Ui) -> anyhow::Result<String> {
    let wasm = Digest::of(&app.bytes);
    let os = match app.form {
        Form::Module => WasmOs::Wasip1,
        Form::Component => WasmOs::Wasip2,
    };
    let config = Bytes::from(wk_image::wasm_config(&wasm, os));
    let (wasm_size, config_size) = (app.bytes.len() as u64, config.len() as u64);
    let config_digest = Digest::of(&config);
    let manifest = Manifest::for_wasm(wasm, wasm_size, config_digest, config_size).to_bytes();
    let image = Reference::local(&app.name, Digest::of(&manifest))?;
    let repository = format!("/v2/{}", app.name);
    let manifest_path = format!("{repository}/manifests/{}", Digest::of(&manifest));
    ui.progress(&format!("uploading {} ({})", app.name, size(wasm_size)));
    let sent = push(client, &repository, &wasm, app.bytes.clone()).await?;
    push(client, &repository, &config_digest, config).await?;
    // The manifest last: whoever sees it finds all it names. Also when it is there already: taking it is what makes the
    // server copy the module to other nodes, and a copy may be missing.
    let payload = Payload::bytes(media_type::MANIFEST, manifest.into());
    client.exchange(&Method::PUT, &manifest_path, JSON, Some(payload)).await?;
    let digest = short(&wasm);
    ui.note(&match sent {
        Sent::Now => format!("uploaded {digest} ({})", size(wasm_size)),
        Sent::Before => format!("{digest} is in the cluster already"),
    });
    Ok(image.to_string())
}

/// When the server got a blob.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Now,
    Before,
}

async fn push(client: &Client, repository: &str, digest: &Digest, bytes: Bytes) -> anyhow::Result<Sent> {
    if has(client, &format!("{repository}/blobs/{digest}")).await? {
        return Ok(Sent::Before);
    }
    let path = Query::default().with("digest", &digest.to_string()).on(&format!("{repository}/blobs/uploads/"));
    let payload = Payload::bytes("application/octet-stream", bytes);
    client.exchange(&Method::POST, &path, JSON, Some(payload)).await?;
    Ok(Sent::Now)
}

async fn has(client: &Client, path: &str) -> anyhow::Result<bool> {
    match client.exchange(&Method::HEAD, path, "*/*", None).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Enough of a digest for a person to recognise it.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take("sha256:".len() + 12).collect()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

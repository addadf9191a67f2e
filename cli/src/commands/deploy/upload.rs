//! Sending the module to the cluster: the OCI distribution's push, on the API server's port.

use bytes::Bytes;
use http::Method;
use wk_image::{Digest, Manifest, Reference, WasmOs, media_type};

use super::App;
use super::wasm::Form;
use crate::client::{Client, JSON, Payload, Query, is_not_found};
use crate::render::Ui;

/// A module as the cluster stores it: an OCI artifact of two blobs and the manifest that names them.
struct Artifact {
    wasm: Digest,
    config: Bytes,
    manifest: Vec<u8>,
    image: Reference,
}

impl Artifact {
    fn new(name: &str, form: Form, bytes: &[u8]) -> anyhow::Result<Self> {
        let wasm = Digest::of(bytes);
        let os = match form {
            Form::Module => WasmOs::Wasip1,
            Form::Component => WasmOs::Wasip2,
        };
        let config = Bytes::from(wk_image::wasm_config(&wasm, os));
        let manifest =
            Manifest::for_wasm(wasm, bytes.len() as u64, Digest::of(&config), config.len() as u64).to_bytes();
        let image = Reference::local(name, Digest::of(&manifest))?;
        Ok(Self { wasm, config, manifest, image })
    }
}

/// Uploads the module unless the cluster has it, and says under which image name it is known.
pub(super) async fn upload(client: &Client, app: &App, ui: &mut Ui) -> anyhow::Result<String> {
    let Artifact { wasm, config, manifest, image } = Artifact::new(&app.name, app.form, &app.bytes)?;
    let wasm_size = app.bytes.len() as u64;
    let repository = format!("/v2/{}", app.name);
    let manifest_path = format!("{repository}/manifests/{}", Digest::of(&manifest));
    ui.progress(&format!("uploading {} ({})", app.name, size(wasm_size)));
    let sent = push(client, &repository, &wasm, app.bytes.clone()).await?;
    push(client, &repository, &Digest::of(&config), config).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn manifests_of_the_examples_name_the_modules_beside_them() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        for (name, form) in [("hello-http", Form::Component), ("ticker", Form::Module)] {
            let bytes = std::fs::read(examples.join(name).join(format!("{name}.wasm"))).unwrap();
            let image = Artifact::new(name, form, &bytes).unwrap().image.to_string();
            let manifest = std::fs::read_to_string(examples.join(name).join("manifest.yaml")).unwrap();
            assert!(manifest.contains(&image), "examples/{name}/manifest.yaml should say: image: {image}");
        }
    }
}

//! `GET /apis/wk.dev/v1/backup`: the objects, and the modules they run, as one stream.
//!
//! Not here: the format (`wk_store::backup`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use wk_api::{Status, kinds};
use wk_base::body::{self, Body, BoxError};
use wk_base::error::Chain;
use wk_base::time::Clock;
use wk_image::{Blobs, Digest, MANIFEST_BYTES_MAX, Manifest, Reference, pull};
use wk_store::backup::{About, Backup};
use wk_store::{Store, View};

use super::copies::Copies;
use super::forward;
use super::gate::{Gate, Knock};

/// Where it is.
pub(crate) const PATH: &str = "/apis/wk.dev/v1/backup";
/// How the names of modules in a backup begin; the digest follows.
pub(crate) const BLOB_PREFIX: &str = "blobs/";

/// Not `get`: what is below `/apis` may be got by everybody who is somebody, and every Secret is in a backup.
const VERB: &str = "backup";
/// Backups made at once: each holds on to a state that the cluster has left behind.
const AT_ONCE: usize = 2;
/// Pieces made before the client takes them: a quarter of a MiB each.
const PIECES_MAX: usize = 4;
/// A client that takes nothing for this long is gone.
const TAKE_DEADLINE: Duration = Duration::from_secs(30);

/// Makes backups.
pub(crate) struct Backups {
    store: Store,
    cluster: String,
    blobs: Blobs,
    copies: Copies,
    clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
}

/// A backup on its way to a client.
struct Outgoing {
    backup: Backup,
    blobs: Blobs,
    copies: Copies,
    pieces: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl Backups {
    /// Of this node's cluster.
    pub(crate) fn new(store: Store, cluster: String, blobs: Blobs, copies: Copies, clock: Arc<dyn Clock>) -> Self {
        Self { store, cluster, blobs, copies, clock, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers administrators of the cluster.
    pub(crate) async fn answer(&self, gate: &Gate, knock: &Knock) -> Response<Body> {
        if let Err(status) = gate.may(knock, VERB, PATH).await {
            return forward::json(Err(status));
        }
        match self.begin().await {
            Ok(body) => {
                let mut response = Response::new(body);
                let kind = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(status) => forward::json(Err(status)),
        }
    }

    async fn begin(&self) -> Result<Body, Status> {
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        let turn = turn.map_err(|_| Status::too_many_requests(format!("{AT_ONCE} backups are being made"), 1))?;
        let about = About {
            cluster: self.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        let backup = self.store.backup(about).await;
        let backup =
            backup.map_err(|error| Status::unavailable(format!("cannot read the state: {}", Chain(&error))))?;
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        let outgoing = Outgoing { backup, blobs: self.blobs.clone(), copies: self.copies.clone(), pieces };
        tokio::spawn(async move {
            outgoing.send().await;
            drop(turn);
        });
        let frames =
            futures::stream::unfold(taken, |mut taken| async { taken.recv().await.map(|piece| (piece, taken)) });
        let frames = futures::StreamExt::map(frames, |piece| piece.map(hyper::body::Frame::data));
        Ok(body::boxed(StreamBody::new(frames).boxed_unsync()))
    }
}

impl Outgoing {
    /// Sends everything. What fails half-way breaks the stream off: without its end no backup is taken for whole.
    async fn send(mut self) {
        let pieces = self.pieces.clone();
        let done = async {
            while let Some(piece) = self.backup.next() {
                give(&self.pieces, piece).await?;
            }
            let view = self.backup.view().clone();
            let images = tokio::task::spawn_blocking(move || images(&view)).await?;
            let mut sent = BTreeSet::new();
            for image in images {
                self.send_module(&image, &mut sent).await?;
            }
            let end = self.backup.end();
            give(&self.pieces, end).await
        };
        if let Err(error) = done.await {
            tracing::warn!(error = %format!("{error:#}"), "a backup broke off");
            let _ = pieces.try_send(Err(error.into()));
        }
    }

    /// Sends the files of a module that were not sent yet. One that no node has is noted: pods that need it cannot start
    /// now either.
    async fn send_module(&mut self, image: &Reference, sent: &mut BTreeSet<Digest>) -> anyhow::Result<()> {
        let Some(manifest) = image.digest() else { return Ok(()) };
        if let Err(error) = pull(&self.blobs, image, &self.copies).await {
            let note = self.backup.note(&format!("module {image} is not in the backup: {}", Chain(&error)));
            return give(&self.pieces, note).await;
        }
        let named = match self.blobs.get(manifest).await? {
            Some(blob) => blob.bytes(MANIFEST_BYTES_MAX).await?.context("an image manifest is too long")?,
            None => anyhow::bail!("the manifest of {image} is gone"),
        };
        let named = Manifest::parse(&named)?;
        let digests = named.layers.iter().chain([&named.config]).map(|descriptor| descriptor.digest);
        for digest in digests.chain([*manifest]) {
            if sent.insert(digest) {
                self.send_blob(&digest).await?;
            }
        }
        Ok(())
    }

    async fn send_blob(&mut self, digest: &Digest) -> anyhow::Result<()> {
        // A manifest may name a configuration that nobody needs to run it.
        let Some(blob) = self.blobs.get(digest).await? else { return Ok(()) };
        let head = self.backup.file(&format!("{BLOB_PREFIX}{digest}"), blob.size());
        give(&self.pieces, head).await?;
        let mut body = blob.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| anyhow::anyhow!("read module {digest}: {}", Chain(&*error)))?;
            if let Ok(data) = frame.into_data() {
                let data = self.backup.data(&data);
                give(&self.pieces, data).await?;
            }
        }
        Ok(())
    }
}

async fn give(pieces: &mpsc::Sender<Result<Bytes, BoxError>>, piece: Bytes) -> anyhow::Result<()> {
    let given = tokio::time::timeout(TAKE_DEADLINE, pieces.send(Ok(piece))).await;
    given.context("the client takes nothing")?.context("the client is gone")
}

/// The modules that the objects run, or ran in an earlier revision of theirs.
fn images(view: &View) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let with_templates = [
        &kinds::POD,
        &kinds::REPLICASET,
        &kinds::DEPLOYMENT,
        &kinds::STATEFULSET,
        &kinds::DAEMONSET,
        &kinds::JOB,
        &kinds::CRONJOB,
        &kinds::REPLICATIONCONTROLLER,
    ];
    for kind in with_templates {
        for stored in view.list(kind.collection(), "") {
            if let Ok(object) = serde_json::from_slice(&stored.bytes()) {
                note_images(&object, &mut found);
            }
        }
    }
    found
}

/// The pod's specification is at the top of a pod and in the template of the others; containers are in it.
fn note_images(object: &Value, found: &mut BTreeSet<Reference>) {
    for spec in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        for list in ["containers", "initContainers"] {
            let containers = object.pointer(&format!("{spec}/{list}")).and_then(Value::as_array);
            let images = containers.into_iter().flatten().filter_map(|container| container.get("image")?.as_str());
            found.extend(images.filter_map(|image| image.parse::<Reference>().ok()).filter(Reference::is_local));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_pods_and_in_templates() {
        let image = |name: &str| format!("wk.local/{name}@sha256:{}", "0".repeat(64));
        let spec =
            |name: &str| serde_json::json!({"containers": [{"image": image(name)}, {"image": "other.example/x:1"}]});
        let mut found = BTreeSet::new();
        note_images(&serde_json::json!({"spec": spec("one")}), &mut found);
        note_images(&serde_json::json!({"spec": {"template": {"spec": spec("two")}}}), &mut found);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, [image("one"), image("two")]);
    }
}

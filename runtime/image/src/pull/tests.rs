//! Pulling with peers that are honest, ignorant, broken or lying.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use wk_base::body::full;

use super::*;
use crate::manifest::{WasmOs, wasm_config};
use crate::reference::LOCAL_HOST;

const WASM: &[u8] = b"\0asm and so on";

enum Peer {
    Honest,
    Liar,
    Broken,
    Endless,
}

/// Peers in the order they are asked.
struct Cluster {
    peers: Vec<Peer>,
    blobs: HashMap<Digest, Bytes>,
    asked: Mutex<Vec<(Digest, u32)>>,
    fetches: AtomicUsize,
}

#[async_trait]
impl Peers for Cluster {
    async fn fetch(&self, digest: &Digest, attempt: u32) -> Result<Option<Body>, BoxError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().expect("no panic").push((*digest, attempt));
        let Some(peer) = self.peers.get(attempt as usize) else { return Ok(None) };
        match peer {
            Peer::Honest => Ok(self.blobs.get(digest).cloned().map(full)),
            Peer::Liar => Ok(Some(full("something else"))),
            Peer::Broken => Err("connection reset".into()),
            Peer::Endless => Ok(Some(full(vec![0; 8 * 1024 * 1024]))),
        }
    }
}

fn image() -> (Reference, HashMap<Digest, Bytes>) {
    let config = wasm_config(&Digest::of(WASM), WasmOs::Wasip2);
    image_of(&Manifest::for_wasm(Digest::of(WASM), WASM.len() as u64, Digest::of(&config), config.len() as u64))
}

fn image_of(manifest: &Manifest) -> (Reference, HashMap<Digest, Bytes>) {
    let bytes = manifest.to_bytes();
    let reference = Reference::local("hello", Digest::of(&bytes)).expect("a name");
    let blobs = [Bytes::from(bytes), Bytes::from_static(WASM)].map(|bytes| (Digest::of(&bytes), bytes));
    (reference, HashMap::from(blobs))
}

fn cluster(peers: Vec<Peer>, blobs: HashMap<Digest, Bytes>) -> Cluster {
    Cluster { peers, blobs, asked: Mutex::default(), fetches: AtomicUsize::new(0) }
}

fn store() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = Blobs::open(dir.path()).expect("a store");
    (dir, blobs)
}

#[tokio::test]
async fn a_lying_broken_or_endless_peer_is_passed_over_for_the_next() {
    let (image, contents) = image();
    let (_dir, blobs) = store();
    let peers = cluster(vec![Peer::Liar, Peer::Broken, Peer::Endless, Peer::Honest], contents);
    let wasm = pull(&blobs, &image, &peers).await.expect("the module");
    assert_eq!((wasm.digest, wasm.size), (Digest::of(WASM), WASM.len() as u64));
    assert_eq!(std::fs::read(&wasm.path).expect("a file"), WASM);
    assert_eq!(blobs.list().expect("a list").len(), 2, "manifest and layer, nothing of the lies");
    assert_eq!(peers.fetches.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn what_is_on_disk_is_not_asked_for() {
    let (image, contents) = image();
    let (_dir, blobs) = store();
    for bytes in contents.into_values() {
        blobs.put_bytes(bytes).await.expect("kept");
    }
    let nobody = cluster(vec![], HashMap::new());
    pull(&blobs, &image, &nobody).await.expect("the module");
    assert_eq!(nobody.fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_of_one_image_fetch_it_once() {
    let (image, contents) = image();
    let (_dir, blobs) = store();
    let peers = cluster(vec![Peer::Honest], contents);
    let pulls = (0..50).map(|_| pull(&blobs, &image, &peers));
    for pulled in futures::future::join_all(pulls).await {
        pulled.expect("the module");
    }
    assert_eq!(peers.fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_missing_and_says_what_the_last_peer_did() {
    let (image, _) = image();
    let (_dir, blobs) = store();
    let error = pull(&blobs, &image, &cluster(vec![], HashMap::new())).await.expect_err("nobody");
    assert!(matches!(error, PullError::Missing { tried: 0, source: None, .. }), "{error:?}");
    let error = pull(&blobs, &image, &cluster(vec![Peer::Broken], HashMap::new())).await.expect_err("nobody");
    assert!(Chain(&error).to_string().ends_with("(1 peers tried): connection reset"), "{}", Chain(&error));
    assert!(blobs.list().expect("a list").is_empty());
}

#[tokio::test]
async fn peers_are_tried_a_bounded_number_of_times() {
    let (image, _) = image();
    let (_dir, blobs) = store();
    let liars = cluster((0..1000).map(|_| Peer::Liar).collect(), HashMap::new());
    let error = pull(&blobs, &image, &liars).await.expect_err("lies");
    assert!(matches!(error, PullError::Missing { tried: ATTEMPTS_MAX, .. }), "{error:?}");
    let asked = liars.asked.lock().expect("no panic");
    assert!(asked.iter().enumerate().all(|(index, (_, attempt))| index == *attempt as usize));
}

#[tokio::test]
async fn references_that_cannot_be_pulled_say_why() {
    let (_dir, blobs) = store();
    let nobody = cluster(vec![], HashMap::new());
    let image = "ghcr.io/owner/app:v1".parse().expect("a reference");
    let error = pull(&blobs, &image, &nobody).await.expect_err("another registry");
    assert!(matches!(&error, PullError::UnsupportedHost { host } if host == "ghcr.io"));
    assert!(error.to_string().contains("wk deploy"), "{error}");
    let image = format!("{LOCAL_HOST}/app:v1").parse().expect("a reference");
    assert!(matches!(pull(&blobs, &image, &nobody).await, Err(PullError::NoDigest { .. })));
}

#[tokio::test]
async fn a_manifest_that_is_wrong_about_its_layer_is_refused() {
    let config = Digest::of(b"{}");
    let too_large = Manifest::for_wasm(Digest::of(WASM), LAYER_BYTES_MAX + 1, config, 2);
    let too_small = Manifest::for_wasm(Digest::of(WASM), 3, config, 2);
    let mut linux = Manifest::for_wasm(Digest::of(WASM), WASM.len() as u64, config, 2);
    linux.layers[0].media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();

    let (_dir, blobs) = store();
    let mut errors = Vec::new();
    for manifest in [&too_large, &too_small, &linux] {
        let (image, contents) = image_of(manifest);
        errors.push(pull(&blobs, &image, &cluster(vec![Peer::Honest], contents)).await.expect_err("refused"));
    }
    assert!(matches!(errors[0], PullError::Layer { .. }), "{:?}", errors[0]);
    assert!(matches!(errors[1], PullError::Missing { .. }), "more bytes than it says: {:?}", errors[1]);
    assert!(matches!(errors[2], PullError::Manifest { .. }), "{:?}", errors[2]);

    blobs.put_bytes(WASM).await.expect("kept");
    let (image, contents) = image_of(&too_small);
    let error = pull(&blobs, &image, &cluster(vec![Peer::Honest], contents)).await.expect_err("refused");
    assert!(matches!(error, PullError::Layer { .. }), "{error:?}");
}

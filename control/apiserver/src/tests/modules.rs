//! Uploads.

use std::sync::atomic::Ordering;

use http::Method;
use wk_base::body::{empty, full};
use wk_image::{Digest, Manifest, WasmOs, wasm_config};

use super::kit::{Answer, Harness};

async fn post(api: &Harness, digest: &Digest, bytes: &[u8]) -> Answer {
    let path = format!("/v2/hello/blobs/uploads/?digest={digest}");
    api.send(Method::POST, &path, &[], full(bytes.to_vec())).await
}

fn code(answer: &Answer) -> String {
    answer.json()["errors"][0]["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_module_is_pushed_by_content_and_copied_to_peers() {
    let api = Harness::start().await;
    let wasm = b"\0asm and so on".as_slice();
    let config = wasm_config(&Digest::of(wasm), WasmOs::Wasip2);
    let manifest =
        Manifest::for_wasm(Digest::of(wasm), wasm.len() as u64, Digest::of(&config), config.len() as u64).to_bytes();
    let digest = Digest::of(&manifest);
    let path = format!("/v2/hello/manifests/{digest}");
    let early = api.send(Method::PUT, &path, &[], full(manifest.clone())).await;
    assert_eq!((early.code.as_u16(), code(&early).as_str()), (404, "MANIFEST_BLOB_UNKNOWN"));

    let blob = format!("/v2/hello/blobs/{}", Digest::of(wasm));
    assert_eq!(api.send(Method::HEAD, &blob, &[], empty()).await.code, 404);
    for bytes in [wasm, &config] {
        assert_eq!(post(&api, &Digest::of(bytes), bytes).await.code, 201);
    }
    let head = api.send(Method::HEAD, &blob, &[], empty()).await;
    assert_eq!((head.code.as_u16(), head.headers["content-length"].as_bytes()), (200, b"14".as_slice()));
    let made = api.send(Method::PUT, &path, &[], full(manifest.clone())).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.headers["docker-content-digest"], digest.to_string().as_str());
    assert_eq!(made.headers["wk-copies"], "2");
    assert_eq!(api.replicated.load(Ordering::SeqCst), 3, "the manifest, the module and its configuration");
    let read = api.get(&path).await;
    assert_eq!(read.text.as_bytes(), manifest);
    assert_eq!(api.get("/v2/").await.code, 200);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let api = Harness::start().await;
    let lie = post(&api, &Digest::of(b"this"), b"that").await;
    assert_eq!((lie.code.as_u16(), code(&lie).as_str()), (400, "DIGEST_INVALID"));
    let tag = api.send(Method::PUT, "/v2/hello/manifests/latest", &[], full("{}")).await;
    assert_eq!((tag.code.as_u16(), code(&tag).as_str()), (400, "DIGEST_INVALID"));
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#;
    let path = format!("/v2/hello/manifests/{}", Digest::of(index));
    let refused = api.send(Method::PUT, &path, &[], full(index.to_vec())).await;
    assert_eq!((refused.code.as_u16(), code(&refused).as_str()), (400, "MANIFEST_INVALID"));
    let chunked = api.send(Method::POST, "/v2/hello/blobs/uploads/", &[], empty()).await;
    assert_eq!((chunked.code.as_u16(), code(&chunked).as_str()), (400, "UNSUPPORTED"));
    let missing = api.get(&format!("/v2/hello/blobs/{}", Digest::of(b"?"))).await;
    assert_eq!((missing.code.as_u16(), code(&missing).as_str()), (404, "BLOB_UNKNOWN"));
}

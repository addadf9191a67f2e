//! Uploading modules: the part of the OCI distribution protocol that a push of one artifact by digest needs.
//!
//! `GET /v2/`, blobs by HEAD, GET and a single-request POST, manifests by HEAD, GET and PUT. A manifest is taken only
//! when everything it names is here and right, and is then copied to other peers before the client hears of success.
//! Not here: tags, uploads in chunks, deletion. Source: the OCI distribution specification 1.1.

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;
use wk_base::body::{Body, empty, full};
use wk_base::error::Chain;
use wk_image::{Blob, BlobError, Digest, LAYER_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest, Reference, media_type};

use crate::body;
use crate::query::Query;
use crate::respond::JSON;
use crate::server::ApiServer;

/// Largest module that can be uploaded, in bytes.
pub const MODULE_BYTES_MAX: u64 = LAYER_BYTES_MAX;

const DOCKER_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How many other peers have a copy of what was just uploaded.
const COPIES: HeaderName = HeaderName::from_static("wk-copies");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What a path below `/v2/` names.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Root,
    Blob { name: &'a str, digest: &'a str },
    Uploads { name: &'a str },
    Manifest { name: &'a str, reference: &'a str },
}

fn place(path: &str) -> Option<Place<'_>> {
    if path.is_empty() {
        return Some(Place::Root);
    }
    if let Some(name) = path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads")) {
        return Some(Place::Uploads { name });
    }
    if let Some((name, digest)) = path.rsplit_once("/blobs/") {
        return Some(Place::Blob { name, digest });
    }
    path.rsplit_once("/manifests/").map(|(name, reference)| Place::Manifest { name, reference })
}

/// A refusal: the status, and OCI's code for it.
struct Refusal(StatusCode, &'static str, String);

/// Answers a request below `/v2/`; `path` is what follows.
pub(crate) async fn answer(
    server: &ApiServer,
    method: &Method,
    path: &str,
    query: &Query,
    body: Body,
) -> Response<Body> {
    let result = match (place(path), method) {
        (None, _) => Err(Refusal(StatusCode::NOT_FOUND, "UNSUPPORTED", format!("/v2/{path} is nothing here"))),
        (Some(Place::Root), &Method::GET | &Method::HEAD) => Ok(root()),
        (Some(Place::Blob { name, digest }), &Method::GET | &Method::HEAD) => {
            read(server, name, digest, method, OCTETS, "BLOB_UNKNOWN").await
        }
        (Some(Place::Manifest { name, reference }), &Method::GET | &Method::HEAD) => {
            let media = HeaderValue::from_static(media_type::MANIFEST);
            read(server, name, reference, method, media, "MANIFEST_UNKNOWN").await
        }
        (Some(Place::Uploads { name }), &Method::POST) => upload(server, name, query, body).await,
        (Some(Place::Manifest { name, reference }), &Method::PUT) => put(server, name, reference, body).await,
        (Some(_), method) => {
            let message = format!("{method} is not served on /v2/{path}");
            Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message))
        }
    };
    let mut response = result.unwrap_or_else(|Refusal(code, name, message)| {
        let text = json!({ "errors": [{ "code": name, "message": message }] }).to_string();
        let mut response = Response::new(full(text));
        *response.status_mut() = code;
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    });
    let version =
        (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
    response.headers_mut().insert(version.0, version.1);
    response
}

fn root() -> Response<Body> {
    let mut response = Response::new(full("{}"));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

async fn read(
    server: &ApiServer,
    name: &str,
    reference: &str,
    method: &Method,
    media: HeaderValue,
    unknown: &'static str,
) -> Result<Response<Body>, Refusal> {
    let digest = parse(name, reference)?;
    let found = server.blobs.get(&digest).await.map_err(|error| refuse(&error))?;
    let Some(blob) = found else {
        return Err(Refusal(StatusCode::NOT_FOUND, unknown, format!("{digest} is not on this node")));
    };
    let length = blob.size();
    let mut response = Response::new(if method == Method::HEAD { empty() } else { Blob::into_body(blob) });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media);
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(DOCKER_DIGEST, header(&digest.to_string()));
    Ok(response)
}

async fn upload(server: &ApiServer, name: &str, query: &Query, body: Body) -> Result<Response<Body>, Refusal> {
    let Some(digest) = query.get("digest") else {
        let message =
            "uploads in chunks are not served: send the whole blob with POST …/blobs/uploads/?digest=sha256:…";
        return Err(Refusal(StatusCode::BAD_REQUEST, "UNSUPPORTED", message.to_owned()));
    };
    let digest = parse(name, digest)?;
    server.blobs.put(&digest, body, MODULE_BYTES_MAX).await.map_err(|error| refuse(&error))?;
    Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest))
}

async fn put(server: &ApiServer, name: &str, reference: &str, body: Body) -> Result<Response<Body>, Refusal> {
    let digest = parse(name, reference)?;
    let invalid = |message: String| Refusal(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message);
    let limit = usize::try_from(MANIFEST_BYTES_MAX).expect("4 MiB fit in memory");
    let bytes = body::read(body, limit).await.map_err(|status| invalid(status.message))?;
    let found = Digest::of(&bytes);
    if found != digest {
        let message = format!("the manifest was sent as {digest} and is really {found}");
        return Err(Refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
    }
    let manifest = Manifest::parse(&bytes).map_err(|error| invalid(Chain(&error).to_string()))?;
    // Either something to run, or files to mount.
    if let (Err(error), Err(_)) = (manifest.wasm(), manifest.contents()) {
        return Err(invalid(error.to_string()));
    }
    let mut needed = vec![digest];
    for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if server.blobs.get(&part.digest).await.map_err(|error| refuse(&error))?.is_none() {
            let message = format!("the manifest names {}, which is not here: upload it first", part.digest);
            return Err(Refusal(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message));
        }
        needed.push(part.digest);
    }
    server.blobs.put_bytes(bytes).await.map_err(|error| refuse(&error))?;
    let copies = server.replicate.replicate(&needed).await;
    tracing::info!(%digest, name, copies, "module uploaded");
    let mut response = created(&format!("/v2/{name}/manifests/{digest}"), &digest);
    response.headers_mut().insert(COPIES, copies.into());
    Ok(response)
}

/// Name and digest of a path. Modules are named by their content only; a tag could mean another one tomorrow.
fn parse(name: &str, digest: &str) -> Result<Digest, Refusal> {
    let digest: Digest = digest.replace("%3A", ":").replace("%3a", ":").parse().map_err(|error| {
        Refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("{digest:?} cannot be used here: {error}"))
    })?;
    match Reference::local(name, digest) {
        Ok(_) => Ok(digest),
        Err(error) => Err(Refusal(StatusCode::BAD_REQUEST, "NAME_INVALID", error.to_string())),
    }
}

fn refuse(error: &BlobError) -> Refusal {
    let message = Chain(error).to_string();
    match error {
        BlobError::Mismatch { .. } => Refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message),
        BlobError::TooLarge { .. } => Refusal(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message),
        BlobError::Receive { .. } | BlobError::Stalled { .. } => {
            Refusal(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
        }
        BlobError::Disk { .. } => {
            tracing::error!(error = message, "a module could not be kept or read");
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
        }
    }
}

fn created(location: &str, digest: &Digest) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(LOCATION, header(location));
    response.headers_mut().insert(DOCKER_DIGEST, header(&digest.to_string()));
    response
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("checked names and digests are plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_slashes() {
        assert_eq!(place(""), Some(Place::Root));
        assert_eq!(place("a/b/blobs/sha256:x"), Some(Place::Blob { name: "a/b", digest: "sha256:x" }));
        assert_eq!(place("a/blobs/uploads/"), Some(Place::Uploads { name: "a" }));
        assert_eq!(place("a/manifests/v1"), Some(Place::Manifest { name: "a", reference: "v1" }));
        assert_eq!(place("a/tags/list"), None);
    }
}

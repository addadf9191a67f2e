//! `/openapi/v3` and `/openapi/v2`: made when they are first asked for, kept while the kinds are the same, and told apart
//! by the hash of what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::header::{CACHE_CONTROL, EXPIRES, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, json};
use tokio::sync::Mutex;
use wk_api::{Kind, Status, openapi};
use wk_base::body::{Body, empty};

use crate::negotiate::{self, Encoding};
use crate::query::Query;
use crate::respond::{respond, text};
use crate::server::ApiServer;
use crate::tagged::Tagged;

/// A document below `/openapi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/openapi/v3`: which documents there are.
    Index,
    /// `/openapi/v3/apis/<group>/<version>`, `/openapi/v3/api/v1`.
    Version {
        /// "" for core.
        group: String,
        version: String,
    },
    /// `/openapi/v2`: everything in one.
    Everything,
}

const JSON: &str = "application/json";

/// Version 2 as it is answered.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Version 2 as kubectl asks for it. It is no media type, and kubectl refuses an answer that has it.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// How long clients keep a document whose address holds its hash: as long as Kubernetes says.
const KEPT_HOURS: u64 = 365 * 24;

/// Makes the text of a document of these kinds.
type Write = fn(&[&'static Kind]) -> Vec<u8>;

/// The documents that were made, by name. Whoever asks for one while it is made waits, and does not make it again: it
/// takes a core for a moment.
#[derive(Debug, Default)]
pub(crate) struct Documents(Mutex<BTreeMap<String, Made>>);

#[derive(Debug)]
struct Made {
    kinds: Vec<&'static Kind>,
    document: Arc<Tagged>,
}

impl Documents {
    /// The document `name` of these kinds.
    async fn get(
        &self,
        name: String,
        kinds: Vec<&'static Kind>,
        media_type: &'static str,
        write: Write,
    ) -> Arc<Tagged> {
        let mut documents = self.0.lock().await;
        // A definition that changes is another row, with the same names.
        let same = |made: &&Made| {
            made.kinds.len() == kinds.len() && made.kinds.iter().zip(&kinds).all(|(was, is)| std::ptr::eq(*was, *is))
        };
        if let Some(made) = documents.get(&name).filter(same) {
            return Arc::clone(&made.document);
        }
        let given = kinds.clone();
        let text = tokio::task::spawn_blocking(move || write(&given)).await.unwrap_or_default();
        let document = Arc::new(Tagged::new(text, media_type));
        documents.insert(name, Made { kinds, document: Arc::clone(&document) });
        document
    }

    /// Drops documents of groups and versions that are gone.
    async fn retain(&self, versions: &BTreeSet<(&'static str, &'static str)>) {
        let names: BTreeSet<String> = versions.iter().map(|(group, version)| path(group, version)).collect();
        self.0.lock().await.retain(|name, _| name.starts_with('v') || names.contains(name));
    }
}

/// The document at `place`, in the form that was asked for.
pub(crate) async fn answer(server: &ApiServer, place: &Place, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let kinds = &server.cluster.kinds();
    match place {
        Place::Index => index(server, kinds, headers).await,
        Place::Version { group, version } => {
            let own: Vec<_> =
                kinds.iter().copied().filter(|kind| kind.group == group && kind.version == version).collect();
            if own.is_empty() {
                return text(StatusCode::NOT_FOUND, "404 page not found\n");
            }
            if negotiate::media(headers, &[JSON]).is_none() {
                return respond(Err(Status::not_acceptable(&[JSON])), Encoding::Json);
            }
            let document = of_version(server, own).await;
            version_answer(server, &document, &path(group, version), headers, query)
        }
        Place::Everything => everything(server, kinds.clone(), headers).await,
    }
}

/// `apis/apps/v1`, `api/v1`.
fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

async fn of_version(server: &ApiServer, own: Vec<&'static Kind>) -> Arc<Tagged> {
    let name = path(own[0].group, own[0].version);
    server.documents.get(name, own, JSON, |kinds| openapi::v3(kinds).to_string().into_bytes()).await
}

/// Which documents there are: the hash in an address changes with what the document says.
async fn index(server: &ApiServer, kinds: &[&'static Kind], headers: &HeaderMap) -> Response<Body> {
    let versions: BTreeSet<_> = kinds.iter().map(|kind| (kind.group, kind.version)).collect();
    server.documents.retain(&versions).await;
    let mut paths = Map::new();
    for (group, version) in versions {
        let own = kinds.iter().copied().filter(|kind| (kind.group, kind.version) == (group, version)).collect();
        let path = path(group, version);
        let address = format!("/openapi/v3/{path}?hash={}", of_version(server, own).await.hash());
        paths.insert(path, json!({ "serverRelativeURL": address }));
    }
    Tagged::new(json!({ "paths": paths }).to_string(), JSON).answer(headers)
}

fn version_answer(
    server: &ApiServer,
    document: &Tagged,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Response<Body> {
    let asked = query.text("hash");
    if !asked.is_empty() && asked != document.hash() {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(address) = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={}", document.hash())) {
            response.headers_mut().insert(LOCATION, address);
        }
        return response;
    }
    let mut response = document.answer(headers);
    if !asked.is_empty() {
        let until = server.cluster.clock().now() + std::time::Duration::from_hours(KEPT_HOURS);
        let own = response.headers_mut();
        own.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Ok(until) = HeaderValue::from_str(&until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            own.insert(EXPIRES, until);
        }
    }
    response
}

async fn everything(server: &ApiServer, kinds: Vec<&'static Kind>, headers: &HeaderMap) -> Response<Body> {
    let offered = [JSON, PROTOBUF, PROTOBUF_ASKED];
    let (name, media_type, write): (_, _, Write) = match negotiate::media(headers, &offered) {
        Some(JSON) => ("v2", JSON, |kinds| openapi::v2(kinds).to_string().into_bytes()),
        Some(_) => ("v2 protobuf", PROTOBUF, openapi::v2_protobuf),
        None => return respond(Err(Status::not_acceptable(&offered)), Encoding::Json),
    };
    server.documents.get(name.to_owned(), kinds, media_type, write).await.answer(headers)
}

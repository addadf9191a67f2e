//! `GET /metrics`: what this node counts and measures, in the text format that Prometheus reads.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use wk_apiserver::Requests;
use wk_base::body::{self, Body};
use wk_cluster::Cluster;
use wk_engine::Engine;
use wk_node::usage::Meters;
use wk_store::Store;

use super::code_metrics;
use super::forward;
use super::gate::{Gate, Knock};
use super::secrets_keys;
use super::tend::Tended;
use super::usage;

/// Where it is.
pub(crate) const PATH: &str = "/metrics";

/// What `text::encode` writes.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The numbers of all parts of a node.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Registry>);

impl Metrics {
    /// Those of `store`.
    pub(crate) fn new(store: &Store) -> Self {
        let mut registry = Registry::default();
        store.register_metrics(&mut registry);
        Self(Arc::new(registry))
    }

    /// Those of `store`, of the API, of the engine, of the containers that run here, and of the modules.
    pub(crate) fn with_containers(
        store: &Store,
        engine: Engine,
        meters: Meters,
        cluster: Cluster,
        tended: &Tended,
        requests: &Requests,
    ) -> Self {
        let mut registry = Registry::default();
        store.register_metrics(&mut registry);
        requests.register(&mut registry);
        code_metrics::register(&mut registry, engine);
        tended.register(&mut registry);
        secrets_keys::register(&mut registry, cluster.clone());
        usage::register(&mut registry, meters, cluster);
        Self(Arc::new(registry))
    }

    /// Answers who may read them; `None` for everything else that is asked.
    pub(crate) async fn serve(&self, gate: &Gate, knock: &Knock) -> Option<Response<Body>> {
        if knock.method != Method::GET || knock.uri.path() != PATH {
            return None;
        }
        Some(match gate.may(knock, "get", PATH).await {
            Ok(_) => self.answer(),
            Err(status) => forward::json(Err(status)),
        })
    }

    /// The numbers as they are now.
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut text = String::new();
        if text::encode(&mut text, &self.0).is_err() {
            let mut failed = Response::new(body::full("the metrics could not be written"));
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return failed;
        }
        let mut response = Response::new(body::full(text));
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }
}

//! A kubelet's API at an address of its own, for tools that speak to nodes directly: what they ask is asked of the node's
//! proxy (`verbs::proxy`), with the right to `nodes/proxy`.
//!
//! It answers for pods of all nodes, as every peer answers every request: a pod's node is looked up. Not here: a kubelet's
//! finer rights (`nodes/metrics`, `nodes/stats`), and its read-only port.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response, Uri};
use wk_api::{Status, kinds};
use wk_base::body::Body;
use wk_mesh::{Handler, Peer};

use crate::negotiate::Encoding;
use crate::respond::respond;
use crate::server::ApiServer;
use crate::verbs::proxy;

/// Answers as a kubelet of this node. Hand it to `wk_mesh::serve`.
#[derive(Debug)]
pub struct Kubelet {
    server: Arc<ApiServer>,
    node: String,
}

impl Kubelet {
    /// Of the node with this name.
    pub fn new(server: Arc<ApiServer>, node: String) -> Self {
        Self { server, node }
    }

    /// The same request, of the node's proxy.
    fn proxied(&self, uri: &Uri) -> Option<Uri> {
        let pod = proxy::below(uri.path()).and_then(|below| {
            let key = wk_cluster::key(&kinds::POD, Some(below.namespace), below.pod);
            let stored = self.server.cluster.store().view().get(&key)?;
            Some(wk_cluster::object(&stored))
        });
        let of_pod = pod.as_ref().map(|pod| pod.text("/spec/nodeName")).filter(|node| !node.is_empty());
        let node = of_pod.unwrap_or(&self.node);
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        let path = format!("/api/v1/nodes/{node}/proxy{}{query}", uri.path());
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

#[async_trait]
impl Handler for Kubelet {
    async fn handle(&self, peer: Peer, mut request: Request<Body>) -> Response<Body> {
        let Some(uri) = self.proxied(request.uri()) else {
            return respond(Err(Status::bad_request("no path of a kubelet's")), Encoding::Json);
        };
        *request.uri_mut() = uri;
        self.server.handle(peer, request).await
    }
}

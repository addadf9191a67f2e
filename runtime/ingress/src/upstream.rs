//! The seam to whatever runs behind an endpoint. The ingress decides which endpoint and whether again; an [`Upstream`]
//! only carries the request there.

use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use wk_base::body::{Body, BoxError};

use crate::Endpoint;

/// Carries one request to one endpoint.
///
/// # What it is handed
///
/// The URI is in origin form (path and query as the client sent them), the `host` header is the authority the client
/// asked for, hop-by-hop headers are gone and `x-forwarded-*` are set. The call is dropped when the client goes away or
/// the deadline passes: dropping must stop the work.
///
/// # What it must keep
///
/// [`UpstreamError::NotSent`] only when the application surely saw nothing: such a request is sent again whatever its
/// method. A response body that breaks off must end with an error frame, never with a clean end.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Calls `endpoint` and returns when the response head is there; the bodies go on streaming.
    async fn call(&self, endpoint: &Endpoint, request: Request<Body>) -> Result<Response<Body>, UpstreamError>;
}

/// Why an endpoint gave no response head.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The application surely did not see the request: it may go to another endpoint, whatever its method, as long as
    /// its body can be replayed.
    #[error("reach the endpoint")]
    NotSent(#[source] BoxError),
    /// The connection broke after the request was sent: it may have been processed, so only an idempotent one is sent
    /// again.
    #[error("read the answer of the endpoint")]
    Broken(#[source] BoxError),
    /// The application itself failed. The text is shown to the client: short and without secrets.
    #[error("the application failed: {0}")]
    Failed(String),
    /// The application had this long and did not answer.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

//! The ingress as others hold it: what its listeners, connections and requests share.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::balance::{Millis, Standings};
use crate::budget::Budget;
use crate::certificates::Resolver;
use crate::metrics::Metrics;
use crate::serve::{self, Guarded};
use crate::{Certificates, Limits, Routes, Upstream};

/// The front door of a node. One ingress serves any number of listeners.
pub struct Ingress {
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) limits: Limits,
    pub(crate) standings: Standings,
    pub(crate) budget: Budget,
    pub(crate) connections: Arc<Semaphore>,
    metrics: Metrics,
    began: Instant,
}

impl Ingress {
    /// An ingress over a route table that others swap.
    pub fn new(routes: Arc<ArcSwap<Routes>>, upstream: Arc<dyn Upstream>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            routes,
            upstream,
            standings: Standings::default(),
            budget: Budget::new(&limits),
            connections: Arc::new(Semaphore::new(limits.connections)),
            limits,
            metrics: Metrics::default(),
            began: Instant::now(),
        })
    }

    /// Serves plain HTTP (HTTP/1.1, and HTTP/2 by prior knowledge) until `shutdown`; then accepts nothing more, tells
    /// clients to go, and returns when what was open is finished or `limits.drain` has passed. Dropping the future cuts
    /// its connections at once.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        serve::run(self, listener, Guarded::No, shutdown).await;
    }

    /// As [`Ingress::serve`], over TLS.
    pub async fn serve_tls(
        self: Arc<Self>,
        listener: TcpListener,
        certificates: Arc<dyn Certificates>,
        shutdown: CancellationToken,
    ) {
        let (resolver, config) = Resolver::new(certificates);
        serve::run(self, listener, Guarded::Tls(resolver, config.into()), shutdown).await;
    }

    /// What it counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

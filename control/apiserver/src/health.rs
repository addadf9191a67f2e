//! `/healthz`, `/livez`, `/readyz`.

use http::{Response, StatusCode};
use wk_base::body::Body;
use wk_cluster::{Cluster, Freshness};

use crate::respond::text;
use crate::route::Probe;

/// Alive is whoever answers; ready is who can confirm that its copy is up to date.
pub(crate) async fn answer(cluster: &Cluster, probe: Probe) -> Response<Body> {
    match probe {
        Probe::Live => text(StatusCode::OK, "ok"),
        Probe::Ready => match cluster.view(Freshness::Linearizable).await {
            Ok(_) => text(StatusCode::OK, "ok"),
            Err(status) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("[-]store failed: {}\nreadyz check failed\n", status.message),
            ),
        },
    }
}

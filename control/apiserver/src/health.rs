//! `/healthz`, `/livez`, `/readyz`, and each check of theirs at its own path.

use std::fmt::Write as _;

use http::{Response, StatusCode};
use wk_base::body::Body;
use wk_cluster::{Cluster, Freshness};

use crate::respond::text;
use crate::route::Probe;

/// Alive is whoever answers; ready is who can confirm that its copy is up to date. `only` asks for one check.
pub(crate) async fn answer(
    cluster: &Cluster,
    probe: Probe,
    only: Option<&'static str>,
    verbose: bool,
) -> Response<Body> {
    let word = probe.word();
    let (mut lines, mut failed) = (String::new(), false);
    for check in probe.checks().iter().filter(|check| only.is_none_or(|only| only == **check)) {
        let outcome = match *check {
            "store" => cluster.view(Freshness::Linearizable).await.map(|_| ()),
            _ => Ok(()),
        };
        let told = match outcome {
            Ok(()) => writeln!(lines, "[+]{check} ok"),
            Err(status) => {
                failed = true;
                writeln!(lines, "[-]{check} failed: {}", status.message)
            }
        };
        told.expect("a text takes what is written");
    }
    if failed {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("{lines}{word} check failed\n"))
    } else if verbose {
        text(StatusCode::OK, format!("{lines}{word} check passed\n"))
    } else {
        text(StatusCode::OK, "ok")
    }
}

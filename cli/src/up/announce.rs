//! A node that came back with another address tells the others, who may have no other way to find it.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use wk_base::backoff::Backoff;
use wk_base::body::{self, Body};
use wk_base::tasks::Tasks;
use wk_mesh::{Lane, Mesh, NodeName};
use wk_store::Store;

use super::members::Members;

/// Where a new address is announced: `POST` with `IP:PORT` as the body.
pub(crate) const PATH: &str = "/announce";
/// An address is short.
const BODY_BYTES_MAX: usize = 256;
/// One member's time to answer: it writes the record.
const DEADLINE: Duration = Duration::from_secs(6);

/// Sees to it that this node's record names `address`: writes it, or has any member that can write it.
pub(crate) fn start(
    name: &NodeName,
    address: SocketAddr,
    store: &Store,
    members: &Members,
    mesh: &Mesh,
    tasks: &Tasks,
) {
    if members.named(name).is_none_or(|member| member.address == address) {
        return;
    }
    let (name, store, members, mesh) = (name.clone(), store.clone(), members.clone(), mesh.clone());
    tasks.spawn_until_stop("announce", async move {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        while members.named(&name).is_some_and(|member| member.address != address) {
            for member in members.all().into_iter().filter(|member| member.name != name) {
                let mut request = Request::post(PATH).body(body::full(address.to_string())).expect("a constant path");
                request.extensions_mut().insert(Lane::Control);
                let _ = mesh.request(&member.name, request, DEADLINE).await;
            }
            if let Err(error) = Members::move_to(&store, &name, address).await {
                tracing::debug!(%error, "own address not written yet");
            }
            members.take(&store.view());
            tokio::time::sleep(backoff.next_delay()).await;
        }
        tracing::info!(%address, "address announced");
    });
}

/// Takes the new address of the node that asks.
pub(crate) async fn answer(from: &NodeName, body: Body, store: &Store, mesh: &Mesh) -> Response<Body> {
    let status = match body::collect(body, BODY_BYTES_MAX).await {
        Ok(text) => match str::from_utf8(&text).ok().and_then(|text| text.parse().ok()) {
            Some(address) => {
                // Reach it now: it may be the one whose vote the write needs.
                mesh.set_address(from, address);
                match Members::move_to(store, from, address).await {
                    Ok(()) => StatusCode::NO_CONTENT,
                    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
            None => StatusCode::BAD_REQUEST,
        },
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

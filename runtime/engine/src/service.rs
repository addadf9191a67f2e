//! A request to a `wasi:http` 0.3 guest, whose handler is asynchronous: one instance can hold many at once.

use std::future::poll_fn;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request as GuestRequest;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, WasiHttpView as _};

use crate::failure::Failure;
use crate::host::Host;
use crate::http::{Answer, Verdict};

/// Hands the request to the guest and its response to `set`. The guest goes on with the body after this returns, for
/// as long as somebody drives the store.
pub(crate) async fn answer<B>(
    accessor: &Accessor<Host>,
    service: &Service,
    request: Request<B>,
    set: oneshot::Sender<Answer>,
    verdict: &Verdict,
) -> wasmtime::Result<()>
where
    B: http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
{
    let request = addressed(request);
    // What becomes of the request's body concerns its sender, who has the body itself.
    let request = accessor.with(|mut store| GuestRequest::from_http(store.get().http().hooks, request).0);
    match service.handle(accessor, request).await? {
        Ok(response) => {
            let response = accessor.with(|mut store| response.into_http(&mut store, async { Ok(()) }))?;
            // A caller that is gone needs no response.
            let _ = set.send(Ok(response));
        }
        Err(code) => {
            let _ = verdict.set(Failure::Refused { code: format!("{code:?}") });
            drop(set);
        }
    }
    Ok(())
}

/// Until no call of the guest is left: what it does after its response is part of its work.
pub(crate) async fn settled(accessor: &Accessor<Host>) {
    poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
}

/// With scheme and authority in its URI, where 0.3 looks for them; 0.2 looks at the header `host` as well.
fn addressed<B>(mut request: Request<B>) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.authority.is_none() {
        let host = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        parts.authority = Some(host.unwrap_or_else(|| Authority::from_static("localhost")));
    }
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all there");
    request
}

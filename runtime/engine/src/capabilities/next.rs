//! `wasi:http/handler` 0.3 as an import: where a middleware passes a request on, which is the next HTTP container of its
//! pod.

use http_body_util::BodyExt as _;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{Error, WasiHttpView as _};

use crate::host::Host;
use crate::sandbox::Stream;

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap_concurrent("handle", |accessor, (request,): (Resource<Request>,)| {
        Box::pin(async move { Ok((handle(accessor, request).await?,)) })
    })
}

const INTERFACE: &str = "wasi:http/handler@0.3.0";

async fn handle(
    accessor: &Accessor<Host>,
    request: Resource<Request>,
) -> wasmtime::Result<Result<Resource<Response>, ErrorCode>> {
    let (next, request) = accessor.with(|mut store| {
        let host: &mut Host = store.get();
        let next = host.sandbox.next.clone();
        let request = host.table.delete(request)?;
        wasmtime::error::Ok((next, request.into_http(&mut store, async { Ok(()) })))
    })?;
    let request = match request {
        Ok((request, _options)) => request.map(wk_base::body::boxed),
        Err(error) => return error.downcast().map(Err),
    };
    let Some(next) = next else {
        let line = format!("wk: request to {} has nowhere to go: no HTTP container follows this one\n", request.uri());
        accessor.with(|mut store| store.get().sandbox.output.write(Stream::Err, line.as_bytes()));
        return Ok(Err(ErrorCode::HttpRequestDenied));
    };
    let response = match next.handle(request).await {
        Ok(response) => response,
        Err(message) => return Ok(Err(ErrorCode::InternalError(Some(message)))),
    };
    let response = response.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))));
    accessor.with(|mut store| {
        let (response, _sent) = Response::from_http(store.get().http().hooks, response);
        Ok(Ok(store.get().table.push(response)?))
    })
}

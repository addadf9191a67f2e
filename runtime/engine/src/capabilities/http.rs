//! `wasi:http`: what its types allow. Requests that a guest sends are `outgoing`'s.

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::capabilities::outgoing::{self, Io, Sent};
use crate::host::Host;
use crate::network::Network;

/// Writes of a response body that wait for the client before the guest does.
pub(crate) const BODY_CHUNKS: usize = 2;

/// The largest write of a response body; what a guest may make the host hold is this times `BODY_CHUNKS`.
pub(crate) const BODY_CHUNK_BYTES: usize = 64 << 10;

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.called();
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// How `wasi:http` behaves for guests of wk.
pub(crate) struct Hooks {
    pub(crate) network: Arc<dyn Network>,
}

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        static FILTER: LazyLock<ForbiddenHeaderFilter> =
            LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));
        Arc::clone(&FILTER)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Io,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(outgoing::send(Arc::clone(&self.network), request, options))
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

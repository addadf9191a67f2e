//! `wasi:http`: what its types allow, and requests that a guest sends.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::HeaderName;
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::host::Host;
use crate::sandbox::{Output, Stream};

/// Writes of a response body that wait for the client before the guest does.
const BODY_CHUNKS: usize = 2;

/// The largest write of a response body; what a guest may make the host hold is this times `BODY_CHUNKS`.
const BODY_CHUNK_BYTES: usize = 256 << 10;

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// How `wasi:http` behaves for guests of wk.
pub(crate) struct Hooks {
    pub(crate) output: Arc<dyn Output>,
}

type OutgoingIo = Box<dyn Future<Output = Result<(), Error>> + Send>;
type OutgoingResponse = http::Response<UnsyncBoxBody<Bytes, Error>>;

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
        request: http::Request<UnsyncBoxBody<Bytes, Error>>,
        _options: Option<RequestOptions>,
        _done: OutgoingIo,
    ) -> Box<dyn Future<Output = Result<(OutgoingResponse, OutgoingIo), Error>> + Send> {
        let line = format!("wk: request to {} refused: this pod may not reach the network\n", request.uri());
        self.output.write(Stream::Err, line.as_bytes());
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

//! What a guest sees of the world: the data of one store, and the linker that answers its imports.
//!
//! Everything WASI 0.2 has is linked, so that any component starts; what a guest was not given answers "denied"
//! or is empty: no preopened directory, no address, no name, no outgoing request.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::HeaderName;
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};

use crate::adapt::{EXIT_FUNCTION, EXIT_INTERFACE};
use crate::input::GuestInput;
use crate::limits::Limits;
use crate::output::GuestOutput;
use crate::sandbox::{Input, Output, Sandbox, Stream};
use crate::ticker::Running;

/// Handles a guest may hold at once: streams, requests, bodies, timers. Each is host memory that the guest's own
/// limit does not see.
const HANDLES_MAX: usize = 10_000;

/// Random bytes of one call; the host makes them in memory.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Bytes that one call of a guest may make the host copy: lists and strings it passes.
const HOSTCALL_BYTES_MAX: usize = 32 << 20;

/// Writes of a response body that wait for the client before the guest does.
const BODY_CHUNKS: usize = 2;

/// The largest write of a response body; what a guest may make the host hold is this times `BODY_CHUNKS`.
const BODY_CHUNK_BYTES: usize = 256 << 10;

/// The data of one store.
pub(crate) struct Host {
    pub(crate) limits: Limits,
    table: ResourceTable,
    sandbox: Arc<Sandbox>,
    wasi: Option<Box<WasiCtx>>,
    http: WasiHttpCtx,
    hooks: Hooks,
    _running: Running,
}

impl Host {
    /// A store for one instance, with its limits set.
    pub(crate) fn store(engine: &wasmtime::Engine, sandbox: &Arc<Sandbox>, running: Running) -> wasmtime::Store<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let host = Self {
            limits: Limits::new(sandbox.memory_max),
            table,
            sandbox: Arc::clone(sandbox),
            wasi: None,
            http: WasiHttpCtx::new(),
            hooks: Hooks { output: Arc::clone(&sandbox.output) },
            _running: running,
        };
        let mut store = wasmtime::Store::new(engine, host);
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        // At each tick the guest gives its thread away, for others to run and its deadline to be looked at.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

/// All of WASI but arguments, environment and streams, which [`linker`] answers from elsewhere.
fn wasi(sandbox: &Sandbox) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(GuestOutput::new(sandbox, Stream::Out))
        .stderr(GuestOutput::new(sandbox, Stream::Err))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(source) = sandbox.input.as_ref().and_then(Input::take) {
        builder.stdin(GuestInput::new(source, sandbox.terminal));
    }
    builder.build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at first use: a guest that only answers requests never looks at arguments, clocks or random numbers,
        // and seeding generators for it would cost more than its request.
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi(&self.sandbox)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// How `wasi:http` behaves for guests of wk.
struct Hooks {
    output: Arc<dyn Output>,
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

/// Links all of WASI 0.2 that this node answers. Patch versions of one minor are one to wasmtime.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker: Linker<Host> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // These answer from what is there already, where wasmtime's own would make a whole `WasiCtx` first.
    linker.allow_shadowing(true);
    environment::add_to_linker::<_, Given>(&mut linker, |host| &*host.sandbox)?;
    error::add_to_linker::<_, Handles>(&mut linker, |host| &mut host.table)?;
    poll::add_to_linker::<_, Handles>(&mut linker, |host| &mut host.table)?;
    streams::add_to_linker::<_, Handles>(&mut linker, |host| &mut host.table)?;
    linker.allow_shadowing(false);
    linker.instance(EXIT_INTERFACE)?.func_wrap(EXIT_FUNCTION, |_: StoreContextMut<'_, Host>, (code,): (u32,)| {
        Err::<(), _>(I32Exit(code.cast_signed()).into())
    })?;
    Ok(linker)
}

/// Arguments and environment, straight from the sandbox.
struct Given;

impl HasData for Given {
    type Data<'a> = &'a Sandbox;
}

impl environment::Host for &Sandbox {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.args.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

/// The store's table of handles.
struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

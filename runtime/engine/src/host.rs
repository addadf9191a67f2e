//! What a guest sees of the world: the data of one store. What answers its imports is in [`capabilities`].
//!
//! Everything WASI 0.2 and 0.3 have is linked, so that any component starts; what a guest was not given answers "denied"
//! or is empty: no preopened directory, no address, no name, no outgoing request.
//!
//! [`capabilities`]: crate::capabilities

use std::sync::Arc;

use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;

use crate::LIMITED;
use crate::capabilities::filesystem::Files;
use crate::capabilities::http::Hooks;
use crate::held;
use crate::input::GuestInput;
use crate::limits::Limits;
use crate::output::GuestOutput;
use crate::preview1::Preview1;
use crate::sandbox::{Sandbox, Stream};
use crate::ticker::Running;

/// Handles a guest may hold at once: streams, requests, bodies, timers. Each is host memory that the guest's own
/// limit does not see.
pub(crate) const HANDLES_MAX: usize = 10_000;

/// Random bytes of one call; the host makes them in memory.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Names and values of one message's headers, as the host holds them: what the ingress takes of a request, so that no
/// guest makes a client of ours swallow more.
pub(crate) const FIELDS_BYTES_MAX: usize = 64 << 10;

/// What lies behind a guest's handles is counted after so many calls that concern them, and after one more for each
/// [`COUNT_BYTES`] of it: a guest that waits gives no other occasion, and counting after each would take long by itself.
const COUNT_CALLS: u64 = 32;
const COUNT_BYTES: u64 = 64 << 10;

/// Bytes that one call of a guest may make the host copy: lists and strings it passes.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 32 << 20;

/// The data of one store.
pub(crate) struct Host {
    pub(crate) limits: Limits,
    pub(crate) table: ResourceTable,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) http: WasiHttpCtx,
    pub(crate) hooks: Hooks,
    pub(crate) files: Files,
    /// Of a core module.
    pub(crate) preview1: Option<Box<Preview1>>,
    wasi: Option<Box<WasiCtx>>,
    running: Option<Running>,
    /// Calls until what is behind the handles is counted.
    calls_left: u64,
}

impl Host {
    /// A store for one instance, with its limits set.
    pub(crate) fn store(engine: &wasmtime::Engine, sandbox: &Arc<Sandbox>, running: Running) -> wasmtime::Store<Self> {
        let host = Self {
            limits: Limits::new(sandbox.memory_max, &sandbox.usage),
            table: table(),
            sandbox: Arc::clone(sandbox),
            wasi: None,
            http: http(),
            hooks: Hooks { network: Arc::clone(&sandbox.network) },
            files: Files::default(),
            preview1: None,
            running: Some(running),
            calls_left: COUNT_CALLS,
        };
        let mut store = wasmtime::Store::new(engine, host);
        if !LIMITED {
            return store;
        }
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        // Calls, streams and futures of asynchronous guests have a table of their own.
        if let Some(tasks) = store.concurrent_resource_table() {
            tasks.set_max_capacity(HANDLES_MAX);
        }
        // At each tick the guest gives its thread away, for others to run and its deadline to be looked at. What it
        // made the host hold is counted then too: in one slice that cannot become much.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            if context.data_mut().count() {
                Ok(UpdateDeadline::Yield(1))
            } else {
                Err(wasmtime::format_err!("the host holds too much for this guest"))
            }
        });
        store
    }

    /// A call of the guest is about its handles. One that made the host hold more than it may loses all of them, with what
    /// is behind them, and ends with the next that it names.
    pub(crate) fn called(&mut self) {
        if !LIMITED {
            return;
        }
        self.calls_left -= 1;
        if self.calls_left == 0 && !self.count() {
            self.table = table();
        }
    }

    /// Whether the guest may have what the host holds for it by now.
    fn count(&mut self) -> bool {
        let bytes = held::bytes(&mut self.table).saturating_add(self.files.held());
        self.calls_left = COUNT_CALLS + bytes / COUNT_BYTES;
        self.limits.holds(bytes)
    }

    /// The instance has nothing to do until [`resume`](Self::resume): nobody need count its time.
    pub(crate) fn rest(store: &mut wasmtime::Store<Self>) {
        store.data_mut().running = None;
    }

    /// It is asked again. What it was refused in an earlier request explains nothing in this one.
    pub(crate) fn resume(store: &mut wasmtime::Store<Self>, running: Running) {
        let host = store.data_mut();
        host.running = Some(running);
        host.limits.forgive();
        if LIMITED {
            store.set_epoch_deadline(1);
        }
    }
}

fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES_MAX);
    table
}

fn http() -> WasiHttpCtx {
    let mut http = WasiHttpCtx::new();
    http.set_field_size_limit(FIELDS_BYTES_MAX);
    http
}

/// All of WASI but arguments, environment and streams, which `capabilities` answers from elsewhere.
fn wasi(sandbox: &Sandbox) -> WasiCtx {
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(GuestOutput::new(sandbox, Stream::Out))
        .stderr(GuestOutput::new(sandbox, Stream::Err))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(input) = &sandbox.input {
        builder.stdin(GuestInput::new(input.clone(), sandbox.terminal));
    }
    builder.build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Made at first use: a guest that only answers requests never looks at arguments, clocks or random numbers,
        // and seeding generators for it would cost more than its request.
        self.called();
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi(&self.sandbox)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::p2::DynOutputStream;

    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::{Engine, Options};

    #[tokio::test]
    async fn what_the_host_holds_is_counted_without_a_tick_and_let_go_past_the_limit() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = Options { instances_max: 16, ..Options::new(dir.path().join("compiled")) };
        let engine = Engine::new(options).expect("the engine starts");
        let sandbox = Arc::new(Sandbox { memory_max: MemoryBytes::mebibytes(8), ..Sandbox::bare() });
        let mut store = Host::store(engine.wasmtime(), &sandbox, engine.running());
        let host = store.data_mut();
        for _ in 0..40 {
            let stream: DynOutputStream = Box::new(GuestOutput::new(&sandbox, Stream::Out));
            host.called();
            host.table.push(stream).expect("there is room");
        }
        assert_eq!(host.limits.refused(), None, "four mebibytes when it was counted");
        assert!(sandbox.usage.used().memory > 3 << 20, "{:?}", sandbox.usage.used());
        for _ in 0..200 {
            host.called();
            let stream: DynOutputStream = Box::new(GuestOutput::new(&sandbox, Stream::Out));
            host.table.push(stream).expect("there is room");
        }
        assert!(host.limits.refused().is_some());
        assert!(host.table.iter_mut().count() < 200);
    }
}

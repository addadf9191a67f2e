//! What a guest can be given, one file each. Each links its interfaces once for all guests; at run time it answers from
//! the store's [`Host`] what this guest's sandbox says, and "denied" or nothing where the sandbox says nothing.
//!
//! `wasi:keyvalue`, `wasi:blobstore` and `wasi:messaging` will be a file each here, answered from a field each of the
//! sandbox, as `config` is; until then a component that imports them is refused by name when it is prepared.

pub(crate) mod config;
mod environment;
mod exit;
pub(crate) mod filesystem;
mod handles;
pub(crate) mod http;
pub(crate) mod logging;
mod next;
mod outgoing;
mod sockets;

use wasmtime::component::Linker;

use crate::host::Host;

/// Links all that this node answers: WASI 0.2 and 0.3 beside each other, so that one engine runs both. Patch versions of
/// one minor are one to wasmtime.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker: Linker<Host> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    next::link(&mut linker)?;
    // These answer from what is there already, where wasmtime's own would make a whole `WasiCtx` first.
    linker.allow_shadowing(true);
    environment::link(&mut linker)?;
    filesystem::link(&mut linker)?;
    handles::link(&mut linker)?;
    sockets::link(&mut linker)?;
    linker.allow_shadowing(false);
    exit::link(&mut linker)?;
    config::link(&mut linker)?;
    logging::link(&mut linker)?;
    Ok(linker)
}

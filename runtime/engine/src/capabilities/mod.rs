//! What a guest can be given, one file each. Each links its interfaces once for all guests; at run time it answers from
//! the store's [`Host`] what this guest's sandbox says, and "denied" or nothing where the sandbox says nothing.

mod environment;
mod exit;
pub(crate) mod filesystem;
mod handles;
pub(crate) mod http;
mod outgoing;
mod sockets;

use wasmtime::component::Linker;

use crate::host::Host;

/// Links all that this node answers. Patch versions of one minor are one to wasmtime.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker: Linker<Host> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // These answer from what is there already, where wasmtime's own would make a whole `WasiCtx` first.
    linker.allow_shadowing(true);
    environment::link(&mut linker)?;
    filesystem::link(&mut linker)?;
    handles::link(&mut linker)?;
    sockets::link(&mut linker)?;
    linker.allow_shadowing(false);
    exit::link(&mut linker)?;
    Ok(linker)
}

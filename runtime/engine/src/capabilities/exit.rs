//! The whole exit code of a core module, where `wasi:cli/exit` 0.2 knows only success and failure.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi::I32Exit;

use crate::adapt::{EXIT_FUNCTION, EXIT_INTERFACE};
use crate::host::Host;

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.instance(EXIT_INTERFACE)?.func_wrap(EXIT_FUNCTION, |_: StoreContextMut<'_, Host>, (code,): (u32,)| {
        Err::<(), _>(I32Exit(code.cast_signed()).into())
    })
}

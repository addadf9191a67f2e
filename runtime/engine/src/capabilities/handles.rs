//! `wasi:io` over the store's table of handles, without the rest of WASI that wasmtime's own linking would make first.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::io::{error, poll, streams};

use crate::host::Host;

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    error::add_to_linker::<_, Handles>(linker, table)?;
    poll::add_to_linker::<_, Handles>(linker, table)?;
    streams::add_to_linker::<_, Handles>(linker, table)
}

fn table(host: &mut Host) -> &mut ResourceTable {
    host.called();
    &mut host.table
}

struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

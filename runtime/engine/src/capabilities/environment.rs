//! `wasi:cli/environment` 0.2 and 0.3: arguments and variables, straight from the sandbox.

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p3::bindings::cli::environment as environment_0_3;

use crate::host::Host;
use crate::sandbox::Sandbox;

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    environment::add_to_linker::<_, Given>(linker, |host| &*host.sandbox)?;
    environment_0_3::add_to_linker::<_, Given>(linker, |host| &*host.sandbox)
}

struct Given;

impl HasData for Given {
    type Data<'a> = &'a Sandbox;
}

impl environment::Host for &Sandbox {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.env.to_vec())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.args.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.workdir.clone())
    }
}

impl environment_0_3::Host for &Sandbox {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.env.to_vec())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.args.clone())
    }

    fn get_initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.workdir.clone())
    }
}

//! `wasi:config`: settings that the pod names, as they are in force when the guest asks.
//!
//! The proposal has had three names with the same two functions; all are answered. Not here: where settings come from
//! (the sandbox's [`Config`]). A guest that was given none finds none.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::host::Host;

/// The interface under each of its names, newest first.
pub(crate) const INTERFACES: [&str; 3] =
    ["wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-draft", "wasi:config/runtime@0.2.0-draft"];

/// Bytes that one answer may have: the largest ConfigMap or Secret, a few times. More of them are not settings.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// `variant error { upstream(string), io(string) }`.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for interface in INTERFACES {
        let mut instance = linker.instance(interface)?;
        instance.func_wrap("get", |store: StoreContextMut<'_, Host>, (key,): (String,)| Ok((get(&store, &key),)))?;
        instance.func_wrap("get-all", |store: StoreContextMut<'_, Host>, (): ()| Ok((get_all(&store),)))?;
    }
    Ok(())
}

fn get(store: &StoreContextMut<'_, Host>, key: &str) -> Result<Option<String>, Error> {
    match &store.data().sandbox.config {
        Some(config) => config.get(key).map_err(Error::Upstream),
        None => Ok(None),
    }
}

fn get_all(store: &StoreContextMut<'_, Host>) -> Result<Vec<(String, String)>, Error> {
    let Some(config) = &store.data().sandbox.config else { return Ok(Vec::new()) };
    let all = config.all().map_err(Error::Upstream)?;
    let bytes: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANSWER_BYTES_MAX {
        let why = format!("the pod's settings have {bytes} bytes, and at most {ANSWER_BYTES_MAX} are given at once");
        return Err(Error::Upstream(why));
    }
    Ok(all)
}

//! `wasi:logging/logging`: messages with a level and a context, into the pod's log.
//!
//! Not here: how a line of them looks ([`Record`]'s `Display`), and how much a pod may log (its output decides).

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::host::Host;
use crate::sandbox::{Level, Record};

/// The interface under its name of today and of before it had a version.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// `enum level`.
#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[expect(dead_code, reason = "lifting makes a case of the number that the guest passes")]
#[repr(u8)]
enum WitLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<WitLevel> for Level {
    fn from(level: WitLevel) -> Self {
        match level {
            WitLevel::Trace => Self::Trace,
            WitLevel::Debug => Self::Debug,
            WitLevel::Info => Self::Info,
            WitLevel::Warn => Self::Warn,
            WitLevel::Error => Self::Error,
            WitLevel::Critical => Self::Critical,
        }
    }
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for interface in INTERFACES {
        let mut instance = linker.instance(interface)?;
        let log = |store: StoreContextMut<'_, Host>, (level, context, message): (WitLevel, String, String)| {
            let record = Record { level: level.into(), context: &context, message: &message };
            store.data().sandbox.output.log(&record);
            Ok(())
        };
        instance.func_wrap("log", log)?;
    }
    Ok(())
}

//! Decides what a component is to us by its exports, and names what it imports and no pod has.

use wasmtime::Engine;
use wasmtime::component::types::Component;

use crate::adapt::EXIT_INTERFACE;
use crate::capabilities::{config, logging};
use crate::functions;
use crate::prepare::PrepareError;

/// The packages and their interfaces of WASI 0.2 that `capabilities::linker` answers.
const ANSWERED: &[(&str, &[&str])] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:http", &["outgoing-handler", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];

/// An interface's name in a component: `wasi:http/types@0.2.6`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (name, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = name.split_once('/')?;
        Some(Self { package, interface, version })
    }

    /// Patch versions are compatible with each other; release candidates with nothing.
    fn is_0_2(&self) -> bool {
        self.version.strip_prefix("0.2.").is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn is(&self, package: &str, interface: &str) -> bool {
        self.package == package && self.interface == interface && self.is_0_2()
    }
}

fn answered(import: &str) -> bool {
    import == EXIT_INTERFACE
        || config::INTERFACES.contains(&import)
        || logging::INTERFACES.contains(&import)
        || Name::parse(import).is_some_and(|name| {
            name.is_0_2()
                && ANSWERED
                    .iter()
                    .any(|(package, interfaces)| name.package == *package && interfaces.contains(&name.interface))
        })
}

/// What a component asks of its host and offers to it: names of interfaces and functions, with their versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

impl Surface {
    pub(crate) fn of(component: &Component, engine: &Engine) -> Self {
        Self {
            imports: component.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: component.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

/// Every import is there, or the error names all that are not.
pub(crate) fn check(component: &Component, engine: &Engine) -> Result<(), PrepareError> {
    let mut missing: Vec<String> =
        component.imports(engine).map(|(name, _)| name.to_owned()).filter(|name| !answered(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    Err(PrepareError::Imports { missing })
}

/// What a component can do for us.
pub(crate) struct Worlds {
    pub(crate) http: bool,
    pub(crate) command: bool,
}

/// The worlds by exports. A component that exports nothing we could ever call is refused.
pub(crate) fn worlds(component: &wasmtime::component::Component) -> Result<Worlds, PrepareError> {
    let types = component.component_type();
    let exports: Vec<String> = types.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    let has = |package, interface| {
        exports.iter().filter_map(|name| Name::parse(name)).any(|name| name.is(package, interface))
    };
    let worlds = Worlds { http: has("wasi:http", "incoming-handler"), command: has("wasi:cli", "run") };
    if !worlds.http && !worlds.command && functions::all(component).is_empty() {
        return Err(PrepareError::NoWorld { exports });
    }
    Ok(worlds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_versions_of_0_2_are_answered_and_nothing_else() {
        assert!(answered("wasi:http/types@0.2.0"));
        assert!(answered("wasi:http/types@0.2.99"));
        assert!(!answered("wasi:http/types@0.3.0"));
        assert!(!answered("wasi:http/types@0.2.0-rc-2023-11-10"));
        assert!(!answered("wasi:http/types"));
        assert!(!answered("wasi:keyvalue/store@0.2.0"));
        assert!(!answered("acme:billing/ledger@1.0.0"));
        assert!(!answered("plain-function"));
        assert!(answered("wasi:config/store@0.2.0-rc.1") && answered("wasi:logging/logging"));
        assert!(!answered("wasi:config/store@0.2.0-rc.2"));
    }
}

//! Decides what a component is to us by its exports, and names what it imports and no pod has.

use wasmtime::component::Linker;
use wasmtime::component::types::{Component, ComponentItem};

use crate::adapt::EXIT_INTERFACE;
use crate::capabilities::{config, logging};
use crate::functions;
use crate::host::Host;
use crate::prepare::PrepareError;

/// The packages, versions and interfaces that `capabilities::linker` answers. The versions are those they are linked
/// by; other patches of the same minor are the same to wasmtime.
const ANSWERED: &[(&str, &str, &[&str])] = &[
    ("wasi:cli", V0_2, CLI),
    ("wasi:clocks", V0_2, &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", V0_2, FILESYSTEM),
    ("wasi:http", V0_2, &["outgoing-handler", "types"]),
    ("wasi:io", V0_2, &["error", "poll", "streams"]),
    ("wasi:random", V0_2, RANDOM),
    (
        "wasi:sockets",
        V0_2,
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
    ("wasi:cli", V0_3, CLI),
    ("wasi:cli", V0_3, &["types"]),
    ("wasi:clocks", V0_3, &["monotonic-clock", "system-clock", "types"]),
    ("wasi:filesystem", V0_3, FILESYSTEM),
    ("wasi:http", V0_3, &["client", "handler", "types"]),
    ("wasi:random", V0_3, RANDOM),
    ("wasi:sockets", V0_3, &["ip-name-lookup", "types"]),
];

/// What both versions have.
const CLI: &[&str] = &[
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
];
const FILESYSTEM: &[&str] = &["preopens", "types"];
const RANDOM: &[&str] = &["insecure", "insecure-seed", "random"];

/// What the interfaces of WASI 0.2 and 0.3 are linked by.
const V0_2: &str = "0.2.12";
const V0_3: &str = "0.3.0";

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

    fn is(&self, package: &str, interface: &str, version: &str) -> bool {
        self.package == package && self.interface == interface && compatible(self.version, version)
    }
}

/// Names of imports and of exports that are kept of a component, and of each so many bytes: more than a person reads. A
/// component may have megabytes of them.
pub(crate) const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 200;

pub(crate) fn short(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

/// What a component asks of its host and offers to it: names of interfaces and functions, with their versions. The first
/// of each, as much as people read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

impl Surface {
    pub(crate) fn of(component: &Component, engine: &wasmtime::Engine) -> Self {
        Self {
            imports: component.imports(engine).take(NAMES_MAX).map(|(name, _)| short(name)).collect(),
            exports: component.exports(engine).take(NAMES_MAX).map(|(name, _)| short(name)).collect(),
        }
    }
}

impl Surface {
    /// Of a core module, whose names are of functions.
    pub(crate) fn of_program(module: &wasmtime::Module) -> Self {
        let imports = module.imports().take(NAMES_MAX);
        let imports = imports.map(|import| short(&format!("{}/{}", short(import.module()), short(import.name()))));
        let exports = module.exports().take(NAMES_MAX).map(|export| short(export.name()));
        Self { imports: imports.collect(), exports: exports.collect() }
    }
}

/// Patch versions are compatible with each other; release candidates with nothing but themselves.
fn compatible(one: &str, other: &str) -> bool {
    fn minor(version: &str) -> Option<&str> {
        let (minor, patch) = version.rsplit_once('.')?;
        (patch.bytes().all(|byte| byte.is_ascii_digit()) && !minor.contains('-')).then_some(minor)
    }
    one == other || minor(one).is_some_and(|one| minor(other) == Some(one))
}

/// The name under which the import is linked, if it is.
fn answered(import: &str) -> Option<String> {
    let whole =
        import == EXIT_INTERFACE || config::INTERFACES.contains(&import) || logging::INTERFACES.contains(&import);
    if whole {
        return Some(import.to_owned());
    }
    let name = Name::parse(import)?;
    let (package, version, _) = ANSWERED.iter().find(|(package, version, interfaces)| {
        interfaces.iter().any(|interface| name.is(package, interface, version))
    })?;
    Some(format!("{package}/{}@{version}", name.interface))
}

/// Every import is there, or the error names all that are not: interfaces first, then functions of those that are.
pub(crate) fn check(component: &Component, linker: &Linker<Host>) -> Result<(), PrepareError> {
    let engine = linker.engine();
    let names = component.imports(engine).map(|(name, _)| name).filter(|name| answered(name).is_none());
    let mut missing: Vec<String> = names.take(NAMES_MAX).map(short).collect();
    if !missing.is_empty() {
        missing.sort_unstable();
        return Err(PrepareError::Imports { missing });
    }
    let missing = lacking(component, linker);
    if missing.is_empty() { Ok(()) } else { Err(PrepareError::Functions { missing }) }
}

/// The functions that are not linked. A linker does not say what it has, but refuses to have it twice.
fn lacking(component: &Component, linker: &Linker<Host>) -> Vec<String> {
    let engine = linker.engine();
    let mut probe = linker.clone();
    let mut missing = Vec::new();
    for (name, import) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let Some(here) = answered(name) else { continue };
        let Ok(mut linked) = probe.instance(&here) else { continue };
        for (item, export) in instance.exports(engine) {
            // Resources are named again by every interface that uses them; one that is nowhere takes functions to be of
            // any use, and those are missing as well.
            let is_function = matches!(export.ty, ComponentItem::ComponentFunc(_));
            let is_new = is_function && linked.func_new(item, |_, _, _, _| Ok(())).is_ok();
            if is_new && missing.len() < NAMES_MAX {
                missing.push(format!("{} of {} (here is {here})", short(item), short(name)));
            }
        }
    }
    missing
}

/// Which of the two that are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V2,
    V3,
}

/// What a component can do for us, and by which version. One that has both is called by the newer.
pub(crate) struct Worlds {
    pub(crate) http: Option<Version>,
    pub(crate) command: Option<Version>,
}

/// The worlds by exports. A component that exports nothing we could ever call is refused.
pub(crate) fn worlds(component: &wasmtime::component::Component) -> Result<Worlds, PrepareError> {
    let types = component.component_type();
    let exports: Vec<String> = types.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    let has = |package, interface, version| {
        exports.iter().filter_map(|name| Name::parse(name)).any(|name| name.is(package, interface, version))
    };
    let newest = |v2: bool, v3: bool| if v3 { Some(Version::V3) } else { v2.then_some(Version::V2) };
    let worlds = Worlds {
        http: newest(has("wasi:http", "incoming-handler", V0_2), has("wasi:http", "handler", V0_3)),
        command: newest(has("wasi:cli", "run", V0_2), has("wasi:cli", "run", V0_3)),
    };
    if worlds.http.is_none() && worlds.command.is_none() && !functions::any_of_its_own(component) {
        let exports = exports.iter().take(NAMES_MAX).map(|name| short(name)).collect();
        return Err(PrepareError::NoWorld { exports });
    }
    Ok(worlds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_versions_of_0_2_and_0_3_are_answered_and_nothing_else() {
        assert!(answered("wasi:http/types@0.2.0").is_some());
        assert_eq!(answered("wasi:http/types@0.2.99").as_deref(), Some("wasi:http/types@0.2.12"));
        assert_eq!(answered("wasi:http/types@0.3.2").as_deref(), Some("wasi:http/types@0.3.0"));
        assert_eq!(answered("wasi:http/types@0.3.0-rc-2026-01-06"), None);
        assert_eq!(answered("wasi:http/types@0.2.0-rc-2023-11-10"), None);
        assert_eq!(answered("wasi:http/types@0.4.0"), None);
        assert_eq!(answered("wasi:http/types"), None);
        assert_eq!(answered("wasi:keyvalue/store@0.2.0"), None);
        assert_eq!(answered("wasi:io/poll@0.3.0"), None);
        assert_eq!(answered("acme:billing/ledger@1.0.0"), None);
        assert_eq!(answered("plain-function"), None);
        assert!(answered("wasi:config/store@0.2.0-rc.1").is_some() && answered("wasi:logging/logging").is_some());
        assert_eq!(answered("wasi:config/store@0.2.0-rc.2"), None);
    }
}

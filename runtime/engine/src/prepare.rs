//! From compiled code to what can be instantiated: checks imports, links. Says what cannot be run, and why.
//!
//! Not here: compiling (`compiler`), and where code comes from (`code`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::{p2 as http_p2, p3 as http_p3};

use crate::code::Loaded;
use crate::command::CommandPre;
use crate::functions;
use crate::host::Host;
use crate::imports::{self, Surface, Version};
use crate::instance::HttpPre;
use crate::invoke::InvokeError;
use crate::preview1;
use crate::reactor;
use crate::threads::apart;
use crate::usage::Usage;

/// What a component is to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// It answers HTTP requests: it exports `wasi:http/incoming-handler` 0.2 or `wasi:http/handler` 0.3.
    Http,
    /// It is run from start to end: it exports `wasi:cli/run` 0.2 or 0.3, or is a core module with `_start`.
    Command,
    /// It is neither, and exports functions that can be called one by one.
    Functions,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "wasi:http/proxy",
            Self::Command => "wasi:cli/command",
            Self::Functions => "functions alone",
        })
    }
}

/// Names of exports, with [`EXPORT_BYTES`] for each: they are looked through at each `exec` and each probe that is one. The
/// largest programs of real toolchains export some thousand functions.
const EXPORTS_BYTES_MAX: usize = 4 << 20;
/// What an export takes besides its name.
const EXPORT_BYTES: usize = 64;

/// A module cannot be run here. Trying again changes nothing, except after [`Read`](Self::Read).
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PrepareError {
    /// The file cannot be read.
    #[serde(skip)]
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its code is not in the directory of compiled code.
    #[error("the module's compiled code is not on this disk any more")]
    NotStored,
    /// The file is too large.
    #[error("the module has {size} bytes, and at most {limit} are compiled")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// These bytes are no WebAssembly.
    #[error("not a WebAssembly module or component: {message}")]
    Malformed {
        /// What is wrong with them.
        message: String,
    },
    /// A core module imports what WASI preview 1 does not have.
    #[error("the module imports functions that WASI preview 1 does not have: {}", missing.join(", "))]
    CoreImports {
        /// Module and name of each; at most 16 of them.
        missing: Vec<String>,
    },
    /// A core module that is neither a program nor a reactor.
    #[error(
        "the module exports no `_start`, so it is not a program, and no function of numbers that could be called; build \
         it as a binary, or as a component"
    )]
    NoStart,
    /// A core module cannot be made a component.
    #[error("adapt the core module to a component: {message}")]
    Adapt {
        /// Why not.
        message: String,
    },
    /// It is WebAssembly, but not valid, or uses a proposal that is not supported.
    #[error("compile the component: {message}")]
    Compile {
        /// Why not.
        message: String,
    },
    /// Compiling it took more than it may.
    #[error("compile the module: {message}")]
    CompileLimit {
        /// Of what, and how much that is.
        message: String,
    },
    /// It imports what a pod does not have.
    #[error("the component imports interfaces that no pod has: {}", missing.join(", "))]
    Imports {
        /// Each with its WIT package, interface and version.
        missing: Vec<String>,
    },
    /// It imports interfaces we have, with functions that we do not.
    #[error("the component imports functions that this node does not have: {}", missing.join(", "))]
    Functions {
        /// Each with its interface, and with the version that is here.
        missing: Vec<String>,
    },
    /// It imports a function or type we have, with another signature.
    #[error("the component's imports do not fit: {message}")]
    Link {
        /// Which import, and how.
        message: String,
    },
    /// It exports nothing that we call.
    #[error(
        "the component exports no wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, wasi:cli/run@0.2 or \
         wasi:cli/run@0.3, and no function of its own; its exports: {}",
        if exports.is_empty() { "none".to_owned() } else { exports.join(", ") }
    )]
    NoWorld {
        /// What it does export.
        exports: Vec<String>,
    },
    /// It exports more than is looked through when one of its functions is called.
    #[error("the module exports too much: the names of its exports take more than {} MiB", EXPORTS_BYTES_MAX >> 20)]
    Exports,
    /// The compiler itself failed.
    #[error("the compiler failed on this module: {message}")]
    Compiler {
        /// What it says.
        message: String,
    },
}

/// The largest module: the interpreters that people compile to wasm have up to 50 MB.
const WASM_BYTES_MAX: u64 = 256 << 20;

/// A compiled and linked component, shared by all pods of one digest.
pub struct Prepared {
    digest: Arc<str>,
    /// Looked up for the first who asks.
    surface: OnceLock<Arc<Surface>>,
    /// For what no world is needed: calling one of a component's functions. Core modules have none.
    pub(crate) instance: Option<InstancePre<Host>>,
    /// The same of a reactor that is a core module.
    pub(crate) reactor: Option<wasmtime::InstancePre<Host>>,
    /// Present if it answers requests.
    pub(crate) http: Option<HttpPre>,
    /// Present if it is a program. A component can be both.
    pub(crate) command: Option<CommandPre>,
}

impl Prepared {
    /// What it is to the host. A component that answers requests and is a program too is the former.
    pub fn world(&self) -> World {
        match (&self.http, &self.command) {
            (Some(_), _) => World::Http,
            (None, Some(_)) => World::Command,
            (None, None) => World::Functions,
        }
    }

    /// What it imports and exports, shared by all who ask: names of each up to a limit.
    pub fn surface(&self) -> Arc<Surface> {
        let surface = || match (&self.instance, &self.command) {
            (Some(instance), _) => {
                let component = instance.component();
                Surface::of(&component.component_type(), component.engine())
            }
            (None, Some(CommandPre::V1(program))) => Surface::of_program(program.module()),
            (None, _) => self.reactor.as_ref().map(|it| Surface::of_program(it.module())).unwrap_or_default(),
        };
        Arc::clone(self.surface.get_or_init(|| Arc::new(surface())))
    }

    /// The digest it was prepared by.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// An error if there is no such function to be called. The container pays for the look: whoever made the module chose
    /// how many there are.
    pub async fn check_function(self: &Arc<Self>, function: &str, usage: &Arc<Usage>) -> Result<(), InvokeError> {
        let (this, function) = (Arc::clone(self), function.to_owned());
        apart(usage, move || this.look_up(&function)).await
    }

    fn look_up(&self, function: &str) -> Result<(), InvokeError> {
        match (&self.instance, &self.reactor) {
            (Some(instance), _) => functions::find(instance.component(), function).map(drop),
            (None, Some(pre)) => reactor::find(pre.module(), function).map(drop),
            (None, None) if self.command.is_some() && functions::is_program(function) => Ok(()),
            (None, None) => Err(InvokeError::NoFunction { function: function.to_owned(), there: self.functions() }),
        }
    }

    /// The functions that can be called one by one, with their signatures; the first of them, where there are very many.
    pub fn functions(&self) -> Vec<String> {
        match (&self.instance, &self.reactor) {
            (Some(instance), _) => functions::told_of(instance.component()),
            (None, Some(pre)) => functions::listed(reactor::functions(pre.module())),
            (None, None) => vec![functions::PROGRAM.to_owned()],
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("digest", &self.digest).field("world", &self.world()).finish_non_exhaustive()
    }
}

/// What guests are linked with: components, and core modules.
pub(crate) struct Linkers {
    pub(crate) components: Linker<Host>,
    pub(crate) programs: wasmtime::Linker<Host>,
}

impl Linkers {
    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        self.components.engine()
    }
}

/// Makes code ready to be instantiated: its imports are there, and its first instance costs no more than others.
pub(crate) fn link(linkers: &Linkers, digest: &str, code: &Loaded) -> Result<Prepared, PrepareError> {
    match code {
        Loaded::Component(component) => link_component(&linkers.components, digest, component),
        Loaded::Program(module) => {
            check_exports(module.exports().map(|export| export.name().len()))?;
            let linked = preview1::link(&linkers.programs, module)?;
            let (command, reactor) = if module.get_export(preview1::START).is_some() {
                (Some(CommandPre::V1(linked)), None)
            } else if reactor::functions(module).next().is_none() {
                return Err(PrepareError::NoStart);
            } else {
                (None, Some(linked))
            };
            let surface = OnceLock::new();
            Ok(Prepared { digest: digest.into(), surface, instance: None, reactor, http: None, command })
        }
    }
}

fn check_exports(names: impl IntoIterator<Item = usize>) -> Result<(), PrepareError> {
    let mut left = EXPORTS_BYTES_MAX;
    for length in names {
        left = left.checked_sub(length + EXPORT_BYTES).ok_or(PrepareError::Exports)?;
    }
    Ok(())
}

fn link_component(linker: &Linker<Host>, digest: &str, component: &Component) -> Result<Prepared, PrepareError> {
    let types = component.component_type();
    check_exports(functions::name_lengths(component))?;
    imports::check(&types, linker)?;
    let worlds = imports::worlds(component)?;
    let link = |error: wasmtime::Error| PrepareError::Link { message: format!("{error:#}") };
    // Now rather than at the first request.
    component.initialize_copy_on_write_image().map_err(link)?;
    let instance: InstancePre<Host> = linker.instantiate_pre(component).map_err(link)?;
    let http = match worlds.http {
        None => None,
        Some(Version::V2) => Some(HttpPre::Proxy(http_p2::bindings::ProxyPre::new(instance.clone()).map_err(link)?)),
        Some(Version::V3) => {
            Some(HttpPre::Service(http_p3::bindings::ServicePre::new(instance.clone()).map_err(link)?))
        }
    };
    let command = match worlds.command {
        None => None,
        Some(Version::V2) => Some(CommandPre::V2(p2::bindings::CommandPre::new(instance.clone()).map_err(link)?)),
        Some(Version::V3) => Some(CommandPre::V3(p3::bindings::CommandPre::new(instance.clone()).map_err(link)?)),
    };
    let (instance, reactor) = (Some(instance), None);
    Ok(Prepared { digest: digest.into(), surface: OnceLock::new(), instance, reactor, http, command })
}

/// The module's bytes, unless there are too many.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PrepareError> {
    let failed = |source| PrepareError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > WASM_BYTES_MAX {
        return Err(PrepareError::TooLarge { size, limit: WASM_BYTES_MAX });
    }
    std::fs::read(path).map_err(failed)
}

//! Runs WebAssembly guests: compiles and caches them, gives them what their [`Sandbox`] says and nothing else,
//! holds them to their limits, and says how they ended.
//!
//! Not here: images, pods, names, addresses. The engine is handed bytes and a digest. It is the only crate that
//! names wasmtime, and no type of wasmtime appears in its interface.
//!
//! Start at [`Engine`]; then [`http`](HttpApp) for a request's way through a guest, `host.rs` for what a guest sees.
//!
//! ```
//! use wk_engine::{Engine, Exit, Options, Sandbox};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let dir = tempfile::tempdir()?;
//! let wasm = dir.path().join("quiet.wasm");
//! std::fs::write(&wasm, wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)?)?;
//!
//! let engine = Engine::new(Options::new(dir.path().join("compiled")))?;
//! let prepared = engine.prepare("sha256:of-quiet", &wasm).await?;
//! let exit = engine.run(&prepared, Sandbox::bare(), Default::default()).await;
//! assert_eq!(exit, Exit::Code(0));
//! # Ok(())
//! # })
//! # }
//! ```

mod adapt;
mod cache;
mod capabilities;
mod code;
mod command;
mod commons;
mod compiler;
mod config;
mod cpu;
mod disk;
mod engine;
mod failure;
mod functions;
mod held;
mod host;
mod http;
mod imports;
mod input;
mod instance;
mod invoke;
mod limits;
mod mounts;
mod network;
mod output;
mod places;
mod pool;
mod prepare;
mod preview1;
mod reactor;
mod record;
mod response;
mod sandbox;
mod service;
mod single;
mod target;
mod threads;
mod ticker;
mod usage;
mod variables;

pub use crate::cache::StoredCode;
pub use crate::code::{CodeCounts, Colleagues};
pub use crate::commons::{Commons, Lender};
pub use crate::compiler::{CompileLimits, Compiler, compile, compile_worker};
pub use crate::config::{CACHE_BYTES_DEFAULT, EngineError, Options, memory_of_machine};
pub use crate::cpu::{Pace, charged};
pub use crate::disk::{
    DIRECTORY_DEPTH_MAX, DiskUse, Room, disk_refused, disk_refused_since, disk_size, disk_use, leave_reserve, measure,
};
pub use crate::engine::{Engine, Unstarted, WrongWorld};
pub use crate::failure::{Exit, Failure};
pub use crate::http::{HttpApp, Instances};
pub use crate::imports::Surface;
pub use crate::invoke::InvokeError;
pub use crate::mounts::{Fill, Mount, MountError, Mounts, open_directory};
pub use crate::network::{Connection, Datagrams, Duplex, Listener, Network, NetworkError, NoNetwork, Patience};
pub use crate::places::Place;
pub use crate::pool::Reuse;
pub use crate::prepare::{PrepareError, Prepared, World};
pub use crate::sandbox::{
    Config, Discard, Input, Level, MEMORY_DEFAULT, MemoryBytes, Next, NoSuchLevel, Output, REQUEST_DEADLINE_DEFAULT,
    Record, Sandbox, Stream,
};
pub use crate::target::{AddressSpace, Architecture, Profile, Settings, Target, UnknownProfile, UnknownTarget};
pub use crate::threads::apart;
pub use crate::usage::{CpuLimits, Usage, Used};
pub use crate::variables::{Variables, VariablesPart};

/// Whether guests are interrupted, metered and held to their limits: always, but in the build that measures what it costs.
pub const LIMITED: bool = cfg!(not(feature = "unlimited"));

/// wasmtime's version. `tests/xtask/tests/laws.rs` holds it against `Cargo.lock`.
pub const VERSION: &str = "48.0.8";

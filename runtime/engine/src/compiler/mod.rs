//! Making machine code of WebAssembly, beside what the node serves and never before it.
//!
//! A compiler reads hostile bytes and takes as much time and memory as they make it: wasmtime's makers do not call that
//! a fault. So a node compiles in a process of its own ([`worker`]), which has the lowest priority, a limit on memory
//! and on processor time, and nothing to lose. Not here: where compiled code is kept (`cache`), and who asks for it.

mod process;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::setpriority_process;
use serde::{Deserialize, Serialize};

use crate::adapt::{self, Image};
use crate::config;
use crate::prepare::PrepareError;
use crate::target::{Profile, Settings};

pub use self::worker::compile_worker;

/// Where modules are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// On a thread of this process, of low priority: for programs that compile what they trust, and for tests.
    Here,
    /// In a process of its own, one for each module.
    Process {
        /// The program. It must call [`compile_worker`] when it is started with these arguments.
        program: PathBuf,
        /// What it is started with.
        arguments: Vec<String>,
        /// What it may take.
        limits: CompileLimits,
    },
}

/// How nice the compiler is: nearly the least the kernel knows, so that it gets what serving leaves, and above 19, which
/// some set-ups keep for what may starve.
const NICE: i32 = 15;

/// What compiling one module may take. What is past that ends the compilation, and the module is refused for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileLimits {
    /// Processor time, in whole seconds. Three times as long is waited for, and a minute at least.
    pub cpu_seconds: u64,
    /// Bytes of memory beside the program itself; None for half of the machine, at most 4 GiB.
    pub memory: Option<u64>,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { cpu_seconds: CPU_SECONDS_MAX, memory: None }
    }
}

impl CompileLimits {
    /// The longest that a compiler is waited for: with one core shared among others that are nicer to nobody.
    fn wall(self) -> Duration {
        Duration::from_secs(self.cpu_seconds).saturating_mul(3).max(WALL_MIN)
    }

    /// Bytes of memory beside the program itself.
    fn memory(self) -> u64 {
        self.memory.unwrap_or_else(|| (config::memory_of_machine() / 2).clamp(MEMORY_MIN, MEMORY_MAX))
    }
}

/// Processor time for one module: a Python interpreter (40 MB of wasm) took 60 seconds on a slow core.
const CPU_SECONDS_MAX: u64 = 600;

/// A compiler gets half of the machine, and no more than this: the largest interpreters took a quarter of it.
const MEMORY_MAX: u64 = 4 << 30;
/// And no less than this, or nothing of use would compile.
const MEMORY_MIN: u64 = 512 << 20;

/// A niced process on a busy machine gets a tenth of a core at times.
const WALL_MIN: Duration = Duration::from_mins(1);

/// The largest code taken of a compiler: four times the largest module.
const CODE_BYTES_MAX: u64 = 1 << 30;

impl Compiler {
    /// The code of a module. Dropping the future ends the compilation, where it is in a process of its own.
    pub(crate) async fn compile(&self, settings: &Settings, wasm: Vec<u8>) -> Result<Vec<u8>, PrepareError> {
        match self {
            Self::Here => here(settings.profile.clone(), wasm).await,
            Self::Process { program, arguments, limits } => {
                process::compile(program, arguments, *limits, settings, &wasm).await
            }
        }
    }
}

/// Compiles here and now: what a worker does, and what a person at a keyboard waits for.
pub fn compile(profile: &Profile, wasm: &[u8]) -> Result<Vec<u8>, PrepareError> {
    let failed = |error: wasmtime::Error| PrepareError::Compiler { message: format!("{error:#}") };
    let engine = profile.compiler().map_err(failed)?;
    let code = match adapt::image(wasm)? {
        Image::Component(component) => engine.precompile_component(&component),
        Image::Program(module) => engine.precompile_module(module),
    };
    code.map_err(|error| PrepareError::Compile { message: format!("{error:#}") })
}

/// On a thread of its own. The compiler's own threads begin with the first one here, and are as nice as it is.
async fn here(profile: Profile, wasm: Vec<u8>) -> Result<Vec<u8>, PrepareError> {
    let (done, wait) = tokio::sync::oneshot::channel();
    let work = move || {
        be_nice();
        let _ = done.send(compile(&profile, &wasm));
    };
    let thread = std::thread::Builder::new().name("wk-compile".into()).spawn(work);
    thread.map_err(|error| PrepareError::Compiler { message: format!("start a thread: {error}") })?;
    wait.await.unwrap_or_else(|_| Err(PrepareError::Compiler { message: "it panicked".into() }))
}

/// Lowers the priority of this thread, and of threads that it starts. Linux counts threads here, not processes.
fn be_nice() {
    // Whoever may not be nicer is as nice as it gets.
    let _ = setpriority_process(None, NICE);
}

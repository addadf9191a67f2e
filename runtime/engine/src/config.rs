//! How wasmtime is set up, and what is tried when the machine cannot give that.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// How an [`Engine`](crate::Engine) is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where compiled code is kept. Made if it is not there. Who can write to it owns the node.
    pub cache_dir: PathBuf,
    /// The most instances alive at once: requests being handled and commands running. Idle HTTP pods are not counted.
    /// Each may address 4 GiB, so a machine with little address space gets fewer.
    pub instances_max: u32,
    /// The most modules compiled at the same time. One compilation uses every core by itself.
    pub compilations_max: usize,
}

impl Options {
    /// The usual ones, with compiled code in `cache_dir`.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: cache_dir.into(), instances_max: INSTANCES_DEFAULT, compilations_max: 2 }
    }
}

/// The engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The directory for compiled code cannot be used.
    #[error("use {} for compiled code", dir.display())]
    CacheDir {
        /// Which directory.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// wasmtime refuses this machine, even with the smallest settings.
    #[error("set up wasmtime on this machine: {message}")]
    Runtime {
        /// What it says.
        message: String,
    },
    /// The thread that counts time slices did not start.
    #[error("start the epoch thread")]
    Ticker(#[source] std::io::Error),
}

/// Slots of the instance pool. A slot costs 4 GiB of address space (of the 128 TiB a process has) and no memory until
/// it is used; 4096 is some thousand long-running commands beside as many requests at once.
const INSTANCES_DEFAULT: u32 = 4096;

/// The smallest pool that is worth having; below this instances are mapped on demand.
const INSTANCES_FLOOR: u32 = 16;

/// What an instance may keep mapped in its slot for the next one. Setting a page to zero in place costs a fifth of
/// giving it back and faulting it in again; past a mebibyte the bytes held by idle slots (at most `WARM_SLOTS_MAX`
/// times this) weigh more.
const MEMORY_KEEP_RESIDENT: usize = 1 << 20;
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
const WARM_SLOTS_MAX: u32 = 100;

/// Slots given back to the kernel with one call.
const DECOMMIT_BATCH: usize = 16;

/// A component made of many core modules (languages with an interpreter have some ten) must fit; one that holds a
/// thousand is not an application.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const MEMORIES_PER_COMPONENT: u32 = 8;
const TABLES_PER_COMPONENT: u32 = 32;

/// Entries of one table: function pointers of the largest interpreters we saw, times two.
const TABLE_ELEMENTS: usize = 100_000;

/// Depth of a guest's stack: wasmtime's own default. Deep recursion traps there.
pub(crate) const STACK_BYTES: usize = 512 << 10;

/// Frames of a backtrace worth reading.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// Starts wasmtime with the largest instance pool up to `instances_max` that the machine has room for.
pub(crate) fn start(instances_max: u32) -> Result<Engine, EngineError> {
    let mut instances = instances_max;
    while instances >= INSTANCES_FLOOR {
        let mut config = base();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        match Engine::new(&config) {
            Ok(engine) => {
                tracing::debug!(instances, "instance pool ready");
                return Ok(engine);
            }
            Err(error) => tracing::info!(instances, %error, "no room for an instance pool of this size"),
        }
        instances /= 4;
    }
    tracing::warn!("no instance pool on this machine: every instance maps its own memory, which is slower");
    Engine::new(&base()).map_err(|error| EngineError::Runtime { message: format!("{error:#}") })
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        // File and line where a module carries DWARF; names of functions come from the name section regardless.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .memory_init_cow(true)
        .parallel_compilation(true);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // A component adapted from a core module is four core instances and two tables around one memory.
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        // Garbage-collected heaps take as much address space as memories, and few guests have one.
        .total_gc_heaps(instances.div_ceil(8))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memories_per_module(MEMORIES_PER_COMPONENT)
        .max_tables_per_module(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(Enabled::Auto);
    pool
}

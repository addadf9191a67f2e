//! How wasmtime is set up, and what is tried when the machine cannot give that.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::LIMITED;
use crate::code::Colleagues;
use crate::compiler::Compiler;
use crate::target::{AddressSpace, Profile, Target};

/// How an [`Engine`](crate::Engine) is set up.
#[derive(Clone)]
pub struct Options {
    /// Where compiled code is kept. Made if it is not there. Who can write to it owns the node.
    pub cache_dir: PathBuf,
    /// Bytes that compiled code may take there. The least recently used makes room.
    pub cache_bytes_max: u64,
    /// The most instances alive at once: requests being handled and commands running. Idle HTTP pods are not counted.
    /// A machine with little address space gets fewer.
    pub instances_max: u32,
    /// The most modules compiled at the same time. One compilation uses every core by itself.
    pub compilations_max: usize,
    /// What code is made for.
    pub target: Target,
    /// Where modules are compiled.
    pub compiler: Compiler,
    /// Who may have compiled a module already.
    pub colleagues: Option<Arc<dyn Colleagues>>,
}

impl Options {
    /// The usual ones, with compiled code in `cache_dir`: compiles in this process, and asks nobody.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            cache_bytes_max: CACHE_BYTES_DEFAULT,
            instances_max: instances(memory_of_machine()),
            compilations_max: COMPILATIONS_DEFAULT,
            target: Target::best(),
            compiler: Compiler::Here,
            colleagues: None,
        }
    }
}

/// Room for all compiled code of a node: some thousand components of the usual size.
pub const CACHE_BYTES_DEFAULT: u64 = 2 << 30;

/// Two, so that a module that takes minutes does not hold up one that takes a moment.
const COMPILATIONS_DEFAULT: usize = 2;

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

/// The most slots of the instance pool. A slot costs 4 GiB of address space (of the 128 TiB a process has) and no memory
/// until it is used; 4096 is some thousand long-running commands beside as many requests at once.
const INSTANCES_MAX: u32 = 4096;

/// The fewest, on the smallest machine.
const INSTANCES_MIN: u32 = 64;

/// Memory of the machine for each slot: what the smallest guest touches, with its stack and the host's records of it.
const MEMORY_OF_A_SLOT: u64 = 512 << 10;

/// Below this many wide slots narrow ones are taken: a board with 39 bits of address space has room for 60 wide ones.
const WIDE_MIN: u32 = 512;

/// The smallest pool that is worth having; below this instances are mapped on demand.
const INSTANCES_FLOOR: u32 = 16;

/// What a narrow instance may address, and its guard: a thousand of them take half of 39 bits.
const NARROW_BYTES: u64 = 256 << 20;
const NARROW_GUARD_BYTES: u64 = 64 << 10;

/// One container has no more than this part of the slots alive at once: its requests may sleep for an hour, and those of
/// the others, their probes and their hooks, need one too.
pub(crate) const CONTAINERS_PART: u32 = 2;

/// What an instance may keep mapped in its slot for the next one. Setting a page to zero in place costs a fifth of
/// giving it back and faulting it in again. A guest of Rust or C begins with a mebibyte of stack and has its data and heap
/// behind it; past two the bytes held by idle slots (at most `WARM_SLOTS_MAX` times this) weigh more.
const MEMORY_KEEP_RESIDENT: usize = 2 << 20;
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
const WARM_SLOTS_MAX: u32 = 100;

/// Idle slots together keep at most this share of the machine's memory.
const WARM_SHARE: u64 = 64;

/// Slots given back to the kernel with one call.
const DECOMMIT_BATCH: usize = 16;

/// A component made of many core modules (languages with an interpreter have some ten) must fit; one that holds a
/// thousand is not an application.
const CORE_INSTANCES_PER_COMPONENT: u32 = 64;
const MEMORIES_PER_COMPONENT: u32 = 8;
const TABLES_PER_COMPONENT: u32 = 32;

/// Entries of one table: function pointers of the largest interpreters we saw, times two.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// Depth of a guest's stack: wasmtime's own default. Deep recursion traps there.
pub(crate) const STACK_BYTES: usize = 512 << 10;

/// Frames of a backtrace worth reading.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");

/// An engine that runs, and what its code is made for.
pub(crate) struct Started {
    pub(crate) engine: Engine,
    pub(crate) profile: Profile,
    /// Slots of the pool; what was asked for, where there is none.
    pub(crate) instances: u32,
}

/// Starts wasmtime with the largest instance pool up to `instances_max` that the machine has room for: wide slots, or
/// narrow ones where the address space is small.
pub(crate) fn start(target: &Target, instances_max: u32) -> Result<Started, EngineError> {
    let runtime = |error: wasmtime::Error| EngineError::Runtime { message: format!("{error:#}") };
    let memory = memory_of_machine();
    for (space, fewest) in [(AddressSpace::Wide, WIDE_MIN), (AddressSpace::Narrow, INSTANCES_FLOOR)] {
        let profile = Profile { target: target.clone(), space };
        let mut instances = instances_max;
        while instances >= fewest.min(instances_max).max(INSTANCES_FLOOR) {
            let mut config = profile.config().map_err(runtime)?;
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, space, memory)));
            match Engine::new(&config) {
                Ok(engine) => {
                    tracing::debug!(instances, ?space, "instance pool ready");
                    return Ok(Started { engine, profile, instances });
                }
                Err(error) => tracing::info!(instances, ?space, %error, "no room for an instance pool of this size"),
            }
            instances /= 2;
        }
    }
    tracing::warn!("no instance pool on this machine: every instance maps its own memory, which is slower");
    let profile = Profile { target: target.clone(), space: AddressSpace::Narrow };
    let engine = Engine::new(&profile.config().map_err(runtime)?).map_err(runtime)?;
    Ok(Started { engine, profile, instances: instances_max })
}

/// The settings that code depends on, and those of every engine.
pub(crate) fn base(space: AddressSpace) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(LIMITED)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        // Names of functions come from the name section. Files and lines would come from the module's own DWARF, which
        // wasmtime reads anew for each frame, here, with no limit on time and memory: a megabyte of it makes gigabytes.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        .parallel_compilation(true);
    if space == AddressSpace::Narrow {
        config.memory_reservation(NARROW_BYTES).memory_guard_size(NARROW_GUARD_BYTES);
    }
    config
}

/// Slots for a machine with so much memory.
fn instances(memory: u64) -> u32 {
    u32::try_from(memory / MEMORY_OF_A_SLOT).unwrap_or(u32::MAX).clamp(INSTANCES_MIN, INSTANCES_MAX)
}

/// Slots that stay warm on a machine with so much memory.
fn warm_slots(memory: u64) -> u32 {
    let share = memory / WARM_SHARE / (MEMORY_KEEP_RESIDENT + TABLE_KEEP_RESIDENT) as u64;
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, WARM_SLOTS_MAX)
}

/// Bytes of memory that this process may count on: the machine's, or what its control group leaves of it.
pub fn memory_of_machine() -> u64 {
    let machine = rustix::system::sysinfo();
    // Their width is the platform's own.
    #[expect(clippy::useless_conversion, reason = "u32 on machines of 32 bits")]
    let machine = u64::from(machine.totalram).saturating_mul(u64::from(machine.mem_unit));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = group.iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limits.fold(machine, u64::min)
}

fn pool(instances: u32, space: AddressSpace, memory: u64) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    if space == AddressSpace::Narrow {
        pool.max_memory_size(usize::try_from(NARROW_BYTES).unwrap_or(usize::MAX));
    }
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
        .max_unused_warm_slots(warm_slots(memory))
        .decommit_batch_size(DECOMMIT_BATCH)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_grow_with_the_machine_and_stay_within_bounds() {
        assert_eq!(instances(16 << 20), INSTANCES_MIN);
        assert_eq!(instances(512 << 20), 1024);
        assert_eq!(instances(64 << 30), INSTANCES_MAX);
        assert_eq!(warm_slots(16 << 20), 1);
        assert_eq!(warm_slots(1 << 30), 7);
        assert_eq!(warm_slots(64 << 30), WARM_SLOTS_MAX);
    }
}

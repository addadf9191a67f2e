//! The allocator of this program: jemalloc, because of what a node of thousands of pods leaves behind. Each pod is made of
//! hundreds of small things among thousands that are gone a moment later; glibc's allocator kept half as much again as
//! was in use, in holes between them. Its own free pages go back to the kernel when [`give_back`] is called.
//!
//! Not here: who calls that.

use std::ffi::{c_char, c_void};
use std::ptr;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

/// What jemalloc reads before `main`: text that ends with a zero.
#[repr(transparent)]
struct Settings(*const c_char);

#[expect(unsafe_code, reason = "a pointer may be shared only by who says so")]
// SAFETY: it points to text that nobody writes.
unsafe impl Sync for Settings {}

/// One arena a core instead of four: what was freed in one is of no use to the others. Threads keep some things of each
/// size to themselves, so that they seldom wait for each other. Large things begin where a page does: by itself jemalloc
/// moves each to a place of its own within one page more, for caches of processors that are not so any more.
///
/// Things of one size lie together on one page, or on two where else a quarter of it were left. By itself jemalloc takes up to
/// seven, and all of them stay while one thing is left of a burst: of 5,000 idle pods that was a seventh of all memory.
#[expect(unsafe_code, reason = "a name that another library looks for must be there once")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: Settings = Settings(
    c"narenas_ratio:1,cache_oblivious:false,slab_sizes:1-1280:1|1281-1536:2|1537-1792:1|2049-2560:2|3073-3584:1"
        .as_ptr(),
);

/// Gives pages that were freed ten seconds ago or earlier back to the kernel. Busy threads do so by themselves now and
/// then; of an idle process nobody does.
#[expect(unsafe_code, reason = "jemalloc is a library of C")]
pub(crate) fn give_back() {
    // 4096 means all arenas.
    let name = c"arena.4096.decay";
    // SAFETY: the name ends with a zero, and what it names takes and gives nothing.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            ptr::null_mut::<c_void>(),
            ptr::null_mut(),
            ptr::null_mut::<c_void>(),
            0,
        )
    };
    debug_assert_eq!(failed, 0, "jemalloc knows this name");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What jemalloc answers to a name.
    #[expect(unsafe_code, reason = "jemalloc is a library of C")]
    fn read<T: Default>(name: &std::ffi::CStr) -> T {
        let (mut value, mut length) = (T::default(), size_of::<T>());
        // SAFETY: the name ends with a zero, and there is room for a value of the length that is told; jemalloc writes none
        // of another length.
        let failed = unsafe {
            tikv_jemalloc_sys::mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut length, ptr::null_mut(), 0)
        };
        assert_eq!(failed, 0, "{name:?}");
        value
    }

    #[test]
    fn allocator_reads_these_settings_and_gives_back_when_asked() {
        let cores = std::thread::available_parallelism().expect("a number of cores").get();
        assert!(read::<u32>(c"opt.narenas") as usize <= cores, "four a core without the setting");
        assert!(!read::<bool>(c"opt.cache_oblivious"), "on without the setting");
        let (page, slab) = (read::<usize>(c"arenas.page"), read::<usize>(c"arenas.bin.17.slab_size"));
        assert_eq!(slab, page, "five pages of 4 KiB without the setting");
        give_back();
    }
}

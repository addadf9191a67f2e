//! What the C library's allocator keeps for itself: less than it would by itself.
//!
//! Each of its arenas keeps what was freed in it. By itself it makes eight for each core, and a node's threads that wait for
//! the disk come and go by the dozen: of thousands of pods a fifth of the memory was in arenas that nobody used any more.
//!
//! Other allocators than glibc's are left alone.

/// Limits the arenas to one for each core. To be called before there are threads.
pub(crate) fn limit_arenas() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    arenas(i32::try_from(cores).unwrap_or(1));
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the standard library does not know of arenas")]
fn arenas(max: i32) {
    // SAFETY: it sets a number that is read when a thread allocates for the first time.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, max) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn arenas(_max: i32) {}

/// Gives free pages back to the kernel. Whoever allocates meanwhile waits, for milliseconds where there is much.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the standard library does not know of the heap's end")]
pub(super) fn trim() {
    // SAFETY: it takes the allocator's own locks and touches free memory only.
    unsafe { libc::malloc_trim(0) };
}

/// Gives free pages back to the kernel.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() {}

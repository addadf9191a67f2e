//! Privileges: a worker has none, whoever started the node, and gets none by starting another program.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups,
};

/// Capabilities a kernel may know; each is one bit.
const CAPABILITIES: u32 = 64;

pub(super) fn drop_all() -> Result<(), String> {
    let failed = |error: Errno| error.to_string();
    // Those of its node: who is in `disk` or `docker` needs no capability. There is one thread. Whoever may not do this was
    // started by somebody with few rights.
    let _ = set_thread_groups(&[]);
    set_no_new_privs(true).map_err(failed)?;
    for bit in 0..CAPABILITIES {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            // The kernel's last capability is passed. Without the right to do this there is nothing to take away.
            Err(Errno::INVAL | Errno::PERM) => break,
            other => other.map_err(failed)?,
        }
    }
    // Kernels before 4.3 have no such set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).map_err(failed)
}

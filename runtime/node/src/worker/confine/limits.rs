//! Resource limits of a worker's process.
//!
//! Not here: memory (a pool of instances reserves terabytes of addresses, so the kernel's limit of addresses says
//! nothing; each guest has a limit of its own), and processes (the kernel counts them for the user, the node's own
//! threads included; that a worker starts none is the system call filter's business), and the size of files (who writes
//! past that limit gets a signal that ends the process, and with it all pods of the worker: volumes have limits that only
//! refuse the write).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files of all guests of a worker: some hundred pods with volumes, each with some hundred files.
const FILES_MAX: u64 = 65_536;

/// Whom the kernel ends first where memory runs out: of a worker and its node the worker.
const OOM_SCORE_ADJ: &str = "500";

pub(super) fn set() -> Result<(), String> {
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ).map_err(|error| error.to_string())?;
    let failed = |error: rustix::io::Errno| error.to_string();
    // A core file would hold the memory of guests, and their secrets.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    // What no guest's work needs: locked memory, message queues, and threads that go before all others.
    for none in [Resource::Memlock, Resource::Msgqueue, Resource::Rtprio, Resource::Nice] {
        setrlimit(none, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    }
    let files = getrlimit(Resource::Nofile).maximum.map_or(FILES_MAX, |maximum| maximum.min(FILES_MAX));
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).map_err(failed)
}

//! The compiling process: a module on standard input, code or a refusal on standard output, and then it ends.
//!
//! It opens no file, listens to nobody and starts no process, and the kernel holds it to that as far as rlimits go.

use std::io::{self, Read as _, Write as _};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::{CompileLimits, be_nice, compile};
use crate::prepare::PrepareError;
use crate::target::Profile;

/// What comes before the module: one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) profile: Profile,
    /// Sum over the settings. A worker of another build would make code that this node must not load.
    pub(super) sum: [u8; 32],
    pub(super) limits: CompileLimits,
}

/// The first byte of an answer: code follows, or a refusal in JSON.
pub(super) const CODE: u8 = b'c';
/// See above.
pub(super) const REFUSAL: u8 = b'r';

/// Bytes of a header, far more than one has.
const HEADER_BYTES_MAX: usize = 4096;

/// Memory beside what is limited: the program itself, its libraries and the stacks of its threads.
const PROGRAM_BYTES: u64 = 512 << 20;
/// The compiling process, from start to end. For a program's hidden command: see [`Compiler`](super::Compiler::Process).
///
/// Fails when nobody listens: the node gave up, or is gone.
pub fn compile_worker() -> io::Result<()> {
    confine();
    answer()
}

/// Gives up what compiling does not need. What the kernel refuses is left as it is: the limits are a second wall.
fn confine() {
    be_nice();
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The first process that the kernel ends when memory runs out.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Of files, those that are open; wasmtime opens none.
    hold(&[(Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, 16)]);
}

/// Between the two limits of processor time.
const CPU_SECONDS_MORE: u64 = 5;

/// Before anything of the module is looked at.
fn hold_to(limits: CompileLimits) {
    hold(&[(Resource::As, limits.memory().saturating_add(PROGRAM_BYTES))]);
    // The kernel ends who is past the first of the two in a way of its own, and past the second as it does who it has no
    // memory for: these must be told apart, since the module is to blame for one of them alone.
    let (first, second) = (limits.cpu_seconds, limits.cpu_seconds.saturating_add(CPU_SECONDS_MORE));
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(first), maximum: Some(second) });
}

fn hold(limits: &[(Resource, u64)]) {
    for (resource, limit) in limits {
        let _ = setrlimit(*resource, Rlimit { current: Some(*limit), maximum: Some(*limit) });
    }
}

fn answer() -> io::Result<()> {
    let mut given = Vec::new();
    io::stdin().lock().read_to_end(&mut given)?;
    let mut out = io::stdout().lock();
    match work(&given) {
        Ok(code) => {
            out.write_all(&[CODE])?;
            out.write_all(&code)?;
        }
        Err(refusal) => {
            out.write_all(&[REFUSAL])?;
            serde_json::to_writer(&mut out, &refusal)?;
        }
    }
    out.flush()
}

fn work(given: &[u8]) -> Result<Vec<u8>, PrepareError> {
    let broken = |message: &str| PrepareError::Compiler { message: message.to_owned() };
    let end = given.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n').ok_or_else(|| broken("no header"))?;
    let header: Header = serde_json::from_slice(&given[..end]).map_err(|error| broken(&error.to_string()))?;
    hold_to(header.limits);
    let settings = header.profile.settings().map_err(|error| broken(&error.to_string()))?;
    if settings.sum != header.sum {
        return Err(broken("the compiling process is of another build than the node"));
    }
    compile(&header.profile, &given[end + 1..])
}

//! What a worker may still do once it has read its assignment: no guest has run by then, and no thread but one is there,
//! so that what is given up here is given up for the whole process and for ever.
//!
//! Each part degrades on its own: what this kernel cannot do is told, and the rest holds.

mod files;
mod limits;
mod rights;
mod system_calls;

use crate::worker::wire::Assignment;

/// Gives up all that a worker does not need. Tells what could not be given up.
pub(crate) fn confine(assignment: &Assignment) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |what: &str, outcome: Result<(), String>| {
        if let Err(why) = outcome {
            missing.push(format!("{what}: {why}"));
        }
    };
    note("resource limits", limits::set());
    note("capabilities", rights::drop_all());
    note("files (Landlock)", files::restrict(assignment));
    // Last: it forbids what the others need.
    note("system calls (seccomp)", system_calls::filter());
    missing
}

//! What a worker may still do once it has read its assignment: no guest has run by then, and no thread but one is there,
//! so that what is given up here is given up for the whole process and for ever.
//!
//! Each part degrades on its own: what this kernel cannot do is told, and the rest holds.

mod files;
mod limits;
mod rights;
mod system_calls;

use crate::worker::wire::Assignment;

/// Gives up what no worker needs, whosever it will be. Tells what could not be given up.
pub(crate) fn at_once() -> Vec<String> {
    let outcomes = [("resource limits", limits::set()), ("capabilities", rights::drop_all())];
    outcomes.into_iter().filter_map(missing).collect()
}

/// Gives up the rest. Tells what could not be given up.
pub(crate) fn confine(assignment: &Assignment) -> Vec<String> {
    let files = ("files (Landlock)", files::restrict(assignment));
    // Last: it forbids what the others need.
    let calls = ("system calls (seccomp)", system_calls::filter());
    [files, calls].into_iter().filter_map(missing).collect()
}

fn missing((what, outcome): (&str, Result<(), String>)) -> Option<String> {
    outcome.err().map(|why| format!("{what}: {why}"))
}

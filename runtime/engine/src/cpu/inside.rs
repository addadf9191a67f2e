//! Whether this thread is inside a guest's poll just now.
//!
//! One guest may wait for another, as a middleware does for what is behind it. The second must not be polled within the
//! first's turn: the engine drives one store at a time on a stack, and the time of the one is not the other's.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A guest's turn on this thread, from its creation until it is dropped.
pub(super) struct Inside {
    before: bool,
}

impl Inside {
    pub(super) fn enter() -> Self {
        Self { before: INSIDE.replace(true) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// Whether some guest has its turn on this thread.
pub(super) fn is_inside() -> bool {
    INSIDE.get()
}

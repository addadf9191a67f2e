//! Standard error: notes, progress in place, and what the server warns of while a command is at work.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Tone, paint};

/// Most warnings remembered, so that each is told once: a run of many objects has few distinct ones.
const WARNINGS_MAX: usize = 1024;

/// Where is talked. Copies talk to the same place.
#[derive(Clone)]
pub(crate) struct Talk(Arc<Mutex<State>>);

struct State {
    to: Box<dyn Write + Send>,
    colour: bool,
    /// It is a terminal: progress is shown in place.
    in_place: bool,
    /// The progress shown last.
    shown: String,
    warned: BTreeSet<String>,
}

impl Talk {
    pub(super) fn new(to: Box<dyn Write + Send>, colour: bool, in_place: bool) -> Self {
        let state = State { to, colour, in_place, shown: String::new(), warned: BTreeSet::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a warning, unless it was told already. That nobody listens is no reason to fail.
    pub(crate) fn warn(&self, text: &str) {
        let mut state = self.state();
        if state.warned.len() >= WARNINGS_MAX || !state.warned.insert(text.to_owned()) {
            return;
        }
        state.labelled("Warning:", Tone::Strong, text);
    }

    /// Tells a line whose label stands out.
    pub(super) fn labelled(&self, label: &str, tone: Tone, text: &str) {
        self.state().labelled(label, tone, text);
    }

    pub(super) fn say(&self, bytes: &[u8]) {
        self.state().say(bytes);
    }

    pub(super) fn progress(&self, text: &str) {
        let mut state = self.state();
        if state.shown == text {
            return;
        }
        if state.in_place {
            write!(state.to, "\r\x1b[2K{text}").ok();
            state.to.flush().ok();
        } else {
            writeln!(state.to, "{text}").ok();
        }
        text.clone_into(&mut state.shown);
    }

    pub(super) fn settle(&self) {
        self.state().settle();
    }
}

impl State {
    fn labelled(&mut self, label: &str, tone: Tone, text: &str) {
        let label = paint(label, tone, self.colour);
        self.say(format!("{label} {text}\n").as_bytes());
    }

    fn say(&mut self, bytes: &[u8]) {
        self.settle();
        self.to.write_all(bytes).and_then(|()| self.to.flush()).ok();
    }

    fn settle(&mut self) {
        if self.in_place && !self.shown.is_empty() {
            write!(self.to, "\r\x1b[2K").ok();
            self.to.flush().ok();
        }
        if self.in_place {
            self.shown.clear();
        }
    }
}

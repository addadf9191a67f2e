//! How a guest can end badly, in words for a pod's status.

use std::time::Duration;

use crate::limits::Limits;
use crate::sandbox::MemoryBytes;

/// Why a guest did not do what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It ran into a WebAssembly trap: `unreachable`, out of bounds, a stack too deep, …
    #[error("the guest trapped: {message}")]
    Trap {
        /// What kind of trap.
        message: String,
        /// The wasm frames, innermost first, one a line, with names where the module has them. Bounded.
        backtrace: String,
    },
    /// It was still at work when its time was over.
    #[error("the guest did not finish within {0:?}")]
    Deadline(Duration),
    /// It asked for more memory than it may have, and then gave up.
    #[error("the guest needed more memory than its limit of {limit}")]
    OutOfMemory {
        /// What it may have.
        limit: MemoryBytes,
    },
    /// It returned from the request without having set a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// It called exit while it handled a request.
    #[error("the guest exited with code {code} before its response was complete")]
    Exited {
        /// The code it gave.
        code: i32,
    },
    /// It set an error instead of a response: one of `wasi:http`'s error codes.
    #[error("the guest answered with the error {code}")]
    Refused {
        /// The error code's name.
        code: String,
    },
    /// Every slot for running instances on this node is taken.
    #[error("no room for another instance on this node: {message}")]
    Busy {
        /// Which limit it is.
        message: String,
    },
    /// The host could not do its part.
    #[error("the engine could not run the guest: {0}")]
    Io(String),
}

impl Failure {
    /// One word for `reason` in a container's status.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "Trapped",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::OutOfMemory { .. } => "OOMKilled",
            Self::NoResponse | Self::Exited { .. } | Self::Refused { .. } | Self::Busy { .. } | Self::Io(_) => "Error",
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It came to its end, or called exit. 0 is success.
    Code(i32),
    /// It was ended.
    Failed(Failure),
    /// The caller's token was cancelled.
    Cancelled,
}

/// The longest backtrace kept: it ends up in an object's status and in an event.
const BACKTRACE_BYTES_MAX: usize = 4096;

/// The longest message kept.
const MESSAGE_BYTES_MAX: usize = 1024;

impl Failure {
    /// What an error out of wasmtime means for the guest that `limits` belonged to.
    pub(crate) fn of(error: &wasmtime::Error, limits: &Limits) -> Self {
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Self::Exited { code: exit.0 };
        }
        if let Some(limit) = limits.breached() {
            return Self::OutOfMemory { limit };
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Busy { message: shortened(&format!("{error:#}"), MESSAGE_BYTES_MAX) };
        }
        let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>();
        let trap = error.downcast_ref::<wasmtime::Trap>();
        if backtrace.is_none() && trap.is_none() {
            return Self::Io(shortened(&format!("{error:#}"), MESSAGE_BYTES_MAX));
        }
        let message = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
        let backtrace = backtrace.map(frames).unwrap_or_default();
        Self::Trap { message: shortened(&message, MESSAGE_BYTES_MAX), backtrace }
    }
}

/// The frames without wasmtime's own heading.
fn frames(backtrace: &wasmtime::WasmBacktrace) -> String {
    let text = backtrace.to_string();
    let frames = text.split_once('\n').map_or("", |(_heading, frames)| frames);
    shortened(frames.trim_end(), BACKTRACE_BYTES_MAX)
}

fn shortened(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} …", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = "ä".repeat(100);
        let cut = shortened(&text, 33);
        assert_eq!(cut, format!("{} …", "ä".repeat(16)));
        assert_eq!(shortened("short", 33), "short");
    }

    #[test]
    fn an_error_without_wasm_frames_is_not_a_trap() {
        let failure = Failure::of(&wasmtime::format_err!("disk on fire"), &Limits::new(MemoryBytes(1)));
        assert_eq!(failure, Failure::Io("disk on fire".into()));
        assert_eq!(failure.reason(), "Error");
    }
}

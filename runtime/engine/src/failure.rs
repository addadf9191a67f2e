//! How a guest can end badly, in words for a pod's status.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use wasmtime::component::ResourceTableError;
use wasmtime_wasi_http::FieldMapError;

use crate::config::{STACK_BYTES, TABLE_ELEMENTS};
use crate::host::{FIELDS_BYTES_MAX, HANDLES_MAX, HOSTCALL_BYTES_MAX};
use crate::limits::{Limits, Refused};
use crate::sandbox::MemoryBytes;

/// Why a guest did not do what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
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
    #[error("the guest needed more memory than its limit of {limit}: it asked for {asked}{}", others(*.instances))]
    OutOfMemory {
        /// What it may have, or its container, or all containers of the machine together.
        limit: MemoryBytes,
        /// What it would have held, or its container.
        asked: MemoryBytes,
        /// How many instances of its container hold that together: 1 when the limit is its own.
        instances: u64,
    },
    /// Its container holds as much memory as it may, and so this instance did not begin: it has seen nothing of its request.
    #[error(
        "the container's memory limit of {limit} leaves no room for another instance: {instances} would need {asked}"
    )]
    Crowded {
        /// What the container may have.
        limit: MemoryBytes,
        /// What it would have held.
        asked: MemoryBytes,
        /// How many instances of it.
        instances: u64,
    },
    /// It went past a limit of what the host does or holds for it.
    #[error("the guest went past its limit of {max} {what}")]
    Limit {
        /// Of what, with its unit.
        what: Cow<'static, str>,
        /// How many it may have.
        max: u64,
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
    /// The instance that worked on it was given up because of another request.
    #[error("the pod's single instance was ended, because another of its requests missed its deadline")]
    Lost,
    /// The process that ran it ended under it.
    #[error("{0}")]
    Crashed(String),
    /// The host's own code gave up in the middle of it: a defect of the node, told so that it is seen.
    #[error("the node's engine gave up on the guest: {message}")]
    Panicked {
        /// What it said.
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
            Self::Crashed(_) => "WorkerCrashed",
            Self::Crowded { .. } => "MemoryLimit",
            Self::Limit { .. } => "LimitExceeded",
            Self::Panicked { .. } => "EngineFailed",
            Self::NoResponse
            | Self::Exited { .. }
            | Self::Refused { .. }
            | Self::Busy { .. }
            | Self::Lost
            | Self::Io(_) => "Error",
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Of each function's name: those of generic code are longer than anybody reads.
const NAME_BYTES_MAX: usize = 256;

/// The longest message kept.
const MESSAGE_BYTES_MAX: usize = 1024;

impl Failure {
    /// What an error out of wasmtime means for the guest that `limits` belonged to.
    pub(crate) fn of(error: &wasmtime::Error, limits: &Limits) -> Self {
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Self::Exited { code: exit.0 };
        }
        if let Some(failure) = out_of_memory(limits) {
            return failure;
        }
        if let Some(failure) = host_limit(error, limits) {
            return failure;
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Busy { message: shortened(&format!("{error:#}"), MESSAGE_BYTES_MAX) };
        }
        let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>();
        let trap = error.downcast_ref::<wasmtime::Trap>();
        if backtrace.is_none() && trap.is_none() {
            return Self::Io(shortened(&format!("{error:#}"), MESSAGE_BYTES_MAX));
        }
        let mut message = trap.map_or_else(|| error.root_cause().to_string(), ToString::to_string);
        if trap == Some(&wasmtime::Trap::StackOverflow) {
            message = format!("{message}, at its limit of {} KiB", STACK_BYTES >> 10);
        }
        let backtrace = backtrace.map(frames).unwrap_or_default();
        Self::Trap { message: shortened(&message, MESSAGE_BYTES_MAX), backtrace }
    }
}

/// Does `work`, whose panic is a failure of its own and nobody else's.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    // What the work had in its hands is dropped by whoever called this, and never looked at again.
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panicked| Failure::Panicked { message: said(&*panicked) })
}

/// What a panic says.
fn said(panicked: &(dyn Any + Send)) -> String {
    let literal = panicked.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panicked.downcast_ref::<String>().map(String::as_str));
    shortened(text.unwrap_or("it panicked without a word"), MESSAGE_BYTES_MAX)
}

fn others(instances: u64) -> String {
    if instances > 1 { format!(" with the {} other instances of its container", instances - 1) } else { String::new() }
}

fn out_of_memory(limits: &Limits) -> Option<Failure> {
    let Refused { limit, asked, instances, started } = limits.refused()?;
    Some(if instances > 1 && !started {
        Failure::Crowded { limit, asked, instances }
    } else {
        Failure::OutOfMemory { limit, asked, instances }
    })
}

/// In wasmtime's words for a call that wants more copied than it may: the error has no type that can be named.
const TOO_MUCH_COPIED: &str = "fuel allocated for hostcalls has been exhausted";

/// Limits that wasmtime keeps, and reports in words of its own.
fn host_limit(error: &wasmtime::Error, limits: &Limits) -> Option<Failure> {
    let (what, max) = if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        ("open handles", HANDLES_MAX)
    } else if matches!(error.downcast_ref(), Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields)) {
        ("bytes of headers", FIELDS_BYTES_MAX)
    } else if error.root_cause().to_string().contains(TOO_MUCH_COPIED) {
        ("bytes in one call to the host", HOSTCALL_BYTES_MAX)
    } else if limits.table_refused() && error.downcast_ref() == Some(&wasmtime::Trap::UnreachableCodeReached) {
        ("entries of a table", TABLE_ELEMENTS)
    } else {
        return None;
    };
    Some(Failure::Limit { what: what.into(), max: u64::try_from(max).unwrap_or(u64::MAX) })
}

/// The frames, as wasmtime shows them. Not by its own `Display`, which demangles names of C++ whole: the guest chooses its
/// names, and some hundred bytes of such a name say gigabytes.
fn frames(backtrace: &wasmtime::WasmBacktrace) -> String {
    let mut text = Bounded::new(BACKTRACE_BYTES_MAX);
    // It refuses when it is full.
    let _ = backtrace.frames().iter().enumerate().try_for_each(|(at, frame)| {
        let line_end = if at > 0 { "\n" } else { "" };
        write!(text, "{line_end}  {at:>3}: ")?;
        if let Some(offset) = frame.module_offset() {
            write!(text, "{offset:#8x} - ")?;
        }
        let module = named(&frame.module().name().unwrap_or("<unknown>"));
        match frame.func_name() {
            Some(name) => match rustc_demangle::try_demangle(name) {
                Ok(name) => write!(text, "{module}!{}", named(&name)),
                Err(_) => write!(text, "{module}!{}", named(&name)),
            },
            None => write!(text, "{module}!<wasm function {}>", frame.func_index()),
        }
    });
    text.finish()
}

fn named(name: &impl fmt::Display) -> String {
    let mut text = Bounded::new(NAME_BYTES_MAX);
    // Names of Rust without the sum at their end.
    let _ = write!(text, "{name:#}");
    text.finish()
}

/// Text that takes so many bytes and refuses what comes then, so that nobody goes on writing.
struct Bounded {
    text: String,
    bytes_max: usize,
    is_cut: bool,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, is_cut: false }
    }

    fn finish(mut self) -> String {
        if self.is_cut {
            self.text.push_str(" …");
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.bytes_max - self.text.len();
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        self.is_cut |= more.len() > room;
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
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
        let limits = Limits::new(MemoryBytes(1), &crate::Sandbox::bare().usage);
        let failure = Failure::of(&wasmtime::format_err!("disk on fire"), &limits);
        assert_eq!(failure, Failure::Io("disk on fire".into()));
        assert_eq!(failure.reason(), "Error");
    }
}

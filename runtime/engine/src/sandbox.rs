//! What one pod is given: arguments, environment, directories, limits, and where its output goes.
//!
//! Not here: what answers the guest from it (`capabilities`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use wk_base::body::Body;

use crate::http::Instances;
use crate::mounts::Mounts;
use crate::network::{Network, NoNetwork};
pub use crate::record::{Level, NoSuchLevel, Record};
use crate::usage::{CpuLimits, Usage};
use crate::variables::Variables;

/// An amount of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemoryBytes(pub u64);

impl MemoryBytes {
    /// So many mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }
}

impl fmt::Display for MemoryBytes {
    /// In the largest binary unit that divides it: `64 MiB`, `1 GiB`, `1000 bytes`, `32.1 MiB (33685968 bytes)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if bytes != 0 && bytes.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", bytes >> shift);
            }
        }
        if bytes > 10 << 20 {
            // Beside a limit in MiB nobody divides by heart.
            let tenths = bytes.saturating_mul(10) >> 20;
            return write!(f, "{}.{} MiB ({bytes} bytes)", tenths / 10, tenths % 10);
        }
        write!(f, "{bytes} bytes")
    }
}

/// Which of a guest's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Where a guest's output goes.
pub trait Output: Send + Sync + 'static {
    /// Takes one piece, as the guest wrote it: pieces need not be lines, nor whole characters.
    ///
    /// A piece is at most 64 KiB. Called on a runtime thread while the guest waits, so it must be quick; an
    /// implementation that cannot keep up drops or counts, it does not block.
    fn write(&self, stream: Stream, bytes: &[u8]);

    /// Takes one message of `wasi:logging`. As lines on standard error, where nobody keeps levels.
    fn log(&self, record: &Record<'_>) {
        self.write(Stream::Err, record.to_string().as_bytes());
    }
}

/// Answers `wasi:config`. Asked anew each time, so that a guest sees what is in force now.
pub trait Config: Send + Sync + 'static {
    /// The setting of this name, if there is one; or why nobody knows, in words for the guest's own log.
    fn get(&self, key: &str) -> Result<Option<String>, String>;

    /// All settings by name.
    fn all(&self) -> Result<Vec<(String, String)>, String>;
}

/// An [`Output`] that keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Output for Discard {
    fn write(&self, _stream: Stream, _bytes: &[u8]) {}
}

/// Answers the requests that a middleware passes on.
#[async_trait::async_trait]
pub trait Next: Send + Sync + 'static {
    /// The response, or in a sentence why there is none.
    async fn handle(&self, request: http::Request<Body>) -> Result<http::Response<Body>, String>;
}

/// Where a guest's standard input comes from. Clones share it; the first instance takes it.
#[derive(Clone)]
pub struct Input(Arc<Mutex<Option<Source>>>);

pub(crate) type Source = Box<dyn AsyncRead + Send + Sync + Unpin>;

impl Input {
    /// What `source` yields.
    pub fn new(source: impl AsyncRead + Send + Sync + Unpin + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(source)))))
    }

    /// The source, for whoever asks first.
    pub fn take(&self) -> Option<Box<dyn AsyncRead + Send + Sync + Unpin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// All that a guest gets, and its limits.
#[derive(Clone)]
pub struct Sandbox {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment variables; a later one of the same name wins.
    pub env: Variables,
    /// The most that one instance's linear memories and tables may hold together.
    pub memory_max: MemoryBytes,
    /// The longest that one request may take, from its arrival to the last byte of its response.
    pub request_deadline: Duration,
    /// Standard output and error.
    pub output: Arc<dyn Output>,
    /// Standard input; at its end from the start without one. For commands: a request brings its own.
    pub input: Option<Input>,
    /// Whether the three are a terminal, as far as the guest can tell.
    pub terminal: bool,
    /// How requests share instances.
    pub instances: Instances,
    /// Whom a middleware (`wasi:http` 0.3) passes its requests on to.
    pub next: Option<Arc<dyn Next>>,
    /// What all its instances use, and may use together of cores and memory. Clones share it.
    pub usage: Arc<Usage>,
    /// Directories of this machine.
    pub mounts: Mounts,
    /// The directory that relative paths begin at, if not `/`.
    pub workdir: Option<String>,
    /// Settings; without it the guest finds none.
    pub config: Option<Arc<dyn Config>>,
    /// What answers its sockets, names and outgoing requests; [`NoNetwork`] refuses them all.
    pub network: Arc<dyn Network>,
}

impl Sandbox {
    /// No arguments, no environment, output discarded, and the limits a pod has that names none.
    pub fn bare() -> Self {
        Self {
            args: Vec::new(),
            env: Variables::default(),
            memory_max: MEMORY_DEFAULT,
            request_deadline: REQUEST_DEADLINE_DEFAULT,
            output: Arc::new(Discard),
            input: None,
            terminal: false,
            instances: Instances::PerRequest,
            next: None,
            usage: Usage::new(CpuLimits::BEST_EFFORT, MEMORY_TOTAL_DEFAULT),
            mounts: Mounts::default(),
            workdir: None,
            config: None,
            network: Arc::new(NoNetwork),
        }
    }
}

impl Sandbox {
    /// The same with each variable once; itself if that is so.
    pub(crate) fn resolved_of(this: Arc<Self>) -> Arc<Self> {
        if this.env.is_resolved() { this } else { Arc::new(Self::clone(&this).resolved()) }
    }

    /// With each variable once: guests differ in which of two they take.
    pub(crate) fn resolved(mut self) -> Self {
        self.env = self.env.resolved();
        self
    }
}

impl fmt::Debug for Sandbox {
    /// Values of variables stay out of logs: secrets travel there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Sandbox")
            .field("args", &self.args)
            .field("env", &names)
            .field("memory_max", &self.memory_max)
            .field("request_deadline", &self.request_deadline)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// What a pod may use that names no limit: what the large hosts of such guests give, and eight times what a
/// small language runtime compiled to wasm needs.
pub const MEMORY_DEFAULT: MemoryBytes = MemoryBytes::mebibytes(128);

/// What all instances of a sandbox that names no limit may hold together: some thousand small ones, or eight of the
/// largest.
const MEMORY_TOTAL_DEFAULT: MemoryBytes = MemoryBytes::mebibytes(1024);

/// The request deadline of a pod that names none: past half a minute a person has gone, and a proxy before us too.
pub const REQUEST_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_in_its_largest_whole_unit() {
        assert_eq!(MemoryBytes::mebibytes(64).to_string(), "64 MiB");
        assert_eq!(MemoryBytes::mebibytes(2048).to_string(), "2 GiB");
        assert_eq!(MemoryBytes(1000).to_string(), "1000 bytes");
        assert_eq!(MemoryBytes(0).to_string(), "0 bytes");
        assert_eq!(MemoryBytes(33_685_968).to_string(), "32.1 MiB (33685968 bytes)");
    }

    #[test]
    fn of_two_variables_of_one_name_the_later_stays() {
        let env = [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sandbox = Sandbox { env: env.to_vec().into(), ..Sandbox::bare() }.resolved();
        assert_eq!(sandbox.env.to_vec(), [("B".to_owned(), "2".to_owned()), ("A".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn debug_of_a_sandbox_hides_values_of_variables() {
        let sandbox = Sandbox { env: vec![("TOKEN".into(), "hunter2".into())].into(), ..Sandbox::bare() };
        let text = format!("{sandbox:?}");
        assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");
    }
}

//! What a node and its workers say to each other.
//!
//! The *door* is a socket pair made before the worker's process: over it the node tells what code the worker will load
//! ([`Preparation`]), and later what it is for ([`Assignment`]), and hands it three more sockets; after that, the files of
//! its containers' code ([`Handed`]). Over the first, HTTP/2, the node starts containers: one request for
//! each, whose body is a [`Start`] and then the container's input, and whose response's body is a row of
//! [`Frame`](super::frames::Frame)s for as long as the container lives; who drops either end ends it. Over the second,
//! HTTP/2 too, requests for HTTP containers travel as they are, with the container's number in [`GUEST`]; further
//! sockets carry them by HTTP/1.1, one after another. Over the third the worker asks, and the node answers
//! ([`asked`](super::asked)).
//!
//! Whoever is inside a worker may be hostile once it is broken into: what comes from one is taken for its own containers
//! alone, and nothing in it is longer than the limits here and in `frames`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use wk_engine::{
    Commons, Config, CpuLimits, Fill, Input, Instances, MemoryBytes, Mount, MountError, Mounts, Network, Next, Output,
    Sandbox, Usage,
};

use crate::worker::asked::Pot;

/// The container a request is for, by the number its [`Start`] gave.
pub(crate) const GUEST: &str = "wk-worker-guest";
/// On a response that is the worker's and not the guest's: the body is a `Failure`.
pub(crate) const FAILED: &str = "wk-worker-failed";
/// Starts a container.
pub(crate) const START_PATH: &str = "/start";
/// Answers with [`Ready`] once the worker can start containers.
pub(crate) const READY_PATH: &str = "/ready";

/// The longest [`Start`]: a container's environment may be made of several ConfigMaps of 1 MiB.
pub(crate) const START_BYTES_MAX: usize = 16 << 20;
/// What one body may have in flight. A local socket has no latency to hide.
pub(crate) const STREAM_WINDOW: u32 = 32 << 10;
/// What all bodies may have in flight: all that there can be, so that those which nobody reads do not stop the others.
pub(crate) const CONNECTION_WINDOW: u32 = STREAMS_MAX * STREAM_WINDOW;
/// Containers of a worker, requests in its hands, and what it asks at once. Its engine has a lower limit of instances.
pub(crate) const STREAMS_MAX: u32 = 8192;
/// Names and values of the headers of one message: as on the mesh.
pub(crate) const HEADER_BYTES_MAX: u32 = 64 << 10;

/// What a worker's engine is made for, before it is known whose the worker will be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Preparation {
    /// What its code is made for.
    pub(crate) target: String,
    /// The most instances alive at once.
    pub(crate) instances_max: u32,
}

/// What a worker is for. It decides what the process may do from then on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Directories that its containers may use.
    pub(crate) writable: Vec<PathBuf>,
    /// Directories that they may read.
    pub(crate) readable: Vec<PathBuf>,
    /// Threads that answer requests.
    pub(crate) threads: usize,
}

/// What comes with the descriptors that a worker is handed after its assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Handed {
    /// One more connection for requests.
    Connection,
    /// The code of the container of this number. A worker cannot open it by itself: it would find that of others.
    Code(u64),
}

/// A worker is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// What should confine it and does not, in words.
    pub(crate) missing: Vec<String>,
}

/// A container to start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// What requests for it and its own questions name it by.
    pub(crate) number: u64,
    /// What to do with it.
    pub(crate) job: Job,
    /// The code, compiled and on disk.
    pub(crate) digest: String,
    /// What it is given.
    pub(crate) given: Given,
}

/// What to do with a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Answer requests that name its number.
    Serve,
    /// Run from start to end.
    Run,
    /// Call an exported function with these arguments.
    Call(String, Vec<String>),
}

/// A [`Sandbox`] as it travels: all but what calls back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Given {
    args: Vec<String>,
    env: Vec<(String, String)>,
    memory_max: MemoryBytes,
    request_deadline: Duration,
    has_input: bool,
    terminal: bool,
    instances: Instances,
    has_next: bool,
    has_config: bool,
    gives_sockets: bool,
    cpu: CpuLimits,
    memory_total: MemoryBytes,
    memory_promised: MemoryBytes,
    is_unlimited: bool,
    mounts: Vec<Mount>,
    workdir: Option<String>,
}

/// What of a [`Sandbox`] stays in the node.
pub(crate) struct Kept {
    /// Where output goes.
    pub(crate) output: Arc<dyn Output>,
    /// Where input comes from.
    pub(crate) input: Option<Input>,
    /// What counts what it uses.
    pub(crate) usage: Arc<Usage>,
    /// Its directories: while they are kept, the node knows how full they are.
    pub(crate) mounts: Mounts,
    /// What it may ask.
    pub(crate) answers: Answers,
}

/// What a container may ask of the node.
#[derive(Clone)]
pub(crate) struct Answers {
    /// Sockets, names and outgoing requests.
    pub(crate) network: Arc<dyn Network>,
    /// Whom it passes requests on to.
    pub(crate) next: Option<Arc<dyn Next>>,
    /// Its settings.
    pub(crate) config: Option<Arc<dyn Config>>,
    /// Its directories, some of which are filled when it looks.
    pub(crate) mounts: Mounts,
    /// What it may hold, and its worker borrow for it,
    pub(crate) memory_max: MemoryBytes,
    /// of this.
    pub(crate) pot: Pot,
}

/// The same from the worker's side: what calls back, made there.
pub(crate) struct Callbacks {
    pub(crate) output: Arc<dyn Output>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) next: Arc<dyn Next>,
    pub(crate) config: Arc<dyn Config>,
    /// Makes what fills mounts.
    pub(crate) fill: Box<dyn FnOnce(Vec<Mount>) -> Arc<dyn Fill> + Send>,
    /// What all containers of the worker hold, and those without a limit.
    pub(crate) commons: [Arc<Commons>; 2],
}

impl Given {
    /// Takes a sandbox apart. Each field is named, so that a new one cannot be left behind in silence: carry it here, or
    /// refuse the container by name.
    pub(crate) fn of(sandbox: Sandbox) -> (Self, Kept) {
        let Sandbox {
            args,
            env,
            memory_max,
            request_deadline,
            output,
            input,
            terminal,
            instances,
            next,
            usage,
            mounts,
            workdir,
            config,
            network,
        } = sandbox;
        let given = Self {
            args,
            env: env.to_vec(),
            memory_max,
            request_deadline,
            has_input: input.is_some(),
            terminal,
            instances,
            has_next: next.is_some(),
            has_config: config.is_some(),
            gives_sockets: network.gives_sockets(),
            cpu: usage.cpu_limits(),
            memory_total: usage.memory_max(),
            memory_promised: usage.promised(),
            is_unlimited: usage.is_part(),
            mounts: mounts.list().to_vec(),
            workdir,
        };
        let pot = if usage.is_part() { Pot::Unlimited } else { Pot::All };
        let (mounts_there, memory_max) = (mounts.clone(), usage.memory_max());
        let answers = Answers { network, next, config, mounts: mounts_there, memory_max, pot };
        (given, Kept { output, input, usage, mounts, answers })
    }

    /// The sandbox as the worker's engine gets it; `input` makes its input if it has one. An error is a directory that
    /// cannot be opened.
    pub(crate) fn sandbox(self, back: Callbacks, input: impl FnOnce() -> Input) -> Result<Sandbox, MountError> {
        let [all, unlimited] = &back.commons;
        let commons = if self.is_unlimited { unlimited } else { all };
        Ok(Sandbox {
            args: self.args,
            env: self.env.into(),
            memory_max: self.memory_max,
            request_deadline: self.request_deadline,
            output: back.output,
            input: self.has_input.then(input),
            terminal: self.terminal,
            instances: self.instances,
            next: self.has_next.then_some(back.next),
            usage: Usage::lent(self.cpu, self.memory_total, self.memory_promised, commons),
            mounts: Mounts::with_late(self.mounts.clone(), Some((back.fill)(self.mounts)))?,
            workdir: self.workdir,
            config: self.has_config.then_some(back.config),
            network: back.network,
        })
    }

    /// The same for a call beside the container's own run, which has been brought its promise.
    pub(crate) fn beside(self) -> Self {
        Self { memory_promised: MemoryBytes(0), ..self }
    }

    /// The longest that a request may take.
    pub(crate) fn request_deadline(&self) -> Duration {
        self.request_deadline
    }

    /// Whether its guest may have sockets.
    pub(crate) fn gives_sockets(&self) -> bool {
        self.gives_sockets
    }
}

/// A value as bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("plain data has a form in bytes").into()
}

/// The value of these bytes.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::from)
}

/// A value behind its length, as [`Reader::value`](super::frames::Reader::value) reads it.
pub(crate) fn with_length<T: Serialize>(value: &T) -> Bytes {
    let value = encode(value);
    let mut bytes = BytesMut::with_capacity(size_of::<u32>() + value.len());
    bytes.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    bytes.put(value);
    bytes.freeze()
}

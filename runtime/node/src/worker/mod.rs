//! A worker: a process that runs the containers of one trust class for a node, and can do nothing else. `wk worker`
//! starts it; nobody but a node does.
//!
//! Not here: what starts it, watches it and starts it again (`place::worker`).
//!
//! Order is everything: what needs no assignment is given up at once, and the engine made, so that a spare process is soon
//! of use; the assignment is read and all other rights are given up ([`confine`]) while there is one thread and no guest;
//! then come threads and sockets. Code is compiled in the node; a worker loads what it is handed, once its checksum is
//! right.

pub(crate) mod asked;
mod bank;
mod codes;
mod confine;
pub(crate) mod door;
pub(crate) mod frames;
mod network;
mod output;
mod serve;
mod watched;
pub(crate) mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use wk_base::error::Chain;
use wk_engine::{EngineError, Unstarted};

use door::Door;
use serve::Worker;
use wire::{Assignment, Handed, Preparation, Ready};

/// Why a worker could not begin.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("read the worker's assignment")]
    Door(#[source] io::Error),
    #[error("what the node says first is not an assignment with three sockets")]
    NoAssignment,
    #[error("there is no target {0}")]
    Target(String),
    #[error("start the worker's engine")]
    Engine(#[source] EngineError),
    #[error("start the worker's threads")]
    Runtime(#[source] io::Error),
    #[error("talk to the node")]
    Node(#[source] hyper::Error),
    #[error("take over the node's sockets")]
    Sockets(#[source] io::Error),
}

/// What a node starts a worker with, as its first argument: of this program, for nobody to type.
pub const COMMAND: &str = "worker";

/// What `top` and `ps` call it.
const NAME: &str = "wk-worker";

/// How often what is free goes back to the kernel: as in a node.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(15);

/// Whether this process was started as a worker.
pub fn is_wanted() -> bool {
    std::env::args_os().nth(1).is_some_and(|word| word == COMMAND)
}

/// The whole life of a worker's process. Call it before anything has made a thread. `give_back` has the allocator give back
/// to the kernel what is free for a while.
pub fn main(give_back: fn()) -> ExitCode {
    main_that_tries(give_back, |_| {})
}

/// The same for a worker that first does what `tries` does, once its rights are given up: for tests of what it cannot do.
/// It is told what of them could not be given up.
pub fn main_that_tries(give_back: fn(), tries: impl FnOnce(&[String])) -> ExitCode {
    match run(give_back, tries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("worker: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(give_back: fn(), tries: impl FnOnce(&[String])) -> Result<(), WorkerError> {
    wk_base::trace::init("warn");
    // Else it is called after the file descriptor that it was started by. What cannot name it runs no worse.
    let _ = std::fs::write("/proc/self/comm", NAME);
    let door = Door::inherited().map_err(WorkerError::Door)?;
    let Some((message, _)) = door.receive().map_err(WorkerError::Door)? else { return Ok(()) };
    let Preparation { target, instances_max } = wire::decode(&message).map_err(WorkerError::Door)?;
    let mut missing = confine::at_once();
    let target = target.parse().map_err(|_| WorkerError::Target(target))?;
    let engine = Unstarted::without_code(&target, instances_max).map_err(WorkerError::Engine)?;
    // A spare one waits here, for hours perhaps; a node that ends meanwhile closes the door.
    let Some((message, sockets)) = door.receive().map_err(WorkerError::Door)? else { return Ok(()) };
    let assignment: Assignment = wire::decode(&message).map_err(WorkerError::Door)?;
    let [control, requests, node] = <[OwnedFd; 3]>::try_from(sockets).map_err(|_| WorkerError::NoAssignment)?;
    missing.extend(confine::confine(&assignment));
    tries(&missing);

    let runtime = wk_base::threads::runtime().worker_threads(assignment.threads.max(1)).build();
    let runtime = runtime.map_err(WorkerError::Runtime)?;
    let engine = engine.start(runtime.handle()).map_err(WorkerError::Engine)?;
    let _entered = runtime.enter();
    let node = runtime.block_on(network::connect(socket(node)?)).map_err(WorkerError::Node)?;
    let worker = Worker::new(engine, Ready { missing }, node);
    runtime.spawn(Arc::clone(&worker).count());
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(GIVE_BACK_EVERY).await;
            give_back();
        }
    });
    runtime.spawn(Arc::clone(&worker).control(socket(control)?));
    runtime.spawn(Arc::clone(&worker).requests(socket(requests)?));
    // What comes now are more connections for requests, and code, until the node is gone.
    while let Ok(Some((message, descriptors))) = door.receive() {
        for descriptor in descriptors {
            match wire::decode(&message).map_err(WorkerError::Door)? {
                Handed::Connection => drop(runtime.spawn(Arc::clone(&worker).kept_requests(socket(descriptor)?))),
                Handed::Code(number) => worker.take_code(number, descriptor.into()),
            }
        }
    }
    // At once: guests have no say in it, and nothing here is worth keeping.
    std::process::exit(0)
}

fn socket(descriptor: OwnedFd) -> Result<tokio::net::UnixStream, WorkerError> {
    let socket = UnixStream::from(descriptor);
    socket.set_nonblocking(true).map_err(WorkerError::Sockets)?;
    tokio::net::UnixStream::from_std(socket).map_err(WorkerError::Sockets)
}

//! Where containers run: in this process, or in a worker. A [`Place`] prepares code, and turns it into a [`Guest`] that
//! answers requests, or runs it from start to end; who asks cannot tell one place from another.
//!
//! Not here: what a container is given (`run` makes its [`Sandbox`]), whether it runs again (`container`), which place a
//! pod gets (`spec`).
//!
//! These are enums rather than traits, so that a request to a guest of this process costs what calling the engine does:
//! no allocation, no task, no indirect call.

pub mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use wk_base::body::Body;
use wk_engine::{Engine, Exit, Failure, HttpApp, InvokeError, PrepareError, Prepared, Sandbox};

use worker::{Class, Code, Held, Remote, Workers};

use crate::worker::wire::Job;

/// Told about each request that failed inside a guest. Called on the request's path: it must not wait.
pub type FailureSink = Arc<dyn Fn(&Failure) + Send + Sync>;

/// The places of this node.
#[derive(Clone, Debug)]
pub struct Places {
    here: Engine,
    workers: Workers,
}

impl Places {
    /// Containers run in this process, on `engine`, or in `workers`.
    pub fn new(here: Engine, workers: Workers) -> Self {
        Self { here, workers }
    }

    /// The engine of this process, which makes the code of all places.
    pub fn engine(&self) -> &Engine {
        &self.here
    }

    /// The place of a class, or of those that have none: this process.
    pub fn of(&self, class: Option<&Class>) -> Place {
        match class {
            None => Place::Here(self.here.clone()),
            Some(class) => {
                Place::Worker { engine: self.here.clone(), workers: self.workers.clone(), class: class.clone() }
            }
        }
    }

    /// The process ids of the workers that run.
    pub fn processes(&self) -> Vec<(Class, u32)> {
        self.workers.processes()
    }
}

/// One place. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Place {
    /// This process.
    Here(Engine),
    /// A worker.
    Worker {
        /// Makes the code that the worker loads.
        engine: Engine,
        /// All of them.
        workers: Workers,
        /// Whose.
        class: Class,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("the node's"),
            Self::Worker { class, .. } => write!(f, "worker of {class}"),
        }
    }
}

impl Place {
    /// Makes the module at `wasm` ready to run. `digest` names its content, which the caller has verified.
    pub async fn prepare(&self, digest: &str, wasm: &Path) -> Result<Arc<Prepared>, PrepareError> {
        match self {
            Self::Here(engine) | Self::Worker { engine, .. } => engine.prepare(digest, wasm).await,
        }
    }

    /// What answers requests with this code in this sandbox. `failed` is told of requests that fail after the heads of
    /// their responses have gone, where that cannot be seen from the body. An error says why it cannot be, for a person.
    pub async fn http(
        &self,
        code: &Arc<Prepared>,
        sandbox: &Arc<Sandbox>,
        failed: &FailureSink,
    ) -> Result<Guest, String> {
        match self {
            Self::Here(engine) => {
                engine.http(code, Arc::clone(sandbox)).map(Guest::Here).map_err(|error| error.to_string())
            }
            Self::Worker { engine, workers, class } => {
                let code = stored(engine, code)?;
                let remote = Remote::start(workers, class, code, Sandbox::clone(sandbox), failed).await;
                remote.map(|remote| Guest::Worker(Box::new(remote)))
            }
        }
    }

    /// Runs a command to its end, or until `cancel`. Dropping the future ends the command too.
    pub async fn run(&self, code: &Arc<Prepared>, sandbox: Sandbox, cancel: CancellationToken) -> Exit {
        match self {
            Self::Here(engine) => engine.run(code, sandbox, cancel).await,
            Self::Worker { engine, workers, class } => match stored(engine, code) {
                Ok(code) => {
                    let ended = worker::run(workers, class, Job::Run, code, sandbox, cancel).await;
                    ended.unwrap_or_else(|why| Exit::Failed(Failure::Io(why.to_string())))
                }
                Err(why) => Exit::Failed(Failure::Io(why)),
            },
        }
    }

    /// Calls an exported function; see [`Engine::invoke`].
    pub async fn invoke(
        &self,
        code: &Arc<Prepared>,
        sandbox: Sandbox,
        function: &str,
        args: Vec<String>,
        cancel: CancellationToken,
    ) -> Result<Exit, InvokeError> {
        match self {
            Self::Here(engine) => engine.invoke(code, sandbox, function, args, cancel).await,
            Self::Worker { engine, workers, class } => {
                // What a worker is asked takes the sandbox's input along.
                code.check_function(function, &sandbox.usage).await?;
                let job = Job::Call(function.to_owned(), args);
                let code = stored(engine, code).map_err(InvokeError::Place)?;
                worker::run(workers, class, job, code, sandbox, cancel).await
            }
        }
    }

    /// Keeps the process there while nothing runs in it, for containers that are only called.
    pub async fn hold(&self) -> Option<Held> {
        match self {
            Self::Here(_) => None,
            Self::Worker { workers, class, .. } => workers.hold(class).await,
        }
    }
}

/// The file of prepared code. An error is told for a person.
fn stored(engine: &Engine, code: &Prepared) -> Result<Code, String> {
    let digest = code.digest().to_string();
    let file = engine.stored_file(&digest);
    let file = file.map_err(|error| format!("open the module's compiled code: {error}"))?;
    Ok(Code { digest, file })
}

/// An HTTP guest, wherever it runs. Costs nothing while no request is there.
#[derive(Debug)]
pub enum Guest {
    /// In this process.
    Here(HttpApp),
    /// In a worker.
    Worker(Box<Remote>),
}

impl Guest {
    /// Hands one request to the guest; see [`HttpApp::handle`].
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        match self {
            Self::Here(app) => app.handle(request).await,
            Self::Worker(remote) => remote.handle(request).await,
        }
    }

    /// Waits until the process under the guest ends, and tells how. In this process: for ever, since then there is nobody
    /// to tell.
    pub async fn crashed(&self) -> String {
        match self {
            Self::Here(_) => std::future::pending().await,
            // Those of this process need not have the room for it.
            Self::Worker(remote) => Box::pin(remote.crashed()).await,
        }
    }
}

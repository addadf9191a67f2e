//! Exec of what the container's image holds: a function that its component exports, or another component of the image by
//! its title, in an instance of its own and in the container's sandbox. Its output is the client's and not the
//! container's log.
//!
//! Not here: how text becomes arguments and an answer an exit code (`wk-engine`).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wk_base::error::Chain;
use wk_engine::{Exit, Failure, Input, InvokeError, Output, Prepared, Sandbox, Stream};
use wk_image::{Blobs, Peers, Reference};
use wk_streams::relay::{Channel, Exec, Receiver, Sender};

use super::{Ended, INTERRUPTED, NOT_FOUND, PIPE_BYTES};
use crate::logs;
use crate::place::Place;
use crate::spec::ContainerSpec;
use crate::streams::console::Watcher;
use crate::streams::{end, terminal};

/// What a shell ends with for a program that cannot be run like this.
const MISUSED: i32 = 126;
/// What a program exports.
const RUN: &str = "wasi:cli/run";
/// What a shell ends with for a program that was killed.
const KILLED: i32 = 137;

/// The code of a container that runs, and what a call of it is given.
pub struct Program {
    /// Where it runs.
    pub place: Place,
    /// The component.
    pub module: Arc<Prepared>,
    /// Where the image's other components are.
    pub images: Images,
    /// The container's spec.
    pub spec: Arc<ContainerSpec>,
    /// The sandbox that the container itself runs in.
    pub container: Arc<Sandbox>,
    /// Set off when the container stops.
    pub cancel: CancellationToken,
}

/// Where images are: that of a container that runs is on this node's disk, but for components that never ran here.
pub struct Images {
    /// Modules on this disk.
    pub blobs: Blobs,
    /// Modules on other nodes.
    pub peers: Arc<dyn Peers>,
}

impl Program {
    /// A sandbox like the container's, with an output of its own.
    fn sandbox(&self, output: Arc<dyn Output>) -> Sandbox {
        Sandbox { args: vec![self.spec.name.to_string()], output, input: None, ..Sandbox::clone(&self.container) }
    }

    /// The component with this title, ready to run; None when there is none. The error is for the client.
    async fn other(&self, title: &str) -> Result<Option<Arc<Prepared>>, String> {
        let Images { blobs, peers } = &self.images;
        let reference: Reference = self.spec.image.parse().map_err(|error| Chain(&error).to_string())?;
        let wasm = wk_image::pull_titled(blobs, &reference, title, &**peers).await;
        let Some(wasm) = wasm.map_err(|error| Chain(&error).to_string())? else { return Ok(None) };
        let prepared = self.place.prepare(&wasm.digest.to_string(), &wasm.path).await;
        prepared.map(Some).map_err(|error| Chain(&error).to_string())
    }

    /// Calls a function of the container's component, else runs another component.
    async fn invoke(&self, sandbox: Sandbox, name: &str, args: &[String]) -> Result<Result<Exit, InvokeError>, String> {
        let (place, cancel) = (&self.place, || self.cancel.clone());
        let called = place.invoke(&self.module, sandbox.clone(), name, args.to_vec(), cancel()).await;
        if !matches!(called, Err(InvokeError::NoFunction { .. })) {
            return Ok(called);
        }
        let Some(other) = self.other(name).await? else { return Ok(called) };
        let sandbox = Sandbox { args: vec![name.to_owned()], ..sandbox };
        Ok(place.invoke(&other, sandbox, RUN, args.to_vec(), cancel()).await)
    }
}

/// Calls the function that the first word names, with the others as its arguments, until it answers or the client leaves.
pub(super) async fn run(program: &Program, wanted: Exec, mut from: Receiver, to: &Sender) {
    let sink = Arc::new(Watcher::default());
    let (stdin, source) = tokio::io::duplex(PIPE_BYTES);
    let sandbox = Sandbox {
        input: wanted.stdin.then(|| Input::new(source)),
        terminal: wanted.tty,
        ..program.sandbox(Arc::new(ToClient(Arc::clone(&sink))))
    };
    let call = async {
        let code = call(program, sandbox, &wanted.command, &sink).await.unwrap_or_else(|missing| {
            sink.push(logs::Stream::Err, format!("{missing}\n").as_bytes());
            NOT_FOUND
        });
        sink.end();
        code
    };
    let output = async {
        let (code, ()) = tokio::join!(call, pass_on(&sink, &wanted, to));
        code
    };
    let input = async {
        if !super::input(&wanted, stdin, &mut from, to).await {
            while let Ok(Some(_)) = from.next().await {}
            std::future::pending::<()>().await;
        }
    };
    let code = tokio::select! {
        code = output => code,
        () = input => INTERRUPTED,
        () = to.closed() => return,
    };
    end(to, code).await;
}

/// Calls it for the node itself, which sends it nothing, and returns what it wrote with how it ended.
pub(super) async fn once(program: &Program, command: &[String]) -> Ended {
    let sink = Arc::new(Watcher::default());
    let sandbox = program.sandbox(Arc::new(ToClient(Arc::clone(&sink))));
    let code = match call(program, sandbox, command, &sink).await {
        Ok(code) => code,
        Err(missing) => return Ended::Missing(missing),
    };
    sink.end();
    let mut text = Vec::new();
    while let Some(pieces) = sink.next().await {
        for (_, data) in &pieces {
            text.extend_from_slice(data);
        }
    }
    Ended::Code(code, String::from_utf8_lossy(&text).into_owned())
}

/// The code it ended with; an error where there is no such function and nothing began, in the node's words.
async fn call(program: &Program, sandbox: Sandbox, command: &[String], sink: &Watcher) -> Result<i32, String> {
    let Some((function, args)) = command.split_first() else { return Err("exec: no command is named".to_owned()) };
    program.container.usage.called();
    let tell = |text: String| sink.push(logs::Stream::Err, format!("{text}\n").as_bytes());
    let called = match program.invoke(sandbox, function, args).await {
        Ok(called) => called,
        Err(why) => {
            tell(format!("exec: {function:?}: {why}"));
            return Ok(MISUSED);
        }
    };
    Ok(match called {
        Ok(Exit::Code(code)) => code,
        Ok(Exit::Cancelled) => {
            tell("the container was stopped".to_owned());
            KILLED
        }
        Ok(Exit::Failed(failure)) => {
            tell(match &failure {
                Failure::Trap { backtrace, .. } if !backtrace.is_empty() => format!("{failure}\n{backtrace}"),
                other => other.to_string(),
            });
            KILLED
        }
        Err(error @ InvokeError::NoFunction { .. }) => {
            return Err(format!(
                "exec: {function:?}: executable file not found: a wasm pod has no shell and no programs; {error}; \
                 what is answered here besides is cat, env, ls, tar and test"
            ));
        }
        Err(error) => {
            tell(format!("exec: {error}"));
            MISUSED
        }
    })
}

/// Sends what the function writes until it has ended and all of it is sent.
async fn pass_on(sink: &Watcher, wanted: &Exec, to: &Sender) {
    while let Some(pieces) = sink.next().await {
        for (stream, data) in pieces {
            let data = if wanted.tty { terminal::printed(&data) } else { data };
            let channel = match stream {
                logs::Stream::Err if wanted.stderr && !wanted.tty => Channel::Stderr,
                logs::Stream::Out if wanted.stdout => Channel::Stdout,
                logs::Stream::Err if wanted.tty && wanted.stdout => Channel::Stdout,
                logs::Stream::Out | logs::Stream::Err => continue,
            };
            if to.send(channel, data).await.is_err() {
                return;
            }
        }
    }
}

/// The function's output to the client. It does not wait for a slow one: what is too much is counted and told.
struct ToClient(Arc<Watcher>);

impl Output for ToClient {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let stream = match stream {
            Stream::Out => logs::Stream::Out,
            Stream::Err => logs::Stream::Err,
        };
        self.0.push(stream, bytes);
    }
}

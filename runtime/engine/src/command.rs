//! Runs a `wasi:cli/command` component from start to end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime_wasi::{p2, p3};

use crate::engine::Engine;
use crate::failure::{Exit, Failure, caught};
use crate::host::Host;
use crate::limits::Limits;
use crate::preview1;
use crate::sandbox::Sandbox;

/// What a program ends with that returns an error from `run`: the code a shell knows for failure.
const FAILURE_CODE: i32 = 1;

/// A program, linked, of either version.
#[derive(Clone)]
pub(crate) enum CommandPre {
    /// `_start` of a core module.
    V1(wasmtime::InstancePre<Host>),
    /// `wasi:cli/run` 0.2.
    V2(p2::bindings::CommandPre<Host>),
    /// `wasi:cli/run` 0.3.
    V3(p3::bindings::CommandPre<Host>),
}

impl CommandPre {
    async fn run(&self, store: &mut Store<Host>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::V1(pre) => preview1::run(pre, store).await.map(Ok),
            Self::V2(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                store.data_mut().limits.started();
                command.wasi_cli_run().call_run(store).await
            }
            Self::V3(pre) => {
                let command = pre.instantiate_async(&mut *store).await?;
                store.data_mut().limits.started();
                store.run_concurrent(async |accessor| command.wasi_cli_run().call_run(accessor).await).await?
            }
        }
    }
}

pub(crate) async fn run(engine: &Engine, pre: &CommandPre, sandbox: Sandbox, cancel: CancellationToken) -> Exit {
    if let Err(failure) = engine.admit(&sandbox) {
        return Exit::Failed(failure);
    }
    let sandbox = Arc::new(sandbox.resolved());
    let mut store = Host::store(engine.wasmtime(), &sandbox, engine.running());
    let pre = pre.clone();
    let call = engine.guest(&sandbox, async move {
        match caught(pre.run(&mut store)).await {
            Ok(outcome) => end(outcome, &store.data().limits),
            Err(failure) => Exit::Failed(failure),
        }
    });
    tokio::select! {
        // A guest that yields at every tick is ready to be polled at any time, so look at the token first.
        biased;
        () = cancel.cancelled() => Exit::Cancelled,
        exit = call => exit,
    }
}

fn end(outcome: wasmtime::Result<Result<(), ()>>, limits: &Limits) -> Exit {
    match outcome {
        Ok(Ok(())) => Exit::Code(0),
        Ok(Err(())) => Exit::Code(FAILURE_CODE),
        Err(error) => match Failure::of(&error, limits) {
            Failure::Exited { code } => Exit::Code(code),
            failure => Exit::Failed(failure),
        },
    }
}

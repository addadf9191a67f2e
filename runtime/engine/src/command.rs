//! Runs a `wasi:cli/command` component from start to end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::host::Host;
use crate::limits::Limits;
use crate::sandbox::Sandbox;

/// What a program ends with that returns an error from `run`: the code a shell knows for failure.
const FAILURE_CODE: i32 = 1;

pub(crate) async fn run(engine: &Engine, pre: &CommandPre<Host>, sandbox: Sandbox, cancel: CancellationToken) -> Exit {
    let sandbox = Arc::new(sandbox.resolved());
    let mut store = Host::store(engine.wasmtime(), &sandbox, engine.running());
    let pre = pre.clone();
    let call = engine.guest(&sandbox, async move {
        let outcome = async {
            let command = pre.instantiate_async(&mut store).await?;
            store.data_mut().limits.started();
            command.wasi_cli_run().call_run(&mut store).await
        };
        end(outcome.await, &store.data().limits)
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

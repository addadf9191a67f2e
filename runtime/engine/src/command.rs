//! Runs a `wasi:cli/command` component from start to end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::host::Host;
use crate::sandbox::Sandbox;

/// What a program ends with that returns an error from `run`: the code a shell knows for failure.
const FAILURE_CODE: i32 = 1;

pub(crate) async fn run(engine: &Engine, pre: &CommandPre<Host>, sandbox: Sandbox, cancel: CancellationToken) -> Exit {
    let mut store = Host::store(engine.wasmtime(), &Arc::new(sandbox.resolved()), engine.running());
    let outcome = {
        let call = async {
            let command = pre.instantiate_async(&mut store).await?;
            command.wasi_cli_run().call_run(&mut store).await
        };
        tokio::select! {
            // A guest that yields at every tick is ready to be polled at any time, so look at the token first.
            biased;
            () = cancel.cancelled() => return Exit::Cancelled,
            outcome = call => outcome,
        }
    };
    match outcome {
        Ok(Ok(())) => Exit::Code(0),
        Ok(Err(())) => Exit::Code(FAILURE_CODE),
        Err(error) => match Failure::of(&error, &store.data().limits) {
            Failure::Exited { code } => Exit::Code(code),
            failure => Exit::Failed(failure),
        },
    }
}

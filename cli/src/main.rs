//! `wk`: a Kubernetes cluster of WebAssembly pods in one binary.
//!
//! Args (what was typed) -> resolved (what it means) -> one action per file under `commands`; `up` starts a node.
//! Data goes to standard output, talk to standard error. Exit codes are the table in `exit`.

mod args;
mod client;
mod commands;
mod discovery;
mod exit;
mod fields;
mod heap;
mod kubeconfig;
mod manifest;
mod render;
#[cfg(test)]
mod testing;
mod up;

use std::process::ExitCode;

use crate::render::Ui;

fn main() -> ExitCode {
    if wk_node::worker::is_wanted() {
        // It gives up its rights before it makes its threads.
        return wk_node::worker::main(heap::give_back);
    }
    let cli = args::parse();
    let mut ui = Ui::for_process();
    match wk_base::threads::run(commands::run(cli, &mut ui)).map_err(anyhow::Error::from).flatten() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit::code_of(&error);
            ui.error(&error);
            ExitCode::from(code.number())
        }
    }
}

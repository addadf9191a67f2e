//! Commands: exit codes, limits, cancelling.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Failure, Input, MemoryBytes, Sandbox, World};

use crate::kit::{Kit, env, hello, misbehaving_command, sandbox, ticker};

fn arguments(given: &[&str]) -> Vec<String> {
    std::iter::once("command").chain(given.iter().copied()).map(ToOwned::to_owned).collect()
}

async fn run(given: &[&str]) -> Exit {
    let kit = Kit::new();
    let prepared = kit.prepare(&misbehaving_command()).await;
    let sandbox = Sandbox { args: arguments(given), memory_max: MemoryBytes::mebibytes(16), ..Sandbox::bare() };
    let exit = kit.engine.run(&prepared, sandbox, CancellationToken::new()).await;
    assert_eq!(kit.engine.instances(), 0);
    exit
}

#[tokio::test]
async fn ticker_ticks_and_ends_with_success() {
    let kit = Kit::new();
    let prepared = kit.prepare(&ticker()).await;
    assert_eq!(prepared.world(), World::Command);
    let (mut sandbox, output) = sandbox();
    sandbox.args = arguments(&["COUNT=3"]);
    sandbox.env = env(&[("INTERVAL_MS", "1"), ("WK_POD_NAME", "ticker-0")]);
    assert_eq!(kit.engine.run(&prepared, sandbox, CancellationToken::new()).await, Exit::Code(0));
    assert_eq!(output.out(), "tick 1 from ticker-0\ntick 2 from ticker-0\ntick 3 from ticker-0\n");
}

#[tokio::test]
async fn exit_codes_come_through() {
    assert_eq!(run(&[]).await, Exit::Code(0));
    assert_eq!(run(&["exit", "0"]).await, Exit::Code(0));
    assert_eq!(run(&["exit", "7"]).await, Exit::Code(7));
    assert_eq!(run(&["no such thing"]).await, Exit::Code(64));
}

/// Copies its input to its output until that ends.
const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (loop $again
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 32768))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return)))
    (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $again))))"#;

#[tokio::test]
async fn a_command_reads_the_input_it_was_given_to_its_end() {
    let kit = Kit::new();
    let path = kit.dir.path().join("cat.wasm");
    std::fs::write(&path, wat::parse_str(CAT).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    for (given, read) in [(None, ""), (Some(&b"some input"[..]), "some input")] {
        let (mut sandbox, output) = sandbox();
        sandbox.input = given.map(Input::new);
        assert_eq!(kit.engine.run(&prepared, sandbox, CancellationToken::new()).await, Exit::Code(0));
        assert_eq!(output.out(), read);
    }
}

#[tokio::test]
async fn full_stack_is_a_trap_that_says_so() {
    let kit = Kit::new();
    let path = kit.dir.path().join("deep.wasm");
    let text = r#"(module (memory (export "memory") 1) (func $deeper (export "_start") call $deeper))"#;
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    let exit = kit.engine.run(&prepared, Sandbox::bare(), CancellationToken::new()).await;
    let Exit::Failed(Failure::Trap { message, backtrace }) = exit else { panic!("not a trap: {exit:?}") };
    assert!(message.contains("stack"), "{message}");
    assert!(backtrace.len() < 5000, "{} bytes", backtrace.len());
}

#[tokio::test]
async fn table_that_grows_for_ever_ends_at_its_limit_and_says_so() {
    let kit = Kit::new();
    let path = kit.dir.path().join("table.wasm");
    let text = r#"(module (memory (export "memory") 1) (table 1 funcref) (func (export "_start") (loop $more
        (br_if $more (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable))"#;
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    let exit = kit.engine.run(&prepared, Sandbox::bare(), CancellationToken::new()).await;
    let Exit::Failed(Failure::Limit { what, max }) = exit else { panic!("not its limit: {exit:?}") };
    assert_eq!((&*what, max), ("entries of a table", 100_000));
}

#[tokio::test]
async fn trap_of_a_core_module_names_its_functions() {
    let Exit::Failed(Failure::Trap { backtrace, .. }) = run(&["trap"]).await else { panic!("not a trap") };
    assert!(backtrace.contains("inner_of_trap"), "{backtrace}");
}

#[tokio::test]
async fn recursion_panic_and_allocation_each_have_their_reason() {
    for (misbehaviour, reason) in [("recurse", "Trapped"), ("panic", "Trapped"), ("alloc", "OOMKilled")] {
        let Exit::Failed(failure) = run(&[misbehaviour]).await else { panic!("{misbehaviour} did not fail") };
        assert_eq!(failure.reason(), reason, "{misbehaviour}: {failure}");
    }
}

#[tokio::test]
async fn output_and_variables_are_the_sandbox_ones() {
    let kit = Kit::new();
    let prepared = kit.prepare(&misbehaving_command()).await;
    let (mut sandbox, output) = sandbox();
    sandbox.args = arguments(&["env"]);
    sandbox.env = env(&[("ONLY", "this")]);
    assert_eq!(kit.engine.run(&prepared, sandbox, CancellationToken::new()).await, Exit::Code(0));
    assert_eq!(output.out(), "[\"command\", \"env\"]\nONLY=this\n");
    assert_eq!(output.err(), "");
}

#[tokio::test]
async fn cancelling_ends_a_guest_whatever_it_does() {
    let kit = Kit::new();
    let prepared = kit.prepare(&misbehaving_command()).await;
    for misbehaviour in ["loop", "sleep", "flood"] {
        let cancel = CancellationToken::new();
        let sandbox = Sandbox { args: arguments(&[misbehaviour]), ..Sandbox::bare() };
        let running = tokio::spawn({
            let (engine, prepared, cancel) = (kit.engine.clone(), prepared.clone(), cancel.clone());
            async move { engine.run(&prepared, sandbox, cancel).await }
        });
        while kit.engine.instances() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        let exit = tokio::time::timeout(Duration::from_secs(10), running).await.expect("it ends").expect("no panic");
        assert_eq!(exit, Exit::Cancelled, "{misbehaviour}");
        kit.quiet().await;
    }
}

#[tokio::test]
async fn component_of_the_other_world_is_refused() {
    let kit = Kit::new();
    let http = kit.prepare(&hello()).await;
    let exit = kit.engine.run(&http, Sandbox::bare(), CancellationToken::new()).await;
    assert!(matches!(&exit, Exit::Failed(failure) if failure.to_string().contains("wasi:http/proxy")), "{exit:?}");
    let command = kit.prepare(&ticker()).await;
    let error = kit.engine.http(&command, Sandbox::bare()).map(|_| ()).expect_err("a command answers no requests");
    assert_eq!(error.to_string(), "the component is of the world wasi:cli/command, and wasi:http/proxy is wanted");
}

//! Calling exported functions one by one: arguments, answers, and what is refused before anything runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Failure, InvokeError, Prepared, Sandbox, World};

use crate::kit::{Kit, get, misbehaving_command, sandbox};

/// Answers requests, and has functions beside.
const FUNCTIONS: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $answer))
  (core module $module
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (data (i32.const 16) "no luck")
    (func (export "nothing"))
    (func (export "handle") (param i32 i32))
    (func (export "yes") (result i32) i32.const 1)
    (func (export "no") (result i32) i32.const 0)
    (func (export "same") (param i32) (result i32) local.get 0)
    (func (export "length") (param i32 i32) (result i32) local.get 1)
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0))
    (func (export "refuse") (result i32)
      (i32.store8 (i32.const 32) (i32.const 1))
      (i32.store (i32.const 36) (i32.const 16)) (i32.store (i32.const 40) (i32.const 7)) (i32.const 32))
    (func (export "trap") unreachable)
    (func (export "loop") (loop (br 0))))
  (core instance $m (instantiate $module))
  (func (export "nothing") (canon lift (core func $m "nothing")))
  (func (export "ready") (result bool) (canon lift (core func $m "yes")))
  (func (export "sick") (result bool) (canon lift (core func $m "no")))
  (func (export "code") (param "code" u8) (result u8) (canon lift (core func $m "same")))
  (func (export "count") (param "items" (list string)) (result u32)
    (canon lift (core func $m "length") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func (export "echo") (param "text" string) (result string)
    (canon lift (core func $m "echo") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func (export "refuse") (result (result string (error string)))
    (canon lift (core func $m "refuse") (memory (core memory $m "memory"))))
  (func (export "pair") (param "pair" (tuple u32 u32)) (canon lift (core func $m "handle")))
  (func (export "trap") (canon lift (core func $m "trap")))
  (func (export "loop") (canon lift (core func $m "loop")))
  (func $refresh (result bool) (canon lift (core func $m "yes")))
  (func $inner-sick (result bool) (canon lift (core func $m "yes")))
  (instance $admin (export "refresh" (func $refresh)) (export "sick" (func $inner-sick)))
  (export "acme:shop/admin@1.2.0" (instance $admin))
  (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
    (canon lift (core func $m "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

async fn functions(kit: &Kit) -> Arc<Prepared> {
    let path = kit.dir.path().join("functions.wasm");
    std::fs::write(&path, wat::parse_str(FUNCTIONS).expect("is WebAssembly text")).expect("writes");
    kit.prepare(&path).await
}

/// How the call ended, and what it wrote to standard output and error.
async fn call(function: &str, args: &[&str]) -> Result<(Exit, String, String), InvokeError> {
    let kit = Kit::new();
    let prepared = functions(&kit).await;
    let (sandbox, output) = sandbox();
    let args = args.iter().map(|&text| text.to_owned()).collect();
    let exit = kit.engine.invoke(&prepared, sandbox, function, args, CancellationToken::new()).await?;
    assert_eq!(kit.engine.instances(), 0);
    Ok((exit, output.out(), output.err()))
}

async fn refused(function: &str, args: &[&str]) -> String {
    call(function, args).await.expect_err("must be refused").to_string()
}

#[tokio::test]
async fn answers_become_exit_codes_and_text() {
    for (function, args, code, out, err) in [
        ("nothing", &[][..], 0, "", ""),
        ("ready", &[], 0, "", ""),
        ("sick", &[], 1, "", ""),
        ("code", &["7"], 7, "", ""),
        ("count", &["a", "b", "c"], 3, "", ""),
        ("count", &[], 0, "", ""),
        ("echo", &["some text"], 0, "some text\n", ""),
        ("refuse", &[], 1, "", "no luck\n"),
    ] {
        let answer = call(function, args).await.expect("can be called");
        assert_eq!(answer, (Exit::Code(code), out.to_owned(), err.to_owned()), "{function} {args:?}");
    }
}

#[tokio::test]
async fn functions_of_interfaces_are_found_with_and_without_version() {
    for name in ["acme:shop/admin@1.2.0#refresh", "acme:shop/admin#refresh", "refresh"] {
        assert_eq!(call(name, &[]).await.expect("is there").0, Exit::Code(0), "{name}");
    }
    // Two are called so: the component's own comes first.
    assert_eq!(call("sick", &[]).await.expect("is there").0, Exit::Code(1));
    assert_eq!(call("acme:shop/admin#sick", &[]).await.expect("is there").0, Exit::Code(0));
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_with_what_can() {
    let message = refused("repair", &[]).await;
    assert!(message.contains("\"repair\"") && message.contains("acme:shop/admin@1.2.0#refresh() -> bool"), "{message}");
    assert!(message.contains("refuse() -> result<string, string>"), "{message}");
    assert!(refused("acme:shop/admin@2.0.0#refresh", &[]).await.contains("no function"));
    assert_eq!(refused("code", &[]).await, "call code(code: u8) -> u8: code is missing");
    assert_eq!(refused("code", &["300"]).await, "call code(code: u8) -> u8: code is \"300\", which is no u8");
    assert_eq!(refused("ready", &["now"]).await, "call ready() -> bool: \"now\" is one argument too many");
    assert_eq!(refused("pair", &["1"]).await, "call pair(pair: tuple): a tuple cannot be written as text");
    assert!(refused("wasi:http/incoming-handler#handle", &["", ""]).await.contains("resource"));
}

#[tokio::test]
async fn failures_of_a_function_are_those_of_a_guest() {
    let (exit, ..) = call("trap", &[]).await.expect("can be called");
    assert!(matches!(exit, Exit::Failed(Failure::Trap { .. })), "{exit:?}");
}

#[tokio::test]
async fn cancelling_ends_a_function_that_loops() {
    let kit = Kit::new();
    let prepared = functions(&kit).await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (engine, prepared, cancel) = (kit.engine.clone(), prepared.clone(), cancel.clone());
        async move { engine.invoke(&prepared, Sandbox::bare(), "loop", Vec::new(), cancel).await }
    });
    while kit.engine.instances() == 0 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let exit = tokio::time::timeout(Duration::from_secs(10), running).await.expect("it ends").expect("no panic");
    assert_eq!(exit.expect("can be called"), Exit::Cancelled);
    kit.quiet().await;
}

#[tokio::test]
async fn run_of_a_program_takes_its_arguments_as_a_process_does() {
    let kit = Kit::new();
    let prepared = kit.prepare(&misbehaving_command()).await;
    let (mut sandbox, output) = sandbox();
    sandbox.args = vec!["command".into()];
    let args = vec!["exit".into(), "7".into()];
    let exit = kit.engine.invoke(&prepared, sandbox.clone(), "wasi:cli/run", args, CancellationToken::new()).await;
    assert_eq!(exit, Ok(Exit::Code(7)));
    let exit = kit.engine.invoke(&prepared, sandbox, "wasi:cli/run#run", vec!["env".into()], CancellationToken::new());
    assert_eq!(exit.await, Ok(Exit::Code(0)));
    assert_eq!(output.out(), "[\"command\", \"env\"]\n");
}

#[tokio::test]
async fn component_of_functions_alone_is_neither_program_nor_server() {
    let kit = Kit::new();
    let path = kit.dir.path().join("alone.wasm");
    let text = r#"(component
        (core module $module (func (export "yes") (result i32) i32.const 1))
        (core instance $m (instantiate $module))
        (func (export "ready") (result bool) (canon lift (core func $m "yes"))))"#;
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    assert_eq!(prepared.world(), World::Functions);
    assert_eq!(prepared.functions(), ["ready() -> bool"]);
    kit.engine.http(&prepared, Sandbox::bare()).map(|_| ()).expect_err("answers no requests");
    let exit = kit.engine.invoke(&prepared, Sandbox::bare(), "ready", Vec::new(), CancellationToken::new()).await;
    assert_eq!(exit, Ok(Exit::Code(0)));
}

#[tokio::test]
async fn container_pays_for_the_look_at_what_its_module_exports_and_is_told_the_first() {
    let kit = Kit::new();
    let path = kit.dir.path().join("many.wasm");
    let exports: Vec<_> = (0..3_000).map(|at| format!("(export \"f{at}\" (func $ready))")).collect();
    let exports = exports.concat();
    let text = format!(
        r#"(component
        (core module $module (func (export "yes") (result i32) i32.const 1))
        (core instance $m (instantiate $module))
        (func $ready (result bool) (canon lift (core func $m "yes")))
        {exports})"#
    );
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    let sandbox = Sandbox::bare();
    assert_eq!(prepared.check_function("f2999", &sandbox.usage).await, Ok(()));
    let looked = sandbox.usage.used().cpu;
    assert!(looked > Duration::ZERO);
    let called = kit.engine.invoke(&prepared, sandbox.clone(), "f3000", Vec::new(), CancellationToken::new()).await;
    let Err(InvokeError::NoFunction { there, .. }) = called else { panic!("{called:?}") };
    assert_eq!((there.len(), there[0].as_str(), there[64].as_str()), (65, "f0() -> bool", "and more"));
    assert!(sandbox.usage.used().cpu > looked);
}

#[tokio::test]
async fn server_with_functions_stays_a_server() {
    let kit = Kit::new();
    let prepared = functions(&kit).await;
    assert_eq!(prepared.world(), World::Http);
    let app = kit.engine.http(&prepared, Sandbox::bare()).expect("answers requests");
    let failure = app.handle(get("/")).await.map(|_| ()).expect_err("this one sets no response");
    assert_eq!(failure, Failure::NoResponse);
}

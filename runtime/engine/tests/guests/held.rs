//! Guests that make the host hold what their own memory does not show.

use tokio_util::sync::CancellationToken;
use wk_engine::{CpuLimits, Exit, Failure, MemoryBytes, Sandbox, Usage};

use crate::kit::Kit;

/// A command that does `BODY` for ever, with `$new`, which makes an empty `fields`, and `$from`, which makes one of a list.
const TEMPLATE: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (type $cases (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $error (eq $cases)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[static]fields.from-list"
      (func (param "entries" (list (tuple string (list u8)))) (result (result (own $fields) (error $error)))))))
  (core module $memory (memory (export "memory") 1024))
  (core instance $held (instantiate $memory))
  (alias core export $held "memory" (core memory $shared))
  (core func $new (canon lower (func $types "[constructor]fields")))
  (core func $from (canon lower (func $types "[static]fields.from-list") (memory $shared)))
  (core module $main
    (import "host" "new" (func $new (result i32)))
    (import "host" "from" (func $from (param i32 i32 i32)))
    (import "host" "memory" (memory 1024))
    (func (export "run") (result i32)
      (i32.store8 (i32.const 64) (i32.const 97))
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
      (i32.store (i32.const 8) (i32.const 1024)) (i32.store (i32.const 12) (i32.const LENGTH))
      (memory.fill (i32.const 1024) (i32.const 97) (i32.const LENGTH))
      (loop $again BODY (br $again)) unreachable))
  (core instance $running (instantiate $main (with "host" (instance
    (export "new" (func $new)) (export "from" (func $from)) (export "memory" (memory $shared))))))
  (func $run (result (result)) (canon lift (core func $running "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

const LEAK_HANDLES: &str = "(drop (call $new))";
const LEAK_FIELDS: &str = "(call $from (i32.const 0) (i32.const 1) (i32.const 32))";

async fn run(body: &str, length: usize, memory_max: MemoryBytes) -> Failure {
    let kit = Kit::new();
    let path = kit.dir.path().join("leak.wasm");
    let text = TEMPLATE.replace("BODY", body).replace("LENGTH", &length.to_string());
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    let prepared = kit.prepare(&path).await;
    let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes::mebibytes(1024));
    let sandbox = Sandbox { memory_max, usage: usage.clone(), ..Sandbox::bare() };
    let exit = kit.engine.run(&prepared, sandbox, CancellationToken::new()).await;
    assert_eq!(usage.used().memory, 0, "all is given back");
    let Exit::Failed(failure) = exit else { panic!("{exit:?}") };
    failure
}

#[tokio::test]
async fn leaked_handles_end_at_their_limit() {
    let failure = run(LEAK_HANDLES, 1, MemoryBytes::mebibytes(512)).await;
    assert_eq!(failure, Failure::Limit { what: "open handles".into(), max: 10_000 });
    assert_eq!(failure.to_string(), "the guest went past its limit of 10000 open handles");
}

/// Three thousand of these are more than a hundred mebibytes, none of which is in the guest's memory.
#[tokio::test]
async fn giant_headers_count_as_memory_of_the_guest() {
    let limit = MemoryBytes::mebibytes(128);
    let failure = run(LEAK_FIELDS, 60 << 10, limit).await;
    assert!(matches!(failure, Failure::OutOfMemory { limit: of, instances: 1, .. } if of == limit), "{failure}");
}

#[tokio::test]
async fn one_call_makes_the_host_copy_only_so_much() {
    let failure = run(LEAK_FIELDS, 33 << 20, MemoryBytes::mebibytes(512)).await;
    assert_eq!(failure, Failure::Limit { what: "bytes in one call to the host".into(), max: 32 << 20 });
}

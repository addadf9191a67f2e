//! Preparing: what is refused and in which words, and the cache of compiled code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wk_engine::{PrepareError, Sandbox, World};

use crate::kit::{Kit, engine, get, hello, misbehaving_http, text};

async fn refused(bytes: &[u8]) -> PrepareError {
    let kit = Kit::new();
    let path = kit.dir.path().join("given.wasm");
    std::fs::write(&path, bytes).expect("writes");
    kit.engine.prepare("given", &path).await.expect_err("must be refused")
}

async fn refused_text(wat: &str) -> String {
    refused(&wat::parse_str(wat).expect("is WebAssembly text")).await.to_string()
}

#[tokio::test]
async fn worlds_are_told_by_exports() {
    let kit = Kit::new();
    assert_eq!(kit.prepare(&hello()).await.world(), World::Http);
}

#[tokio::test]
async fn bytes_that_are_no_wasm_are_refused() {
    for bytes in [&b"#!/bin/sh\n"[..], b"", b"\0asm\x0d\0\x01\0garbage"] {
        let error = refused(bytes).await;
        assert!(matches!(error, PrepareError::Malformed { .. } | PrepareError::Compile { .. }), "{error}");
    }
}

#[tokio::test]
async fn missing_file_is_named() {
    let kit = Kit::new();
    let error = kit.engine.prepare("x", Path::new("/no/such/file.wasm")).await.expect_err("must be refused");
    assert!(error.to_string().contains("/no/such/file.wasm"), "{error}");
}

#[tokio::test]
async fn missing_imports_are_all_named_with_interface_and_version() {
    let message = refused_text(
        r#"(component
            (import "acme:billing/ledger@1.2.0" (instance))
            (import "wasi:keyvalue/store@0.2.0-draft" (instance))
            (import "wasi:clocks/wall-clock@0.2.3" (instance)))"#,
    )
    .await;
    let expected = "the component imports interfaces that no pod has: \
                    acme:billing/ledger@1.2.0, wasi:keyvalue/store@0.2.0-draft";
    assert_eq!(message, expected);
}

#[tokio::test]
async fn import_of_a_function_that_an_interface_lacks_is_named() {
    let message = refused_text(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.3" (instance (export "tomorrow" (func))))
            (core module $module (func (export "run") (result i32) i32.const 0))
            (core instance $core (instantiate $module))
            (func $run (result (result)) (canon lift (core func $core "run")))
            (instance $exported (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $exported)))"#,
    )
    .await;
    assert!(message.contains("wasi:clocks/wall-clock@0.2.3") && message.contains("tomorrow"), "{message}");
}

#[tokio::test]
async fn component_that_exports_nothing_we_call_is_refused() {
    let message = refused_text("(component)").await;
    assert!(message.contains("wasi:cli/run@0.2") && message.contains("exports: none"), "{message}");
}

#[tokio::test]
async fn module_that_needs_more_than_a_pod_may_have_is_told_so_and_not_compiled_again() {
    let kit = Kit::new();
    let path = kit.dir.path().join("table.wasm");
    let text = r#"(module (memory (export "memory") 1) (table 90000000 funcref) (func (export "_start")))"#;
    std::fs::write(&path, wat::parse_str(text).expect("is WebAssembly text")).expect("writes");
    for _ in 0..3 {
        let error = kit.engine.prepare("table", &path).await.expect_err("must fail");
        assert!(matches!(error, PrepareError::CompileLimit { .. }), "{error:?}");
        assert!(error.to_string().contains("90000000") && error.to_string().contains("100000"), "{error}");
    }
    // Once for itself, and once in case that its code was damaged.
    assert_eq!(kit.engine.code_counts().compiled, 2);
}

#[tokio::test]
async fn concurrent_and_later_preparations_share_one_component() {
    let kit = Kit::new();
    let path = hello();
    let (one, two) = tokio::join!(kit.prepare(&path), kit.prepare(&path));
    assert!(Arc::ptr_eq(&one, &two));
    drop(one);
    assert!(Arc::ptr_eq(&two, &kit.prepare(&path).await));
}

#[tokio::test]
async fn failed_preparation_is_tried_again() {
    let kit = Kit::new();
    let path = kit.dir.path().join("late.wasm");
    kit.engine.prepare("late", &path).await.expect_err("is not there yet");
    std::fs::copy(hello(), &path).expect("copies");
    kit.engine.prepare("late", &path).await.expect("is there now");
}

fn compiled(kit: &Kit) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(kit.dir.path().join("compiled")).expect("reads");
    entries.map(|entry| entry.expect("reads").path()).collect()
}

/// An engine that starts again has the code: the module's own bytes are not even read.
#[tokio::test]
async fn compiled_code_outlives_the_engine() {
    let kit = Kit::new();
    kit.engine.prepare("hello", &hello()).await.expect("compiles");
    assert_eq!(compiled(&kit).len(), 1);
    let again = engine(kit.dir.path());
    let prepared = again.prepare("hello", Path::new("/gone.wasm")).await.expect("comes from the cache");
    let app = again.http(&prepared, Sandbox::bare()).expect("is an HTTP guest");
    assert!(text(app.handle(get("/")).await.expect("answers")).await.starts_with("Hello"));
}

#[tokio::test]
async fn tampered_code_is_compiled_again() {
    let kit = Kit::new();
    kit.engine.prepare("hello", &hello()).await.expect("compiles");
    let path = compiled(&kit).pop().expect("one file");
    let mut bytes = std::fs::read(&path).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x80;
    std::fs::write(&path, &bytes).expect("writes");

    let again = engine(kit.dir.path());
    again.prepare("hello", Path::new("/gone.wasm")).await.expect_err("the code must not be used");
    again.prepare("hello", &hello()).await.expect("compiles again");
    assert_ne!(std::fs::read(&path).expect("reads"), bytes, "the damaged file stays");
}

#[tokio::test]
async fn code_of_one_module_is_not_taken_for_another() {
    let kit = Kit::new();
    kit.engine.prepare("hello", &hello()).await.expect("compiles");
    let hello_code = compiled(&kit).pop().expect("one file");
    kit.engine.prepare("other", &misbehaving_http()).await.expect("compiles");
    let other_code = compiled(&kit).into_iter().find(|path| *path != hello_code).expect("two files");
    std::fs::copy(&hello_code, &other_code).expect("copies");

    let again = engine(kit.dir.path());
    again.prepare("other", Path::new("/gone.wasm")).await.expect_err("the code must not be used");
}

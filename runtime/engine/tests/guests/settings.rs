//! `wasi:config` and `wasi:logging`: what a guest is told and what it says, with a component written by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;
use wk_engine::{Config, Exit, Sandbox};

use crate::kit::{Kit, sandbox};

/// Asks twice for `greeting` and logs each answer in the context `app`: a value as a warning, an error as one, and
/// nothing at all as a trace. `STORE` is the interface's name.
const ASKS: &str = r#"(component
  (import "STORE" (instance $config
    (type $error' (variant (case "upstream" string) (case "io" string)))
    (export "error" (type $error (eq $error')))
    (export "get" (func (param "key" string) (result (result (option string) (error $error)))))))
  (import "wasi:logging/logging@0.1.0-draft" (instance $logging
    (type $level' (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (core module $libc
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $get (canon lower (func $config "get") (memory $memory) (realloc $realloc)))
  (core func $log (canon lower (func $logging "log") (memory $memory)))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "get" (func $get (param i32 i32 i32)))
    (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
    (data (i32.const 0) "greeting")
    (data (i32.const 16) "app")
    (func $ask
      (call $get (i32.const 0) (i32.const 8) (i32.const 64))
      (call $log
        (if (result i32) (i32.load8_u (i32.const 64))
          (then (i32.const 4))
          (else (i32.mul (i32.load8_u (i32.const 68)) (i32.const 3))))
        (i32.const 16) (i32.const 3) (i32.load (i32.const 72)) (i32.load (i32.const 76)))
      (i64.store (i32.const 72) (i64.const 0)))
    (func (export "run") (result i32) (call $ask) (call $ask) (i32.const 0)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "get" (func $get)) (export "log" (func $log))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run)))"#;

/// Settings that change each time they are asked for.
struct Counting(AtomicU32);

impl Config for Counting {
    fn get(&self, key: &str) -> Result<Option<String>, String> {
        Ok(Some(format!("{key} {}", self.0.fetch_add(1, Ordering::Relaxed))))
    }

    fn all(&self) -> Result<Vec<(String, String)>, String> {
        Ok(Vec::new())
    }
}

struct Gone;

impl Config for Gone {
    fn get(&self, _key: &str) -> Result<Option<String>, String> {
        Err("configmap \"c\" not found".into())
    }

    fn all(&self) -> Result<Vec<(String, String)>, String> {
        Err(String::new())
    }
}

fn asking(kit: &Kit, store: &str) -> PathBuf {
    let path = kit.dir.path().join(store.replace(['/', ':'], "-"));
    std::fs::write(&path, wat::parse_str(ASKS.replace("STORE", store)).expect("is a component")).expect("is written");
    path
}

async fn logged(config: Option<Arc<dyn Config>>, store: &str) -> String {
    let kit = Kit::new();
    let (sandbox, output) = sandbox();
    let prepared = kit.prepare(&asking(&kit, store)).await;
    let exit = kit.engine.run(&prepared, Sandbox { config, ..sandbox }, CancellationToken::new()).await;
    assert_eq!(exit, Exit::Code(0));
    output.err()
}

#[tokio::test]
async fn a_guest_is_told_what_is_in_force_each_time_it_asks() {
    let expected = "WARN app: greeting 0\nWARN app: greeting 1\n";
    for store in ["wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-draft", "wasi:config/runtime@0.2.0-draft"] {
        assert_eq!(logged(Some(Arc::new(Counting(AtomicU32::new(0)))), store).await, expected, "{store}");
    }
}

#[tokio::test]
async fn a_guest_without_settings_finds_none_and_one_whose_source_is_gone_is_told() {
    let store = "wasi:config/store@0.2.0-rc.1";
    assert_eq!(logged(None, store).await, "TRACE app: \nTRACE app: \n");
    let gone = "ERROR app: configmap \"c\" not found\n";
    assert_eq!(logged(Some(Arc::new(Gone)), store).await, gone.repeat(2));
}

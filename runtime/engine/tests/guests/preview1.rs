//! Core modules that are programs, and what preview 1 answers them: error numbers by what was asked.

use std::fs;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Input, Mount, Mounts, Sandbox, World};

use crate::kit::{Kit, env, sandbox};

/// A program that ends with the number that `body` leaves on the stack. Its memory is one page; a name is at 1024.
fn program(name: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $prestat_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "{name}")
  (func $both (param i32 i32) (result i32)
    (select (local.get 1) (local.get 0) (i32.eqz (local.get 0))))
  (func $opened (param $flags i32) (param $rights i64) (param $how i32) (result i32)
    (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {length})
      (local.get $flags) (local.get $rights) (i64.const 0) (local.get $how) (i32.const 16)))
  (func $vector (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length)) (i32.const 0))
  (func (export "_start") (call $exit {body})))"#,
        length = name.len()
    );
    wat::parse_str(text).expect("is WebAssembly text")
}

/// How programs end in a sandbox that has one directory, `/d`, with two files in it.
struct Runs {
    kit: Kit,
    count: u32,
}

impl Runs {
    fn new() -> Self {
        let kit = Kit::new();
        let dir = kit.dir.path().join("d");
        fs::create_dir(&dir).expect("is made");
        fs::write(dir.join("a"), "0123456789").expect("writes");
        fs::write(dir.join("bb"), "").expect("writes");
        Self { kit, count: 0 }
    }

    async fn ends(&mut self, name: &str, body: &str, sandbox: Sandbox) -> i32 {
        self.count += 1;
        let file = self.kit.dir.path().join(format!("{}.wasm", self.count));
        fs::write(&file, program(name, body)).expect("writes");
        let prepared = self.kit.prepare(&file).await;
        assert_eq!(prepared.world(), World::Command);
        let root = self.kit.dir.path().join("d");
        let (path, below) = ("/d".into(), PathBuf::new());
        let mount = Mount { path, root, below, read_only: false, limit: None, late: false };
        let sandbox = Sandbox { mounts: Mounts::new(vec![mount]).expect("opens"), ..sandbox };
        match self.kit.engine.run(&prepared, sandbox, CancellationToken::new()).await {
            Exit::Code(code) => code,
            other => panic!("{body}: {other:?}"),
        }
    }
}

const READ: &str = "(i64.const 2)";
const WRITE: &str = "(i64.const 64)";

#[tokio::test]
async fn memory_of_a_program_is_its_own() {
    // Whoever grows it before the program's allocator has seen its size has what the allocator takes for free.
    let body = "(call $both (call $args_sizes (i32.const 8) (i32.const 12)) (memory.size))";
    assert_eq!(Runs::new().ends("", body, Sandbox::bare()).await, 1);
}

#[tokio::test]
async fn errors_have_the_numbers_of_preview_1() {
    let mut runs = Runs::new();
    let open =
        |flags: i32, rights: &str, how: i32| format!("(call $opened (i32.const {flags}) {rights} (i32.const {how}))");
    let cases = [
        ("pointers outside of memory", "", "(call $args_sizes (i32.const 65533) (i32.const 0))".to_owned(), 21),
        ("a pointer at its end", "", "(call $random (i32.const 65536) (i32.const 1))".into(), 21),
        ("no byte at its end", "", "(call $random (i32.const 65536) (i32.const 0))".into(), 0),
        ("a length beyond it", "", "(call $random (i32.const 1) (i32.const -1))".into(), 21),
        ("a clock that is none", "", "(call $clock (i32.const 7) (i64.const 0) (i32.const 8))".into(), 8),
        ("no such descriptor", "", "(call $close (i32.const 77))".into(), 8),
        ("a number beyond all", "", "(call $renumber (i32.const 3) (i32.const -1))".into(), 8),
        ("no directory given there", "", "(call $prestat (i32.const 4) (i32.const 8))".into(), 8),
        ("no room for its name", "", "(call $prestat_name (i32.const 3) (i32.const 8) (i32.const 1))".into(), 37),
        ("seeking in a stream", "", "(call $seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 8))".into(), 70),
        ("a file there is none of", "c", open(0, READ, 0), 44),
        ("a file that is there already", "a", open(1 | 4, WRITE, 0), 20),
        ("a file as a directory", "a", open(2, READ, 0), 54),
        ("a path that leaves", "../d/a", open(0, READ, 0), 63),
        ("an absolute path", "/d/a", open(0, READ, 0), 63),
        ("a name that is no text", "\\ff", open(0, READ, 0), 25),
        (
            "an endless path",
            "a",
            "(call $stat (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 16))".into(),
            37,
        ),
        ("too many vectors", "", "(call $write (i32.const 1) (i32.const 0) (i32.const 5000) (i32.const 8))".into(), 28),
        (
            "writing to input",
            "",
            "(call $write (i32.const 0) (call $vector (i32.const 64) (i32.const 1)) (i32.const 1) (i32.const 8))"
                .into(),
            8,
        ),
        ("waiting for nothing", "", "(call $poll (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))".into(), 28),
        ("a socket", "", "(call $shutdown (i32.const 1) (i32.const 0))".into(), 57),
    ];
    for (what, name, body, errno) in cases {
        assert_eq!(runs.ends(name, &body, Sandbox::bare()).await, errno, "{what}");
    }
}

#[tokio::test]
async fn files_are_read_written_and_listed() {
    let mut runs = Runs::new();
    // Ten bytes are there, and the position is behind them.
    let read = r"(call $both
        (call $both (call $opened (i32.const 0) (i64.const 2) (i32.const 0))
          (call $read (i32.load (i32.const 16)) (call $vector (i32.const 64) (i32.const 100)) (i32.const 1) (i32.const 8)))
        (i32.add (i32.load (i32.const 8)) (i32.load8_u (i32.const 73))))";
    assert_eq!(runs.ends("a", read, Sandbox::bare()).await, 10 + i32::from(b'9'));
    // To its end, wherever the position is.
    let append = r"(call $both
        (call $both (call $opened (i32.const 0) (i64.const 64) (i32.const 1))
          (call $write (i32.load (i32.const 16)) (call $vector (i32.const 1024) (i32.const 1)) (i32.const 1) (i32.const 8)))
        (i32.load (i32.const 8)))";
    assert_eq!(runs.ends("a", append, Sandbox::bare()).await, 1);
    assert_eq!(fs::read_to_string(runs.kit.dir.path().join("d/a")).expect("reads"), "0123456789a");
    // `.`, `..`, `a` and `bb`: their heads and names.
    let list = r"(call $both (call $readdir (i32.const 3) (i32.const 2048) (i32.const 4096) (i64.const 0) (i32.const 8))
        (i32.load (i32.const 8)))";
    assert_eq!(runs.ends("", list, Sandbox::bare()).await, 4 * 24 + 1 + 2 + 1 + 2);
    // Cut off where the buffer ends, which says that there is more.
    let short = r"(call $both (call $readdir (i32.const 3) (i32.const 2048) (i32.const 60) (i64.const 0) (i32.const 8))
        (i32.load (i32.const 8)))";
    assert_eq!(runs.ends("", short, Sandbox::bare()).await, 60);
    // Asked again from the one that was cut off; from the last one, and back to the first of them.
    let list = |length: i32, number: i64| {
        format!(
            r"(call $both (call $readdir (i32.const 3) (i32.const 2048) (i32.const {length}) (i64.const {number}) (i32.const 8))
            (i32.load (i32.const 8)))"
        )
    };
    let both = |first: &str, second: &str| format!("(i32.add {first} {second})");
    let (files, beyond) = (24 + 1 + 24 + 2, list(4096, 4));
    assert_eq!(runs.ends("", &both(&list(60, 0), &list(4096, 2)), Sandbox::bare()).await, 60 + files);
    let back = runs.ends("", &both(&list(4096, 3), &list(4096, 2)), Sandbox::bare()).await - files;
    assert!([25, 26].contains(&back), "{back}");
    assert_eq!(runs.ends("", &both(&beyond, &list(4096, 2)), Sandbox::bare()).await, files);
}

#[tokio::test]
async fn waiting_ends_with_the_clock_or_with_input() {
    let mut runs = Runs::new();
    // A millisecond; then standard input, which has something.
    let wait = r"(call $both (call $both
        (i64.store (i32.const 536) (i64.const 1000000))
        (i32.store (i32.const 528) (i32.const 1))
        (call $poll (i32.const 512) (i32.const 2048) (i32.const 1) (i32.const 8)) (i32.const 0))
        (i32.load (i32.const 8)))";
    assert_eq!(runs.ends("", wait, Sandbox::bare()).await, 1);
    let input = r"(call $both (call $both
        (i32.store8 (i32.const 520) (i32.const 1))
        (i32.store (i32.const 528) (i32.const 0))
        (call $poll (i32.const 512) (i32.const 2048) (i32.const 1) (i32.const 8)) (i32.const 0))
        (i32.add (i32.load (i32.const 2064)) (i32.load (i32.const 8))))";
    let sandbox = Sandbox { input: Some(Input::new(&b"four"[..])), ..Sandbox::bare() };
    assert_eq!(runs.ends("", input, sandbox).await, 5);
}

#[tokio::test]
async fn what_is_printed_and_given_comes_through() {
    let mut runs = Runs::new();
    let (mut given, output) = sandbox();
    given.env = env(&[("A", "1"), ("B", "22")]);
    let body = r"(call $both (call $environ (i32.const 512) (i32.const 640))
        (call $write (i32.const 1) (call $vector (i32.const 640) (i32.const 9)) (i32.const 1) (i32.const 8)))";
    assert_eq!(runs.ends("", body, given).await, 0);
    assert_eq!(output.out(), "A=1\0B=22\0");
}

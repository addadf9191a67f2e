//! Directories: what a guest may do in those that it was given, and that it gets nowhere else.

use std::fs;
use std::path::Path;

use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Mount, Mounts, Sandbox, disk_use};

use crate::kit::Kit;

/// A program that ends with the error number of what `body` leaves on the stack; `$path` and `$length` are `path`.
fn program(path: &str, body: &str) -> Vec<u8> {
    let length = path.len();
    let text = format!(
        r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $resize (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "{path}")
  (func $create (result i32)
    (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {length})
      (i32.const 1) (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 16)))
  (func $look (result i32)
    (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {length})
      (i32.const 0) (i64.const 0x02) (i64.const 0) (i32.const 0) (i32.const 16)))
  (func $fill (result i32) (local $error i32)
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 32768))
    (loop $again
      (local.set $error (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.eqz (local.get $error))))
    (local.get $error))
  (func $hoard (result i32) (local $count i32)
    (loop $again
      (if (i32.eqz (call $look)) (then
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br $again))))
    (local.get $count))
  (func (export "_start") (call $exit {body})))"#
    );
    wat::parse_str(text).expect("is WebAssembly text")
}

async fn run(kit: &Kit, path: &str, body: &str, mounts: Vec<Mount>) -> i32 {
    let file = kit.dir.path().join(format!("{:x}.wasm", fxhash(path, body)));
    fs::write(&file, program(path, body)).expect("writes");
    let prepared = kit.prepare(&file).await;
    let sandbox = Sandbox { mounts: Mounts::new(mounts).expect("opens"), ..Sandbox::bare() };
    match kit.engine.run(&prepared, sandbox, CancellationToken::new()).await {
        Exit::Code(code) => code,
        other => panic!("{path:?}: {other:?}"),
    }
}

fn fxhash(path: &str, body: &str) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    (path, body).hash(&mut hasher);
    hasher.finish()
}

fn mount(path: &str, root: &Path, read_only: bool, limit: Option<u64>) -> Mount {
    Mount { path: path.into(), root: root.into(), below: "".into(), read_only, limit, late: false }
}

/// Preview 1's numbers.
const NO_SPACE: i32 = 51;
const NOT_PERMITTED: i32 = 63;
const OTHER_DEVICE: i32 = 75;

/// Descriptors that this process may have.
fn descriptors_max() -> i32 {
    let limits = fs::read_to_string("/proc/self/limits").expect("limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    files.expect("a limit").parse().unwrap_or(i32::MAX)
}

#[tokio::test]
async fn guest_that_opens_without_end_has_an_eighth_of_the_descriptors_and_gives_them_back() {
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    fs::write(dir.path().join("file"), "").expect("writes");
    for _ in 0..2 {
        let opened = run(&kit, "file", "(call $hoard)", vec![mount("/data", dir.path(), false, None)]).await;
        // Where the process may have very many, the table of handles is full before.
        let most = descriptors_max() / 8;
        // Other tests have a few open.
        let near = most - most / 8..=most + 1;
        assert!(near.contains(&opened) || most > 9_000 && opened > 9_000, "{opened} of {most}");
    }
}

#[tokio::test]
async fn a_directory_is_written_unless_it_is_read_only() {
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    assert_eq!(run(&kit, "new", "(call $create)", vec![mount("/data", dir.path(), false, None)]).await, 0);
    assert!(dir.path().join("new").exists());
    let read_only = || vec![mount("/data", dir.path(), true, None)];
    assert_eq!(run(&kit, "new", "(call $look)", read_only()).await, 0);
    for body in [
        "(call $create)",
        "(call $mkdir (i32.const 3) (i32.const 1024) (i32.const 2))",
        "(call $symlink (i32.const 1024) (i32.const 2) (i32.const 3) (i32.const 1024) (i32.const 1))",
        "(call $rename (i32.const 3) (i32.const 1024) (i32.const 3) (i32.const 3) (i32.const 1024) (i32.const 2))",
    ] {
        assert_eq!(run(&kit, "new", body, read_only()).await, NOT_PERMITTED, "{body}");
    }
}

#[tokio::test]
async fn no_path_and_no_link_leads_out_of_a_directory() {
    let (kit, top) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let (inside, outside) = (top.path().join("inside"), top.path().join("outside"));
    fs::create_dir_all(inside.join("sub")).expect("makes");
    fs::create_dir(&outside).expect("makes");
    fs::write(outside.join("secret"), "x").expect("writes");
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, inside.join(name)).expect("links");
    link("../outside/secret", "file");
    link("../outside", "directory");
    link(&outside.to_string_lossy(), "absolute");
    link("/proc/self/root", "magic");
    for path in [
        "../outside/secret",
        "sub/../../outside/secret",
        "/etc/passwd",
        "file",
        "file/",
        "directory/secret",
        "directory",
        "directory/",
        "directory//",
        "directory/.",
        "absolute/secret",
        "absolute/",
        "magic/etc/passwd",
        "..",
        "../",
        "sub/../..",
    ] {
        for body in ["(call $look)", "(call $create)"] {
            assert_ne!(run(&kit, path, body, vec![mount("/data", &inside, false, None)]).await, 0, "{path} {body}");
        }
    }
    assert_eq!(fs::read_dir(&outside).expect("reads").count(), 1);
    assert_eq!(fs::read_to_string(outside.join("secret")).expect("reads"), "x");
}

#[tokio::test]
async fn a_part_of_a_volume_is_resolved_within_it() {
    let top = tempfile::tempdir().expect("temporary directory");
    fs::create_dir_all(top.path().join("volume/sub")).expect("makes");
    std::os::unix::fs::symlink("/", top.path().join("volume/root")).expect("links");
    std::os::unix::fs::symlink("../..", top.path().join("volume/up")).expect("links");
    let below = |below: &str| Mount { below: below.into(), ..mount("/data", &top.path().join("volume"), false, None) };
    assert!(below("sub").open().is_ok());
    for part in ["root", "up", "..", "sub/../.."] {
        assert!(below(part).open().is_err(), "{part}");
    }
}

#[tokio::test]
async fn a_full_directory_refuses_what_would_go_past_its_limit() {
    const LIMIT: u64 = 1 << 20;
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let mounts = || vec![mount("/data", dir.path(), false, Some(LIMIT))];
    let keep = Mounts::new(mounts()).expect("opens");
    let fill = "(block (result i32) (drop (call $create)) (call $fill))";
    assert_eq!(run(&kit, "fills", fill, mounts()).await, NO_SPACE);
    let length = fs::metadata(dir.path().join("fills")).expect("is there").len();
    assert!(length <= LIMIT && length > LIMIT / 2, "{length}");
    let disk = disk_use(dir.path()).expect("is counted");
    assert!(disk.refused && disk.used <= LIMIT, "{disk:?}");
    // A hole is room too: it can be filled without growing.
    fs::remove_file(dir.path().join("fills")).expect("removes");
    let resize = "(block (result i32) (drop (call $create))
        (call $resize (i32.load (i32.const 16)) (i64.const 1099511627776)))";
    assert_eq!(run(&kit, "holes", resize, mounts()).await, NO_SPACE);
    drop(keep);
}

#[tokio::test]
async fn a_file_keeps_to_the_directory_it_is_in() {
    let (kit, one) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let other = tempfile::tempdir().expect("temporary directory");
    fs::write(one.path().join("a"), "x").expect("writes");
    let both = || vec![mount("/one", one.path(), false, None), mount("/other", other.path(), false, Some(1 << 20))];
    for body in [
        "(call $rename (i32.const 3) (i32.const 1024) (i32.const 1) (i32.const 4) (i32.const 1024) (i32.const 1))",
        "(call $link (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1)
            (i32.const 4) (i32.const 1024) (i32.const 1))",
    ] {
        assert_eq!(run(&kit, "a", body, both()).await, OTHER_DEVICE, "{body}");
    }
    assert!(one.path().join("a").exists());
}

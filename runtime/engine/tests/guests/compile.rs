//! Machine code: for other machines, for little address space, in other processes, and from other nodes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rustix::process::{Resource, Rlimit, setrlimit};
use wk_engine::{
    AddressSpace, Colleagues, CompileLimits, Compiler, Engine, Options, PrepareError, Profile, Sandbox, Settings,
    StoredCode, Target,
};

use crate::kit::{Kit, get, hello, text};

fn options(dir: &Path) -> Options {
    Options { instances_max: 64, ..Options::new(dir.join("compiled")) }
}

async fn answers(engine: &Engine, digest: &str, wasm: &Path) {
    let prepared = engine.prepare(digest, wasm).await.expect("prepares");
    let app = engine.http(&prepared, Sandbox::bare()).expect("is an HTTP guest");
    assert!(text(app.handle(get("/")).await.expect("answers")).await.starts_with("Hello"));
}

#[tokio::test]
async fn interpreted_guests_answer_as_compiled_ones_do() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = Engine::new(Options { target: Target::Pulley, ..options(dir.path()) }).expect("the engine starts");
    answers(&engine, "hello", &hello()).await;
}

#[test]
fn code_is_made_for_every_target() {
    let wasm = std::fs::read(hello()).expect("reads");
    for target in ["aarch64", "riscv64", "s390x", "x86_64", "pulley64"] {
        for space in [AddressSpace::Wide, AddressSpace::Narrow] {
            let profile = Profile { target: target.parse().expect("is known"), space };
            let code = wk_engine::compile(&profile, &wasm).unwrap_or_else(|error| panic!("{target}: {error}"));
            assert!(code.starts_with(b"\x7fELF"), "{target}");
        }
    }
}

/// A device is given code that another machine made for its kind, and does not even need the module.
#[tokio::test]
async fn code_made_for_this_kind_of_machine_elsewhere_is_used() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let target: Target = "portable".parse().expect("tests run where there is a backend");
    let engine = Engine::new(Options { target: target.clone(), ..options(dir.path()) }).expect("the engine starts");
    let profile = Profile { target, space: AddressSpace::Wide };
    let settings = profile.settings().expect("is known");
    assert_eq!(*engine.settings(), settings);
    let code = wk_engine::compile(&profile, &std::fs::read(hello()).expect("reads")).expect("compiles");
    let stored = StoredCode::new(&settings, "hello", &code);
    std::fs::write(dir.path().join("compiled").join(stored.file_name), stored.bytes).expect("writes");
    answers(&engine, "hello", Path::new("/gone.wasm")).await;
    assert_eq!(engine.code_counts().compiled, 0);
}

const SMALL: &str = "WK_TEST_WITH_LITTLE_ADDRESS_SPACE";

/// What a process may address on a RISC-V board: 38 of 39 bits.
const BOARD: u64 = 1 << 38;

/// A board's address space has room for 60 instances of 4 GiB. The child is this test again, held to as much.
#[tokio::test]
async fn little_address_space_gets_small_instances_instead_of_none() {
    if std::env::var_os(SMALL).is_none() {
        let name = "compile::little_address_space_gets_small_instances_instead_of_none";
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let output = child.args(["--exact", name]).env(SMALL, "1").output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    setrlimit(Resource::As, Rlimit { current: Some(BOARD), maximum: Some(BOARD) }).expect("is held to it");
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = Engine::new(Options::new(dir.path().join("compiled"))).expect("the engine starts");
    assert_eq!(engine.settings().profile.space, AddressSpace::Narrow);
    answers(&engine, "hello", &hello()).await;
}

/// A node that has the code of every module it is asked for, or pretends to.
struct Other {
    code: Vec<u8>,
    asked: AtomicUsize,
}

#[async_trait]
impl Colleagues for Other {
    async fn code(&self, _digest: &str, _settings: &Settings) -> Option<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Some(self.code.clone())
    }
}

#[tokio::test]
async fn code_of_a_colleague_is_used_and_kept() {
    let (one, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    one.engine.prepare("hello", &hello()).await.expect("compiles");
    let code = one.engine.stored_code("hello", one.engine.settings()).await.expect("is stored");
    let other = Arc::new(Other { code, asked: AtomicUsize::new(0) });
    let start = || Options { colleagues: Some(Arc::<Other>::clone(&other)), ..options(dir.path()) };
    for _ in 0..2 {
        let engine = Engine::new(start()).expect("the engine starts");
        answers(&engine, "hello", Path::new("/gone.wasm")).await;
        assert_eq!(engine.code_counts().compiled, 0);
    }
    assert_eq!(other.asked.load(Ordering::SeqCst), 1, "the second engine has it");
}

#[tokio::test]
async fn code_that_cannot_be_loaded_is_made_here() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let other = Arc::new(Other { code: b"no code".to_vec(), asked: AtomicUsize::new(0) });
    let engine = Engine::new(Options { colleagues: Some(other), ..options(dir.path()) }).expect("the engine starts");
    answers(&engine, "hello", &hello()).await;
    assert_eq!(engine.code_counts().compiled, 1);
}

#[tokio::test]
async fn code_is_made_for_another_kind_of_machine_on_request() {
    let kit = Kit::new();
    let settings = Profile { target: Target::Pulley, space: AddressSpace::Wide }.settings().expect("is known");
    let code = kit.engine.make_code("hello", &hello(), &settings).await.expect("compiles");
    assert_eq!(kit.engine.stored_code("hello", &settings).await, Some(code));
    assert_eq!(
        kit.engine.stored_code("hello", kit.engine.settings()).await,
        None,
        "it is not taken for this machine's"
    );
}

#[tokio::test]
async fn files_that_no_module_needs_make_room_within_the_budget() {
    let dir = tempfile::tempdir().expect("temporary directory");
    // Room for one hello and not for two.
    let engine = Engine::new(Options { cache_bytes_max: 300 << 10, ..options(dir.path()) }).expect("the engine starts");
    let held = engine.prepare("one", &hello()).await.expect("compiles");
    engine.prepare("two", &hello()).await.expect("runs although it cannot be stored");
    assert!(engine.stored_code("one", engine.settings()).await.is_some(), "in use");
    assert!(engine.stored_code("two", engine.settings()).await.is_none(), "no room");
    drop(held);
    engine.prepare("three", &hello()).await.expect("compiles");
    assert!(engine.stored_code("one", engine.settings()).await.is_none(), "the oldest");
    assert!(engine.stored_code("three", engine.settings()).await.is_some());
}

/// What the compiling process does wrong is told, and harms nobody.
#[tokio::test]
async fn compiling_process_that_dies_or_lies_is_an_error() {
    // The last: whether the module is to blame, and left alone for a while.
    for (script, expected, is_limit) in [
        ("kill -KILL $$", "runs out of memory", false),
        ("kill -XCPU $$", "of processor time", true),
        ("echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$", "needed more memory than the ", true),
        ("echo it broke >&2; echo 'note: run with' >&2; exit 3", "3: it broke", false),
        ("cat >/dev/null; printf x", "neither code nor a refusal", false),
        ("cat >/dev/null", "neither code nor a refusal", false),
    ] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let compiler = Compiler::Process {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            limits: CompileLimits::default(),
        };
        let engine = Engine::new(Options { compiler, ..options(dir.path()) }).expect("the engine starts");
        let error = engine.prepare("hello", &hello()).await.expect_err("must fail");
        assert_eq!(matches!(error, PrepareError::CompileLimit { .. }), is_limit, "{script}: {error}");
        assert_eq!(matches!(error, PrepareError::Compiler { .. }), !is_limit, "{script}: {error}");
        assert!(error.to_string().contains(expected), "{script}: {error}");
    }
}

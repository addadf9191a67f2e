//! What a container sees is the same in the node's process and in a worker, and a worker that ends takes nothing along.
//!
//! Without libtest: a worker is this very program, started again, and it gives up its rights before it makes a thread.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test, that libtest does not run")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Channel};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_engine::{
    Engine, Exit, Failure, Fill, Input, InvokeError, MemoryBytes, Mount, Mounts, Options, Output, Prepared, Sandbox,
    Stream, disk_use,
};
use wk_node::place::worker::{Class, Program, Setup, Workers};
use wk_node::place::{FailureSink, Guest, Place, Places};

mod tries;

/// Past this something hangs: debug builds compile slowly, and machines are busy.
const SOON: Duration = Duration::from_secs(30);
/// What a worker may take to be back: ten times what a release build takes, for a debug build on a busy machine.
const BACK_MAX: Duration = Duration::from_secs(1);

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

/// Writes into a file of the directory that it is given until that is refused, and ends with the error's number.
const FILL: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "file")
  (func (export "_start") (local $error i32)
    (local.set $error (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 4)
      (i32.const 1) (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 16)))
    (if (local.get $error) (then (call $exit (i32.add (i32.const 100) (local.get $error)))))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 32768))
    (loop $again
      (local.set $error (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.eqz (local.get $error))))
    (call $exit (local.get $error))))"#;
/// Preview 1's numbers.
const NO_SPACE: i32 = 51;
const NOT_PERMITTED: i32 = 63;

/// Fills a directory with one file.
struct Once;

#[async_trait::async_trait]
impl Fill for Once {
    async fn fill(&self, mount: &Mount) -> std::io::Result<()> {
        std::fs::write(mount.root.join("file"), "made")
    }
}

fn main() -> ExitCode {
    if wk_node::worker::is_wanted() {
        return match std::env::args().nth(2) {
            None => wk_node::worker::main(|| {}),
            Some(targets) => wk_node::worker::main_that_tries(|| {}, |missing| tries::all(&targets, missing)),
        };
    }
    wk_base::trace::init("warn");
    // Who is in no other group shows nothing. Whoever may not do this is not root.
    let _ = rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(1)]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let kit = Kit::new();
        kit.requests_are_answered_alike().await;
        kit.bodies_are_streamed_both_ways_alike().await;
        kit.failures_are_told_alike().await;
        kit.commands_run_alike().await;
        kit.client_that_leaves_ends_its_guest_alike().await;
        kit.worker_reaches_nothing_but_what_is_its_own().await;
        kit.full_directory_is_told_alike().await;
        kit.volumes_that_come_later_are_opened_by_the_worker_that_is_there().await;
        kit.functions_are_called_alike().await;
        kit.crash_takes_one_class_which_is_back_soon().await;
        kit.worker_that_never_answers_is_given_up().await;
        kit.class_nobody_holds_has_no_process().await;
    });
    ExitCode::SUCCESS
}

/// Both places, and code for them.
struct Kit {
    places: Places,
    code: BTreeMap<&'static str, PathBuf>,
    dir: TempDir,
}

/// Keeps what a guest writes.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Output for Kept {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mark: &[u8] = if stream == Stream::Out { b"" } else { b"!" };
        self.0.lock().unwrap().extend([mark, bytes].concat());
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn namespace(name: &str) -> Class {
    Class::Namespace(name.to_owned())
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://web.localhost{path}")).body(body::empty()).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "{what}: not so");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Workers that are started with these words after the usual one.
fn workers(options: &Options, words: &[&str]) -> Workers {
    Workers::new(Setup {
        program: Program::itself(&[&[wk_node::worker::COMMAND], words].concat()),
        volumes_dir: options.cache_dir.with_file_name("volumes"),
        target: options.target.clone(),
        instances_max: options.instances_max,
    })
}

impl Kit {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { instances_max: 64, ..Options::new(dir.path().join("compiled")) };
        let workers = workers(&options, &[]);
        let places = Places::new(Engine::new(options).unwrap(), workers);
        let made = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
            path
        };
        let (cat, fill) = (made("cat.wasm", CAT), made("fill.wasm", FILL));
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let code = BTreeMap::from([
            ("hello", top.join("examples/hello-http/hello-http.wasm")),
            ("http", top.join("tests/guests/http.wasm")),
            ("command", top.join("tests/guests/command.wasm")),
            ("cat", cat),
            ("fill", fill),
        ]);
        Self { places, code, dir }
    }

    fn both(&self) -> [Place; 2] {
        [self.places.of(None), self.places.of(Some(&namespace("shop")))]
    }

    async fn code(&self, place: &Place, name: &str) -> Arc<Prepared> {
        place.prepare(name, &self.code[name]).await.unwrap()
    }

    async fn guest(&self, place: &Place, name: &str, sandbox: Sandbox) -> Guest {
        let ignore: FailureSink = Arc::new(|_| {});
        place.http(&self.code(place, name).await, &Arc::new(sandbox), &ignore).await.unwrap()
    }

    async fn requests_are_answered_alike(&self) {
        let mut heads = Vec::new();
        for place in self.both() {
            let env = vec![("WK_POD_NAME".to_owned(), "hello-7".to_owned())];
            let guest = self.guest(&place, "hello", Sandbox { env: env.into(), ..Sandbox::bare() }).await;
            let response = guest.handle(get("/some/where?x=1")).await.unwrap();
            let mut headers = response.headers().clone();
            // The way to a worker tells how long an answer is.
            headers.remove(CONTENT_LENGTH);
            heads.push((response.status(), headers));
            assert_eq!(text(response).await, "Hello from hello-7: GET /some/where?x=1\n");
            // Of HTTP/1.0, or from inside: no host is named.
            let bare = Request::builder().uri("/").body(body::empty()).unwrap();
            assert_eq!(text(guest.handle(bare).await.unwrap()).await, "Hello from hello-7: GET /\n");
        }
        assert_eq!(heads[0], heads[1]);
    }

    async fn bodies_are_streamed_both_ways_alike(&self) {
        for place in self.both() {
            let guest = self.guest(&place, "hello", Sandbox::bare()).await;
            let (mut sender, receiver) = Channel::<Bytes, body::BoxError>::new(1);
            // As it comes over the mesh.
            let request = Request::builder().method(Method::POST).uri("http://a/echo").version(Version::HTTP_2);
            let request = request.body(body::boxed(receiver));
            let mut echoed = guest.handle(request.unwrap()).await.unwrap().into_body();
            for piece in ["first", "second", "third"] {
                sender.send_data(Bytes::from(piece)).await.unwrap();
                // It is back before the next one is sent.
                assert_eq!(echoed.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
            }
            drop(sender);
            assert!(echoed.frame().await.is_none(), "the end was not passed on");
        }
    }

    async fn failures_are_told_alike(&self) {
        // Of a busy machine a guest may need a while to fill its memory.
        const DEADLINE: Duration = Duration::from_secs(3);
        for place in self.both() {
            let output = Kept::default();
            let limit = MemoryBytes::mebibytes(16);
            let sandbox = Sandbox {
                request_deadline: DEADLINE,
                memory_max: limit,
                output: Arc::new(output.clone()),
                ..Sandbox::bare()
            };
            let guest = self.guest(&place, "http", sandbox).await;
            let failure = async |path: &str| match guest.handle(get(path)).await {
                Ok(response) => panic!("{path}: {}", response.status()),
                Err(failure) => failure,
            };
            let Failure::Trap { backtrace, .. } = failure("/trap").await else { panic!("no trap") };
            assert!(backtrace.contains("trap"), "{backtrace}");
            assert_eq!(failure("/loop").await, Failure::Deadline(DEADLINE));
            assert_eq!(failure("/nothing").await, Failure::NoResponse);
            assert_eq!(failure("/exit").await, Failure::Exited { code: 1 });
            let Failure::OutOfMemory { limit: told, .. } = failure("/alloc").await else { panic!("not out of memory") };
            assert_eq!(told, limit);
            let broken = guest.handle(get("/stream-trap")).await.unwrap().into_body().collect().await;
            assert!(broken.is_err(), "half an answer was taken for a whole one");
            assert_eq!(text(guest.handle(get("/print")).await.unwrap()).await, "printed\n");
            until("the output arrives", || {
                let text = output.text();
                text.contains("to standard output\n") && text.contains("!to standard error")
            })
            .await;
        }
    }

    async fn commands_run_alike(&self) {
        let mut ends = Vec::new();
        for place in self.both() {
            let (command, cat) = (self.code(&place, "command").await, self.code(&place, "cat").await);
            let output = Kept::default();
            let run = async |code: &Arc<Prepared>, args: &[&str], input: Option<Input>| {
                let sandbox = Sandbox { args: words(args), input, output: Arc::new(output.clone()), ..Sandbox::bare() };
                place.run(code, sandbox, CancellationToken::new()).await
            };
            let mut told = Vec::new();
            for args in [&["command", "exit", "7"][..], &["command", "env"], &["command", "trap"]] {
                told.push(match run(&command, args, None).await {
                    Exit::Failed(failure) => failure.reason().to_owned(),
                    other => format!("{other:?}"),
                });
            }
            let input = Input::new(std::io::Cursor::new(b"one\ntwo\n".to_vec()));
            told.push(format!("{:?}", run(&cat, &["cat"], Some(input)).await));
            told.push(output.text());
            assert!(output.text().ends_with("one\ntwo\n"), "{}", output.text());

            let cancel = CancellationToken::new();
            let sandbox = Sandbox { args: words(&["command", "loop"]), ..Sandbox::bare() };
            let running = place.run(&command, sandbox, cancel.clone());
            let (exit, ()) = tokio::join!(running, async { cancel.cancel() });
            told.push(format!("{exit:?}"));
            ends.push(told);
        }
        assert_eq!(ends[0], ends[1]);
    }

    async fn client_that_leaves_ends_its_guest_alike(&self) {
        for place in self.both() {
            let output = Kept::default();
            let sandbox = Sandbox { output: Arc::new(output.clone()), ..Sandbox::bare() };
            let guest = self.guest(&place, "http", sandbox).await;
            let mut body = guest.handle(get("/endless")).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_ok());
            drop(body);
            assert_eq!(text(guest.handle(get("/")).await.unwrap()).await, "well behaved\n");
        }
    }

    async fn functions_are_called_alike(&self) {
        let mut answers = Vec::new();
        for place in self.both() {
            let code = self.code(&place, "command").await;
            let call = async |name: &str, args: &[&str]| {
                let sandbox = Sandbox { args: words(&["app"]), ..Sandbox::bare() };
                place.invoke(&code, sandbox, name, words(args), CancellationToken::new()).await
            };
            assert!(matches!(call("nope", &[]).await, Err(InvokeError::NoFunction { .. })));
            answers.push(call("wasi:cli/run", &["exit", "5"]).await);
        }
        assert_eq!(answers, [Ok(Exit::Code(5)), Ok(Exit::Code(5))]);
    }

    async fn crash_takes_one_class_which_is_back_soon(&self) {
        let (shop, bank) = (self.places.of(Some(&namespace("shop"))), self.places.of(Some(&namespace("bank"))));
        let spared = self.guest(&bank, "http", Sandbox::bare()).await;
        for round in 0..3 {
            let hit = self.guest(&shop, "http", Sandbox::bare()).await;
            let mut in_flight = std::pin::pin!(hit.handle(get("/silent")));
            assert!(in_flight.as_mut().now_or_never().is_none());
            // It is in the guest's hands once the worker has answered a later one.
            assert_eq!(text(hit.handle(get("/")).await.unwrap()).await, "well behaved\n");
            let pid = self.pid(&namespace("shop"));
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let is_in_none = status.lines().any(|line| line.trim_end() == "Groups:");
            assert!(is_in_none || !rustix::process::geteuid().is_root(), "{status}");
            let began = Instant::now();
            // The engine lets the first one that is no guest's pass, for the fault to come again.
            until("the worker is dead", || kill_process(pid, Signal::SEGV).is_err()).await;
            let ended = in_flight.await;
            assert!(matches!(ended, Err(Failure::Crashed(_))), "{ended:?}");
            let message = hit.crashed().await;
            assert!(message.contains("signal: 11"), "{message}");
            let back = self.guest(&shop, "http", Sandbox::bare()).await;
            assert_eq!(text(back.handle(get("/")).await.unwrap()).await, "well behaved\n");
            let took = began.elapsed();
            // Only the first of several in a row is started at once.
            assert!(round > 0 || took < BACK_MAX, "it took {took:?}");
            assert_ne!(self.pid(&namespace("shop")), pid);
            assert_eq!(text(spared.handle(get("/")).await.unwrap()).await, "well behaved\n");
        }
        assert!(spared.crashed().now_or_never().is_none(), "the other class noticed");

        let code = self.code(&bank, "command").await;
        let sandbox = Sandbox { args: words(&["command", "loop"]), ..Sandbox::bare() };
        let mut ended = std::pin::pin!(bank.run(&code, sandbox, CancellationToken::new()));
        assert!(ended.as_mut().now_or_never().is_none());
        assert_eq!(text(spared.handle(get("/")).await.unwrap()).await, "well behaved\n");
        kill_process(self.pid(&namespace("bank")), Signal::KILL).unwrap();
        let Exit::Failed(failure) = ended.await else { panic!("it ended well") };
        assert_eq!(failure.reason(), "WorkerCrashed");
    }

    async fn full_directory_is_told_alike(&self) {
        for apart in [false, true] {
            let root = self.dir.path().join(format!("limited-{apart}"));
            std::fs::create_dir(&root).unwrap();
            let directories = vec![(root.clone(), false)];
            let class = Class::Pod { uid: "p".to_owned(), name: "shop/full".to_owned(), directories };
            let place = self.places.of(apart.then_some(&class));
            let mount = |below: &str| Mount {
                path: "/data".to_owned(),
                root: root.clone(),
                below: below.into(),
                read_only: false,
                limit: Some(1 << 20),
                late: false,
            };
            let mounts = Mounts::new(vec![mount("")]).unwrap();
            let code = self.code(&place, "fill").await;
            let sandbox = Sandbox { mounts: mounts.clone(), ..Sandbox::bare() };
            assert_eq!(place.run(&code, sandbox, CancellationToken::new()).await, Exit::Code(NO_SPACE));
            until("the node knows", || disk_use(&root).is_some_and(|disk| disk.refused)).await;
            drop(mounts);
        }
    }

    /// One that the node has made since, and one whose content it makes when a guest looks.
    async fn volumes_that_come_later_are_opened_by_the_worker_that_is_there(&self) {
        let class = namespace("volumes");
        let place = self.places.of(Some(&class));
        let held = place.hold().await;
        let (pid, volumes) = (self.pid(&class), self.dir.path().join("volumes"));
        let code = self.code(&place, "fill").await;
        let run = async |root: PathBuf, read_only: bool, late: bool| {
            let mount =
                Mount { path: "/data".to_owned(), root, below: PathBuf::new(), read_only, limit: Some(1 << 20), late };
            let fill: Arc<dyn Fill> = Arc::new(Once);
            let mounts = Mounts::with_late(vec![mount], Some(fill)).unwrap();
            place.run(&code, Sandbox { mounts, ..Sandbox::bare() }, CancellationToken::new()).await
        };
        let own = volumes.join("written/ns-volumes/u1.data");
        std::fs::create_dir(&own).unwrap();
        assert_eq!(run(own.clone(), false, false).await, Exit::Code(NO_SPACE));
        assert!(own.join("file").metadata().unwrap().len() > 0);
        // What is the node's to write: the guest finds it, and may not change it.
        let made = volumes.join("pods/ns-volumes/u2/token");
        assert_eq!(run(made.clone(), true, true).await, Exit::Code(100 + NOT_PERMITTED));
        assert_eq!(std::fs::read_to_string(made.join("file")).unwrap(), "made");
        // Of another class: refused by the kernel, whatever the node says.
        let other = volumes.join("written/ns-other/u3.data");
        std::fs::create_dir_all(&other).unwrap();
        assert!(matches!(run(other.clone(), false, false).await, Exit::Failed(_)));
        assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
        assert_eq!(self.pid(&class), pid, "one worker did all that");
        drop(held);
    }

    /// It tries itself, as whoever broke into it would; it would not get ready if anything worked.
    async fn worker_reaches_nothing_but_what_is_its_own(&self) {
        let dir = self.dir.path();
        let (key, volume) = (dir.join("node.key"), dir.join("volume"));
        std::fs::write(&key, "secret").unwrap();
        std::fs::create_dir(&volume).unwrap();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = dir.join("node.sock");
        let _unix = std::os::unix::net::UnixListener::bind(&unix).unwrap();
        let compiled = dir.join("compiled");
        let (tcp, node) = (server.local_addr().unwrap(), std::process::id().cast_signed());
        let targets = tries::Targets { key, compiled, unix, volume: volume.clone(), tcp, node };
        let options = Options { instances_max: 64, ..Options::new(dir.join("compiled")) };
        let workers = workers(&options, &[&targets.to_string()]);
        let places = Places::new(self.places.engine().clone(), workers);
        let directories = vec![(volume.clone(), false)];
        let class = Class::Pod { uid: "p".to_owned(), name: "shop/c".to_owned(), directories };
        let guest = self.guest(&places.of(Some(&class)), "hello", Sandbox::bare()).await;
        assert!(guest.handle(get("/")).await.is_ok());
        assert_eq!(std::fs::read_to_string(volume.join("mine")).unwrap(), "written");
    }

    /// A worker that is stuck is ended, so that it can be started anew.
    async fn worker_that_never_answers_is_given_up(&self) {
        let class = namespace("stuck");
        let sandbox = Sandbox { request_deadline: Duration::from_millis(10), ..Sandbox::bare() };
        let guest = self.guest(&self.places.of(Some(&class)), "http", sandbox).await;
        kill_process(self.pid(&class), Signal::STOP).unwrap();
        assert_eq!(guest.handle(get("/")).await.unwrap_err(), Failure::Deadline(Duration::from_millis(10)));
        assert!(guest.crashed().await.contains("did not answer"));
    }

    async fn class_nobody_holds_has_no_process(&self) {
        let class = namespace("brief");
        let guest = self.guest(&self.places.of(Some(&class)), "hello", Sandbox::bare()).await;
        let pid = self.pid(&class);
        drop(guest);
        until("the process ends", || rustix::process::test_kill_process(pid).is_err()).await;
    }

    fn pid(&self, class: &Class) -> Pid {
        let processes = self.places.processes();
        let (_, pid) = processes.into_iter().find(|(it, _)| it == class).expect("its worker runs");
        Pid::from_raw(pid.cast_signed()).unwrap()
    }
}

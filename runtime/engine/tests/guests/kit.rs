//! An engine with a temporary cache, guests by name, and output that can be read back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use wk_base::body::{self, Body};
use wk_engine::{Engine, Failure, HttpApp, Options, Output, Prepared, Sandbox, Stream, Variables};

/// An engine of its own for one test.
pub(crate) struct Kit {
    pub(crate) engine: Engine,
    pub(crate) dir: TempDir,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let engine = engine(dir.path());
        Self { engine, dir }
    }

    pub(crate) async fn prepare(&self, path: &Path) -> Arc<Prepared> {
        self.engine.prepare(&path.to_string_lossy(), path).await.expect("prepares")
    }

    pub(crate) async fn app(&self, path: &Path, sandbox: Sandbox) -> HttpApp {
        self.engine.http(&self.prepare(path).await, sandbox).expect("is an HTTP guest")
    }

    /// Waits until no instance is alive.
    pub(crate) async fn quiet(&self) {
        let started = Instant::now();
        while self.engine.instances() > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "an instance stays alive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) fn engine(dir: &Path) -> Engine {
    // Small, since tests of one process share its address space.
    let options = Options { instances_max: 64, ..Options::new(dir.join("compiled")) };
    Engine::new(options).expect("the engine starts")
}

pub(crate) fn misbehaving_http() -> PathBuf {
    top().join("tests/guests/http.wasm")
}

pub(crate) fn misbehaving_command() -> PathBuf {
    top().join("tests/guests/command.wasm")
}

pub(crate) fn hello() -> PathBuf {
    top().join("examples/hello-http/hello-http.wasm")
}

pub(crate) fn ticker() -> PathBuf {
    top().join("examples/ticker/ticker.wasm")
}

/// A server of 0.2 that counts its requests.
pub(crate) fn wstd() -> PathBuf {
    top().join("tests/worlds/wstd/wstd.wasm")
}

/// A service, a program and a middleware of 0.3.
pub(crate) fn service() -> PathBuf {
    top().join("tests/worlds/service/service.wasm")
}

pub(crate) fn program() -> PathBuf {
    top().join("tests/worlds/program/program.wasm")
}

/// A program of 0.3 that uses files and the network as it is told.
pub(crate) fn io() -> PathBuf {
    top().join("tests/worlds/io/io.wasm")
}

pub(crate) fn middleware() -> PathBuf {
    top().join("tests/worlds/middleware/middleware.wasm")
}

pub(crate) fn c_program() -> PathBuf {
    top().join("tests/worlds/c/program.wasm")
}

pub(crate) fn c_reactor() -> PathBuf {
    top().join("tests/worlds/c/reactor.wasm")
}

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the top").to_owned()
}

/// Output that is kept.
#[derive(Default)]
pub(crate) struct Kept {
    pieces: Mutex<(Vec<u8>, Vec<u8>)>,
}

impl Output for Kept {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut pieces = self.pieces.lock().expect("no test panics while it writes");
        match stream {
            Stream::Out => pieces.0.extend_from_slice(bytes),
            Stream::Err => pieces.1.extend_from_slice(bytes),
        }
    }
}

impl Kept {
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.pieces.lock().expect("not poisoned").0.clone()).expect("is text")
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.pieces.lock().expect("not poisoned").1.clone()).expect("is text")
    }
}

/// A sandbox and its output.
pub(crate) fn sandbox() -> (Sandbox, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    (Sandbox { output: Arc::clone(&kept) as Arc<dyn Output>, ..Sandbox::bare() }, kept)
}

pub(crate) fn env(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, body::empty())
}

pub(crate) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "guest.localhost").body(body).expect("is a request")
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes: Bytes = response.into_body().collect().await.expect("the body is whole").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("is text")
}

pub(crate) async fn failure(app: &HttpApp, path: &str) -> Failure {
    app.handle(get(path)).await.map(|_| ()).expect_err("the guest must fail")
}

//! What a request costs in the engine alone: no sockets, no ingress. `cargo run --release -p wk-engine --example load`.
//!
//! With `serve ADDRESS` it answers over HTTP/1.1 instead, for a load generator, beside `wasmtime serve` in the same run.
//!
//! Prints CPU time and wall time a request, on one thread and on all, for the hello example.

#![expect(clippy::print_stdout, reason = "a measurement's result")]

use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use wk_engine::{Engine, HttpApp, Options, Sandbox};

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello-http/hello-http.wasm");
const REQUESTS: u32 = 40_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let started = Instant::now();
    let engine = Engine::new(Options::new(dir.path()))?;
    println!("engine up      {:?}", started.elapsed());
    let started = Instant::now();
    let prepared = engine.prepare("hello", Path::new(HELLO)).await?;
    println!("compiled       {:?}", started.elapsed());
    let env = vec![("WK_POD_NAME".to_owned(), "hello-0".to_owned())].into();
    let app = engine.http(&prepared, Sandbox { env, ..Sandbox::bare() })?;
    let mut arguments = std::env::args().skip(1);
    if let (Some("serve"), Some(address)) = (arguments.next().as_deref(), arguments.next()) {
        return serve(&app, &address).await;
    }
    let started = Instant::now();
    requests(&app, 1).await;
    println!("first request  {:?}", started.elapsed());
    requests(&app, 1000).await;
    for tasks in [1, 2, 32] {
        let (cpu, started) = (cpu_time()?, Instant::now());
        let share = REQUESTS / tasks;
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move { requests(&app, share).await })
            })
            .collect();
        for task in running {
            task.await?;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(share * tasks);
        let (cpu, wall) = (each(cpu_time()?.saturating_sub(cpu)), each(started.elapsed()));
        println!("{tasks:>2} tasks       {cpu:5.1} us CPU, {wall:5.1} us wall a request");
    }
    Ok(())
}

async fn requests(app: &HttpApp, count: u32) {
    for _ in 0..count {
        let request = http::Request::get("http://hello.localhost/path").body(wk_base::body::empty());
        let response = app.handle(request.expect("is a request")).await.expect("the guest answers");
        let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
        assert!(body.starts_with(b"Hello from hello-0"));
    }
}

async fn serve(app: &HttpApp, address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening      {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let app = app.clone();
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let app = app.clone();
            async move { app.handle(request.map(wk_base::body::boxed)).await }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// User and system time of this process, in the kernel's clock ticks of 10 ms.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

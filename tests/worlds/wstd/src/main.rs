//! A `wasi:http` 0.2 server, written with the crate `wstd`: counts what it has seen, so that a test can tell one
//! instance from another.

use std::sync::atomic::{AtomicU32, Ordering};

use wstd::http::body::Body;
use wstd::http::{Error, Request, Response};

static SEEN: AtomicU32 = AtomicU32::new(0);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
    match request.uri().path() {
        "/trap" => std::process::abort(),
        "/silent" => {
            wstd::task::sleep(wstd::time::Duration::from_secs(3600)).await;
        }
        "/loop" => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
    Ok(Response::new(Body::from(format!("{seen}\n"))))
}

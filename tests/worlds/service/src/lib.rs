//! A `wasi:http` 0.3 service, written with the crate `wasip3`: what it does is in the path.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

wasip3::http::service::export!(Guest);

struct Guest;

/// Requests this instance has seen, and those it has not answered yet.
static SEEN: AtomicU32 = AtomicU32::new(0);
static OPEN: AtomicU32 = AtomicU32::new(0);

const MILLISECOND: u64 = 1_000_000;

impl wasip3::exports::http::handler::Guest for Guest {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        let open = OPEN.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.get_path_with_query().unwrap_or_default();
        let text = match path.as_str() {
            "/count" => format!("{seen}\n"),
            // Answers once a second request is in the same instance, which takes one that holds both.
            "/meet" => {
                while OPEN.load(Ordering::Relaxed) < 2 && open < 2 {
                    monotonic_clock::wait_for(MILLISECOND).await;
                }
                monotonic_clock::wait_for(5 * MILLISECOND).await;
                "met\n".to_owned()
            }
            "/silent" => {
                monotonic_clock::wait_for(3_600_000 * MILLISECOND).await;
                String::new()
            }
            "/loop" => loop {
                std::hint::spin_loop();
            },
            "/trap" => std::process::abort(),
            "/refuse" => return Err(ErrorCode::HttpResponseTimeout),
            "/host" => format!("{}\n", request.get_authority().unwrap_or_default()),
            "/echo" => return Ok(echo(request)),
            "/large" => return Ok(stream(vec![b'x'; 8 << 20], None)),
            // More than the host holds of a body that nobody reads yet: the end cannot come before the head.
            "/stream-trap" => return Ok(stream(vec![b'x'; 8 << 20], Some(End::Trap))),
            "/after" => return Ok(stream(b"answered\n".to_vec(), Some(End::Print))),
            _ => format!("0.3 says hello to {path}\n"),
        };
        OPEN.fetch_sub(1, Ordering::Relaxed);
        Ok(stream(text.into_bytes(), None))
    }
}

/// What comes after the last byte of a body.
enum End {
    Trap,
    Print,
}

fn stream(bytes: Vec<u8>, end: Option<End>) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(reader), trailers);
    wit_bindgen::spawn_local(async move {
        body.write_all(bytes).await;
        if let Some(End::Trap) = end {
            std::process::abort();
        }
        drop(body);
        if let Some(End::Print) = end {
            monotonic_clock::wait_for(5 * MILLISECOND).await;
            println!("after the response");
        }
    });
    response
}

fn echo(request: Request) -> Response {
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, done);
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    response
}

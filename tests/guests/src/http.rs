//! An HTTP guest that misbehaves as its path says. `/` behaves.

mod misbehave;

use std::io::Write as _;

use wasip2::cli::environment;
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::OutputStream;
use wasip2::sockets::{instance_network, ip_name_lookup, network, tcp_create_socket, udp_create_socket};

struct Guest;

wasip2::http::proxy::export!(Guest);

const MILLISECOND: u64 = 1_000_000;

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/trap" => misbehave::trap(),
            "/panic" => panic!("as the path says"),
            "/loop" => misbehave::endless_loop(),
            "/alloc" => misbehave::allocate(),
            "/recurse" => println!("{}", misbehave::recurse(0)),
            "/exit" => std::process::exit(3),
            "/nothing" => {}
            "/silent" => sleep(3_600_000),
            "/error" => ResponseOutparam::set(response, Err(ErrorCode::InternalError(Some("as asked".to_owned())))),
            "/stream" => stream(response, 5, 20, End::Finish),
            "/endless" => stream(response, u32::MAX, 10, End::Finish),
            "/stream-trap" => stream(response, 2, 1, End::Trap),
            "/stream-loop" => stream(response, 1, 1, End::Loop),
            "/after" => stream(response, 1, 1, End::GoOn),
            "/large" => large(response),
            "/env" => answer(response, &format!("{:?}\n{}", environment::get_arguments(), misbehave::variables())),
            "/print" => {
                println!("to standard output");
                eprintln!("to standard error");
                answer(response, "printed\n");
            }
            "/escape" => answer(response, &escape()),
            "/slow" => stream(response, u32::MAX, 500, End::Finish),
            "/gush" => gush(response),
            "/headers" => giant_headers(response),
            "/handles" => leak_handles(),
            "/flood" => loop {
                println!("{}", "x".repeat(1000));
            },
            "/grpc.health.v1.Health/Check" => health(&request, response),
            "/copies" => giant_call(response),
            "/compute" => answer(response, &format!("{}\n", compute())),
            other if other.starts_with("/requests/") => {
                answer(response, &many_requests(other.trim_start_matches("/requests/")));
            }
            _ => answer(response, "well behaved\n"),
        }
    }
}

fn sleep(milliseconds: u64) {
    monotonic_clock::subscribe_duration(milliseconds * MILLISECOND).block();
}

fn start(response: ResponseOutparam) -> (OutgoingBody, OutputStream) {
    let head = OutgoingResponse::new(Fields::new());
    let body = head.body().expect("a new response has its body");
    ResponseOutparam::set(response, Ok(head));
    let stream = body.write().expect("a new body has its stream");
    (body, stream)
}

fn answer(response: ResponseOutparam, text: &str) {
    let (body, mut stream) = start(response);
    stream.write_all(text.as_bytes()).expect("somebody reads");
    drop(stream);
    OutgoingBody::finish(body, None).expect("somebody reads");
}

/// What to do when everything is written.
enum End {
    Finish,
    Trap,
    Loop,
    /// Finish, and only then print.
    GoOn,
}

fn stream(response: ResponseOutparam, pieces: u32, pause: u64, end: End) {
    let (body, stream) = start(response);
    for piece in 0..pieces {
        if stream.blocking_write_and_flush(format!("piece {piece}\n").as_bytes()).is_err() {
            eprintln!("nobody reads");
            return;
        }
        sleep(pause);
    }
    match end {
        End::Finish => {}
        End::Trap => misbehave::trap(),
        End::Loop => misbehave::endless_loop(),
        End::GoOn => {
            drop(stream);
            OutgoingBody::finish(body, None).expect("somebody reads");
            sleep(30);
            println!("after the response");
            return;
        }
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("somebody reads");
}

/// Eight mebibytes, to see that the host holds only a part of it.
fn large(response: ResponseOutparam) {
    let (body, mut stream) = start(response);
    for piece in 0..128_u8 {
        stream.write_all(&[piece; 64 << 10]).expect("somebody reads");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("somebody reads");
}

/// gRPC's health service: everything serves but a service called `sick`.
fn health(request: &IncomingRequest, response: ResponseOutparam) {
    let asked = request.consume().expect("a new request has its body");
    let stream = asked.stream().expect("a new body has its stream");
    let mut text = Vec::new();
    while let Ok(piece) = stream.blocking_read(1024) {
        text.extend(piece);
    }
    let serving = !text.ends_with(b"sick");
    let headers = Fields::new();
    headers.append("content-type", b"application/grpc").expect("is a header");
    let head = OutgoingResponse::new(headers);
    let body = head.body().expect("a new response has its body");
    ResponseOutparam::set(response, Ok(head));
    let answer = body.write().expect("a new body has its stream");
    let status = if serving { 1 } else { 2 };
    answer.blocking_write_and_flush(&[0, 0, 0, 0, 2, 8, status]).expect("somebody reads");
    drop(answer);
    let trailers = Fields::new();
    trailers.append("grpc-status", b"0").expect("is a header");
    OutgoingBody::finish(body, Some(trailers)).expect("somebody reads");
}

/// A body without end, as fast as somebody takes it.
fn gush(response: ResponseOutparam) {
    let (_body, stream) = start(response);
    let piece = [b'x'; 4096];
    while stream.blocking_write_and_flush(&piece).is_ok() {}
    eprintln!("nobody reads");
}

/// Headers without end: a kibibyte each, until one is refused.
fn giant_headers(response: ResponseOutparam) {
    let fields = Fields::new();
    let mut number = 0_u32;
    while fields.append(&format!("x-giant-{number}"), &[b'x'; 1024]).is_ok() {
        number += 1;
    }
    ResponseOutparam::set(response, Ok(OutgoingResponse::new(fields)));
}

/// Does nothing wrong: adds up and mixes numbers for about a millisecond.
fn compute() -> u64 {
    const STEPS: u64 = 500_000;
    (0..STEPS).fold(std::hint::black_box(1), |sum: u64, step| (sum ^ step).rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Handles without end, none given back.
fn leak_handles() {
    loop {
        std::mem::forget(monotonic_clock::subscribe_duration(1));
    }
}

/// One call that passes the host more than it copies.
fn giant_call(response: ResponseOutparam) {
    let value = vec![b'x'; 40 << 20];
    let taken = Fields::new().append("x-giant", &value).is_ok();
    answer(response, if taken { "taken\n" } else { "refused\n" });
}

/// A thousand requests at once to `HOST/PATH`; says how many came to what.
fn many_requests(target: &str) -> String {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let asked: Vec<_> = (0..1000).map(|_| ask(authority, &format!("/{path}"))).collect();
    let (mut answered, mut limited, mut denied, mut otherwise) = (0, 0, 0, 0);
    for future in asked {
        let Ok(future) = future else {
            denied += 1;
            continue;
        };
        future.subscribe().block();
        match future.get() {
            Some(Ok(Ok(_))) => answered += 1,
            Some(Ok(Err(ErrorCode::ConnectionLimitReached))) => limited += 1,
            Some(Ok(Err(ErrorCode::HttpRequestDenied))) => denied += 1,
            _ => otherwise += 1,
        }
    }
    format!("answered {answered}, limited {limited}, denied {denied}, otherwise {otherwise}\n")
}

/// Tries each way out, and says how it went.
fn escape() -> String {
    let mut lines = Vec::new();
    lines.push(format!("directories {}", preopens::get_directories().len()));
    lines.push(format!("read {}", outcome(std::fs::read("/etc/hostname"))));
    lines.push(format!("read above {}", outcome(std::fs::read("../../../etc/hostname"))));
    lines.push(format!("write {}", outcome(std::fs::write("escaped", "escaped"))));
    lines.push(format!("tcp {}", outcome(tcp_create_socket::create_tcp_socket(network::IpAddressFamily::Ipv4))));
    lines.push(format!("udp {}", outcome(udp_create_socket::create_udp_socket(network::IpAddressFamily::Ipv6))));
    lines.push(format!("name {}", resolve("localhost")));
    lines.push(format!("http {}", fetch("127.0.0.1:80")));
    lines.join("\n") + "\n"
}

fn outcome<T, E>(result: Result<T, E>) -> &'static str {
    if result.is_ok() { "allowed" } else { "denied" }
}

fn resolve(name: &str) -> &'static str {
    let network = instance_network::instance_network();
    let Ok(stream) = ip_name_lookup::resolve_addresses(&network, name) else { return "denied" };
    stream.subscribe().block();
    outcome(stream.resolve_next_address())
}

fn ask(authority: &str, path: &str) -> Result<FutureIncomingResponse, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("is a scheme");
    request.set_authority(Some(authority)).expect("is an authority");
    request.set_path_with_query(Some(path)).expect("is a path");
    outgoing_handler::handle(request, None)
}

fn fetch(authority: &str) -> &'static str {
    let Ok(future) = ask(authority, "/") else { return "denied" };
    future.subscribe().block();
    match future.get() {
        Some(Ok(Ok(_))) => "allowed",
        Some(Ok(Err(ErrorCode::HttpRequestDenied))) => "denied",
        _ => "failed otherwise",
    }
}

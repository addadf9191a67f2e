//! Guests that use the network, over one that tests make up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_engine::{Connection, Datagrams, Exit, Listener, Network, NetworkError, Patience, Sandbox};

use crate::kit::{Kit, io, sandbox, top};

fn guest() -> PathBuf {
    top().join("tests/guests/net/net.wasm")
}

/// One host, `echo` at 192.0.2.1: port 7 sends back, port 9 is silent, others refuse. Listeners are reached by port.
#[derive(Default)]
struct Made {
    ports: Mutex<BTreeMap<u16, mpsc::Sender<Connection>>>,
}

const ECHO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

impl Made {
    /// Connects to what the guest listens at, as soon as it does.
    async fn call(&self, port: u16) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(1024);
        let remote = SocketAddr::from(([192, 0, 2, 9], 4000));
        let connection = Connection { stream: Box::new(far), local: SocketAddr::new(ECHO, port), remote };
        let queue = loop {
            let queue = self.ports.lock().expect("not poisoned").get(&port).cloned();
            match queue {
                Some(queue) => break queue,
                None => tokio::task::yield_now().await,
            }
        };
        queue.send(connection).await.expect("the guest listens");
        near
    }
}

struct Queue(SocketAddr, mpsc::Receiver<Connection>);

impl Listener for Queue {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        self.1.poll_recv(cx).map(|connection| connection.expect("the test holds the other end"))
    }

    fn local(&self) -> SocketAddr {
        self.0
    }
}

/// What is sent comes back.
struct Mirror(Vec<(Vec<u8>, SocketAddr)>, SocketAddr);

impl Datagrams for Mirror {
    fn poll_receive(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(Vec<u8>, SocketAddr), NetworkError>> {
        if self.0.is_empty() { Poll::Pending } else { Poll::Ready(Ok(self.0.remove(0))) }
    }

    fn send(&mut self, data: Vec<u8>, to: SocketAddr) -> Result<(), NetworkError> {
        self.0.push((data, to));
        Ok(())
    }

    fn local(&self) -> SocketAddr {
        self.1
    }
}

#[async_trait]
impl Network for Made {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        match name {
            "echo" | "192.0.2.1" => Ok(vec![ECHO, "2001:db8::1".parse().expect("an address")]),
            "secret" => Err(NetworkError::Denied),
            _ => Err(NetworkError::NoName),
        }
    }

    async fn connect(&self, to: SocketAddr) -> Result<Connection, NetworkError> {
        let (near, mut far) = tokio::io::duplex(1024);
        match to.port() {
            7 => tokio::spawn(async move {
                let mut buffer = [0; 1000];
                while let Ok(count @ 1..) = far.read(&mut buffer).await {
                    far.write_all(&buffer[..count]).await.expect("the guest reads");
                }
            }),
            9 => tokio::spawn(async move {
                let _far = far;
                std::future::pending::<()>().await;
            }),
            _ => return Err(NetworkError::Refused),
        };
        let local = SocketAddr::from(([192, 0, 2, 2], 40_000));
        Ok(Connection { stream: Box::new(near), local, remote: to })
    }

    fn listen(&self, at: SocketAddr) -> Result<Box<dyn Listener>, NetworkError> {
        let (queue, waiting) = mpsc::channel(1);
        let port = if at.port() == 0 { 5000 } else { at.port() };
        self.ports.lock().expect("not poisoned").insert(port, queue);
        Ok(Box::new(Queue(SocketAddr::new(at.ip(), port), waiting)))
    }

    fn datagrams(&self, at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        Ok(Box::new(Mirror(Vec::new(), at)))
    }

    async fn request(&self, request: Request<Body>, _patience: Patience) -> Result<Response<Body>, NetworkError> {
        let (head, given) = request.into_parts();
        let given = body::collect(given, 1 << 20).await.expect("the body is whole");
        match head.uri.path() {
            "/denied" => Err(NetworkError::Denied),
            "/refused" => Err(NetworkError::Refused),
            "/limit" => Err(NetworkError::TooMany("requests".into())),
            "/late" => {
                let pieces: Vec<Result<_, body::BoxError>> = vec![
                    Ok(hyper::body::Frame::data(bytes::Bytes::from_static(b"half"))),
                    Err(NetworkError::ReadTimeout.into()),
                ];
                let body = http_body_util::StreamBody::new(futures::stream::iter(pieces));
                Ok(Response::new(body::boxed(body)))
            }
            path => {
                let text = format!(
                    "{} {path} {} {} bytes",
                    head.method,
                    head.headers["host"].to_str().expect("text"),
                    given.len()
                );
                let mut response = Response::new(body::full(text));
                *response.status_mut() = StatusCode::IM_A_TEAPOT;
                Ok(response)
            }
        }
    }
}

/// What the guest prints when it is called like this.
async fn printed(arguments: &[&str]) -> String {
    printed_by(&guest(), arguments).await
}

async fn printed_by(guest: &std::path::Path, arguments: &[&str]) -> String {
    let kit = Kit::new();
    let prepared = kit.prepare(guest).await;
    let (sandbox, output) = sandbox();
    let args = ["net"].iter().chain(arguments).map(ToString::to_string).collect();
    let sandbox = Sandbox { args, network: Arc::new(Made::default()), ..sandbox };
    let exit = kit.engine.run(&prepared, sandbox, CancellationToken::new()).await;
    assert_eq!(exit, Exit::Code(0), "{}", output.err());
    output.out()
}

#[tokio::test]
async fn requests_are_answered_by_the_network_and_errors_are_told_in_its_words() {
    let urls =
        ["http://a/x?y=1", "https://b:8443", "http://a/denied", "http://a/refused", "http://a/limit", "http://a/late"];
    let out = printed(&[&["get"], &urls[..]].concat()).await;
    // Of a body that breaks off, wasmtime tells the guest that it did and keeps the code to itself.
    assert_eq!(
        out,
        "http://a/x?y=1: 418 GET /x a 0 bytes\n\
         https://b:8443: 418 GET / b:8443 0 bytes\n\
         http://a/denied: error ErrorCode::HttpRequestDenied\n\
         http://a/refused: error ErrorCode::ConnectionRefused\n\
         http://a/limit: error ErrorCode::ConnectionLimitReached\n\
         http://a/late: error None after 4 bytes\n"
    );
}

#[tokio::test]
async fn body_of_a_request_reaches_the_network() {
    let text = "x".repeat(50_000);
    assert_eq!(printed(&["post", "http://a/", &text]).await, "http://a/: 418 POST / a 50000 bytes\n");
}

#[tokio::test]
async fn names_are_looked_up() {
    let out = printed(&["lookup", "echo", "secret", "nobody"]).await;
    assert_eq!(out, "echo: 192.0.2.1 2001:db8::1\nsecret: error access-denied\nnobody: error name-unresolvable\n");
}

#[tokio::test]
async fn connection_carries_bytes_both_ways_and_their_ends() {
    assert_eq!(printed(&["tcp", "echo:7", "hello"]).await, "echo:7: hello\n");
    assert_eq!(printed(&["tcp", "echo:7", "100000*ab"]).await, "echo:7: 200000 bytes\n");
    assert_eq!(printed(&["tcp", "echo:8", "hello"]).await, "echo:8: error connection-refused\n");
}

#[tokio::test]
async fn datagrams_come_and_go() {
    assert_eq!(printed(&["udp", "echo:7", "ping"]).await, "echo:7: ping\n");
}

#[tokio::test]
async fn sockets_and_names_of_0_3_are_answered_by_the_same_network() {
    for (arguments, said) in [
        (&["lookup", "echo"][..], "192.0.2.1 v6\n"),
        (&["lookup", "secret"], "error ErrorCode::AccessDenied\n"),
        (&["tcp", "echo:7", "hello"], "hello\n"),
        (&["tcp", "echo:8", "hello"], "error ErrorCode::ConnectionRefused\n"),
        (&["udp", "echo:7", "ping"], "ping\n"),
    ] {
        assert_eq!(printed_by(&io(), arguments).await, said, "{arguments:?}");
    }
}

#[tokio::test]
async fn listening_guest_of_0_3_takes_its_caller() {
    let kit = Kit::new();
    let prepared = kit.prepare(&io()).await;
    let (sandbox, output) = sandbox();
    let network = Arc::new(Made::default());
    let args = ["io", "serve", "5001"].map(str::to_owned).to_vec();
    let sandbox = Sandbox { args, network: Arc::clone(&network) as Arc<dyn Network>, ..sandbox };
    let engine = kit.engine.clone();
    let guest = tokio::spawn(async move { engine.run(&prepared, sandbox, CancellationToken::new()).await });
    let mut caller = network.call(5001).await;
    caller.write_all(b"hello").await.expect("the guest reads");
    caller.shutdown().await.expect("the guest reads");
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.expect("the guest answers");
    assert_eq!(guest.await.expect("ends"), Exit::Code(0), "{}", output.err());
    assert_eq!((answer.as_str(), output.out().as_str()), ("hello", "served\n"));
}

#[tokio::test]
async fn listening_guest_serves_one_caller_after_another() {
    let kit = Kit::new();
    let prepared = kit.prepare(&guest()).await;
    let (sandbox, output) = sandbox();
    let network = Arc::new(Made::default());
    let args = ["net", "serve", "0.0.0.0:0"].map(str::to_owned).to_vec();
    let sandbox = Sandbox { args, network: Arc::clone(&network) as Arc<dyn Network>, ..sandbox };
    let stop = CancellationToken::new();
    let (engine, stopped) = (kit.engine.clone(), stop.clone());
    let guest = tokio::spawn(async move { engine.run(&prepared, sandbox, stopped).await });
    for word in ["one", "two"] {
        let mut caller = network.call(5000).await;
        caller.write_all(word.as_bytes()).await.expect("the guest reads");
        caller.shutdown().await.expect("the guest reads");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("the guest answers");
        assert_eq!(answer, format!("192.0.2.9 says {word}"));
    }
    assert_eq!(output.out(), "listening at 0.0.0.0:5000\n");
    stop.cancel();
    assert_eq!(guest.await.expect("ends"), Exit::Cancelled);
}

#[tokio::test]
async fn guest_without_a_network_is_denied_everything() {
    let kit = Kit::new();
    let prepared = kit.prepare(&guest()).await;
    for (arguments, said) in [
        (["get", "http://a/"], "http://a/: error ErrorCode::HttpRequestDenied\n"),
        (["lookup", "localhost"], "localhost: error access-denied\n"),
        (["serve", "127.0.0.1:80"], "error access-denied\n"),
        (["udp-serve", "53"], "error access-denied\n"),
    ] {
        let (sandbox, output) = sandbox();
        let args = ["net"].iter().chain(&arguments).map(ToString::to_string).collect();
        let exit = kit.engine.run(&prepared, Sandbox { args, ..sandbox }, CancellationToken::new()).await;
        assert_eq!((exit, output.out().as_str()), (Exit::Code(0), said));
    }
}

//! The accepting side: who gets in, as whom, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wk_base::body::{empty, full};

use super::*;
use crate::link::{Link, dial};
use crate::{MeshError, pin, tls};

/// A connection of somebody who shows this certificate.
async fn dial_as(identity: &Identity, server: &Server, node: &str) -> Link {
    let connector = tls::connector(identity).expect("a connector");
    let server_name = ServerName::try_from(name(node).dns()).expect("a name");
    dial(&connector, server_name, server.address, CancellationToken::new()).await.expect("a connection")
}

async fn ask(link: &Link) -> Result<String, hyper::Error> {
    let request = Request::get("https://x/").body(empty()).expect("a request");
    let response = link.sender().send_request(request).await?;
    Ok(text(response.map(wk_base::body::boxed)).await)
}

#[tokio::test]
async fn the_handler_is_told_who_asks() {
    let authority = Authority::create("c1").expect("an authority");
    let server = Server::start(&identity(&authority, "n1"), who_are_you()).await;

    let node = mesh(&identity(&authority, "n2"), "n1", server.address);
    let response = node.request(&name("n1"), get("/"), LONG).await.expect("an answer");
    assert_eq!(text(response).await, "system:node:n2");

    let (cert, key) = authority.issue_user("admin", &["system:masters"]).expect("a user");
    let key = NodeKey::from_pem(&key).expect("its key");
    let admin = Identity { name: name("any"), cert, key, ca: authority.cert_pem().clone() };
    assert_eq!(ask(&dial_as(&admin, &server, "n1").await).await.expect("an answer"), "admin");

    let connector = pin::connector(authority.fingerprint()).expect("a connector");
    let any = ServerName::try_from("kubernetes.default.svc").expect("a name");
    let stranger = dial(&connector, any, server.address, CancellationToken::new()).await.expect("a connection");
    assert_eq!(ask(&stranger).await.expect("an answer"), "system:anonymous");
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_get_in() {
    let ours = Authority::create("c1").expect("an authority");
    let theirs = Authority::create("c1").expect("another authority");
    let server = Server::start(&identity(&ours, "n1"), who_are_you()).await;

    // It trusts our server, so that only the server can refuse.
    let intruder = Identity { ca: ours.cert_pem().clone(), ..identity(&theirs, "n2") };
    let connector = tls::connector(&intruder).expect("a connector");
    let server_name = ServerName::try_from(name("n1").dns()).expect("a name");
    // In TLS 1.3 the client learns of the refusal after its side of the handshake.
    if let Ok(link) = dial(&connector, server_name, server.address, CancellationToken::new()).await {
        ask(&link).await.expect_err("no answer");
    }
    until("the handshake failed", || server.count("handshakes_failed_total") == 1).await;
    assert_eq!(server.count("requests_total"), 0);
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_not_by_its_address() {
    let ours = Authority::create("c1").expect("an authority");
    let theirs = Authority::create("c1").expect("another authority");
    let impostor = Server::start(&identity(&theirs, "n1"), who_are_you()).await;
    let other_node = Server::start(&identity(&ours, "n3"), who_are_you()).await;
    for server in [impostor, other_node] {
        let mesh = mesh(&identity(&ours, "n2"), "n1", server.address);
        let error = mesh.request(&name("n1"), get("/"), LONG).await.expect_err("not the node meant");
        assert!(matches!(error, MeshError::Connect { .. }) && error.nothing_was_sent(), "{error:?}");
        assert_eq!(server.count("requests_total"), 0);
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let authority = Authority::create("c1").expect("an authority");
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::mesh() };
    let server = Server::start_with(
        &identity(&authority, "n1"),
        Alpn::Mesh,
        who_are_you(),
        SocketAddr::new(LOOPBACK, 0),
        limits,
    )
    .await;
    let mut silent = TcpStream::connect(server.address).await.expect("a connection");
    let read = tokio::time::timeout(LONG, silent.read(&mut [0; 64])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)));
    until("it is counted", || server.count("handshakes_failed_total") == 1).await;
}

#[tokio::test]
async fn a_full_server_closes_further_connections_at_once() {
    let authority = Authority::create("c1").expect("an authority");
    let limits = Limits { connections: 1, ..Limits::mesh() };
    let address = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(&authority, "n1"), Alpn::Mesh, who_are_you(), address, limits).await;
    let first = mesh(&identity(&authority, "n2"), "n1", server.address);
    first.request(&name("n1"), get("/"), LONG).await.expect("an answer");
    let second = mesh(&identity(&authority, "n3"), "n1", server.address);
    let error = second.request(&name("n1"), get("/"), LONG).await.expect_err("no place");
    assert!(matches!(error, MeshError::Connect { .. }), "{error:?}");
    assert_eq!(server.count("connections_refused_total"), 1);
    drop(first);
    drop(second);
    let third = mesh(&identity(&authority, "n4"), "n1", server.address);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while third.request(&name("n1"), get("/"), LONG).await.is_err() {
        tick.tick().await;
    }
}

#[tokio::test]
async fn a_stranger_may_not_stay() {
    let authority = Authority::create("c1").expect("an authority");
    let limits = Limits { anonymous_life: Some(Duration::from_millis(50)), ..Limits::mesh() };
    let address = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(&authority, "n1"), Alpn::Mesh, who_are_you(), address, limits).await;
    let connector = pin::connector(authority.fingerprint()).expect("a connector");
    let any = ServerName::try_from("kubernetes.default.svc").expect("a name");
    let stranger = dial(&connector, any, server.address, CancellationToken::new()).await.expect("a connection");
    until("the stranger is shown out", || stranger.is_closed()).await;
}

/// An HTTP/1.1 connection to an API server.
pub(super) async fn http1(authority: &Authority, server: &Server) -> tokio_rustls::client::TlsStream<TcpStream> {
    let parsed = identity(authority, "n9").parse().expect("an identity");
    let mut config = rustls::ClientConfig::builder_with_provider(crate::identity::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(parsed.roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // As kubectl does it: by address.
    let name = ServerName::from(LOOPBACK);
    connector.connect(name, stream).await.expect("a handshake")
}

#[tokio::test]
async fn the_api_speaks_http1_and_lets_connections_be_upgraded() {
    let authority = Authority::create("c1").expect("an authority");
    let handler = answers(|peer, mut request| {
        Box::pin(async move {
            assert_eq!(peer, Peer::Anonymous);
            assert!(request.extensions().get::<crate::RemoteAddress>().is_some());
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut word = [0; 5];
                io.read_exact(&mut word).await.expect("a word");
                io.write_all(&word).await.expect("the same word");
            });
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", "echo".parse().expect("a value"));
            response.headers_mut().insert("connection", "upgrade".parse().expect("a value"));
            response
        })
    });
    let address = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(&authority, "n1"), Alpn::Api, handler, address, Limits::api()).await;
    let mut stream = http1(&authority, &server).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"hello").await.expect("a word");
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.expect("a word");
    assert_eq!(&word, b"hello");
}

#[tokio::test]
async fn shutting_down_finishes_what_is_in_flight_and_takes_nothing_new() {
    let authority = Authority::create("c1").expect("an authority");
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
        answers(move |_, _| {
            let (started, go_on) = (Arc::clone(&started), Arc::clone(&go_on));
            Box::pin(async move {
                started.notify_one();
                go_on.notified().await;
                Response::new(full("done"))
            })
        })
    };
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let request = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.request(&name("n1"), get("/"), LONG).await }
    });
    started.notified().await;
    server.shutdown.cancel();
    // Until the news of it has come, the server still takes requests (and does not answer them).
    loop {
        match mesh.request(&name("n1"), get("/"), Duration::from_millis(100)).await {
            Err(error) if error.nothing_was_sent() => break,
            Err(MeshError::Deadline { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!server.done.is_finished());
    go_on.notify_one();
    assert_eq!(text(request.await.expect("no panic").expect("an answer")).await, "done");
    tokio::time::timeout(LONG, server.done).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_ever() {
    let authority = Authority::create("c1").expect("an authority");
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::mesh() };
    let address = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(&authority, "n1"), Alpn::Mesh, mute(), address, limits).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let request = tokio::spawn(async move { mesh.request(&name("n1"), get("/"), LONG).await });
    until("it is in flight", || server.count("requests_total") == 1).await;
    server.shutdown.cancel();
    tokio::time::timeout(LONG, server.done).await.expect("in time").expect("no panic");
    let error = request.await.expect("no panic").expect_err("dropped");
    assert!(matches!(error, MeshError::Broken { .. }), "{error:?}");
}

//! The calling side when things break: what is known about a request that got no answer.

use std::time::Instant;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;

use super::*;
use crate::{DialError, MeshError};

async fn request(mesh: &Mesh, node: &str) -> Result<Response<Body>, MeshError> {
    mesh.request(&name(node), get("/"), LONG).await
}

#[tokio::test]
async fn a_killed_server_is_not_sent_anything_until_it_is_back() {
    let authority = Authority::create("c1").expect("an authority");
    let n1 = identity(&authority, "n1");
    let anywhere = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&n1, Alpn::Mesh, who_are_you(), anywhere, abrupt()).await;
    let address = server.address;
    let mesh = mesh(&identity(&authority, "n2"), "n1", address);
    request(&mesh, "n1").await.expect("an answer");

    server.kill().await;
    until("the broken connection is noticed", || !mesh.is_connected(&name("n1"))).await;
    let error = request(&mesh, "n1").await.expect_err("nobody there");
    assert!(matches!(&error, MeshError::Connect { address: at, .. } if *at == address), "{error:?}");
    assert!(error.nothing_was_sent());
    assert!(wk_base::error::Chain(&error).to_string().starts_with("connect to node n1 at 127.0.0.1:"));

    let server = Server::start_with(&n1, Alpn::Mesh, who_are_you(), address, abrupt()).await;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while let Err(error) = request(&mesh, "n1").await {
        assert!(error.nothing_was_sent(), "{error:?}");
        tick.tick().await;
    }
    assert_eq!(server.count("requests_total"), 1);
}

#[tokio::test]
async fn a_request_in_flight_breaks_when_the_server_is_killed() {
    let authority = Authority::create("c1").expect("an authority");
    let anywhere = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(&authority, "n1"), Alpn::Mesh, mute(), anywhere, abrupt()).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let waiting = tokio::spawn(async move { request(&mesh, "n1").await });
    until("it is in flight", || server.count("requests_total") == 1).await;
    server.kill().await;
    let error = waiting.await.expect("no panic").expect_err("no answer");
    assert!(matches!(error, MeshError::Broken { .. }) && !error.nothing_was_sent(), "{error:?}");
}

/// A node that answers its only request with a reset of this reason.
async fn resetting(identity: &Identity, reason: h2::Reason) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let tls = Tls::server(identity, Alpn::Mesh).expect("a server identity");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (stream, _) = tls.accept(stream, LONG).await.expect("a handshake");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(reason);
        }
    });
    address
}

#[tokio::test]
async fn only_a_refused_stream_is_known_to_be_unprocessed() {
    let authority = Authority::create("c1").expect("an authority");
    for (reason, unsent) in [(h2::Reason::REFUSED_STREAM, true), (h2::Reason::INTERNAL_ERROR, false)] {
        let address = resetting(&identity(&authority, "n1"), reason).await;
        let error = request(&mesh(&identity(&authority, "n2"), "n1", address), "n1").await.expect_err("a reset");
        assert_eq!(error.nothing_was_sent(), unsent, "{error:?}");
        assert_eq!(matches!(error, MeshError::NotSent { .. }), unsent, "{error:?}");
    }
}

/// Forwards between whoever connects and `to`, until it is told to keep everything to itself.
async fn proxy(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (silence, silent) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let mut silent = silent.clone();
            tokio::spawn(async move {
                let (mut near, mut far) = (near, TcpStream::connect(to).await.expect("a connection"));
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = silent.wait_for(|silent| *silent) => {}
                }
                // Both connections stay open, and nothing moves.
                std::future::pending::<()>().await;
            });
        }
    });
    (address, silence)
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_by_pings() {
    let authority = Authority::create("c1").expect("an authority");
    let server = Server::start(&identity(&authority, "n1"), mute()).await;
    let (address, silence) = proxy(server.address).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", address);
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.request(&name("n1"), get("/"), Duration::from_mins(10)).await }
    });
    until("it is in flight", || server.count("requests_total") == 1).await;
    let started = Instant::now();
    silence.send(true).expect("a proxy");
    let error = waiting.await.expect("no panic").expect_err("silence");
    assert!(matches!(error, MeshError::Broken { .. }), "{error:?}");
    // Three seconds by the constants; the rest is for a busy machine.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    until("the connection is given up", || !mesh.is_connected(&name("n1"))).await;
}

#[tokio::test]
async fn an_idle_connection_to_a_silent_peer_is_given_up_too() {
    let authority = Authority::create("c1").expect("an authority");
    let server = Server::start(&identity(&authority, "n1"), who_are_you()).await;
    let (address, silence) = proxy(server.address).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", address);
    request(&mesh, "n1").await.expect("an answer");
    silence.send(true).expect("a proxy");
    until("the connection is given up", || !mesh.is_connected(&name("n1"))).await;
}

#[tokio::test]
async fn a_missed_deadline_says_so_and_cancels_the_handler() {
    let authority = Authority::create("c1").expect("an authority");
    let (cancelled, mut was_cancelled) = mpsc::channel::<()>(1);
    let handler = answers(move |_, _| {
        let cancelled = cancelled.clone();
        Box::pin(async move {
            let token = CancellationToken::new();
            let ended = token.clone();
            tokio::spawn(async move {
                ended.cancelled().await;
                cancelled.send(()).await.expect("somebody listens");
            });
            let _guard: DropGuard = token.drop_guard();
            std::future::pending().await
        })
    });
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let deadline = Duration::from_secs(1);
    let error = mesh.request(&name("n1"), get("/"), deadline).await.expect_err("no answer");
    assert!(matches!(error, MeshError::Deadline { after, .. } if after == deadline), "{error:?}");
    tokio::time::timeout(LONG, was_cancelled.recv()).await.expect("in time").expect("cancelled");
    assert!(mesh.is_connected(&name("n1")), "other requests go on");
}

#[tokio::test]
async fn a_changed_address_closes_the_old_connection() {
    let authority = Authority::create("c1").expect("an authority");
    let n1 = identity(&authority, "n1");
    let (old, new) = (Server::start(&n1, mute()).await, Server::start(&n1, who_are_you()).await);
    let mesh = mesh(&identity(&authority, "n2"), "n1", old.address);
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { request(&mesh, "n1").await }
    });
    until("it is in flight", || old.count("requests_total") == 1).await;
    mesh.set_address(&name("n1"), old.address);
    assert!(mesh.is_connected(&name("n1")), "the same address changes nothing");
    mesh.set_address(&name("n1"), new.address);
    let error = waiting.await.expect("no panic").expect_err("closed");
    assert!(matches!(error, MeshError::Broken { .. }), "{error:?}");
    request(&mesh, "n1").await.expect("an answer of the new one");
    assert_eq!((old.count("requests_total"), new.count("requests_total")), (1, 1));
    assert_eq!(mesh.address(&name("n1")), Some(new.address));

    mesh.forget(&name("n1"));
    let error = request(&mesh, "n1").await.expect_err("forgotten");
    assert!(matches!(error, MeshError::Unknown { .. }) && error.nothing_was_sent(), "{error:?}");
}

#[tokio::test]
async fn everybody_who_waits_shares_one_attempt_to_connect_and_its_failure() {
    let authority = Authority::create("c1").expect("an authority");
    // It accepts and then says something that is not TLS, once all are waiting.
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.expect("a port");
    let mesh = mesh(&identity(&authority, "n2"), "n1", listener.local_addr().expect("its address"));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let mesh = mesh.clone();
            tokio::spawn(async move { request(&mesh, "n1").await })
        })
        .collect();
    until("all have asked", || mesh.metrics().read()[2].1 == 50).await;
    let (mut stream, _) = listener.accept().await.expect("a connection");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
    for request in waiting {
        let error = request.await.expect("no panic").expect_err("no node");
        let MeshError::Connect { source, .. } = error else { panic!("{error:?}") };
        assert!(matches!(*source, DialError::Tls(_)), "{source:?}");
    }
    assert_eq!(mesh.metrics().read()[0], ("wk_mesh_dials_total", 1));
}

//! HTTP/1.1, HTTP/2 with and without TLS, and what of a message reaches the other side.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_ingress::{Certificates, Limits, Pem};

use crate::support::{Door, THREE, collect, h1, h2, ok, within};

/// Answers with the request's target and headers, one a line, in order.
async fn telling_door() -> Door {
    Door::open(THREE, Limits::default(), |_, request| async move {
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        lines.sort();
        ok(format!("{} {}\n{}", request.method(), request.uri(), lines.join("\n")))
    })
    .await
}

#[tokio::test]
async fn app_sees_path_as_sent_and_who_asked() {
    let door = telling_door().await;
    let answer = door
        .raw(
            "GET /a/../b%2Fc?q=%20 HTTP/1.1\r\nHost: Web.LocalHost:8080\r\nConnection: close, x-hop\r\nx-hop: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: websocket\r\nTE: trailers\r\nx-forwarded-for: 1.2.3.4\r\n\r\n",
        )
        .await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert_eq!(
        body,
        "GET /a/../b%2Fc?q=%20\nhost: Web.LocalHost:8080\nte: trailers\nx-forwarded-for: 127.0.0.1\n\
         x-forwarded-host: Web.LocalHost:8080\nx-forwarded-proto: http"
    );
}

#[tokio::test]
async fn absolute_target_and_http2_authority_reach_the_app_as_host() {
    let door = telling_door().await;
    let expected = "GET /x?y\nhost: web.localhost\nx-forwarded-for: 127.0.0.1\n\
                    x-forwarded-host: web.localhost\nx-forwarded-proto: http";
    let absolute = "GET http://web.localhost/x?y HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n";
    assert!(door.raw(absolute).await.ends_with(expected));
    let (mut client, _connection) = h2(door.connect().await).await;
    let get = Request::get("http://web.localhost/x?y").body(body::empty()).expect("a request");
    let response = within(client.send_request(get)).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(collect(response).await, (200, expected.to_owned()));
}

#[tokio::test]
async fn headers_of_the_inner_hop_do_not_reach_the_client() {
    let door = Door::open(THREE, Limits::default(), |_, _| async {
        let response = Response::builder()
            .header("connection", "x-inner")
            .header("x-inner", "1")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h2c")
            .header("x-app", "1")
            .header("server", "app");
        Ok(response.body(body::full("hi")).expect("a response"))
    })
    .await;
    let answer = door.raw("GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n").await;
    let head = answer.split_once("\r\n\r\n").expect("head and body").0;
    let mut names: Vec<_> = head.lines().skip(1).map(|line| line.split(':').next().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "content-length", "date", "server", "x-app"]);
    assert!(head.contains("connection: close") && head.contains("server: app"), "{head}");
}

#[tokio::test]
async fn answer_to_head_has_a_length_and_no_body() {
    let door = Door::open(THREE, Limits::default(), |_, _| async {
        Ok(Response::builder().header("content-length", "5").body(body::full("five!")).expect("a response"))
    })
    .await;
    let answer = door.raw("HEAD / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

/// hyper refuses what it can tell to be an attack, and takes `Transfer-Encoding` over `Content-Length` and closes where
/// RFC 9112, 6.1 leaves that choice. Either way the second request never exists.
#[tokio::test]
async fn smuggled_request_reaches_nobody() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.localhost\r\n\r\n";
    let refused = [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0, 5\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ];
    let tamed = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ];
    for attack in refused.iter().chain(&tamed) {
        let door = Door::open(THREE, Limits::default(), |_, request| async move {
            assert!(!request.uri().path().contains("smuggled"));
            assert!(!request.headers().contains_key("content-length"));
            match http_body_util::BodyExt::collect(request.into_body()).await {
                Ok(_) => ok("whole"),
                Err(_) => Err(crate::support::broken()),
            }
        })
        .await;
        let answer = door.raw(&format!("POST / HTTP/1.1\r\nHost: web.localhost\r\n{attack}{smuggled}")).await;
        let expected = if tamed.contains(attack) { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(expected), "{attack:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{attack:?}: {answer}");
        assert!(door.fake.calls().len() <= 1);
    }
}

/// Certificates by name, and one for all others.
struct Named {
    own: HashMap<String, Arc<Pem>>,
    fallback: Arc<Pem>,
}

impl Certificates for Named {
    fn certificate(&self, server_name: &str) -> Option<Arc<Pem>> {
        self.own.get(server_name).cloned()
    }

    fn fallback(&self) -> Option<Arc<Pem>> {
        Some(Arc::clone(&self.fallback))
    }
}

fn certificate(name: &str) -> (Arc<Pem>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    (Arc::new(Pem { certificate: cert.pem(), key: signing_key.serialize_pem() }), cert.der().clone())
}

/// A door that also speaks TLS, with a certificate for `web.localhost` and another for all names.
struct TlsDoor {
    door: Door,
    address: SocketAddr,
    web: CertificateDer<'static>,
    fallback: CertificateDer<'static>,
}

impl TlsDoor {
    async fn open() -> Self {
        let door = telling_door().await;
        let ((web_pem, web), (fallback_pem, fallback)) = (certificate("web.localhost"), certificate("localhost"));
        let broken = Arc::new(Pem { certificate: "none".into(), key: "none".into() });
        let own = HashMap::from([("web.localhost".to_owned(), web_pem), ("broken.localhost".to_owned(), broken)]);
        let certificates = Arc::new(Named { own, fallback: fallback_pem });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(Arc::clone(&door.ingress).serve_tls(listener, certificates, CancellationToken::new()));
        Self { door, address, web, fallback }
    }

    /// A connection for `name`, trusting both certificates.
    async fn connect(&self, name: &str, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates([self.web.clone(), self.fallback.clone()]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = versions.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.expect("connect");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("certificates")[0].clone().into_owned()
}

fn get(host: &str) -> Request<Body> {
    Request::get(format!("https://{host}/")).body(body::empty()).expect("a request")
}

#[tokio::test]
async fn tls_client_is_shown_the_certificate_of_its_name() {
    let tls = TlsDoor::open().await;
    let stream = tls.connect("web.localhost", "http/1.1").await.expect("handshake");
    assert_eq!(shown(&stream), tls.web);
    let stream = tls.connect("localhost", "http/1.1").await.expect("handshake");
    assert_eq!(shown(&stream), tls.fallback);
    // Its own certificate cannot be used; the other one is not for this name, and the client says so.
    assert!(tls.connect("broken.localhost", "http/1.1").await.is_err());
}

#[tokio::test]
async fn tls_carries_http2_and_http1() {
    let tls = TlsDoor::open().await;
    let stream = tls.connect("web.localhost", "h2").await.expect("handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let response = within(h2(stream).await.0.send_request(get("web.localhost"))).await.expect("a response");
    assert!(collect(response).await.1.ends_with("x-forwarded-proto: https"));
    let stream = tls.connect("web.localhost", "http/1.1").await.expect("handshake");
    let request = crate::support::request("GET", "/", body::empty());
    let response = within(h1(stream).await.send_request(request)).await.expect("a response");
    assert!(collect(response).await.1.ends_with("x-forwarded-proto: https"));
}

#[tokio::test]
async fn request_for_a_name_with_another_certificate_is_421() {
    let tls = TlsDoor::open().await;
    let send = |name: &'static str, host: &'static str| {
        let tls = &tls;
        async move {
            let stream = tls.connect(name, "h2").await.expect("handshake");
            let response = within(h2(stream).await.0.send_request(get(host))).await.expect("a response");
            collect(response).await
        }
    };
    let expected =
        "421 misdirected request: this connection was made for localhost, and web.localhost has another certificate\n";
    assert_eq!(send("localhost", "web.localhost").await, (421, expected.to_owned()));
    assert_eq!(send("localhost", "other.localhost").await.0, 404, "both have the certificate for all");
    assert!(tls.door.fake.calls().is_empty());
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_counted_as_a_failed_handshake() {
    let tls = TlsDoor::open().await;
    let mut stream = TcpStream::connect(tls.address).await.expect("connect");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await.expect("write");
    within(tokio::io::copy(&mut stream, &mut tokio::io::sink())).await.ok();
    crate::support::eventually(|| tls.door.ingress.metrics().handshakes_failed.get() == 1).await;
}

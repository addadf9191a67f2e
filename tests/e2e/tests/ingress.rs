//! The ingress over the real thing: its own answers, HTTP/2, HTTPS, streams, and routes by host and path.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Channel};
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wk_kit::{Cluster, Connection, Node, SOON, Transport, guest, until};

/// Waits until the ingress answers with the status.
async fn answers(node: &Node, host: &str, path: &str, status: u16) -> wk_kit::Answer {
    let address = node.http();
    until(&format!("{host}{path} at {address} is {status}"), SOON, async || {
        let answer = wk_kit::get(address, host, path).await?;
        ensure!(answer.status == status, "{} {}", answer.status, answer.body);
        Ok(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn own_answers_say_which_and_why() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let answer = wk_kit::get(node.http(), "nobody.example", "/a?b").await.expect("an answer");
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.starts_with("404 no route: nothing is served for host nobody.example at path /a"),
        "{}",
        answer.body
    );

    let file = guest("http");
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", "bad"]).await.ok();
    let answer = answers(node, "bad.localhost", "/trap", 502).await;
    assert!(
        answer
            .body
            .starts_with("502 app failed: default/bad:http failed to answer for host bad.localhost: the guest trapped"),
        "{}",
        answer.body
    );
    let answer = wk_kit::get(node.http(), "bad.localhost", "/nothing").await.expect("an answer");
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("without a response"), "{}", answer.body);
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"wk.dev/request-timeout": "1s"}}}}});
    let api = node.api().await;
    api.merge("/apis/apps/v1/namespaces/default/deployments/bad", &template).await.expect("the deployment takes it");
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", "bad", "--env", "AGAIN=1"]).await.ok();
    let answer = wk_kit::get(node.http(), "bad.localhost", "/silent").await.expect("an answer");
    assert_eq!(answer.status, 504);
    assert_eq!(answer.body, "504 deadline: default/bad:http gave no answer for host bad.localhost within 1s\n");

    cluster.wk(&["scale", "deploy/bad", "--replicas", "0"]).await.ok();
    // One that goes may be tried, and not be reached, before the ingress knows that there is none.
    let none = "503 no replica: default/bad:http has no ready replica for host bad.localhost; try again shortly\n";
    let answer = until("the ingress says that there is none", SOON, async || {
        let answer = wk_kit::get(node.http(), "bad.localhost", "/").await?;
        ensure!(answer.status == 503 && answer.body == none, "{} {}", answer.status, answer.body);
        Ok(answer)
    })
    .await;
    assert_eq!(answer.headers["retry-after"], "1");
    cluster.wk(&["delete", "ingress/bad"]).await.ok();
    answers(node, "bad.localhost", "/", 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_and_https_are_served_on_every_node() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    for node in &cluster.nodes {
        answers(node, "hello.localhost", "/", 200).await;
        let mut connection =
            Connection::open(node.http(), Transport::Http2).await.expect("HTTP/2 without asking first");
        for _ in 0..5 {
            let answer = connection.get("hello.localhost", "/two").await.expect("an answer");
            assert_eq!(answer.status, 200);
            assert!(answer.body.ends_with(": GET /two\n"), "{}", answer.body);
        }
        for (protocol, transport) in [("h2", Transport::Http2), ("http/1.1", Transport::Http1)] {
            let mut connection =
                tls(node, "hello.localhost", protocol, transport).await.expect("a certificate for the name");
            let answer = connection.get("hello.localhost", "/safe").await.expect("an answer");
            assert_eq!(answer.status, 200, "{protocol}: {}", answer.body);
            assert!(answer.body.ends_with(": GET /safe\n"), "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_good_for_the_default_route_of_an_app() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    answers(node, "hello.localhost", "/", 200).await;
    let mut connection =
        tls(node, "hello.localhost", "h2", Transport::Http2).await.expect("a certificate for the name");
    let answer = connection.get("hello.localhost", "/").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A connection to the HTTPS port that trusts nothing but the cluster's own authority.
async fn tls(node: &Node, name: &str, protocol: &str, transport: Transport) -> anyhow::Result<Connection> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(node.data_dir().join("identity/ca.pem"))?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = tokio::net::TcpStream::connect(node.https()).await?;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(protocol.as_bytes()), "{protocol} was not agreed on");
    Connection::over(stream, transport).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_through_a_node_without_a_replica() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let pods = cluster.nodes[0].api().await.pods_of("hello").await.expect("pods");
    let home = pods[0]["spec"]["nodeName"].as_str().expect("it is placed");
    for node in &cluster.nodes {
        answers(node, "hello.localhost", "/", 200).await;
        let remote = node.name() != home;
        for transport in [Transport::Http1, Transport::Http2] {
            let mut connection = Connection::open(node.http(), transport).await.expect("the port is open");
            let (mut sender, body) = Channel::<Bytes>::new(1);
            sender.send_data(Bytes::from_static(b"piece 0 ")).await.expect("somebody reads");
            let mut response =
                connection.send("POST", "hello.localhost", "/echo", body.boxed_unsync()).await.expect("an answer");
            assert_eq!(response.status(), 200);
            // Each piece comes back before the next is sent: nobody on the way waits for the whole.
            for number in 0..20 {
                if number > 0 {
                    sender.send_data(Bytes::from(format!("piece {number} "))).await.expect("somebody reads");
                }
                let wanted = format!("piece {number} ");
                let mut got = String::new();
                while got.len() < wanted.len() {
                    let frame = tokio::time::timeout(SOON, response.frame()).await;
                    let frame = frame
                        .unwrap_or_else(|_| panic!("{wanted:?} did not come back ({transport:?}, remote: {remote})"));
                    let frame = frame.expect("the body goes on").expect("it does not break");
                    got.push_str(&String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data)));
                }
                assert_eq!(got, wanted, "{transport:?}, remote: {remote}");
            }
            drop(sender);
            let rest =
                tokio::time::timeout(SOON, response.collect()).await.expect("it ends").expect("it does not break");
            assert_eq!(rest.to_bytes(), Bytes::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_come_back_whole_through_a_node_without_a_replica() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let text = (0..400_000).map(|number| format!("{number:09}")).collect::<Vec<_>>().join("\n");
    for node in &cluster.nodes {
        answers(node, "hello.localhost", "/", 200).await;
        let mut connection = Connection::open(node.http(), Transport::Http1).await.expect("the port is open");
        let answer = connection.post("hello.localhost", "/echo", text.clone()).await.expect("an answer");
        assert_eq!(answer.status, 200);
        assert!(answer.body == text, "{} bytes came back of {}", answer.body.len(), text.len());
    }
}

const ROUTES: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: site
spec:
  rules:
  - host: site.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: front, port: {number: 80}}}
      - path: /shop
        pathType: Prefix
        backend: {service: {name: back, port: {name: http}}}
      - path: /shop/window
        pathType: Exact
        backend: {service: {name: front, port: {number: 80}}}
  - host: '*.site.example'
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: back, port: {number: 80}}}
  - host: half.example
    http:
      paths:
      - path: /only
        pathType: Prefix
        backend: {service: {name: front, port: {number: 80}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn routes_go_by_host_and_longest_path() {
    let cluster = Cluster::start(1).await;
    cluster.deploy_hello("front", 1, &[]).await.ok();
    cluster.deploy_hello("back", 1, &[]).await.ok();
    let file = cluster.file("site.yaml", ROUTES);
    let output = cluster.wk(&["apply", "-f", &file]).await;
    assert_eq!(output.ok(), "ingress.networking.k8s.io/site created\n");
    let node = &cluster.nodes[0];
    answers(node, "site.example", "/", 200).await;
    for (host, path, app) in [
        ("site.example", "/", "front"),
        ("site.example", "/shop", "back"),
        ("site.example", "/shop/", "back"),
        ("site.example", "/shop/cart?x=/", "back"),
        ("site.example", "/shopping", "front"),
        ("site.example", "/shop/window", "front"),
        ("site.example", "/shop/window/", "back"),
        ("SITE.example:8080", "/shop", "back"),
        ("www.site.example", "/shop/window", "back"),
        ("half.example", "/only/this", "front"),
    ] {
        let answer = wk_kit::get(node.http(), host, path).await.expect("an answer");
        assert_eq!(answer.status, 200, "{host}{path}: {}", answer.body);
        assert!(answer.pod().is_some_and(|pod| pod.starts_with(app)), "{host}{path} went to {:?}", answer.pod());
        assert!(
            answer.body.ends_with(&format!(": GET {path}\n")),
            "the app sees the path as it was sent: {}",
            answer.body
        );
    }
    for (host, path) in [("a.b.site.example", "/"), ("half.example", "/"), ("half.example", "/onlyx"), ("example", "/")]
    {
        let answer = wk_kit::get(node.http(), host, path).await.expect("an answer");
        assert_eq!(answer.status, 404, "{host}{path}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deploy_takes_a_route_and_prints_its_url() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let output = cluster.deploy_hello("hello", 1, &["--route", "shop.example/cart"]).await;
    assert_eq!(output.ok().lines().next(), Some("http://shop.example:8080/cart"), "{output:?}");
    assert!(
        output.stdout.contains(&format!("curl -H 'Host: shop.example' http://{}:8080/cart", node.ip())),
        "{output:?}"
    );
    answers(node, "shop.example", "/cart", 200).await;
    assert_eq!(wk_kit::get(node.http(), "shop.example", "/other").await.expect("an answer").status, 404);
    assert_eq!(wk_kit::get(node.http(), "hello.localhost", "/").await.expect("an answer").status, 404);
    // Deploying again with another route moves it.
    cluster.deploy_hello("hello", 1, &["--route", "market.example"]).await.ok();
    answers(node, "market.example", "/", 200).await;
    answers(node, "shop.example", "/cart", 404).await;
}

//! Joining: the newcomer's secret, and who gets to hear it.

use http::StatusCode;
use tokio::net::TcpListener;
use wk_base::body::empty;

use super::*;
use crate::join::{self, Answer, JoinError, Member, Refusal};
use crate::{Secret, Token};

fn newcomer(token: &Token) -> (NodeKey, join::Request) {
    let key = NodeKey::generate().expect("a key");
    let csr = key.csr().expect("a request");
    let request = join::Request::new(token, name("n2"), csr, SocketAddr::new(LOOPBACK, 7443), "0.1.0");
    (key, request)
}

/// The member's side, as the program wires it.
fn member(authority: &Authority, secret: Secret) -> Arc<dyn Handler> {
    let authority = authority.clone();
    answers(move |peer, request| {
        let (authority, secret) = (authority.clone(), secret.clone());
        Box::pin(async move {
            assert_eq!((peer, request.uri().path()), (Peer::Anonymous, join::PATH));
            let asked = match join::Request::read(request.into_body()).await {
                Ok(asked) => asked,
                Err(refusal) => return refusal.to_response(),
            };
            if asked.token_secret != secret {
                return Refusal::new(StatusCode::UNAUTHORIZED, "the token is not known here").to_response();
            }
            let (ca_cert, ca_key) = authority.to_pem();
            let node_cert =
                authority.issue_node(&asked.name, asked.mesh_address.ip(), &asked.csr).expect("a certificate");
            let members = vec![Member { id: 1, name: name("n1"), address: SocketAddr::new(LOOPBACK, 1) }];
            Answer {
                ca_cert,
                ca_key,
                node_cert,
                member_id: 2,
                vote: join::Vote::default(),
                cluster_id: "c1".to_owned(),
                members,
            }
            .to_response()
        })
    })
}

#[tokio::test]
async fn a_newcomer_with_a_token_joins_and_is_a_node_from_then_on() {
    let authority = Authority::create("c1").expect("an authority");
    let token = Token::generate(authority.fingerprint());
    let n1 = identity(&authority, "n1");
    let server = Server::start(&n1, member(&authority, token.secret.clone())).await;
    let (key, request) = newcomer(&token.to_string().parse().expect("as typed by a person"));
    let answer = join::ask(server.address, &token, &request).await.expect("welcome");
    assert_eq!((answer.member_id, answer.cluster_id.as_str(), answer.members.len()), (2, "c1", 1));

    let server = Server::start(&n1, who_are_you()).await;
    let mesh =
        mesh(&Identity { name: name("n2"), cert: answer.node_cert, key, ca: answer.ca_cert }, "n1", server.address);
    let response = mesh.request(&name("n1"), get("/"), LONG).await.expect("an answer");
    assert_eq!(text(response).await, "system:node:n2");
}

#[tokio::test]
async fn the_secret_is_not_sent_to_a_server_of_another_cluster() {
    let ours = Authority::create("c1").expect("an authority");
    let theirs = Authority::create("c1").expect("another authority");
    let token = Token::generate(ours.fingerprint());
    let other = identity(&theirs, "n1");
    // It has our authority's certificate, which is public, but nothing signed by it.
    let impostor = Identity { ca: ours.cert_pem().clone(), ..other.clone() };
    for identity in [other, impostor] {
        let server = Server::start(&identity, member(&ours, token.secret.clone())).await;
        let error = join::ask(server.address, &token, &newcomer(&token).1).await.expect_err("not ours");
        assert!(matches!(error, JoinError::WrongCluster { expected, .. } if expected == token.ca), "{error:?}");
        assert_eq!(server.count("requests_total"), 0);
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_a_nodes_does_not_pass_for_a_member() {
    let authority = Authority::create("c1").expect("an authority");
    let token = Token::generate(authority.fingerprint());
    let (cert, key) = authority.issue_server(&["app.example.org", "localhost"]).expect("an ingress certificate");
    let key = NodeKey::from_pem(&key).expect("its key");
    let ingress = Identity { name: name("n1"), cert, key, ca: authority.cert_pem().clone() };
    let server = Server::start(&ingress, member(&authority, token.secret.clone())).await;
    let error = join::ask(server.address, &token, &newcomer(&token).1).await.expect_err("not a node");
    assert!(matches!(error, JoinError::WrongCluster { .. }), "{error:?}");
    assert_eq!(server.count("requests_total"), 0);
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_unreachable() {
    let authority = Authority::create("c1").expect("an authority");
    let token = Token::generate(authority.fingerprint());
    let listener = TcpListener::bind(SocketAddr::new(LOOPBACK, 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let error = join::ask(address, &token, &newcomer(&token).1).await.expect_err("nobody");
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error:?}");
    let chain = wk_base::error::Chain(&error).to_string();
    assert!(chain.contains(&address.to_string()) && chain.contains("refused"), "{chain}");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_the_members_words() {
    let authority = Authority::create("c1").expect("an authority");
    let token = Token::generate(authority.fingerprint());
    let server = Server::start(&identity(&authority, "n1"), member(&authority, token.secret.clone())).await;
    let wrong = Token { secret: Secret::new("0000000000000000"), ..token };
    let error = join::ask(server.address, &wrong, &newcomer(&wrong).1).await.expect_err("a wrong secret");
    assert!(
        matches!(&error, JoinError::Refused { code: 401, message, .. } if message == "the token is not known here"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_confused_member_is_not_believed() {
    let authority = Authority::create("c1").expect("an authority");
    let token = Token::generate(authority.fingerprint());
    let n1 = identity(&authority, "n1");
    let garbage = answers(|_, _| Box::pin(async { Response::new(full("<html>")) }));
    // A member that answers with an authority of its own making.
    let other = member(&Authority::create("c1").expect("another authority"), token.secret.clone());
    for handler in [garbage, other] {
        let server = Server::start(&n1, handler).await;
        let error = join::ask(server.address, &token, &newcomer(&token).1).await.expect_err("nonsense");
        assert!(matches!(error, JoinError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_strangers_join_request_is_read_within_limits() {
    let huge = full(vec![b' '; 1024 * 1024]);
    for (body, code) in [(full("{}"), 400), (empty(), 400), (huge, 400)] {
        assert_eq!(join::Request::read(body).await.expect_err("malformed").code, code);
    }
    let token = Token::generate(Authority::create("c1").expect("an authority").fingerprint());
    let (_, request) = newcomer(&token);
    let bytes = serde_json::to_vec(&request).expect("JSON");
    assert_eq!(join::Request::read(full(bytes)).await.expect("a request").name, name("n2"));
}

/// `cargo xtask fuzz` starts from the same files.
#[test]
fn request_among_the_fuzzers_seeds_is_read_and_granted() {
    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/join/request");
    let request: join::Request = serde_json::from_slice(&std::fs::read(seed).expect("the seed")).expect("a request");
    let authority = Authority::create("c1").expect("an authority");
    authority.issue_node(&request.name, request.mesh_address.ip(), &request.csr).expect("a certificate");
}

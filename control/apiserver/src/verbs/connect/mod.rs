//! exec, attach and port-forward: a request that becomes a connection of another protocol.
//!
//! Here: which pod, which protocol, the answer with 101. What is spoken then is `wk-streams`', what a pod makes of it the
//! node's.

pub(super) mod exec;
pub(super) mod forward;

use std::future::Future;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use wk_api::{Object, Reason, Status};
use wk_base::body::empty;
use wk_mesh::Upgrade;
use wk_streams::websocket;

use crate::flight::Streaming;
use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::Call;

/// What a client of SPDY offers and is answered with.
const SPDY: &str = "SPDY/3.1";
static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
static ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// The two ways to take a connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    WebSocket,
    Spdy,
}

/// How the request asks to be upgraded.
fn way(call: &Call) -> Result<Way, Status> {
    let spdy = websocket::tokens(&call.headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case(SPDY));
    if websocket::is_asked_for(&call.headers) {
        Ok(Way::WebSocket)
    } else if spdy {
        Ok(Way::Spdy)
    } else {
        Err(Status::bad_request("Upgrade request required"))
    }
}

/// A connection about to be taken over, and its place among those that are.
struct Taken {
    upgrade: Upgrade,
    answer: HeaderMap,
    place: Streaming,
}

/// Accepts a WebSocket that speaks `protocol`; empty for a client that names none.
fn accept_websocket(server: &ApiServer, call: &Call, protocol: &str) -> Result<Taken, Status> {
    let answer = websocket::accept(&call.headers, Some(protocol).filter(|protocol| !protocol.is_empty()));
    let answer = answer.ok_or_else(|| Status::bad_request("not a WebSocket handshake of version 13"))?;
    take(server, call, answer)
}

/// Accepts SPDY with `version` of the protocol in it.
fn accept_spdy(server: &ApiServer, call: &Call, version: &'static str) -> Result<Taken, Status> {
    let answer = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(SPDY)),
        (PROTOCOL_VERSION.clone(), HeaderValue::from_static(version)),
    ];
    take(server, call, HeaderMap::from_iter(answer))
}

fn take(server: &ApiServer, call: &Call, answer: HeaderMap) -> Result<Taken, Status> {
    // HTTP/2 has no upgrades, and clients that want one come over HTTP/1.1.
    let upgrade = call.upgrade.clone().ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    Ok(Taken { upgrade, answer, place: server.flight.take_over(&call.user.name)? })
}

/// The first of `ours` that the client offers; 403 with ours if there is none, as upstream answers.
fn spdy_version(call: &Call, ours: &'static [&'static str], unnamed: &'static str) -> Result<&'static str, Box<Reply>> {
    let offered: Vec<&str> = websocket::tokens(&call.headers, &PROTOCOL_VERSION).collect();
    if offered.is_empty() {
        return Ok(unnamed);
    }
    ours.iter().copied().find(|version| offered.contains(version)).ok_or_else(|| {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {ours:?}"
        );
        let mut response = Response::new(wk_base::body::full(message));
        *response.status_mut() = StatusCode::FORBIDDEN;
        for version in ours {
            response.headers_mut().append(ACCEPTED_VERSIONS.clone(), HeaderValue::from_static(version));
        }
        Box::new(Reply::new(StatusCode::FORBIDDEN, Content::Whole(response)))
    })
}

/// Answers 101 and runs `session` on the connection until it ends, or the server does.
fn switch<S, F>(server: &ApiServer, taken: Taken, session: S) -> Reply
where
    S: FnOnce(Box<dyn Io>) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let Taken { upgrade, answer, place } = taken;
    let ends = Ends(server.shutdown.child_token());
    let told = ends.clone();
    tokio::spawn(async move {
        let (_place, _over) = (place, ends.0.clone().drop_guard());
        let running = async {
            match upgrade.stream().await {
                Ok(io) => session(Box::new(io)).await,
                Err(error) => tracing::debug!(%error, "the client went away before its upgrade"),
            }
        };
        ends.0.run_until_cancelled(running).await;
    });
    let mut response = Response::new(empty());
    response.extensions_mut().insert(told);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer;
    Reply::new(StatusCode::SWITCHING_PROTOCOLS, Content::Whole(response))
}

/// Ends a connection that was taken over, and fires when it has ended: an extension of its answer, for whoever learns
/// that its client may no more.
#[derive(Debug, Clone)]
pub(crate) struct Ends(pub CancellationToken);

/// A connection of bytes.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The node of a pod, which it must have.
fn node(pod: &Object) -> Result<&str, Status> {
    match pod.text("/spec/nodeName") {
        "" => Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name()))),
        node => Ok(node),
    }
}

/// 400 for WebSocket protocols of which none is known.
fn no_protocol(offered: &[&str]) -> Status {
    let message = format!("unable to upgrade: none of the WebSocket protocols {offered:?} is served here");
    Status::new(400, Reason::BadRequest, message)
}

//! Joining a cluster: what a new node asks of a member, and what it is told.
//!
//! `POST /join` over TLS. The newcomer has no certificate yet; its token's secret says that it was invited. The member
//! proves with its certificate chain that it belongs to the cluster of the token *before* the secret is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Collected, Limited};
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wk_base::body::{Body, BoxError, boxed, full};
use wk_base::error::Chain;

use crate::authority::{ANY_NODE_DNS, Authority, Fingerprint};
use crate::key::Csr;
use crate::link::{self, DialError, Link};
use crate::name::NodeName;
use crate::peer::Peer;
use crate::pem::{CertPem, KeyPem};
use crate::pin;
use crate::token::{Secret, Token};

/// A join request is about 1 KiB, half of it the certificate request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A stranger gets this long to send it.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Certificates and a key, and some 100 bytes a member: thousands of members fit.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A new member is in the log of a majority before it is told so: seconds, with an election in between.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Of an answer that is not ours, so much is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Where joins are asked for.
pub const PATH: &str = "/join";

/// What a member is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vote {
    /// Votes on writes when it is chosen.
    #[default]
    Voter,
    /// Never votes.
    None,
    /// Holds no data; its vote counts where two others need a third.
    Witness,
}

impl Vote {
    /// Whether it is what members are unless they say otherwise.
    pub fn is_voter(&self) -> bool {
        *self == Self::Voter
    }
}

/// The level of the store's language that members had before they named one.
pub const FIRST_LEVEL: u32 = 1;

fn first_level() -> u32 {
    FIRST_LEVEL
}

/// What a new node asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The token's id.
    pub token_id: String,
    /// The token's secret.
    pub token_secret: Secret,
    /// The name it wants.
    pub name: NodeName,
    /// The request for its certificate.
    pub csr: Csr,
    /// Where other nodes will reach it.
    pub mesh_address: SocketAddr,
    /// Its version of wk.
    pub version: String,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Vote::is_voter")]
    pub vote: Vote,
    /// The level of the store's language that it understands.
    #[serde(default = "first_level")]
    pub level: u32,
    /// The zone it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The ids of the keys for Secrets that it was given besides the one that each member has; None: it does without those
    /// that it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_keys: Option<Vec<String>>,
}

/// What it is told: all that a member knows and must keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The cluster authority's certificate.
    pub ca_cert: CertPem,
    /// Its key: every member may let others join.
    pub ca_key: KeyPem,
    /// The new node's certificate.
    pub node_cert: CertPem,
    /// Its member id in the store.
    pub member_id: u64,
    /// What it was admitted for: a member of an older version knows voters only.
    #[serde(default)]
    pub vote: Vote,
    /// The cluster's id.
    pub cluster_id: String,
    /// Everybody else.
    pub members: Vec<Member>,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id in the store.
    pub id: u64,
    /// Its name.
    pub name: NodeName,
    /// Where other nodes reach it.
    pub address: SocketAddr,
}

/// A member's "no".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status code: 401 for a wrong token, 409 for a name in use, 503 to try again, and so on.
    pub code: u16,
    /// For the person who started the node.
    pub message: String,
}

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answers there.
    #[error("no node answers at {address}")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// What happened instead.
        source: BoxError,
    },
    /// Somebody answers, but does not prove to belong to the token's cluster. The secret was not sent.
    #[error("the node at {address} is not of the cluster that issued the token (authority {expected})")]
    WrongCluster {
        /// Who was asked.
        address: SocketAddr,
        /// The authority that the token names.
        expected: Fingerprint,
    },
    /// The member is of the right cluster, but its certificate is not valid now. The secret was not sent.
    #[error("the certificate of the node at {address} is not valid at this machine's time: check both clocks")]
    Clock {
        /// Who was asked.
        address: SocketAddr,
        /// What was wrong.
        source: BoxError,
    },
    /// The member said no.
    #[error("the node at {address} refused ({code}): {message}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// The HTTP status code.
        code: u16,
        /// What it said.
        message: String,
    },
    /// The connection ended before the answer: the member may have admitted this node or not.
    #[error("the node at {address} did not finish its answer")]
    Broken {
        /// Who was asked.
        address: SocketAddr,
        /// What ended it.
        source: BoxError,
    },
    /// No answer in time: the member may have admitted this node or not.
    #[error("the node at {address} did not answer within {after:?}")]
    Deadline {
        /// Who was asked.
        address: SocketAddr,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer makes no sense.
    #[error("the answer of the node at {address} is not usable: {why}")]
    Malformed {
        /// Who was asked.
        address: SocketAddr,
        /// What is wrong with it.
        why: String,
    },
}

impl Request {
    /// What the holder of `token` asks for a node called `name`, reached at `mesh_address`.
    pub fn new(token: &Token, name: NodeName, csr: Csr, mesh_address: SocketAddr, version: impl Into<String>) -> Self {
        Self {
            token_id: token.id.clone(),
            token_secret: token.secret.clone(),
            name,
            csr,
            mesh_address,
            version: version.into(),
            vote: Vote::default(),
            level: FIRST_LEVEL,
            zone: None,
            secrets_keys: None,
        }
    }

    /// Reads a request on the member's side, from the body of `POST /join`. It comes from a stranger.
    pub async fn read(body: Body) -> Result<Self, Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message));
        let bytes = match tokio::time::timeout(REQUEST_DEADLINE, read(body, REQUEST_BYTES_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                return refuse(StatusCode::BAD_REQUEST, format!("read the join request: {}", Chain(&*error)));
            }
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the join request came too slowly".to_owned()),
        };
        serde_json::from_slice(&bytes)
            .or_else(|error| refuse(StatusCode::BAD_REQUEST, format!("the join request is malformed: {error}")))
    }
}

impl Answer {
    /// The answer as a response.
    pub fn to_response(&self) -> Response<Body> {
        json(StatusCode::OK, self)
    }

    /// The newcomer has verified who speaks; this finds a member that is confused.
    fn check(&self, token: &Token, name: &NodeName) -> Result<(), String> {
        let authority = Authority::from_pem(&self.ca_cert, &self.ca_key).map_err(|error| Chain(&error).to_string())?;
        if authority.fingerprint() != token.ca {
            return Err("it brings another authority than the token names".to_owned());
        }
        let der = self.node_cert.der().map_err(|error| Chain(&error).to_string())?;
        match Peer::from_verified(&der) {
            Ok(Peer::Node(certified)) if certified == *name => Ok(()),
            Ok(other) => Err(format!("its certificate is for {other}")),
            Err(error) => Err(Chain(&error).to_string()),
        }
    }
}

impl Refusal {
    /// A refusal with this status and explanation.
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code: code.as_u16(), message: message.into() }
    }

    /// The refusal as a response.
    pub fn to_response(&self) -> Response<Body> {
        json(StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), self)
    }
}

/// All of a body, unless it is larger than `limit`.
///
/// Boxed where the types are known: the compiler cannot see otherwise that a future holding `Limited` is `Send`.
fn read(body: Body, limit: usize) -> BoxFuture<'static, Result<Bytes, BoxError>> {
    Limited::new(body, limit).collect().map(|collected| collected.map(Collected::to_bytes)).boxed()
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("structs of texts and numbers are JSON");
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Asks the member at `address` to let this node join.
///
/// The secret in `request` is sent only after the member proved to belong to the cluster of `token`.
pub async fn ask(address: SocketAddr, token: &Token, request: &Request) -> Result<Answer, JoinError> {
    let tls = pin::connector(token.ca).map_err(|error| JoinError::Unreachable { address, source: error.into() })?;
    let name = ServerName::try_from(ANY_NODE_DNS).expect("a constant DNS name");
    let link = link::dial(&tls, name, address, CancellationToken::new())
        .await
        .map_err(|error| not_connected(address, token.ca, error))?;
    let answer = tokio::time::timeout(ANSWER_DEADLINE, exchange(&link, address, request))
        .await
        .map_err(|_| JoinError::Deadline { address, after: ANSWER_DEADLINE })??;
    answer.check(token, &request.name).map_err(|why| JoinError::Malformed { address, why })?;
    Ok(answer)
}

async fn exchange(link: &Link, address: SocketAddr, request: &Request) -> Result<Answer, JoinError> {
    let body = serde_json::to_vec(request).expect("structs of texts are JSON");
    let request = http::Request::post(format!("https://{ANY_NODE_DNS}{PATH}"))
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/json")
        .body(full(body))
        .expect("constants make a request");
    let broken = |source: BoxError| JoinError::Broken { address, source };
    let response = link.sender().send_request(request).await.map_err(|error| broken(error.into()))?;
    let status = response.status();
    let body = read(boxed(response.into_body()), ANSWER_BYTES_MAX).await.map_err(broken)?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|error| JoinError::Malformed { address, why: error.to_string() });
    }
    let message = match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&body).chars().take(MESSAGE_CHARS_MAX).collect(),
    };
    Err(JoinError::Refused { address, code: status.as_u16(), message })
}

fn not_connected(address: SocketAddr, expected: Fingerprint, error: DialError) -> JoinError {
    use rustls::CertificateError as Why;
    let certificate = match &error {
        DialError::Tls(io) => match io.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(why)) => Some(why),
            _ => None,
        },
        _ => None,
    };
    match certificate {
        Some(Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. }) => {
            JoinError::Clock { address, source: error.into() }
        }
        Some(_) => JoinError::WrongCluster { address, expected },
        None => JoinError::Unreachable { address, source: error.into() },
    }
}

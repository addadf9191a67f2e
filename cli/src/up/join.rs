//! Admitting a newcomer, on the member's side of `POST /join`.
//!
//! Any member takes the request; one that does not lead passes it on to the one that does.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest as _, Sha256};
use wk_api::kinds;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_cluster::{Cluster, Freshness};
use wk_mesh::join::{self, Answer, Refusal, Vote};
use wk_mesh::{Authority, Lane, Mesh};
use wk_store::{Expect, WriteError};

use super::members::{self, Members, Record};
use super::secrets_keys;

/// The namespace of join tokens, and the prefix of their Secrets: Kubernetes' bootstrap tokens.
pub(crate) const TOKEN_NAMESPACE: &str = "kube-system";
/// `bootstrap-token-<id>`.
pub(crate) const TOKEN_PREFIX: &str = "bootstrap-token-";
/// Passing a request on takes no longer than the leader's own write.
const FORWARD_DEADLINE: Duration = Duration::from_secs(8);

/// Witnesses are spoken of from this level of the store's language on.
const WITNESS_LEVEL: u32 = 2;

/// Sealed Secrets are understood from this level on.
const SEALED_LEVEL: u32 = 3;

/// What admitting needs.
pub(crate) struct Door {
    /// Where tokens and records are.
    pub(crate) cluster: Cluster,
    /// Signs the newcomer's certificate.
    pub(crate) authority: Authority,
    /// The way to the leader.
    pub(crate) mesh: Mesh,
    /// Who is who.
    pub(crate) members: Members,
}

impl Door {
    /// Answers a join request. `forwarded` when another member passed it on.
    pub(crate) async fn answer(&self, body: Body, forwarded: bool) -> Response<Body> {
        let request = match join::Request::read(body).await {
            Ok(request) => request,
            Err(refusal) => return refusal.to_response(),
        };
        let (leader, member) = {
            let status = self.cluster.store().status();
            let status = status.borrow();
            (status.leader, status.member)
        };
        match leader {
            Some(leader) if leader == member => match self.admit(&request).await {
                Ok(answer) => answer.to_response(),
                Err(refusal) => refusal.to_response(),
            },
            Some(leader) if !forwarded => self.forward(leader, &request).await,
            Some(_) | None => no_leader().to_response(),
        }
    }

    async fn forward(&self, leader: wk_store::MemberId, request: &join::Request) -> Response<Body> {
        let Some(leader) = self.members.get(leader) else { return no_leader().to_response() };
        let text = serde_json::to_vec(request).expect("a request of plain fields");
        let mut request = Request::post(join::PATH).body(body::full(text)).expect("a constant path");
        request.extensions_mut().insert(Lane::Control);
        match self.mesh.request(&leader.name, request, FORWARD_DEADLINE).await {
            Ok(response) => response,
            Err(error) => {
                let message = format!("the leader {} could not be asked: {}", leader.name, Chain(&error));
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).to_response()
            }
        }
    }

    async fn admit(&self, request: &join::Request) -> Result<Answer, Refusal> {
        self.check_token(request).await?;
        let node_cert = self.authority.issue_node(&request.name, request.mesh_address.ip(), &request.csr);
        let node_cert = node_cert.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, format!("the certificate request is no good: {}", Chain(&error)))
        })?;
        let oldest = members::level(&self.cluster.store().view());
        if request.vote == Vote::Witness && oldest < WITNESS_LEVEL {
            let message = "some nodes of the cluster are of a version that knows no witnesses: upgrade them first";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        if self.cluster.store().level() >= SEALED_LEVEL && request.level < SEALED_LEVEL {
            let message =
                "this cluster seals its Secrets, and the version of wk on this machine cannot open them: upgrade it";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        if let Some(keys) = request.secrets_keys.as_ref().filter(|_| request.vote != Vote::Witness)
            && let Some(why) = secrets_keys::refuse(&self.cluster, &self.authority, keys)
        {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
        let member_id = self.record(request).await?;
        let (ca_cert, ca_key) = self.authority.to_pem();
        let members = members::all(&self.cluster.store().view());
        tracing::info!(node = %request.name, member_id, address = %request.mesh_address, "node admitted");
        Ok(Answer {
            ca_cert,
            ca_key,
            node_cert,
            member_id,
            vote: request.vote,
            cluster_id: self.authority.cluster_id().to_owned(),
            members,
        })
    }

    /// Writes the newcomer's record and answers its id. The controller of voters adds it to Raft from there.
    async fn record(&self, request: &join::Request) -> Result<u64, Refusal> {
        let name = &request.name;
        let record = Record {
            id: None,
            address: request.mesh_address,
            csr: request.csr.as_str().to_owned(),
            vote: request.vote,
            level: request.level,
            zone: request.zone.clone(),
        };
        let written = self.cluster.store().write(members::put(name, &record, Expect::Absent)).await;
        match written {
            Ok(revision) => Ok(revision.0),
            Err(WriteError::Conflict { found: Some(stored), .. }) => match members::read(&stored) {
                // The same node asks again: the answer to its first request was lost.
                Some((member, known)) if known.csr == record.csr => Ok(member.id),
                _ => Err(Refusal::new(
                    StatusCode::CONFLICT,
                    format!("the name {name} belongs to another node of this cluster"),
                )),
            },
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// A token is a Kubernetes bootstrap token: a Secret `bootstrap-token-<id>` in kube-system.
    async fn check_token(&self, request: &join::Request) -> Result<(), Refusal> {
        let wrong =
            || Refusal::new(StatusCode::UNAUTHORIZED, "the cluster does not know this token, or it has expired");
        let name = format!("{TOKEN_PREFIX}{}", request.token_id);
        let secret = self.cluster.get(&kinds::SECRET, Some(TOKEN_NAMESPACE), &name, Freshness::Linearizable).await;
        let secret = match secret {
            Ok(secret) => secret,
            Err(status) if status.code == 404 || status.code == 422 || status.code == 400 => return Err(wrong()),
            Err(status) => return Err(unavailable(&status)),
        };
        let secret: Secret = secret.read().map_err(|_| wrong())?;
        let field = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|value| value.0.clone());
        let expected = field("token-secret").ok_or_else(wrong)?;
        if !same_secret(&expected, request.token_secret.expose().as_bytes()) {
            return Err(wrong());
        }
        let expires = field("expiration").and_then(|time| String::from_utf8(time).ok());
        let expired = expires.is_some_and(|time| {
            // A time that cannot be read is not a licence to join for ever.
            time.parse::<jiff::Timestamp>().map_or(true, |time| time <= self.cluster.clock().now())
        });
        if expired { Err(wrong()) } else { Ok(()) }
    }
}

fn no_leader() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the cluster has no leader at the moment; try again")
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("the cluster cannot write now: {}", Chain(error)))
}

/// Compares digests, so that the time it takes says nothing about how much of a guess was right.
fn same_secret(expected: &[u8], given: &[u8]) -> bool {
    Sha256::digest(expected) == Sha256::digest(given)
}

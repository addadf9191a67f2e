//! Modules on other nodes: fetching what is missing here, and leaving copies of what was uploaded here.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use wk_apiserver::Replicate;
use wk_base::body::{self, Body, BoxError};
use wk_base::error::Chain;
use wk_image::{Blobs, Digest, LAYER_BYTES_MAX, Peers};
use wk_mesh::join::Member;
use wk_mesh::{Mesh, NodeName};

use super::members::Members;

/// Where blobs are on the mesh: `GET`, `HEAD` and `PUT /blobs/<digest>`.
pub(crate) const PREFIX: &str = "/blobs/";

/// Other peers that get a copy of an uploaded module before the upload is acknowledged: with its own that makes three,
/// so that any two nodes may be lost at once.
pub(crate) const COPIES: usize = 2;
/// One peer's time to begin an answer.
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// One peer's time to take a copy; a slow one gets it later, when a pod needs it.
const COPY_DEADLINE: Duration = Duration::from_secs(30);

/// The other nodes' modules.
#[derive(Clone)]
pub(crate) struct Copies {
    /// This node.
    pub(crate) name: NodeName,
    /// The way to the others.
    pub(crate) mesh: Mesh,
    /// Who they are.
    pub(crate) members: Members,
    /// This node's own.
    pub(crate) blobs: Blobs,
}

impl Copies {
    /// The others, always in the same order: a fetch counts its way through them.
    pub(crate) fn others(&self) -> Vec<Member> {
        let mut others: Vec<_> = self.members.all().into_iter().filter(|member| member.name != self.name).collect();
        others.sort_by(|one, other| one.name.cmp(&other.name));
        others
    }

    /// Those of `modules` that neither this node nor another one has that answers, `but` left out.
    pub(crate) async fn missing_without(&self, but: &NodeName, modules: &BTreeSet<Digest>) -> Vec<Digest> {
        let mut others: Vec<_> = self.others().into_iter().map(|member| member.name).filter(|it| it != but).collect();
        let mut missing = Vec::new();
        for digest in modules {
            let mut found = *but != self.name && self.blobs.has(digest);
            let mut silent = Vec::new();
            for name in others.iter().filter(|_| !found) {
                let head = Request::head(format!("{PREFIX}{digest}")).body(body::empty()).expect("a digest is a path");
                match self.mesh.request(name, head, HEAD_DEADLINE).await {
                    Ok(answer) if answer.status().is_success() => {
                        found = true;
                        break;
                    }
                    Ok(_) => {}
                    // It costs its deadline once, not for each module.
                    Err(_) => silent.push(name.clone()),
                }
            }
            others.retain(|name| !silent.contains(name));
            if !found {
                missing.push(*digest);
            }
        }
        missing
    }

    async fn copy_to(&self, to: &NodeName, blobs: &[Digest]) -> Result<(), BoxError> {
        for digest in blobs {
            let path = format!("{PREFIX}{digest}");
            let head = Request::head(&path).body(body::empty())?;
            if self.mesh.request(to, head, HEAD_DEADLINE).await?.status().is_success() {
                continue;
            }
            let status = self.send(to, digest).await?;
            if !status.is_success() {
                return Err(format!("{to} answered {status}").into());
            }
        }
        Ok(())
    }

    /// Sends a copy; answers what became of it.
    pub(crate) async fn send(&self, to: &NodeName, digest: &Digest) -> Result<StatusCode, BoxError> {
        let Some(blob) = self.blobs.get(digest).await? else { return Err(format!("{digest} is not here").into()) };
        let put = Request::put(format!("{PREFIX}{digest}")).body(blob.into_body())?;
        Ok(self.mesh.request(to, put, COPY_DEADLINE).await?.status())
    }

    /// Serves this node's blobs to the others.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let digest: Option<Digest> = request.uri().path().strip_prefix(PREFIX).and_then(|digest| digest.parse().ok());
        let Some(digest) = digest else { return plain(StatusCode::BAD_REQUEST, "not a digest") };
        match *request.method() {
            Method::PUT => match self.blobs.put(&digest, request.into_body(), LAYER_BYTES_MAX).await {
                Ok(_) => plain(StatusCode::CREATED, ""),
                Err(error) => plain(StatusCode::BAD_REQUEST, &Chain(&error).to_string()),
            },
            Method::HEAD if self.blobs.has(&digest) => plain(StatusCode::OK, ""),
            Method::GET => match self.blobs.get(&digest).await {
                Ok(Some(blob)) => Response::new(blob.into_body()),
                Ok(None) => plain(StatusCode::NOT_FOUND, "not here"),
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &Chain(&error).to_string()),
            },
            _ => plain(StatusCode::NOT_FOUND, "not here"),
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(text.to_owned()));
    *response.status_mut() = status;
    response
}

#[async_trait]
impl Peers for Copies {
    async fn fetch(&self, digest: &Digest, attempt: u32) -> Result<Option<Body>, BoxError> {
        // `attempt` counts from 0 and each asks the next peer.
        let Some(peer) = self.others().into_iter().nth(attempt as usize) else { return Ok(None) };
        let get = Request::get(format!("{PREFIX}{digest}")).body(body::empty())?;
        let response = self.mesh.request(&peer.name, get, HEAD_DEADLINE).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.into_body())),
            status => Err(format!("{} answered {status}", peer.name).into()),
        }
    }
}

#[async_trait]
impl Replicate for Copies {
    async fn replicate(&self, blobs: &[Digest]) -> usize {
        let mut copies = 0;
        for peer in self.others() {
            if copies == COPIES {
                break;
            }
            match tokio::time::timeout(COPY_DEADLINE, self.copy_to(&peer.name, blobs)).await {
                Ok(Ok(())) => copies += 1,
                Ok(Err(error)) => tracing::debug!(%error, peer = %peer.name, "module not copied"),
                Err(_) => tracing::debug!(peer = %peer.name, "copying a module took too long"),
            }
        }
        copies
    }
}

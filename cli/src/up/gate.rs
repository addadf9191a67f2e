//! Who may use what is ours alone of the API: paths that are no objects of Kubernetes.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Uri};
use wk_api::Status;
use wk_apiserver::{ApiServer, User};
use wk_base::body::Body;
use wk_mesh::Peer;

/// The group that may do everything, also where there are no roles to ask.
const MASTERS: &str = "system:masters";

/// Who decides.
#[derive(Clone)]
pub(crate) enum Gate {
    /// The cluster's roles.
    Roles(Arc<ApiServer>),
    /// A witness holds no roles: only the cluster's own administrators get in.
    Masters,
}

/// A request without its body.
#[derive(Debug, Clone)]
pub(crate) struct Knock {
    /// Whose connection it is.
    pub(crate) peer: Peer,
    /// What is to be done.
    pub(crate) method: Method,
    /// With what.
    pub(crate) uri: Uri,
    /// The credentials, among others.
    pub(crate) headers: HeaderMap,
}

impl Knock {
    /// That of a request.
    pub(crate) fn of(peer: &Peer, request: &Request<Body>) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { peer: peer.clone(), method, uri, headers: request.headers().clone() }
    }
}

impl Gate {
    /// Who asks, if they may do `verb` at `path`.
    pub(crate) async fn may(&self, knock: &Knock, verb: &str, path: &str) -> Result<User, Status> {
        match self {
            Self::Roles(server) => server.may(&knock.peer, &knock.headers, verb, path).await,
            Self::Masters => masters(&knock.peer, verb, path),
        }
    }
}

fn masters(peer: &Peer, verb: &str, path: &str) -> Result<User, Status> {
    let groups = peer.groups();
    let user = User::new(peer.user(), groups.iter().map(String::as_str));
    match peer {
        Peer::Anonymous => Err(Status::unauthorized()),
        Peer::User { .. } if user.is_in(MASTERS) => Ok(user),
        Peer::Node(_) | Peer::User { .. } => {
            Err(Status::forbidden_path(wk_apiserver::Ask::Path { verb, path }.refusal(&user.name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_witness_lets_in_masters_and_nobody_else() {
        let user = |group: &str| Peer::User { name: "ann".to_owned(), groups: vec![group.to_owned()] };
        let ask = async |peer: Peer| {
            let knock = Knock::of(&peer, &Request::new(wk_base::body::empty()));
            Gate::Masters.may(&knock, "get", "/metrics").await.map_err(|status| status.code)
        };
        assert!(ask(user("system:masters")).await.is_ok());
        assert_eq!(ask(user("developers")).await, Err(403));
        assert_eq!(ask(Peer::Node("n1".parse().unwrap())).await, Err(403));
        assert_eq!(ask(Peer::Anonymous).await, Err(401));
    }
}

//! Who asks, and whether they may.
//!
//! For now the members of `system:masters` may do everything and everybody else may read discovery: roles are an issue
//! of their own, and [`authorize`] is the one function it has to change.

use http::{HeaderMap, Method};
use wk_api::{Kind, Status};
use wk_mesh::Peer;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The common name of their certificate.
    pub name: String,
    /// The organizations of their certificate, and `system:authenticated`.
    pub groups: Vec<String>,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// Something with objects.
    Resource {
        /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
        verb: &'static str,
        /// Of which kind.
        kind: &'static Kind,
        /// In which namespace; None for all, and for cluster-scoped kinds.
        namespace: Option<&'a str>,
        /// Which one; empty for collections.
        name: &'a str,
        /// `status`, `scale`, `log`, or empty.
        subresource: &'a str,
    },
    /// A path that is no resource.
    Path {
        /// The method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

/// What anybody who has proved who they are may read: Kubernetes' role `system:discovery`.
const OPEN_TO_ALL: [&str; 7] = ["/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version"];

/// Who the peer is; 401 for those who showed no certificate.
pub(crate) fn authenticate(peer: &Peer, headers: &HeaderMap) -> Result<User, Status> {
    if *peer == Peer::Anonymous {
        return Err(Status::unauthorized());
    }
    // Answering as the caller instead of as the one they mean to be would show them too much.
    if headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Err(Status::forbidden_path("impersonation is not served by this version; leave out --as"));
    }
    let mut groups = peer.groups();
    groups.push(AUTHENTICATED.to_owned());
    Ok(User { name: peer.user(), groups })
}

/// Whether `user` may do this; 403 in Kubernetes' words if not.
pub fn authorize(user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
    if user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    match *attributes {
        Attributes::Path { verb: "get", path } if is_open(path) => Ok(()),
        Attributes::Path { verb, path } => {
            Err(Status::forbidden_path(format!("User {:?} cannot {verb} path {path:?}", user.name)))
        }
        Attributes::Resource { verb, kind, namespace, name, subresource } => {
            let resource = match subresource {
                "" => kind.plural.to_owned(),
                subresource => format!("{}/{subresource}", kind.plural),
            };
            let scope = match namespace {
                Some(namespace) => format!("in the namespace {namespace:?}"),
                None => "at the cluster scope".to_owned(),
            };
            let why = format!(
                "User {:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
                user.name, kind.group
            );
            Err(Status::forbidden(kind, name, &why))
        }
    }
}

fn is_open(path: &str) -> bool {
    let below = |open: &str| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    OPEN_TO_ALL.iter().any(|open| below(open))
}

/// The verb of a request for something that is no resource.
pub(crate) fn path_verb(method: &Method) -> String {
    method.as_str().to_lowercase()
}

#[cfg(test)]
mod tests {
    use wk_api::kinds;

    use super::*;

    fn user(groups: &[&str]) -> User {
        User { name: "alice".to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
    }

    #[test]
    fn who_is_no_master_is_told_what_they_may_not_do() {
        let list = Attributes::Resource {
            verb: "list",
            kind: &kinds::SECRET,
            namespace: Some("default"),
            name: "",
            subresource: "",
        };
        assert!(authorize(&user(&["system:masters"]), &list).is_ok());
        let refused = authorize(&user(&["dev", "system:authenticated"]), &list).expect_err("no master");
        assert_eq!(refused.code, 403);
        assert_eq!(
            refused.message,
            "secrets is forbidden: User \"alice\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
        );
        let read = Attributes::Path { verb: "get", path: "/apis/apps/v1" };
        assert!(authorize(&user(&[]), &read).is_ok());
        let upload = Attributes::Path { verb: "put", path: "/v2/hello/manifests/x" };
        assert_eq!(authorize(&user(&[]), &upload).expect_err("no master").code, 403);
    }

    #[test]
    fn nobody_without_a_certificate_gets_in_and_nobody_passes_for_another() {
        assert_eq!(authenticate(&Peer::Anonymous, &HeaderMap::new()).expect_err("anonymous").code, 401);
        let peer = Peer::User { name: "root".to_owned(), groups: vec![MASTERS.to_owned()] };
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("impersonate-user"),
            http::HeaderValue::from_static("alice"),
        )]);
        assert_eq!(authenticate(&peer, &headers).expect_err("not served").code, 403);
        assert_eq!(authenticate(&peer, &HeaderMap::new()).expect("a user").name, "root");
    }
}

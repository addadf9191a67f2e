//! Service accounts' tokens against the objects that they depend on.

use wk_access::User;
use wk_access::tokens::Jwt;
use wk_access::tokens::TokenError;
use wk_access::tokens::service_account::{Claims, Reference};
use wk_api::{Kind, Object};
use wk_base::time::Timestamp;
use wk_cluster::{Freshness, key, object};
use wk_store::View;

use super::authn::Refused;
use crate::server::ApiServer;

/// A token goes on for this long after its pod or account was marked for deletion, so that what ends can end properly;
/// as in Kubernetes.
const LAST_SECONDS: i64 = 60;

/// Kinds that tokens depend on. By name: the row of one may come and go without this file.
pub(super) fn kind(plural: &str) -> Option<&'static Kind> {
    Kind::find("", "v1", plural)
}

/// Whose `jwt` is and whom it is meant for, after everything about it was checked.
pub(super) async fn user(server: &ApiServer, jwt: &Jwt, audiences: &[String]) -> Result<(User, Vec<String>), Refused> {
    let keys = server.access.security.keys.named(jwt.key_id());
    if !keys.iter().any(|key| jwt.is_signed_by(key)) {
        return Err(TokenError::Signature.into());
    }
    let now = server.cluster.clock().now();
    let claims = Claims::check(jwt, audiences, now.as_second())?;
    if still_there(&server.cluster.store().view(), &claims, now).is_err() {
        // What is not here may be new, and made at another peer.
        let view = server.cluster.view(Freshness::Linearizable).await;
        let view = view.map_err(|status| Refused::Gone(status.message))?;
        still_there(&view, &claims, now).map_err(Refused::Gone)?;
    }
    Ok((claims.user(), claims.audiences))
}

/// Whether the account, and what else the token is bound to, is there in the incarnation that it names.
fn still_there(view: &View, claims: &Claims, now: Timestamp) -> Result<(), String> {
    let in_namespace = Some(claims.namespace.as_str());
    let check = |plural: &str, namespace: Option<&str>, bound: &Reference| {
        let gone = || format!("{} {:?} has been deleted", plural.trim_end_matches('s'), bound.name);
        let kind = kind(plural).ok_or_else(gone)?;
        let found = view.get(&key(kind, namespace, &bound.name)).map(|stored| object(&stored)).ok_or_else(gone)?;
        if found.uid() != bound.uid || is_long_ending(&found, now) { Err(gone()) } else { Ok(()) }
    };
    check("serviceaccounts", in_namespace, &claims.account)?;
    if let Some(secret) = &claims.secret {
        check("secrets", in_namespace, secret)?;
    }
    match (&claims.pod, &claims.node) {
        (Some(pod), _) => check("pods", in_namespace, pod),
        // Beside a pod, the node only says where it ran.
        (None, Some(node)) => check("nodes", None, node),
        (None, None) => Ok(()),
    }
}

fn is_long_ending(object: &Object, now: Timestamp) -> bool {
    object.deletion_timestamp().is_some_and(|marked| marked.as_second() + LAST_SECONDS < now.as_second())
}

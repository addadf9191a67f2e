//! serviceAccountToken: a token for the pod's service account, bound to the pod, made anew before it ends.

use wk_access::tokens::rotation::SHORT_SECONDS;
use wk_access::tokens::service_account::{Claims, ISSUER, Reference};
use wk_access::tokens::{Jwt, Keyring};
use wk_api::{Object, kinds};
use wk_base::id;
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Freshness};

use crate::spec::TokenFile;

/// Part of a token's life after which a new one is made, in hundredths: the kubelet's.
const FRESH_PERCENT: i64 = 80;
/// No token is used longer before a new one is made: the kubelet's figure.
const FRESH_MAX_SECONDS: i64 = 24 * 3600;
/// Where a mode is not given, tokens are for the pod alone, as in Kubernetes.
pub(super) const MODE: u32 = 0o600;

/// A token, and when the next one is due.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) due: Timestamp,
    /// The key that signed it.
    pub(super) key: String,
}

pub(super) async fn token(
    cluster: &Cluster,
    keys: &Keyring,
    pod: &Object,
    file: &TokenFile,
    now: Timestamp,
) -> Result<Token, String> {
    let name = match pod.text("/spec/serviceAccountName") {
        "" => "default",
        name => name,
    };
    let account = cluster.get(&kinds::SERVICEACCOUNT, Some(pod.namespace()), name, Freshness::Local).await;
    let account = account.map_err(|status| format!("failed to fetch token: {}", status.message))?;
    let node = cluster.get(&kinds::NODE, None, pod.text("/spec/nodeName"), Freshness::Local).await.ok();
    let audience = if file.audience.is_empty() { ISSUER } else { &file.audience };
    let issued = now.as_second();
    // Made anew long before that; of longer ones the cluster would have to keep a record.
    let seconds = file.seconds.min(SHORT_SECONDS);
    let claims = Claims {
        namespace: pod.namespace().to_owned(),
        account: reference(&account),
        pod: Some(reference(pod)),
        secret: None,
        node: node.map(|node| reference(&node)),
        audiences: vec![audience.to_owned()],
        issued,
        expires: Some(issued + seconds),
        id: id::uid(),
    };
    let text = keys.sign(&claims.to_value()).map_err(|error| format!("failed to fetch token: {error}"))?;
    let fresh = (seconds.saturating_mul(FRESH_PERCENT) / 100).min(FRESH_MAX_SECONDS);
    let due = Timestamp::from_second(issued.saturating_add(fresh)).unwrap_or(Timestamp::MAX);
    let key = Jwt::parse(&text).map(|jwt| jwt.key_id().to_owned()).unwrap_or_default();
    Ok(Token { text, due, key })
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}

//! Secrets of type `kubernetes.io/service-account-token`: a token without an end, good as long as its Secret is there.
//!
//! Kubernetes fills them in a moment after they were made; here it is done before the answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wk_access::tokens::service_account::{Claims, ISSUER, Reference};
use wk_api::{Object, Status, kinds};
use wk_base::id;
use wk_cluster::{Cluster, Freshness, Subresource};

use super::token_request::sign;
use crate::server::ApiServer;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Whether such a Secret is about to be made.
pub(crate) fn is_meant(secret: &Value) -> bool {
    secret.get("type").and_then(Value::as_str) == Some(TYPE)
}

/// Fills in the token of a Secret that was just made. One whose account is not there stays empty.
pub(crate) async fn fill(server: &ApiServer, cluster: &Cluster, secret: Arc<Object>) -> Result<Arc<Object>, Status> {
    let (namespace, account) = (secret.namespace(), secret.annotation(NAME).unwrap_or_default());
    let account = cluster.get(&kinds::SERVICEACCOUNT, Some(namespace), account, Freshness::Linearizable).await;
    let Ok(account) = account else { return Ok(secret) };
    if secret.annotation(UID).is_some_and(|uid| uid != account.uid()) {
        return Ok(secret);
    }
    let reference = |object: &Object| Reference { name: object.name().to_owned(), uid: object.uid().to_owned() };
    let claims = Claims {
        namespace: namespace.to_owned(),
        account: reference(&account),
        secret: Some(reference(&secret)),
        audiences: vec![ISSUER.to_owned()],
        issued: cluster.clock().now().as_second(),
        id: id::uid(),
        ..Claims::default()
    };
    let token = sign(server, &claims)?;
    let authority = server.access.security.authority.as_ref().map(|authority| authority.cert_pem().as_str().to_owned());
    let fill = |old: &Object| {
        let mut new = old.0.clone();
        new["metadata"]["annotations"][UID] = account.uid().into();
        if !new["data"].is_object() {
            new["data"] = json!({});
        }
        new["data"]["token"] = STANDARD.encode(&token).into();
        new["data"]["namespace"] = STANDARD.encode(namespace).into();
        if let Some(authority) = &authority {
            new["data"]["ca.crt"] = STANDARD.encode(authority).into();
        }
        Ok(new)
    };
    cluster.modify(&kinds::SECRET, Some(namespace), secret.name(), Subresource::None, fill).await
}

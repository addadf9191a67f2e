//! `serviceaccounts/<name>/token`: a token for a service account, good for some audiences, for some time, and as long as
//! the objects it is bound to are there.

use http::StatusCode;
use serde_json::{Value, json};
use wk_access::User;
use wk_access::tokens::service_account::{Claims, ISSUER, Reference};
use wk_api::{Errors, Kind, Object, Status};
use wk_base::body::Body;
use wk_base::id;
use wk_cluster::{Freshness, key, object};
use wk_store::View;

use super::authz::node_name;
use super::service_accounts::kind;
use super::signing_keys;
use crate::admission;
use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::{Call, read};
use crate::{body, negotiate};

/// Seconds that a token is good for unless told otherwise, as in Kubernetes.
const LIFE: i64 = 3600;
/// Fewest seconds that may be asked for, as in Kubernetes.
const LIFE_MIN: i64 = 600;
/// Most seconds that may be asked for, as in Kubernetes.
const LIFE_ASKED_MAX: i64 = 1 << 32;
/// Most seconds that are given: a token is forgotten more easily than a certificate. 48 hours is what EKS and others
/// chose for `--service-account-max-token-expiration`; a year leaves room for what is set up by hand.
const LIFE_MAX: i64 = 365 * 24 * 3600;
/// Audiences of one token at most: each makes it longer, and it goes with every request.
const AUDIENCES_MAX: usize = 64;

/// Answers a `TokenRequest`.
pub(crate) async fn answer(server: &ApiServer, user: &User, call: &Call, bytes: Body) -> Result<Reply, Status> {
    let bytes = read(bytes).await?;
    let request =
        if bytes.is_empty() { json!({}) } else { body::parse(&bytes, negotiate::body_format(&call.headers)?)? };
    if !request.is_object() {
        return Err(Status::bad_request("the body of a TokenRequest is an object"));
    }
    let (request, _) = admission::create_below(server, call, request, false).await?;
    let mut request = Object::new(request);
    let namespace = call.namespace().unwrap_or_default();
    let view = server.cluster.view(Freshness::Linearizable).await?;
    let account = find(&view, call.kind(), namespace, call.name())?;
    for (field, meant) in [("name", call.name()), ("namespace", namespace)] {
        let given = request.text(&format!("/metadata/{field}"));
        if !given.is_empty() && given != meant {
            return Err(Status::bad_request(format!(
                "the {field} of the object ({given}) does not match the {field} on the URL ({meant})"
            )));
        }
    }
    let mut claims = Claims {
        namespace: namespace.to_owned(),
        account: reference(&account),
        issued: server.cluster.clock().now().as_second(),
        id: id::uid(),
        ..Claims::default()
    };
    let seconds = request.int("/spec/expirationSeconds").unwrap_or(LIFE);
    let mut errors = Errors::default();
    if seconds < LIFE_MIN {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid("spec.expirationSeconds", &json!(seconds), why);
    } else if seconds > LIFE_ASKED_MAX {
        errors.invalid(
            "spec.expirationSeconds",
            &json!(seconds),
            "may not specify a duration larger than 2^32 seconds",
        );
    }
    claims.expires = Some(claims.issued + seconds.clamp(LIFE_MIN, LIFE_MAX));
    let audiences = request.items("/spec/audiences").iter().filter_map(Value::as_str);
    claims.audiences = audiences.filter(|audience| !audience.is_empty()).map(str::to_owned).collect();
    if claims.audiences.is_empty() {
        claims.audiences = vec![ISSUER.to_owned()];
    }
    if claims.audiences.len() > AUDIENCES_MAX {
        let why = format!("must have at most {AUDIENCES_MAX} items");
        errors.invalid("spec.audiences", &json!(claims.audiences.len()), &why);
    }
    let invalid = errors.into_result();
    invalid.map_err(|errors| Status::invalid_named("authentication.k8s.io", "TokenRequest", "", &errors))?;
    bind(&view, &mut claims, request.at("/spec/boundObjectRef"), call.kind(), call.name())?;
    only_for_own_pods(user, &view, &claims, call)?;
    let dry_run = call.query.dry_run("CreateOptions")?;
    let token = if dry_run {
        String::new()
    } else {
        signing_keys::keep_until(server, claims.expires.unwrap_or_default()).await?;
        sign(server, &claims)?
    };
    let expires = wk_base::time::Timestamp::from_second(claims.expires.unwrap_or_default())
        .map_err(|error| Status::internal(error.to_string()))?;
    request.0["apiVersion"] = "authentication.k8s.io/v1".into();
    request.0["kind"] = "TokenRequest".into();
    request.0["metadata"]["name"] = call.name().into();
    request.0["metadata"]["namespace"] = namespace.into();
    request.0["metadata"]["creationTimestamp"] =
        server.cluster.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    request.0["spec"]["audiences"] = json!(claims.audiences);
    request.0["spec"]["expirationSeconds"] = (claims.expires.unwrap_or_default() - claims.issued).into();
    request.0["status"] =
        json!({ "token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() });
    Ok(Reply::new(StatusCode::CREATED, Content::Value(request.0)))
}

/// The signed token.
pub(crate) fn sign(server: &ApiServer, claims: &Claims) -> Result<String, Status> {
    let signed = server.access.security.keys.sign(&claims.to_value());
    signed.map_err(|error| Status::unavailable(format!("no token can be made: {error}")).retry_after(1))
}

/// Binds the token to the object that the request names.
fn bind(view: &View, claims: &mut Claims, bound: Option<&Value>, account: &Kind, name: &str) -> Result<(), Status> {
    let Some(bound) = bound.filter(|bound| !bound.is_null()) else { return Ok(()) };
    let text = |field: &str| bound.get(field).and_then(Value::as_str).unwrap_or_default();
    let (plural, namespace) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pods", claims.namespace.as_str()),
        ("v1", "Secret") => ("secrets", claims.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        (version, other) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let message = format!(
                "cannot bind token for serviceaccount {name:?} to object of type {group}/{version}, Kind={other}"
            );
            return Err(Status::bad_request(message));
        }
    };
    let kind = kind(plural).ok_or_else(Status::no_such_resource)?;
    let found = find(view, kind, namespace, text("name"))?;
    let own = reference(&found);
    let asked = text("uid");
    if !asked.is_empty() && asked != own.uid {
        let why = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(kind, &own.name, &why));
    }
    match plural {
        "pods" => {
            let runs_as = match found.text("/spec/serviceAccountName") {
                "" => "default",
                account => account,
            };
            if runs_as != name {
                let message = format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                );
                return Err(Status::bad_request(message));
            }
            let node = found.text("/spec/nodeName");
            claims.node = find(view, &wk_api::kinds::NODE, "", node).ok().map(|node| reference(&node));
            claims.pod = Some(own);
        }
        "secrets" => claims.secret = Some(own),
        _ => claims.node = Some(own),
    }
    debug_assert!(account.plural == "serviceaccounts", "the one kind with this subresource");
    Ok(())
}

/// A node gets tokens for the pods on it and for nothing else.
fn only_for_own_pods(user: &User, view: &View, claims: &Claims, call: &Call) -> Result<(), Status> {
    let Some(node) = node_name(user) else { return Ok(()) };
    let refuse = |why: &str| Err(Status::forbidden(call.kind(), call.name(), why));
    let Some(pod) = &claims.pod else { return refuse("node requested token not bound to a pod") };
    let found = find(view, &wk_api::kinds::POD, &claims.namespace, &pod.name)?;
    if found.text("/spec/nodeName") == node {
        Ok(())
    } else {
        refuse("node requested token bound to a pod scheduled on a different node")
    }
}

fn find(view: &View, kind: &Kind, namespace: &str, name: &str) -> Result<std::sync::Arc<Object>, Status> {
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    let stored = view.get(&key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
    Ok(object(&stored))
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}

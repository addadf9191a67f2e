//! Questions about identities and rights, answered from what is known now: `SelfSubjectReview`, `TokenReview`,
//! `SubjectAccessReview` and its kin, `SelfSubjectRulesReview`.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value, json};
use wk_access::tokens::service_account::ISSUER;
use wk_access::{Ask, Decision, Resource, User};
use wk_api::{Errors, Object, Status};
use wk_base::body::Body;

use super::authn;
use super::authz::node_name;
use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::{Call, read};
use crate::{admission, body, negotiate};

/// Answers the review in the body.
pub(crate) async fn answer(server: &ApiServer, user: &User, call: &Call, bytes: Body) -> Result<Reply, Status> {
    let bytes = read(bytes).await?;
    let validation = body::validation(&call.query, "CreateOptions")?;
    let format = negotiate::body_format(&call.headers)?;
    let (mut value, mut warnings) = body::object(call.kind(), &bytes, format, validation)?;
    value["apiVersion"] = call.kind().api_version().into();
    value["kind"] = call.kind().kind.into();
    // A question is created too, as far as admission is concerned.
    let (value, said) = admission::create_below(server, call, value, call.query.dry_run("CreateOptions")?).await?;
    warnings.extend(said);
    let mut review = Object::new(value);
    let status = match call.kind().kind {
        "SelfSubjectReview" => json!({ "userInfo": info(user) }),
        "TokenReview" => token(server, &review).await?,
        "SelfSubjectAccessReview" => access(server, call, &review, user).await?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let (subject, errors) = subject(&review);
            errors.into_result().map_err(|errors| Status::invalid(call.kind(), "", errors))?;
            access(server, call, &review, &subject).await?
        }
        "SelfSubjectRulesReview" => rules(server, user, &review)?,
        _ => return Err(Status::no_such_resource()),
    };
    review.0["status"] = status;
    Ok(Reply { code: StatusCode::CREATED, content: Content::Value(review.0), warnings })
}

/// `authentication.k8s.io/v1 UserInfo`.
pub(crate) fn info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".to_owned(), json!(user.name));
    if !user.uid.is_empty() {
        info.insert("uid".to_owned(), json!(user.uid));
    }
    if !user.groups.is_empty() {
        info.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(info)
}

async fn token(server: &ApiServer, review: &Object) -> Result<Value, Status> {
    let token = review.text("/spec/token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = texts(review.at("/spec/audiences"));
    if audiences.is_empty() {
        audiences = vec![ISSUER.to_owned()];
    }
    Ok(match authn::known(server, token, &audiences).await {
        Ok(known) => json!({ "authenticated": true, "user": info(&known.user), "audiences": known.audiences }),
        Err(why) => json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") }),
    })
}

async fn access(server: &ApiServer, call: &Call, review: &Object, user: &User) -> Result<Value, Status> {
    let mut errors = Errors::default();
    let (resource, path) = (review.at("/spec/resourceAttributes"), review.at("/spec/nonResourceAttributes"));
    let text = |field: &str| {
        let whole = resource.or(path).and_then(|attributes| attributes.get(field));
        whole.and_then(Value::as_str).unwrap_or_default()
    };
    let is_local = call.kind().kind == "LocalSubjectAccessReview";
    let ask = match (resource, path) {
        (Some(_), Some(_)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid("spec.nonResourceAttributes", path.unwrap_or(&Value::Null), why);
            None
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid("spec.resourceAttributes", &Value::Null, why);
            None
        }
        (None, Some(path)) if is_local => {
            errors.invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request");
            None
        }
        (None, Some(_)) => Some(Ask::Path { verb: text("verb"), path: text("path") }),
        (Some(_), None) => {
            if is_local && Some(text("namespace")) != call.namespace() {
                let why = format!("must match metadata.namespace: {}", call.namespace().unwrap_or_default());
                errors.invalid("spec.resourceAttributes.namespace", &json!(text("namespace")), &why);
            }
            Some(Ask::Resource(Resource {
                verb: text("verb"),
                group: text("group"),
                resource: text("resource"),
                subresource: text("subresource"),
                namespace: text("namespace"),
                name: text("name"),
                fields: "",
            }))
        }
    };
    errors.into_result().map_err(|errors| Status::invalid(call.kind(), "", errors))?;
    let decision = match &ask {
        Some(ask) => server.decide(user, ask).await,
        None => Decision::default(),
    };
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

/// Whom a `SubjectAccessReview` asks about.
fn subject(review: &Object) -> (User, Errors) {
    let mut errors = Errors::default();
    let groups = texts(review.at("/spec/groups"));
    let name = review.text("/spec/user").to_owned();
    if name.is_empty() && groups.is_empty() {
        errors.invalid("spec.user", &json!(""), "at least one of user or group must be specified");
    }
    let extra = review.at("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    let extra: BTreeMap<_, _> = extra.map(|(key, values)| (key.to_lowercase(), texts(Some(values)))).collect();
    (User { name, uid: review.text("/spec/uid").to_owned(), groups, extra }, errors)
}

fn rules(server: &ApiServer, user: &User, review: &Object) -> Result<Value, Status> {
    let namespace = review.text("/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let view = server.cluster.store().view();
    let held = server.access.roles_in(&view).rules_of(user, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for rule in held.into_iter().filter(|rule| seen.insert(rule.clone())) {
        let value = rule.to_value();
        if !rule.resources.is_empty() {
            let mut value = value.clone();
            value.as_object_mut().and_then(|value| value.remove("nonResourceURLs"));
            resources.push(value);
        }
        if !rule.paths.is_empty() {
            paths.push(json!({ "verbs": rule.verbs, "nonResourceURLs": rule.paths }));
        }
    }
    if user.is_master() {
        resources.push(json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }));
        paths.push(json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }));
    }
    let mut status = json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false });
    if node_name(user).is_some() {
        status["incomplete"] = true.into();
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    Ok(status)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

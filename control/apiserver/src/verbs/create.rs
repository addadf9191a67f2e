//! POST to a collection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use wk_access::MASTERS;
use wk_api::{Status, kinds};
use wk_cluster::Subresource;

use crate::access::{User, legacy_token};
use crate::body;
use crate::conversion;
use crate::negotiate::{self, Format};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "CreateOptions";
/// Signs client certificates for the API.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) async fn run(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let (mut value, mut warnings) =
        body::object(call.kind(), bytes, negotiate::body_format(&call.headers)?, validation)?;
    call.notes.object(&value, &["name", "uid", "resourceVersion"]);
    requestor(call, user, &mut value);
    restrict_subject(call, &value)?;
    let is_token = *call.kind() == kinds::SECRET && legacy_token::is_meant(&value);
    let (mut object, said) = conversion::create(server, call, &cluster, value).await?;
    warnings.extend(said);
    call.notes.object(&object.0, &["name"]);
    if is_token && !call.query.dry_run(OPTIONS)? {
        object = legacy_token::fill(server, &cluster, object).await?;
    }
    let content = written(server, call, format, Subresource::None, &object)?;
    warnings.extend(cluster.take_warnings());
    Ok(Reply { code: StatusCode::CREATED, content, warnings })
}

/// Nobody asks for a client certificate of the group that may do everything, whoever would approve it: Kubernetes'
/// `CertificateSubjectRestriction`.
pub(super) fn restrict_subject(call: &Call, value: &Value) -> Result<(), Status> {
    let text = |field: &str| value["spec"][field].as_str().unwrap_or_default();
    if *call.kind() != kinds::CERTIFICATESIGNINGREQUEST || text("signerName") != CLIENT_SIGNER {
        return Ok(());
    }
    let pem = STANDARD.decode(text("request")).ok().and_then(|pem| String::from_utf8(pem).ok());
    // What is no request is refused in other words.
    let groups = pem.and_then(|pem| wk_mesh::requested_groups(&pem)).unwrap_or_default();
    if !groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
    Err(Status::forbidden(call.kind(), name, &why))
}

/// Who asks for a certificate is who sends the request, whatever the body says.
pub(super) fn requestor(call: &Call, user: &User, value: &mut Value) {
    if *call.kind() != kinds::CERTIFICATESIGNINGREQUEST || !value["spec"].is_object() {
        return;
    }
    let spec = &mut value["spec"];
    spec["username"] = user.name.as_str().into();
    spec["groups"] = user.groups.clone().into();
    for (key, given, text) in
        [("uid", !user.uid.is_empty(), json!(user.uid)), ("extra", !user.extra.is_empty(), json!(user.extra))]
    {
        match spec.as_object_mut() {
            Some(spec) if given => drop(spec.insert(key.to_owned(), text)),
            Some(spec) => drop(spec.remove(key)),
            None => {}
        }
    }
}

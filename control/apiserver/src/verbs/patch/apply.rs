//! Server-side apply (`application/apply-patch+yaml`).

use http::StatusCode;
use serde_json::Value;
use wk_api::decode::FieldValidation;
use wk_api::{FieldReason, Status, decode};
use wk_cluster::{ApplyRequest, Subresource};

use super::OPTIONS;
use crate::access::{Ask, User};
use crate::body;
use crate::conversion;
use crate::negotiate::{BodyFormat, Format};
use crate::query::invalid_option;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::create::{requestor, restrict_subject};
use crate::verbs::{Call, writable, written};

pub(super) async fn run(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    subresource: Subresource,
    bytes: &[u8],
) -> Result<Reply, Status> {
    if call.query.field_manager(OPTIONS)?.is_none() {
        let message = "Required value: is required for apply patch".to_owned();
        return Err(invalid_option(OPTIONS, "fieldManager", FieldReason::Required, message));
    }
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let (mut config, problems) = read(bytes)?;
    requestor(call, user, &mut config);
    restrict_subject(call, &config)?;
    let mut warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Strict if !problems.is_empty() => {
            let why = problems.join("\n  ");
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {why}"
            )));
        }
        _ => problems,
    };
    let create = Ask::resource("create", call.kind().group, call.kind().plural);
    let create = create.within(call.namespace().unwrap_or_default()).named(call.name());
    // Only who creates needs the right to. What this peer knows may be gone: then it is asked after all.
    let is_known = server.cluster.local_object(call.kind(), call.namespace(), call.name()).is_some();
    let mut request = ApplyRequest {
        kind: call.kind(),
        namespace: call.namespace(),
        name: call.name(),
        subresource,
        config: &config,
        force: call.query.flag("force"),
        create: if is_known {
            Err(Status::not_found(call.kind(), call.name()))
        } else {
            server.authorize(user, &create).await
        },
        judged: None,
        settled: None,
    };
    let mut applied = conversion::apply(server, call, &cluster, &request).await;
    if is_known && applied.as_ref().is_err_and(|status| status.code == 404) {
        request.create = server.authorize(user, &create).await;
        applied = conversion::apply(server, call, &cluster, &request).await;
    }
    let (object, created, said) = applied?;
    warnings.extend(said);
    let content = written(server, call, format, subresource, &object)?;
    let code = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply { code, content, warnings })
}

/// The configuration, and the strict problems of its text. JSON is YAML.
fn read(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let (value, maybe) = match decode::parse(bytes) {
        Ok((value, duplicates)) => (value, !duplicates.is_empty()),
        Err(_) => (body::parse(bytes, BodyFormat::Yaml)?, true),
    };
    if value.is_object() {
        return Ok((value, if maybe { body::keys_set_twice(bytes) } else { Vec::new() }));
    }
    Err(Status::bad_request("error decoding YAML: it is no object"))
}

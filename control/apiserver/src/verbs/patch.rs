//! PATCH: merge patches (RFC 7386) and JSON patches (RFC 6902). The others are refused by name, so that a client sees
//! what it can send.

use http::StatusCode;
use json_patch::{Patch, PatchErrorKind};
use serde_json::Value;
use wk_api::decode::{self, FieldValidation};
use wk_api::patch::{self, PatchType};
use wk_api::{Kind, Object, Reason, Status};
use wk_cluster::Subresource;

use crate::body;
use crate::negotiate::{self, Format};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "PatchOptions";

/// Operations of one JSON patch, as in Kubernetes: each may copy a large part of the object.
const OPERATIONS_MAX: usize = 10_000;

/// A patch that was read.
enum Change {
    Merge(Value),
    Json(Patch),
}

pub(super) async fn run(
    server: &ApiServer,
    call: &Call,
    format: Format,
    subresource: Subresource,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let cluster = writable(server, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let change = read(negotiate::content_type(&call.headers), bytes)?;
    let mut warnings = Vec::new();
    let apply = |current: &Object| {
        let mut value = current.0.clone();
        change.apply(&mut value)?;
        if subresource == Subresource::Scale {
            return Ok(value);
        }
        let (value, found) = check(call.kind(), value, validation)?;
        warnings = found;
        Ok(value)
    };
    let object = cluster.modify(call.kind(), call.namespace(), call.name(), subresource, apply).await?;
    let content = written(server, call, format, subresource, &object)?;
    Ok(Reply { code: StatusCode::OK, content, warnings })
}

fn read(content_type: &str, bytes: &[u8]) -> Result<Change, Status> {
    let unreadable = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
    match PatchType::from_content_type(content_type) {
        Some(PatchType::Merge) => {
            let patch: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
            if !patch.is_object() {
                return Err(Status::bad_request("error decoding patch: a merge patch is a JSON object"));
            }
            Ok(Change::Merge(patch))
        }
        Some(PatchType::Json) => {
            let patch: Patch = serde_json::from_slice(bytes).map_err(unreadable)?;
            if patch.0.len() > OPERATIONS_MAX {
                let found = patch.0.len();
                let message =
                    format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {found}");
                return Err(Status::too_large(message));
            }
            Ok(Change::Json(patch))
        }
        Some(PatchType::StrategicMerge | PatchType::Apply) | None => {
            let served = [PatchType::Json, PatchType::Merge].map(PatchType::content_type);
            Err(Status::unsupported_media_type(&served))
        }
    }
}

impl Change {
    fn apply(&self, value: &mut Value) -> Result<(), Status> {
        match self {
            Self::Merge(patch) => {
                patch::merge(value, patch);
                Ok(())
            }
            Self::Json(patch) => json_patch::patch(value, patch).map_err(|error| {
                // Kubernetes says no more than "the server rejected our request due to an error in our request".
                let why = match error.kind {
                    PatchErrorKind::TestFailed => "a test did not hold",
                    PatchErrorKind::InvalidPointer => "a path does not exist",
                    _ => "it cannot be applied",
                };
                let message = format!(
                    "the server rejected our request due to an error in our request: JSON patch operation {} on {:?}: \
                     {why}",
                    error.operation,
                    error.path.to_string()
                );
                Status::new(422, Reason::Invalid, message)
            }),
        }
    }
}

/// The patched object against the schema. What it is may not be patched.
fn check(kind: &Kind, value: Value, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    if !value.is_object() {
        return Err(Status::bad_request("the patch leaves no object"));
    }
    decode::body(kind, value, validation)
}

//! PATCH: merge patches (RFC 7386) and JSON patches (RFC 6902). The others are refused by name, so that a client sees
//! what it can send.

mod json;

use http::StatusCode;
use json_patch::Patch;
use serde_json::Value;
use wk_api::decode::{self, FieldValidation};
use wk_api::patch::{self, PatchType};
use wk_api::{Kind, Object, Status};
use wk_cluster::Subresource;

use crate::body;
use crate::negotiate::{self, Format};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "PatchOptions";

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
            json::check(&patch)?;
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
            Self::Json(patch) => json::apply(value, patch),
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

//! PATCH: merge patches (RFC 7386), JSON patches (RFC 6902), strategic merge patches and server-side apply. What they do
//! to an object is `wk_api::patch`'s and `wk_api::managed`'s, except for JSON patches.

mod apply;
mod json;

use http::StatusCode;
use json_patch::Patch;
use serde_json::Value;
use wk_api::decode;
use wk_api::patch::strategic::{self, StrategicError};
use wk_api::patch::{self, PatchType};
use wk_api::schema::{Schema, schema_of};
use wk_api::{FieldReason, Kind, Object, Status};
use wk_cluster::Subresource;

use crate::access::User;
use crate::body;
use crate::conversion;
use crate::negotiate::{self, Format};
use crate::query::invalid_option;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "PatchOptions";

/// A patch that was read, and the strict problems in its text.
struct Change {
    how: How,
    problems: Vec<String>,
    /// Whether what is wrong is told without what is in the object: errors of Secrets end in logs and terminals.
    hides: bool,
}

enum How {
    Merge(Value),
    Strategic(Value),
    Json(Patch),
}

pub(super) async fn run(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    subresource: Subresource,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let kind = patch_type(call)?;
    if kind == PatchType::Apply {
        return apply::run(server, user, call, format, subresource, bytes).await;
    }
    if call.query.get("force").is_some() {
        let message = "Forbidden: may not be specified for non-apply patch".to_owned();
        return Err(invalid_option(OPTIONS, "force", FieldReason::Forbidden, message));
    }
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let change = Change { hides: call.kind().sealed, ..read(kind, bytes)? };
    let mut warnings = Vec::new();
    let apply = |current: &Object| {
        if subresource == Subresource::Scale {
            return change.apply(&Schema::none(), current.0.clone());
        }
        let value = change.apply(schema_of(call.kind()), current.0.clone())?;
        let (value, found) = decode::patched(call.kind(), value, change.merged(), change.problems.clone(), validation)?;
        warnings = found;
        Ok(value)
    };
    let (object, said) = conversion::modify(server, call, &cluster, subresource, apply).await?;
    warnings.extend(said);
    let content = written(server, call, format, subresource, &object)?;
    warnings.extend(cluster.take_warnings());
    Ok(Reply { code: StatusCode::OK, content, warnings })
}

/// Which type of patch is sent; 415 for one that the kind does not take.
fn patch_type(call: &Call) -> Result<PatchType, Status> {
    let served = served(call.kind());
    PatchType::from_content_type(negotiate::content_type(&call.headers))
        .filter(|kind| served.contains(kind))
        .ok_or_else(|| {
            Status::unsupported_media_type(&served.iter().map(|kind| kind.content_type()).collect::<Vec<_>>())
        })
}

fn served(kind: &Kind) -> Vec<PatchType> {
    let mut served = vec![PatchType::Json, PatchType::Merge];
    if kind.merges_strategically() {
        served.push(PatchType::StrategicMerge);
    }
    served.push(PatchType::Apply);
    served
}

fn read(kind: PatchType, bytes: &[u8]) -> Result<Change, Status> {
    let unreadable = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
    let object = |bytes| {
        let (patch, problems) = decode::parse(bytes).map_err(unreadable)?;
        if patch.is_object() {
            return Ok((patch, problems));
        }
        let what = go_name(&patch);
        Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        )))
    };
    let change = |how, problems| Change { how, problems, hides: false };
    match kind {
        PatchType::Merge => object(bytes).map(|(patch, problems)| change(How::Merge(patch), problems)),
        PatchType::StrategicMerge => object(bytes).map(|(patch, problems)| change(How::Strategic(patch), problems)),
        PatchType::Json => json::read(bytes).map(|(patch, problems)| change(How::Json(patch), problems)),
        PatchType::Apply => Err(Status::unsupported_media_type(&[])),
    }
}

impl Change {
    /// The patch, if it is a strategic one.
    fn merged(&self) -> Option<&Value> {
        match &self.how {
            How::Strategic(patch) => Some(patch),
            How::Merge(_) | How::Json(_) => None,
        }
    }

    fn apply(&self, schema: &Schema, mut value: Value) -> Result<Value, Status> {
        match &self.how {
            How::Merge(patch) => {
                patch::merge(&mut value, patch);
                Ok(value)
            }
            How::Strategic(patch) => {
                let told = |error: StrategicError| if self.hides { error.hidden() } else { error };
                Ok(strategic::apply(schema, value, patch.clone()).map_err(told)?)
            }
            How::Json(patch) => {
                json::apply(&mut value, patch)?;
                Ok(value)
            }
        }
    }
}

/// What Go's decoder calls a JSON value.
fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

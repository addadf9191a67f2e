//! Server-side apply: the file goes to the server, which merges it and knows who owns which field.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Outcome, Placed, version};
use crate::args::DryRun;
use crate::client::{Payload, Refusal, refusal};
use crate::commands::writing::Writing;
use crate::manifest::LAST_APPLIED;

/// Whether files are merged by the server when nothing is said.
pub(super) const DEFAULT: bool = false;

/// Managers whose fields were written by merging on the client, by us or by kubectl.
const CLIENT_SIDE: [&str; 2] = ["wk", "kubectl-client-side-apply"];

/// Applies.
pub(super) async fn apply(writing: &Writing<'_>, object: &Placed<'_>, force: bool) -> anyhow::Result<(Outcome, Value)> {
    let picked = object.picked();
    let live = writing.client.find(&picked.path()).await?;
    if writing.args.dry_run == DryRun::Client {
        let outcome = if live.is_some() { Outcome::Configured } else { Outcome::Created };
        return Ok((outcome, object.document.value.clone()));
    }
    if let Some(live) = live.as_ref().filter(|_| writing.args.dry_run == DryRun::None) {
        migrate(writing, object, live).await?;
    }
    let query = writing.query().with("force", if force { "true" } else { "false" });
    let sent = writing
        .client
        .send(Method::PATCH, &query.on(&picked.path()), Payload::apply_patch(&object.document.value))
        .await;
    let now = sent.map_err(explained)?;
    let outcome = match &live {
        None => Outcome::Created,
        Some(live) if version(live) == version(&now) => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    };
    Ok((outcome, now))
}

/// Says of a conflict what can be done about it.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let Some(refusal) =
        refusal(&error).filter(|refusal| refusal.status == StatusCode::CONFLICT && !refusal.faults.is_empty())
    else {
        return error;
    };
    let mut refusal: Refusal = refusal.clone();
    for fault in &mut refusal.faults {
        fault.field = fault.field.trim_start_matches('.').to_owned();
        fault.message = format!(
            "{}: take it out of the file to leave it to them, or add --force-conflicts to take it",
            fault.message
        );
    }
    refusal.into()
}

/// Makes fields that merging on the client wrote those of the server-side manager: otherwise what the file drops
/// would stay, owned by a manager that never writes again.
async fn migrate(writing: &Writing<'_>, object: &Placed<'_>, live: &Value) -> anyhow::Result<()> {
    let annotated = live.pointer("/metadata/annotations").is_some_and(|all| all.get(LAST_APPLIED).is_some());
    let Some(fields) = annotated.then(|| migrated(live, &writing.args.field_manager)).flatten() else { return Ok(()) };
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version(live)},
        {"op": "replace", "path": "/metadata/managedFields", "value": fields},
        {"op": "remove", "path": format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"))},
    ]);
    let path = object.picked().path();
    writing.client.send(Method::PATCH, &writing.query().on(&path), Payload::json_patch(&patch)).await.map(|_| ())
}

/// The managed fields with the entries of client-side appliers joined into the one of `manager`; `None` if there is
/// nothing to join.
fn migrated(live: &Value, manager: &str) -> Option<Value> {
    let fields = live.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_old = |entry: &&Value| {
        text(entry, "operation") == "Update"
            && text(entry, "subresource").is_empty()
            && CLIENT_SIDE.contains(&text(entry, "manager").as_str())
    };
    let old: Vec<&Value> = fields.iter().filter(is_old).collect();
    let first = old.first()?;
    let mut joined = (*first).clone();
    joined["manager"] = manager.into();
    joined["operation"] = "Apply".into();
    let is_own = |entry: &&Value| text(entry, "operation") == "Apply" && text(entry, "manager") == manager;
    for entry in old.iter().skip(1).copied().chain(fields.iter().filter(is_own)) {
        let more = entry.get("fieldsV1").cloned().unwrap_or_default();
        join(&mut joined["fieldsV1"], &more);
    }
    if let Some(annotations) = joined.pointer_mut("/fieldsV1/f:metadata/f:annotations").and_then(Value::as_object_mut) {
        annotations.remove(&format!("f:{LAST_APPLIED}"));
    }
    let kept = fields.iter().filter(|entry| !is_old(entry) && !is_own(entry)).cloned();
    Some(kept.chain([joined]).collect())
}

/// The union of two sets of fields.
fn join(fields: &mut Value, more: &Value) {
    let (Value::Object(fields), Value::Object(more)) = (fields, more) else { return };
    for (key, more) in more {
        match fields.get_mut(key) {
            Some(known) => join(known, more),
            None => {
                fields.insert(key.clone(), more.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_client_side_apply_become_those_of_the_server_side_manager() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let live = json!({"metadata": {"managedFields": [
            entry("wk", "Update", json!({"f:spec": {"f:a": {}}, "f:metadata": {"f:annotations": {".": {}, format!("f:{LAST_APPLIED}"): {}}}})),
            entry("kubectl-client-side-apply", "Update", json!({"f:spec": {"f:b": {}}})),
            entry("controller", "Update", json!({"f:status": {}})),
        ]}});
        let fields = migrated(&live, "wk").expect("joined");
        assert_eq!(fields[0]["manager"], "controller");
        assert_eq!(
            fields[1],
            entry("wk", "Apply", json!({"f:spec": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:annotations": {".": {}}}}))
        );
        assert_eq!(migrated(&json!({"metadata": {"managedFields": []}}), "wk"), None);
    }
}

//! What a delete does: at once, gracefully (pods on a node), or once the finalizers are gone.
//!
//! Source: `k8s.io/apiserver/pkg/registry` (`rest.BeforeDelete`, `generic/registry.Store.Delete`).

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::bind::set_condition;
use crate::field::{Errors, FieldReason};
use crate::json;
use crate::kind::Kind;
use crate::object::{Object, time_text};
use crate::status::Status;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What happens to what an object owns when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Nothing: the owned objects stay.
    Orphan,
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds the object may take to go.
    pub grace_period_seconds: Option<i64>,
    /// Precondition: the object has this uid.
    pub uid: Option<String>,
    /// Precondition: the object has this resourceVersion.
    pub resource_version: Option<String>,
    /// What happens to owned objects.
    pub propagation: Option<Propagation>,
    /// Only pretend.
    pub dry_run: bool,
    /// Why a pod goes that its owner did not send away. No client says this.
    pub disruption: Option<Disruption>,
}

/// The condition `DisruptionTarget` of a pod that is about to go for the sake of others, in Kubernetes' words (KEP-3329).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disruption {
    /// `DeletionByTaintManager`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: &'static str,
}

/// What a delete does.
#[derive(Debug, Clone, PartialEq)]
pub enum Deletion {
    /// The object goes now.
    Remove,
    /// The object is written back like this, and goes later.
    Mark(Object),
    /// It is already on its way out: nothing changes.
    Nothing,
}

impl DeleteOptions {
    /// Options of a node or controller that wants the object gone now, and means this very object.
    pub fn now(uid: &str) -> Self {
        Self { grace_period_seconds: Some(0), uid: Some(uid.to_owned()), ..Self::default() }
    }

    /// Reads the body of a DELETE; null or an empty object are the defaults.
    pub fn parse(body: &Value) -> Result<Self, Status> {
        if body.is_null() {
            return Ok(Self::default());
        }
        let unfit = |why: &str| {
            Status::bad_request(format!("DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: {why}"))
        };
        let kind = json::text(body, &["kind"]);
        if !body.is_object() || !(kind.is_empty() || kind == "DeleteOptions") {
            return Err(unfit("json: the body is no DeleteOptions"));
        }
        let grace = json::get(body, "gracePeriodSeconds");
        if !(grace.is_null() || grace.is_i64()) {
            let why = "json: cannot unmarshal into Go struct field DeleteOptions.gracePeriodSeconds of type int64";
            return Err(unfit(why));
        }
        let mut errors = Errors::new();
        let propagation = propagation(body, &mut errors);
        let dry_run = json::items(body, &["dryRun"]);
        if let Some(other) = dry_run.iter().find(|item| item.as_str() != Some("All")) {
            errors.not_supported("dryRun", other.as_str().unwrap_or_default(), &["All"]);
        }
        if !errors.is_empty() {
            return Err(Status::invalid_named("meta.k8s.io", "DeleteOptions", "", &errors.into_vec()));
        }
        let precondition =
            |key| Some(json::text(body, &["preconditions", key]).to_owned()).filter(|text: &String| !text.is_empty());
        Ok(Self {
            grace_period_seconds: grace.as_i64(),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            propagation,
            dry_run: !dry_run.is_empty(),
            disruption: None,
        })
    }
}

fn propagation(body: &Value, errors: &mut Errors) -> Option<Propagation> {
    let orphan = json::get(body, "orphanDependents").as_bool();
    match (json::get(body, "propagationPolicy").as_str(), orphan) {
        (Some(_), Some(_)) => {
            errors.invalid(
                "propagationPolicy",
                json::get(body, "propagationPolicy"),
                "orphanDependents and deletionPropagation cannot be both set",
            );
            None
        }
        (Some("Foreground"), None) => Some(Propagation::Foreground),
        (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
        (None | Some(""), None) => None,
        (Some(other), None) => {
            let message = format!(
                "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            );
            errors.push("propagationPolicy", FieldReason::NotSupported, message);
            None
        }
    }
}

/// What a delete does to `object`.
pub fn delete(kind: &Kind, object: &Object, options: &DeleteOptions, now: Timestamp) -> Result<Deletion, Status> {
    preconditions(kind, object, options)?;
    if let Some(why) = (kind.rules.undeletable)(object) {
        return Err(Status::forbidden(kind, object.name(), why));
    }
    let owned = kind.rules.orphans && !object.finalizers().iter().any(|name| [FOREGROUND, ORPHAN].contains(name));
    let finalizers = finalizers(object, options.propagation.or(owned.then_some(Propagation::Orphan)));
    let mut marked = object.clone();
    set_finalizers(&mut marked, &finalizers);
    if let Some(Disruption { reason, message }) = &options.disruption {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": time_text(now),
        });
        set_condition(&mut marked, condition);
    }
    let kept = !finalizers.is_empty() || (kind.rules.held)(object);
    let grace = (kind.rules.grace)(object, options.grace_period_seconds);
    if object.is_deleting() {
        return Ok(again(object, marked, kept, grace.filter(|_| options.grace_period_seconds.is_some())));
    }
    let seconds = grace.unwrap_or_default();
    if seconds == 0 && !kept {
        return Ok(Deletion::Remove);
    }
    let generation = object.generation();
    let metadata = json::object_at(&mut marked.0, "metadata");
    json::set(metadata, "deletionTimestamp", time_text(later(now, seconds)));
    json::set(metadata, "deletionGracePeriodSeconds", seconds);
    if generation > 0 {
        json::set(metadata, "generation", generation + 1);
    }
    (kind.rules.mark)(&mut marked.0);
    Ok(Deletion::Mark(marked))
}

/// A delete of what is being deleted may only shorten the grace period or change the finalizers.
fn again(object: &Object, mut marked: Object, kept: bool, grace: Option<i64>) -> Deletion {
    let pending = object.int("/metadata/deletionGracePeriodSeconds").unwrap_or_default();
    match grace {
        Some(seconds) if seconds < pending => {
            if seconds == 0 && !kept {
                return Deletion::Remove;
            }
            let at = object.deletion_timestamp().map(|at| time_text(later(at, seconds - pending)));
            let metadata = json::object_at(&mut marked.0, "metadata");
            json::set(metadata, "deletionTimestamp", at);
            json::set(metadata, "deletionGracePeriodSeconds", seconds);
            Deletion::Mark(marked)
        }
        _ if pending == 0 && !kept => Deletion::Remove,
        _ if pending == 0 && marked != *object => Deletion::Mark(marked),
        _ => Deletion::Nothing,
    }
}

/// Whether an object that was written like `new` goes away: it was deleted before and the last thing that kept it is
/// gone. The caller removes it in the same transaction.
pub fn removes(kind: &Kind, new: &Object) -> bool {
    new.is_deleting()
        && new.finalizers().is_empty()
        && new.int("/metadata/deletionGracePeriodSeconds").unwrap_or_default() == 0
        && !(kind.rules.held)(new)
}

fn preconditions(kind: &Kind, object: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let broken = |what: &str, wanted: &str, found: &str| {
        let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
        Err(Status::conflict(kind, object.name(), &why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != object.uid() => broken("UID", uid, object.uid()),
        (_, Some(version)) if version != object.resource_version() => {
            broken("ResourceVersion", version, object.resource_version())
        }
        _ => Ok(()),
    }
}

/// The finalizers that the propagation policy asks for; without a policy they stay as they are.
fn finalizers(object: &Object, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = object.finalizers().into_iter().map(str::to_owned).collect();
    let wanted = match propagation {
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers.retain(|name| (name != FOREGROUND && name != ORPHAN) || Some(name.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|name| name == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

fn set_finalizers(object: &mut Object, finalizers: &[String]) {
    if finalizers.is_empty() {
        object.metadata_mut().remove("finalizers");
    } else {
        object.metadata_mut().insert("finalizers".to_owned(), finalizers.iter().cloned().collect());
    }
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

//! Server-side apply: creates the object or merges what is wanted into it. What that does is `wk_api::managed`'s.

use std::sync::Arc;

use serde_json::Value;
use wk_api::decode::{self, FieldValidation};
use wk_api::managed::{self, Apply, Elsewhere, Target};
use wk_api::strategy::Facts;
use wk_api::{Kind, Object, Status};
use wk_base::id;
use wk_store::View;

use crate::read::shown;
use crate::settle::Decision;
use crate::write::{Subresource, Wanted, conditions_of_create};
use crate::{Cluster, definitions, key};

/// What is applied, and to what.
#[derive(Clone)]
pub struct ApplyRequest<'a> {
    /// Of which kind.
    pub kind: &'static Kind,
    /// In which namespace.
    pub namespace: Option<&'a str>,
    /// Which one.
    pub name: &'a str,
    /// Through which face.
    pub subresource: Subresource,
    /// What is wanted.
    pub config: &'a Value,
    /// Whether fields are taken from their owners.
    pub force: bool,
    /// Whether the object may be created, or why not.
    pub create: Result<(), Status>,
    /// What others made of the outcome of the same request tried before: this is written, and only over what they saw.
    pub judged: Option<Judged<'a>>,
    /// What came of it where a webhook converts, and the version that it was merged into: the configuration is not read.
    pub settled: Option<(&'a Settled, Option<&'a str>)>,
}

/// The outcome of an apply in another version than the stored one, converted to that.
#[derive(Debug)]
pub struct Settled {
    /// The object.
    pub value: Value,
    /// Its owners from then on.
    pub owners: Value,
}

/// The outcome of an apply as others want it.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// The object.
    pub value: &'a Value,
    /// The version that it replaces; None when there was none.
    pub over: Option<&'a str>,
}

impl Cluster {
    /// Applies a configuration as the cluster's manager; answers the object and whether it was created.
    pub async fn apply(&self, request: &ApplyRequest<'_>) -> Result<(Arc<Object>, bool), Status> {
        let mut created = false;
        let _turn = self.turn(request.namespace).await;
        let decide = |view: &View| {
            let kind = definitions::current(view, request.kind)?;
            let stored = view.get(&key(kind, request.namespace, request.name));
            created = stored.is_none();
            match stored {
                Some(stored) => self.decide_update(view, kind, &stored, request.subresource, |shown| {
                    self.merged(kind, request, Some(shown))
                }),
                None => self.decide_apply_new(view, kind, request),
            }
        };
        let (object, _) = self.settle(decide, || Status::modified(request.kind, request.name)).await?;
        Ok((shown(request.kind, object), created))
    }

    fn decide_apply_new(&self, view: &View, kind: &Kind, request: &ApplyRequest<'_>) -> Result<Decision, Status> {
        let ApplyRequest { namespace, name, .. } = *request;
        if request.subresource != Subresource::None {
            return Err(Status::not_found(kind, name));
        }
        let wanted = self.merged(kind, request, None)?;
        check_new(kind, name, &wanted.value)?;
        request.create.clone()?;
        let conditions = conditions_of_create(view, kind, namespace, name)?;
        let uid = id::uid();
        let facts = Facts { now: self.clock().now(), uid: &uid, suffix: "" };
        let object = self.made(view, kind, namespace, wanted, &facts)?;
        let mut decision = self.decide_create(view, kind, key(kind, namespace, object.name()), object, &facts)?;
        decision.ops.extend(conditions);
        Ok(decision)
    }

    /// The configuration merged into what is there, with the owners from then on, as they are to be written.
    fn merged(&self, kind: &Kind, request: &ApplyRequest<'_>, live: Option<&Object>) -> Result<Wanted, Status> {
        let now = live.map(Object::resource_version);
        let (value, owners) = match request.settled {
            None => self.merge_as(kind, request, live, &[])?,
            Some((settled, over)) if over == now => (settled.value.clone(), settled.owners.clone()),
            Some(_) => return Err(Status::modified(kind, request.name)),
        };
        let value = match request.judged {
            None => value,
            Some(judged) if judged.over == now => judged.value.clone(),
            Some(_) => return Err(Status::modified(kind, request.name)),
        };
        Ok(Wanted { value, owners: Some(owners) })
    }

    /// The configuration merged into `live`, in the version of the request, and the owners from then on. `elsewhere` is
    /// the object in other versions of which fields are owned.
    pub fn merge(
        &self,
        request: &ApplyRequest<'_>,
        live: Option<&Object>,
        elsewhere: &[Elsewhere],
    ) -> Result<(Value, Value), Status> {
        self.merge_as(request.kind, request, live, elsewhere)
    }

    fn merge_as(
        &self,
        kind: &Kind,
        request: &ApplyRequest<'_>,
        live: Option<&Object>,
        elsewhere: &[Elsewhere],
    ) -> Result<(Value, Value), Status> {
        let target = match request.subresource {
            Subresource::None => Target::object(kind),
            Subresource::Status => Target::status(kind),
            Subresource::Part(part) => Target::subresource(kind, part),
            Subresource::Scale => Target::scale(),
        };
        let (manager, now) = (self.manager.name(), self.clock().now());
        let what = Apply { config: request.config, manager, force: request.force, now, elsewhere };
        let applied = managed::apply(&target, live, what)?;
        let value = match request.subresource {
            Subresource::Scale => applied.value,
            // Without nulls, and with values in their canonical form.
            _ => decode::patched(kind, applied.value, None, Vec::new(), FieldValidation::Ignore)?.0,
        };
        Ok((value, applied.managed_fields))
    }
}

/// What a configuration may not say about an object that is not there.
fn check_new(kind: &Kind, name: &str, body: &Value) -> Result<(), Status> {
    let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default();
    if !text("name").is_empty() && text("name") != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            text("name")
        )));
    }
    if !text("uid").is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {}, and no existing object was found",
            text("uid")
        );
        return Err(Status::conflict(kind, name, &why));
    }
    if !matches!(text("resourceVersion"), "" | "0") {
        return Err(Status::modified(kind, name));
    }
    Ok(())
}

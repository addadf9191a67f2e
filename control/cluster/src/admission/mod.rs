//! Admission: what follows for a write from other objects, and what they forbid. Each file is one of Kubernetes'
//! plug-ins, as a function of a view; what it relies on is written, or refused, in the same transaction.
//!
//! Not here: webhooks and policies in CEL (the API server asks those before it decides), and what an object's own text
//! forbids (`wk-api`).

mod classes;
mod limits;
mod pod_security;
mod priorities;
mod quotas;
mod runtime_classes;
mod service_accounts;
#[cfg(test)]
mod tests;
mod tolerations;

use serde_json::Value;
use wk_api::strategy::{Facts, protection};
use wk_api::{Kind, Object, Status, kinds, taints};
use wk_base::time::Timestamp;
use wk_store::{Op, View};

use crate::guard::Write;

pub(crate) use pod_security::notes;
pub use service_accounts::DEFAULT_SERVICE_ACCOUNT;

/// What comes with an admitted write.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Writes of the same transaction.
    pub ops: Vec<Op>,
    /// What the writer should hear.
    pub warnings: Vec<String>,
}

/// Fills in what a new object left to the cluster. Between defaults and validation.
pub(crate) fn complete(view: &View, kind: &Kind, new: &mut Object) -> Result<(), Status> {
    if *kind == kinds::POD {
        service_accounts::choose(view, new)?;
        limits::fill_in(view, new);
        priorities::resolve(view, new)?;
        tolerations::fill_in(new);
        runtime_classes::resolve(view, new)?;
    } else if *kind == kinds::PERSISTENTVOLUMECLAIM {
        classes::storage(view, new);
    } else if *kind == kinds::INGRESS {
        classes::ingress(view, new);
    }
    protect(kind, new);
    Ok(())
}

/// Kubernetes' plug-in `StorageObjectInUseProtection`.
fn protect(kind: &Kind, new: &mut Object) {
    let Some(own) = protection(kind).filter(|own| !new.finalizers().contains(own)) else { return };
    match &mut new.0["metadata"]["finalizers"] {
        Value::Array(finalizers) => finalizers.push(own.into()),
        none => *none = vec![own].into(),
    }
}

/// What follows from an object for itself, whoever writes it and through whichever face. It is nobody's, as what [`complete`]
/// fills in. Kubernetes' plug-in `TaintNodesByCondition`, and what its controller does a moment later.
pub(crate) fn follow(kind: &Kind, new: &mut Object, now: Timestamp) {
    if *kind == kinds::NODE {
        taints::follow(new, now);
    }
}

/// Whether a valid object may be written.
pub(crate) fn check(write: &Write<'_>, facts: &Facts<'_>) -> Result<Admitted, Status> {
    let Write { view, kind, old, new: Some(new), .. } = *write else { return Ok(Admitted::default()) };
    // A pod that ends runs on until it has: what joins it is judged.
    let warnings = pod_security::check(write)?;
    if old.is_some() && new.is_deleting() {
        return Ok(Admitted { ops: Vec::new(), warnings });
    }
    limits::check(view, kind, old, new)?;
    priorities::check(view, kind, new)?;
    classes::check(view, kind, old, new)?;
    let mut ops = quotas::charge(view, kind, old, new, facts.now)?;
    if old.is_none() {
        ops.extend(service_accounts::with_namespace(view, kind, new, facts)?);
    }
    Ok(Admitted { ops, warnings })
}

/// Objects of a kind in the namespace of `of`.
fn beside(view: &View, kind: &Kind, of: &Object) -> Vec<std::sync::Arc<Object>> {
    let prefix = crate::read::prefix(Some(of.namespace()));
    view.list(kind.collection(), &prefix).map(|stored| crate::object(&stored)).collect()
}

//! Kubernetes' plug-in `Priority`: a pod's class becomes a number, and only one class is everybody's.

use serde_json::Value;
use wk_api::{Kind, Object, Status, kinds};
use wk_store::View;

use crate::{key, object};

const PREEMPT: &str = "PreemptLowerPriority";

/// Sets `spec.priority` and `spec.preemptionPolicy` of a new pod.
pub(super) fn resolve(view: &View, pod: &mut Object) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::forbidden(&kinds::POD, pod.name(), why));
    let named = pod.text("/spec/priorityClassName").to_owned();
    let class = if named.is_empty() {
        default_class(view)
    } else {
        let Some(stored) = view.get(&key(&kinds::PRIORITYCLASS, None, &named)) else {
            return refuse(&format!("no PriorityClass with name {named} was found"));
        };
        Some(object(&stored))
    };
    let priority = class.as_ref().and_then(|class| class.int("/value")).unwrap_or_default();
    let policy = class.as_ref().map_or("", |class| class.text("/preemptionPolicy"));
    let policy = if policy.is_empty() { PREEMPT } else { policy };
    if let Some(given) = pod.int("/spec/priority").filter(|given| *given != priority) {
        return refuse(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        ));
    }
    let given = pod.text("/spec/preemptionPolicy");
    if !given.is_empty() && given != policy {
        return refuse(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        ));
    }
    let spec = &mut pod.0["spec"];
    if let Some(class) = &class {
        spec["priorityClassName"] = class.name().into();
    }
    spec["priority"] = priority.into();
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// The class of pods that name none: of several the one with the lowest value, as in Kubernetes.
fn default_class(view: &View) -> Option<std::sync::Arc<Object>> {
    view.list(kinds::PRIORITYCLASS.collection(), "")
        .map(|stored| object(&stored))
        .filter(|class| is_default(class))
        .min_by_key(|class| class.int("/value").unwrap_or_default())
}

fn is_default(class: &Object) -> bool {
    class.at("/globalDefault") == Some(&Value::Bool(true))
}

/// Refuses a second class that is everybody's.
pub(super) fn check(view: &View, kind: &Kind, new: &Object) -> Result<(), Status> {
    if *kind != kinds::PRIORITYCLASS || !is_default(new) {
        return Ok(());
    }
    match default_class(view).filter(|other| other.name() != new.name()) {
        None => Ok(()),
        Some(other) => {
            let why =
                format!("PriorityClass {} is already marked as default. Only one default can exist", other.name());
            Err(Status::forbidden(kind, new.name(), &why))
        }
    }
}

//! Kubernetes' plug-in `RuntimeClass`: a pod of a class gets what the class says it costs and where it may run.
//!
//! The class's handler means nothing here: a pod's image decides what runs it.

use serde_json::Value;
use wk_api::{Object, Status, kinds};
use wk_store::View;

use crate::{key, object};

/// Sets overhead, node selector and tolerations of a new pod as its class has them.
pub(super) fn resolve(view: &View, pod: &mut Object) -> Result<(), Status> {
    let name = pod.text("/spec/runtimeClassName").to_owned();
    let refuse = |pod: &Object, why: &str| Err(Status::forbidden(&kinds::POD, pod.name(), why));
    let given =
        pod.at("/spec/overhead").filter(|given| given.as_object().is_some_and(|given| !given.is_empty())).cloned();
    let class = if name.is_empty() {
        None
    } else {
        let Some(stored) = view.get(&key(&kinds::RUNTIMECLASS, None, &name)) else {
            return refuse(pod, &format!("pod rejected: RuntimeClass {name:?} not found"));
        };
        Some(object(&stored))
    };
    match (class.as_ref().and_then(|class| class.at("/overhead")), given) {
        (None, Some(_)) => {
            return refuse(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
        }
        (Some(overhead), given) => {
            let fixed = overhead.get("podFixed").cloned().unwrap_or_default();
            if given.is_some_and(|given| given != fixed) {
                return refuse(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
            }
            pod.0["spec"]["overhead"] = fixed;
        }
        (None, None) => {}
    }
    let Some(class) = class else { return Ok(()) };
    for (label, wanted) in class.at("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten() {
        let given = pod.at("/spec/nodeSelector").and_then(|selector| selector.get(label)).cloned();
        if let Some(given) = given.filter(|given| given != wanted) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return refuse(
                pod,
                &format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {}; pod.spec.nodeSelector[{label}] = {}",
                    text(wanted),
                    text(&given)
                ),
            );
        }
        pod.0["spec"]["nodeSelector"][label] = wanted.clone();
    }
    let own = class.items("/scheduling/tolerations");
    if !own.is_empty() {
        let mut all = own.to_vec();
        all.extend(pod.items("/spec/tolerations").iter().filter(|it| !own.contains(it)).cloned());
        pod.0["spec"]["tolerations"] = all.into();
    }
    Ok(())
}

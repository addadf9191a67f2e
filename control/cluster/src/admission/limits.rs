//! Kubernetes' plug-in `LimitRanger`: what containers get when they ask for nothing, and how much may be asked for.

use serde_json::{Map, Value, json};
use wk_api::quota::{Amounts, pod_amounts};
use wk_api::{Kind, Object, Quantity, Status, kinds};
use wk_store::View;

use super::beside;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives containers the default requests and limits of their namespace, and says so in an annotation.
pub(super) fn fill_in(view: &View, pod: &mut Object) {
    for range in beside(view, &kinds::LIMITRANGE, pod) {
        let mut notes = Vec::new();
        for item in of_type(&range, "Container") {
            for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
                let containers = pod.0["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                for container in containers {
                    let name = container["name"].as_str().unwrap_or_default().to_owned();
                    for (to, from, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
                    {
                        let set = merge(container, to, item.get(from));
                        if !set.is_empty() {
                            notes.push(format!("{} {what} for {word} {name}", set.join(", ")));
                        }
                    }
                }
            }
        }
        if !notes.is_empty() {
            let text = format!("LimitRanger plugin set: {}", notes.join("; "));
            let annotations = pod.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
            annotations[ANNOTATION] = text.into();
        }
    }
}

/// Sets those of `defaults` that are missing in `resources[to]` and names them.
fn merge(container: &mut Value, to: &str, defaults: Option<&Value>) -> Vec<String> {
    let mut set = Vec::new();
    let Some(defaults) = defaults.and_then(Value::as_object).filter(|defaults| !defaults.is_empty()) else {
        return set;
    };
    let Some(container) = container.as_object_mut() else { return set };
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(resources) = resources.as_object_mut() else { return set };
    let list = resources.entry(to).or_insert_with(|| Value::Object(Map::new()));
    for (name, amount) in defaults {
        if list.get(name).is_none() {
            list[name] = amount.clone();
            set.push(name.clone());
        }
    }
    set
}

fn of_type<'a>(range: &'a Object, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    range.items("/spec/limits").iter().filter(move |item| item["type"] == kind)
}

/// Refuses pods and claims that ask for too much or too little. A pod's amounts are fixed when it is made.
pub(super) fn check(view: &View, kind: &Kind, old: Option<&Object>, new: &Object) -> Result<(), Status> {
    let is_pod = *kind == kinds::POD && old.is_none();
    if !is_pod && *kind != kinds::PERSISTENTVOLUMECLAIM {
        return Ok(());
    }
    for range in beside(view, &kinds::LIMITRANGE, new) {
        let problems = if is_pod { of_pod(&range, new) } else { of_claim(&range, new) };
        let why = match problems.as_slice() {
            [] => continue,
            [problem] => problem.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        return Err(Status::forbidden(kind, new.name(), &why));
    }
    Ok(())
}

fn of_claim(range: &Object, claim: &Object) -> Vec<String> {
    let requests = amounts(claim.at("/spec/resources/requests"));
    let mut problems = Vec::new();
    for item in of_type(range, "PersistentVolumeClaim") {
        for (name, bound) in amounts(item.get("min")) {
            problems.extend(minimum("PersistentVolumeClaim", &name, bound, requests.get(&name), None));
        }
        for (name, bound) in amounts(item.get("max")) {
            let head = format!("maximum {name} usage per PersistentVolumeClaim is {bound}");
            match requests.get(&name) {
                None => problems.push(format!("{head}.  No request is specified")),
                Some(request) if *request > bound => problems.push(format!("{head}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    problems
}

fn of_pod(range: &Object, pod: &Object) -> Vec<String> {
    let mut problems = Vec::new();
    for item in of_type(range, "Container") {
        for container in ["/spec/containers", "/spec/initContainers"].iter().flat_map(|list| pod.items(list)) {
            let of = |list: &str| amounts(container.pointer(&format!("/resources/{list}")));
            problems.extend(within("Container", item, &of("requests"), &of("limits")));
        }
    }
    for item in of_type(range, "Pod") {
        problems.extend(within("Pod", item, &pod_amounts(pod, "requests"), &pod_amounts(pod, "limits")));
    }
    problems
}

/// Every bound of `item` against what is requested and allowed.
fn within(what: &str, item: &Value, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, bound) in amounts(item.get("min")) {
        problems.extend(minimum(what, &name, bound, requests.get(&name), limits.get(&name)));
    }
    for (name, bound) in amounts(item.get("max")) {
        let head = format!("maximum {name} usage per {what} is {bound}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => problems.push(format!("{head}.  No limit is specified")),
            (_, Some(limit)) if *limit > bound => problems.push(format!("{head}, but limit is {limit}")),
            (Some(request), _) if *request > bound => problems.push(format!("{head}, but request is {request}")),
            _ => {}
        }
    }
    for (name, bound) in amounts(item.get("maxLimitRequestRatio")) {
        problems.extend(ratio(what, &name, bound, requests.get(&name), limits.get(&name)));
    }
    problems
}

fn minimum(
    what: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let head = format!("minimum {name} usage per {what} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if *request < bound => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if *limit < bound => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn ratio(
    what: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {what} is {bound}, but");
    let some = |amount: Option<&Quantity>| amount.copied().filter(|amount| *amount != Quantity::ZERO);
    let Some(request) = some(request) else { return Some(format!("{head} no request is specified or request is 0")) };
    let Some(limit) = some(limit) else { return Some(format!("{head} no limit is specified or limit is 0")) };
    #[expect(clippy::cast_precision_loss, reason = "compared and shown as Kubernetes does")]
    let (found, allowed) = (limit.millis() as f64 / request.millis() as f64, bound.millis() as f64 / 1000.0);
    (found > allowed).then(|| format!("{head} provided ratio is {found:.6}"))
}

fn amounts(map: Option<&Value>) -> Amounts {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount).ok()?))).collect()
}

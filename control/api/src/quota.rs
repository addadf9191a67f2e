//! What an object uses of a quota, and which objects a quota is about. Pure counting: refusing is admission's, keeping
//! `status.used` right is a controller's.
//!
//! Source: `k8s.io/kubernetes/pkg/quota/v1/evaluator/core`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::Kind;
use crate::kinds::{self, pods};
use crate::object::Object;
use crate::quantity::Quantity;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Resources that each container of a pod must name if a quota bounds them.
const MUST_BE_NAMED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that are counted under their plain name, too.
const COUNTED_PLAINLY: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
const STORAGE_CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// What `quota` allows.
pub fn hard(quota: &Object) -> Amounts {
    amounts(quota.at("/spec/hard"))
}

/// What `quota` says is used.
pub fn used(quota: &Object) -> Amounts {
    amounts(quota.at("/status/used"))
}

/// Whether objects of `kind` can use any of `hard`: which collections have to be gone through.
pub fn counts(hard: &Amounts, kind: &Kind) -> bool {
    kind.is_namespaced() && kind.is_storage() && hard.keys().any(|name| is_about(name, kind))
}

fn is_about(name: &str, kind: &Kind) -> bool {
    if name.strip_prefix("count/") == Some(kind.resource().as_str()) {
        return true;
    }
    match kind.resource().as_str() {
        "pods" => {
            name == "pods"
                || ["cpu", "memory", "ephemeral-storage"].contains(&name)
                || name.starts_with("limits.")
                || name.starts_with("hugepages-")
                || (name.starts_with("requests.") && name != "requests.storage")
        }
        "services" => name == "services" || name.starts_with("services."),
        "persistentvolumeclaims" => {
            name == "persistentvolumeclaims" || name == "requests.storage" || name.contains(STORAGE_CLASS_SUFFIX)
        }
        plain => COUNTED_PLAINLY.contains(&plain) && name == plain,
    }
}

/// What `object` uses of `quota`: nothing when the quota's scopes leave it out.
pub fn charge(quota: &Object, kind: &Kind, object: &Object, now: Timestamp) -> Amounts {
    let hard = hard(quota);
    if !counts(&hard, kind) || !in_scope(quota, kind, object) {
        return Amounts::new();
    }
    let mut usage = usage(kind, object, now);
    usage.retain(|name, _| hard.contains_key(name));
    usage
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let before = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), before + *amount);
    }
}

/// `status` of a quota of which `used` is used: zeros included, nothing that it does not bound.
pub fn status(quota: &Object, used: &Amounts) -> Value {
    let shown = |amount: Quantity| Value::from(amount.to_string());
    let hard = hard(quota);
    let used: Map<String, Value> =
        hard.keys().map(|name| (name.clone(), shown(used.get(name).copied().unwrap_or(Quantity::ZERO)))).collect();
    let hard: Map<String, Value> = hard.into_iter().map(|(name, amount)| (name, shown(amount))).collect();
    serde_json::json!({"hard": hard, "used": used})
}

/// What a pod would have to say before `quota` can count it: `must specify limits.cpu for: web`.
pub fn unsaid(quota: &Object, kind: &Kind, object: &Object) -> Option<String> {
    let hard = hard(quota);
    if kind.resource() != "pods" || !in_scope(quota, kind, object) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in MUST_BE_NAMED.iter().filter(|name| hard.contains_key(**name)) {
        let (list, resource) = name.split_once('.').unwrap_or(("requests", name));
        for container in ["/spec/containers", "/spec/initContainers"].iter().flat_map(|at| object.items(at)) {
            if json::dig(container, &["resources", list, resource]).is_null() {
                missing.entry(name).or_default().insert(json::text(container, &["name"]));
            }
        }
    }
    let texts: BTreeSet<String> = missing
        .into_iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.into_iter().collect::<Vec<_>>().join("; ")))
}

fn usage(kind: &Kind, object: &Object, now: Timestamp) -> Amounts {
    let one = Quantity::from_millis(1000);
    let mut usage = Amounts::from([(format!("count/{}", kind.resource()), one)]);
    let resource = kind.resource();
    match resource.as_str() {
        "pods" => pod(object, now, &mut usage),
        "services" => service(object, &mut usage),
        "persistentvolumeclaims" => claim(object, &mut usage),
        plain if COUNTED_PLAINLY.contains(&plain) => {
            usage.insert(resource, one);
        }
        _ => {}
    }
    usage
}

fn pod(object: &Object, now: Timestamp, usage: &mut Amounts) {
    let done = ["Succeeded", "Failed"].contains(&object.text("/status/phase"));
    // The deletion timestamp is when the grace period is over.
    if done || object.deletion_timestamp().is_some_and(|over| over < now) {
        return;
    }
    usage.insert("pods".to_owned(), Quantity::from_millis(1000));
    for (name, amount) in pod_amounts(object, "requests") {
        if ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in pod_amounts(object, "limits") {
        usage.insert(format!("limits.{name}"), amount);
    }
}

/// The `requests` or `limits` of a whole pod: of its containers together, or of an init container that needs more.
pub fn pod_amounts(pod: &Object, list: &str) -> Amounts {
    let of = |container: &Value| amounts(Some(json::dig(container, &["resources", list])));
    let mut sum = Amounts::new();
    for container in pod.items("/spec/containers") {
        add(&mut sum, &of(container));
    }
    let mut beside = Amounts::new();
    let mut most = Amounts::new();
    for container in pod.items("/spec/initContainers") {
        let amounts = of(container);
        let mut then = beside.clone();
        add(&mut then, &amounts);
        // One that is restarted always runs on beside those that follow.
        if json::text(container, &["restartPolicy"]) == "Always" {
            beside = then.clone();
        }
        for (name, amount) in then {
            let entry = most.entry(name).or_insert(Quantity::ZERO);
            *entry = (*entry).max(amount);
        }
    }
    add(&mut sum, &beside);
    for (name, amount) in most {
        let entry = sum.entry(name).or_insert(Quantity::ZERO);
        *entry = (*entry).max(amount);
    }
    for (name, amount) in amounts(pod.at("/spec/overhead")) {
        if let Some(entry) = sum.get_mut(&name) {
            *entry = *entry + amount;
        } else if list == "requests" {
            sum.insert(name, amount);
        }
    }
    sum
}

fn service(object: &Object, usage: &mut Amounts) {
    let count = |count: usize| Quantity::from_millis(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1000));
    let ports = object.items("/spec/ports");
    let (balancers, node_ports) = match object.text("/spec/type") {
        "NodePort" => (0, ports.len()),
        "LoadBalancer" if object.at("/spec/allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) => {
            (1, ports.iter().filter(|port| json::int(port, &["nodePort"]).unwrap_or_default() != 0).count())
        }
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    usage.insert("services".to_owned(), count(1));
    usage.insert("services.loadbalancers".to_owned(), count(balancers));
    usage.insert("services.nodeports".to_owned(), count(node_ports));
}

fn claim(object: &Object, usage: &mut Amounts) {
    let one = Quantity::from_millis(1000);
    let storage = object.at("/spec/resources/requests/storage").and_then(|amount| Quantity::from_value(amount).ok());
    let storage = storage.unwrap_or(Quantity::ZERO);
    usage.insert("persistentvolumeclaims".to_owned(), one);
    usage.insert("requests.storage".to_owned(), storage);
    // Before claims had a field for it they were annotated with their class.
    let annotated = object.annotation("volume.beta.kubernetes.io/storage-class");
    let class = annotated.unwrap_or_else(|| object.text("/spec/storageClassName"));
    if !class.is_empty() {
        usage.insert(format!("{class}{STORAGE_CLASS_SUFFIX}persistentvolumeclaims"), one);
        usage.insert(format!("{class}{STORAGE_CLASS_SUFFIX}requests.storage"), storage);
    }
}

/// Whether the scopes of `quota` let `object` in. A quota with scopes is about pods only.
fn in_scope(quota: &Object, kind: &Kind, object: &Object) -> bool {
    let scopes = quota.items("/spec/scopes");
    let expressions = quota.items("/spec/scopeSelector/matchExpressions");
    if scopes.is_empty() && expressions.is_empty() {
        return true;
    }
    *kind == kinds::POD
        && scopes.iter().filter_map(Value::as_str).all(|scope| has_scope(object, scope))
        && expressions.iter().all(|expression| selected(object, expression))
}

fn has_scope(pod: &Object, scope: &str) -> bool {
    let best_effort = || pods::qos_class(pod.at("/spec").unwrap_or(&Value::Null)) == "BestEffort";
    let terminating = || pod.int("/spec/activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => !pod.text("/spec/priorityClassName").is_empty(),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn selected(pod: &Object, expression: &Value) -> bool {
    let scope = json::text(expression, &["scopeName"]);
    if scope != "PriorityClass" {
        return has_scope(pod, scope);
    }
    let class = pod.text("/spec/priorityClassName");
    let among = json::items(expression, &["values"]).iter().any(|value| value == class);
    match json::text(expression, &["operator"]) {
        "Exists" => !class.is_empty(),
        "DoesNotExist" => class.is_empty(),
        "In" => !class.is_empty() && among,
        "NotIn" => !among,
        _ => false,
    }
}

fn crosses_namespaces(pod: &Object) -> bool {
    let crosses = |term: &Value| {
        !json::items(term, &["namespaces"]).is_empty() || !json::get(term, "namespaceSelector").is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|affinity| {
        let affinity = json::dig(&pod.0, &["spec", "affinity", affinity]);
        json::items(affinity, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter().any(crosses)
            || json::items(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .any(|weighted| crosses(json::get(weighted, "podAffinityTerm")))
    })
}

fn amounts(map: Option<&Value>) -> Amounts {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::{CONFIGMAP, PERSISTENTVOLUMECLAIM, POD, SERVICE};

    fn charged(hard: &Value, more: &Value, kind: &Kind, object: &Value) -> String {
        let mut quota = json!({"spec": {"hard": hard}});
        crate::patch::merge(&mut quota, &json!({"spec": more}));
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        let usage = charge(&Object::new(quota), kind, &Object::new(object.clone()), now);
        usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn what_an_object_uses_is_counted_as_in_kubernetes() {
        let container =
            |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}});
        let pod =
            json!({"spec": {"containers": [container("1"), container("500m")], "initContainers": [container("4")]}});
        let all = json!({"cpu": "1", "requests.cpu": "1", "limits.memory": "1", "pods": "1", "count/pods": "1", "secrets": "1"});
        for (kind, object, hard, used) in [
            (&POD, pod.clone(), all.clone(), "count/pods=1,cpu=4,limits.memory=2Gi,pods=1,requests.cpu=4"),
            (&POD, json!({"status": {"phase": "Failed"}}), all.clone(), "count/pods=1"),
            (&POD, json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}}), all.clone(), "count/pods=1"),
            (
                &CONFIGMAP,
                json!({}),
                json!({"configmaps": "1", "count/configmaps": "9"}),
                "configmaps=1,count/configmaps=1",
            ),
            (&CONFIGMAP, json!({}), all, ""),
            (
                &SERVICE,
                json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
                json!({"services": "1", "services.loadbalancers": "1", "services.nodeports": "1"}),
                "services=1,services.loadbalancers=1,services.nodeports=2",
            ),
            (
                &PERSISTENTVOLUMECLAIM,
                json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}}),
                json!({"requests.storage": "1", "fast.storageclass.storage.k8s.io/requests.storage": "1"}),
                "fast.storageclass.storage.k8s.io/requests.storage=1Gi,requests.storage=1Gi",
            ),
            (
                &PERSISTENTVOLUMECLAIM,
                json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}}}),
                json!({"fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1"}),
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1",
            ),
        ] {
            assert_eq!(charged(&hard, &json!({}), kind, &object), used, "{kind}");
        }
    }

    #[test]
    fn scopes_let_in_what_they_name() {
        let pods = json!({"pods": "1"});
        let high = json!({"spec": {"priorityClassName": "high", "containers": []}});
        let select = |operator: &str| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
        };
        for (more, pod, counted) in [
            (json!({"scopes": ["BestEffort"]}), high.clone(), true),
            (json!({"scopes": ["NotBestEffort"]}), high.clone(), false),
            (json!({"scopes": ["Terminating"]}), high.clone(), false),
            (json!({"scopes": ["Terminating"]}), json!({"spec": {"activeDeadlineSeconds": 1}}), true),
            (select("In"), high.clone(), true),
            (select("NotIn"), high, false),
            (select("In"), json!({"spec": {}}), false),
        ] {
            assert_eq!(charged(&pods, &more, &POD, &pod), if counted { "pods=1" } else { "" }, "{more}");
        }
        let services = charged(&json!({"services": "1"}), &json!({"scopes": ["BestEffort"]}), &SERVICE, &json!({}));
        assert_eq!(services, "", "a quota with scopes is about pods only");
    }

    #[test]
    fn containers_must_say_what_a_quota_bounds() {
        let quota = Object::new(json!({"spec": {"hard": {"limits.cpu": "1", "requests.memory": "1", "pods": "1"}}}));
        let pod = Object::new(json!({"spec": {"containers": [
            {"name": "b"}, {"name": "a", "resources": {"requests": {"memory": "1"}}}]}}));
        assert_eq!(unsaid(&quota, &POD, &pod).unwrap(), "must specify limits.cpu for: a,b; requests.memory for: b");
    }
}

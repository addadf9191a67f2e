//! Pods: their row, what their status starts with, and what of a running pod may change.
//!
//! Kubernetes binds a pod at `/binding`. Here an ordinary update may set `spec.nodeName` once.

mod printed;
mod update;

use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::defaults;
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules, Subresource};
use crate::object::Object;
use crate::pick::Pick;
use crate::quantity::Quantity;
use crate::validate;

/// `Pod`.
pub static POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    has_status: true,
    acts: true,
    subresources: &[
        Subresource { name: "binding", group: "", version: "", kind: "Binding", verbs: &["create"] },
        Subresource { name: "debug", group: "wk.dev", version: "v1", kind: "PodDebug", verbs: &["get"] },
        Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: &["create"] },
        Subresource { name: "resize", group: "", version: "", kind: "Pod", verbs: &["get", "patch", "update"] },
        Subresource { name: "log", group: "", version: "", kind: "Pod", verbs: &["get"] },
        Subresource::connect("attach", "PodAttachOptions"),
        Subresource::connect("exec", "PodExecOptions"),
        Subresource::connect("portforward", "PodPortForwardOptions"),
        Subresource::proxy("PodProxyOptions"),
    ],
    collection: "core/pods",
    rules: Rules {
        schema: Pod::json_schema,
        generation: Generation::Spec,
        default: |value| {
            let spec = json::object_at(value, "spec");
            defaults::pod::spec(spec);
            defaults::pod::pod(spec);
        },
        prepare_create: |value| {
            let class = qos_class(json::get(value, "spec"));
            let mut status = json!({"phase": "Pending", "qosClass": class});
            if !json::items(value, &["spec", "schedulingGates"]).is_empty() {
                let message = "Scheduling is blocked due to non-empty scheduling gates";
                status["conditions"] = json!([{
                    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message,
                }]);
            }
            json::set(value, "status", status);
        },
        validate: |value, errors| validate::pod::spec(errors, json::get(value, "spec"), "spec"),
        validate_create: update::create,
        validate_update: update::check,
        parts: &[update::EPHEMERAL_CONTAINERS],
        fields: &FIELDS,
        selected: Some(SELECTED),
        columns: &printed::COLUMNS,
        cells: printed::cells,
        shown: printed::SHOWN,
        grace: |pod, asked| Some(grace(pod, asked)),
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

static FIELDS: [FieldLabel; 11] = [
    FieldLabel { label: "spec.nodeName", read: |object| object.text("/spec/nodeName").to_owned() },
    FieldLabel { label: "spec.restartPolicy", read: |object| object.text("/spec/restartPolicy").to_owned() },
    FieldLabel { label: "spec.schedulerName", read: |object| object.text("/spec/schedulerName").to_owned() },
    FieldLabel { label: "spec.serviceAccountName", read: |object| object.text("/spec/serviceAccountName").to_owned() },
    FieldLabel {
        label: "spec.hostNetwork",
        read: |object| json::flag(&object.0, &["spec", "hostNetwork"]).to_string(),
    },
    FieldLabel { label: "status.phase", read: |object| object.text("/status/phase").to_owned() },
    FieldLabel { label: "status.podIP", read: |object| object.text("/status/podIP").to_owned() },
    FieldLabel { label: "status.podIPs", read: |object| object.text("/status/podIP").to_owned() },
    FieldLabel {
        label: "status.nominatedNodeName",
        read: |object| object.text("/status/nominatedNodeName").to_owned(),
    },
    FieldLabel { label: "metadata.name", read: |object| object.name().to_owned() },
    FieldLabel { label: "metadata.namespace", read: |object| object.namespace().to_owned() },
];

/// What [`FIELDS`] read, and the labels.
const SELECTED: Pick = Pick::Of(&[
    ("metadata", Pick::Of(&[("labels", Pick::All), ("name", Pick::All), ("namespace", Pick::All)])),
    (
        "spec",
        Pick::Of(&[
            ("hostNetwork", Pick::All),
            ("nodeName", Pick::All),
            ("restartPolicy", Pick::All),
            ("schedulerName", Pick::All),
            ("serviceAccountName", Pick::All),
        ]),
    ),
    ("status", Pick::Of(&[("nominatedNodeName", Pick::All), ("phase", Pick::All), ("podIP", Pick::All)])),
]);

/// Whether the pod has run its course: phase Succeeded or Failed.
pub fn is_finished(pod: &Object) -> bool {
    matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
}

/// Whether the pod's condition Ready is True.
pub fn is_ready(pod: &Object) -> bool {
    pod.items("/status/conditions")
        .iter()
        .any(|entry| json::text(entry, &["type"]) == "Ready" && json::text(entry, &["status"]) == "True")
}

/// Seconds a deleted pod may take. One that no node has, or that has finished, goes at once.
fn grace(pod: &Object, asked: Option<i64>) -> i64 {
    const DEFAULT: i64 = 30;
    if pod.text("/spec/nodeName").is_empty() || is_finished(pod) {
        return 0;
    }
    let seconds = asked.or_else(|| pod.int("/spec/terminationGracePeriodSeconds")).unwrap_or(DEFAULT);
    if seconds < 0 { 1 } else { seconds }
}

/// `Guaranteed`, `Burstable` or `BestEffort`: from requests and limits for CPU and memory of all containers.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || json::items(spec, &["containers"]).iter().chain(json::items(spec, &["initContainers"]));
    let amount = |container: &Value, list: &str, name: &str| {
        let quantity = Quantity::from_value(json::dig(container, &["resources", list, name])).ok();
        quantity.filter(|quantity| *quantity > Quantity::ZERO)
    };
    let resources = ["cpu", "memory"];
    let asks = |container: &Value| {
        resources
            .iter()
            .any(|name| amount(container, "limits", name).is_some() || amount(container, "requests", name).is_some())
    };
    let bound = |container: &Value| {
        resources.iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && amount(container, "requests", name).or(limit) == limit
        })
    };
    if !containers().any(asks) {
        "BestEffort"
    } else if containers().all(bound) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

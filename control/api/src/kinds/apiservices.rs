//! APIServices: which group versions there are and who serves them. Here each peer serves all of them itself, so they
//! are made when they are read, as Kubernetes makes its `Local` ones.
//!
//! Not here: servers behind other servers (aggregation), which wk does not have.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use schemars::JsonSchema as _;
use serde_json::json;

use crate::json;
use crate::kind::{Kind, Rules, Scope, Serving};
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};

/// `APIService`.
pub static APISERVICE: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    scope: Scope::Cluster,
    serving: Serving::Computed,
    acts: true,
    collection: "apiregistration.k8s.io/apiservices",
    rules: Rules {
        schema: APIService::json_schema,
        columns: &[
            NAME,
            text("Service", "Who serves the version; Local for the server that was asked."),
            text("Available", "Whether it can be asked."),
            AGE,
        ],
        cells: |object, now| {
            let conditions = object.items("/status/conditions");
            let available = conditions.iter().find(|entry| json::text(entry, &["type"]) == "Available");
            let status = available.map_or("Unknown", |entry| json::text(entry, &["status"]));
            vec![object.name().into(), "Local".into(), status.into(), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Kubernetes' priority of the core group, which comes before all others.
const CORE_PRIORITY: i32 = 18_000;
/// Kubernetes' priority of the first group after it; those of custom resources get 1000.
const GROUP_PRIORITY: i32 = 17_000;
/// The priority of a version when others of its group come before it.
const VERSION_PRIORITY: i32 = 15;

/// The APIService of one group version. `place` is where the group comes in discovery, counted from 0; `version_place`
/// where the version comes in its group.
pub fn api_service(group: &str, version: &str, place: usize, version_place: usize) -> Object {
    let less = |from: i32, by: usize| from.saturating_sub(i32::try_from(by).unwrap_or(i32::MAX)).max(1);
    let priority = if group.is_empty() { CORE_PRIORITY } else { less(GROUP_PRIORITY, place) };
    let mut spec = json!({
        "groupPriorityMinimum": priority,
        "version": version,
        "versionPriority": less(VERSION_PRIORITY, version_place),
    });
    if !group.is_empty() {
        json::set(&mut spec, "group", group);
    }
    Object::new(json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": format!("{version}.{group}"),
            "labels": { "kube-aggregator.kubernetes.io/automanaged": "onstart" },
        },
        "spec": spec,
        "status": { "conditions": [{
            "type": "Available",
            "status": "True",
            "reason": "Local",
            "message": "Local APIServices are always available",
        }] },
    }))
}

//! `metrics.k8s.io`: what nodes and pods use. Made when it is read, of what the nodes tell.
//!
//! The shapes are those of Kubernetes' metrics server (`k8s.io/metrics/pkg/apis/metrics/v1beta1`).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::{Column, Kind, Rules, Scope, Serving};
use crate::object::Object;
use crate::quantity::Quantity;
use crate::table::{NAME, text};

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// `PodMetrics`.
pub static PODMETRICS: Kind = Kind {
    kind: "PodMetrics",
    plural: "pods",
    scope: Scope::Namespaced,
    collection: "metrics.k8s.io/pods",
    ..metrics(|generator| {
        let container = json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "usage": amounts()},
        });
        schema(generator, "containers", json!({"type": "array", "items": container}))
    })
};

/// `NodeMetrics`.
pub static NODEMETRICS: Kind = Kind {
    kind: "NodeMetrics",
    plural: "nodes",
    scope: Scope::Cluster,
    collection: "metrics.k8s.io/nodes",
    ..metrics(|generator| schema(generator, "usage", amounts()))
};

const COLUMNS: &[Column] = &[
    NAME,
    text("CPU", "Cores used, over the window."),
    text("Memory", "Bytes held."),
    text("Window", "The time over which the use of cores was measured."),
];

const fn metrics(schema: fn(&mut SchemaGenerator) -> Schema) -> Kind {
    Kind {
        group: GROUP,
        version: VERSION,
        serving: Serving::Computed,
        acts: true,
        rules: Rules {
            schema,
            columns: COLUMNS,
            cells: |object, _| {
                let amount = |what: &str| {
                    let whole = object.at("/usage").into_iter();
                    let parts = object.items("/containers").iter().filter_map(|container| container.get("usage"));
                    let amounts = whole.chain(parts).filter_map(|usage| Quantity::from_value(usage.get(what)?).ok());
                    amounts.fold(Quantity::ZERO, |sum, amount| sum + amount).to_string()
                };
                vec![object.name().into(), amount("cpu").into(), amount("memory").into(), object.text("/window").into()]
            },
            ..Rules::PLAIN
        },
        ..Kind::PLAIN
    }
}

fn amounts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

fn schema(generator: &mut SchemaGenerator, field: &str, value: Value) -> Schema {
    let metadata = generator.subschema_for::<ObjectMeta>();
    let mut schema = json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
            "timestamp": {"type": "string", "format": "date-time"}, "window": {"type": "string"},
        },
    });
    schema["properties"][field] = value;
    Schema::try_from(schema).unwrap_or_default()
}

/// What something uses: billionths of a core, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Billionths of a core.
    pub nanocores: u64,
    /// Bytes.
    pub memory: u64,
}

impl Amounts {
    /// As the metrics server writes it: `1234n` and `56Ki`.
    fn value(self) -> Value {
        json!({"cpu": format!("{}n", self.nanocores), "memory": format!("{}Ki", self.memory.div_ceil(1024))})
    }
}

/// The metrics of `pod`, container by container, measured at `now` over `window`.
pub fn pod_metrics(pod: &Object, containers: &[(&str, Amounts)], window: Duration, now: Timestamp) -> Object {
    let containers: Vec<Value> =
        containers.iter().map(|(name, amounts)| json!({"name": name, "usage": amounts.value()})).collect();
    let mut object = measured("PodMetrics", pod, window, now);
    json::set(&mut object["metadata"], "namespace", pod.namespace());
    object["containers"] = containers.into();
    Object::new(object)
}

/// The metrics of `node`.
pub fn node_metrics(node: &Object, amounts: Amounts, window: Duration, now: Timestamp) -> Object {
    let mut object = measured("NodeMetrics", node, window, now);
    object["usage"] = amounts.value();
    Object::new(object)
}

fn measured(kind: &str, of: &Object, window: Duration, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // As Go prints a duration: `15.002s`.
    let window = format!("{}s", window.as_secs_f64() as f32);
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": {"name": of.name(), "creationTimestamp": now},
        "timestamp": now, "window": window,
    });
    if let Some(labels) = of.at("/metadata/labels") {
        object["metadata"]["labels"] = labels.clone();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_read_as_the_metrics_server_writes_them() {
        let pod = Object::new(json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}}}));
        let amounts = Amounts { nanocores: 1_500_000, memory: 2049 };
        let now = "2026-11-21T10:00:00Z".parse().expect("a time");
        let metrics = pod_metrics(&pod, &[("a", amounts), ("b", amounts)], Duration::from_secs(15), now);
        assert_eq!(metrics.at("/containers/0/usage"), Some(&json!({"cpu": "1500000n", "memory": "3Ki"})));
        assert_eq!((metrics.text("/window"), metrics.namespace(), metrics.label("app")), ("15s", "shop", Some("web")));
        let cells = (PODMETRICS.rules.cells)(&metrics, now);
        assert_eq!(cells, [json!("web-1"), json!("3m"), json!("6Ki"), json!("15s")]);
    }
}

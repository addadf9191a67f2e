//! The limits that a readable golden would be too long for.

use std::collections::BTreeMap;

use serde_json::json;
use wk_api::Object;
use wk_plan::{Order, endpointslice, events, podgc, scheduler};

fn pods(count: usize, phase: &str) -> Vec<Object> {
    let pod = |index: usize| {
        Object::new(json!({
            "metadata": {"name": format!("p{index:05}"), "namespace": "default", "uid": format!("u{index:05}"),
                "labels": {"app": "web"}},
            "spec": {"nodeName": "n1"},
            "status": {"phase": phase, "podIP": format!("10.128.{}.{}", index / 250, index % 250)},
        }))
    };
    (0..count).map(pod).collect()
}

#[test]
fn slice_has_a_thousand_endpoints_at_most() {
    let service = Object::new(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
    let pods = pods(1500, "Running");
    let pods: Vec<&Object> = pods.iter().collect();
    let plan = endpointslice::plan(&endpointslice::Input { service: &service, pods: &pods, slices: &[] });
    let sizes = plan.orders.iter().map(|order| match order {
        Order::Create { object, .. } => object["endpoints"].as_array().map_or(0, Vec::len),
        other => panic!("unexpected {other}"),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [1000, 500]);
}

#[test]
fn oldest_finished_pods_beyond_the_limit_are_removed() {
    let node = Object::new(json!({"metadata": {"name": "n1"}}));
    let pods = pods(3002, "Succeeded");
    let pods: Vec<&Object> = pods.iter().collect();
    let plan = podgc::plan(
        &podgc::Input { pods: &pods, nodes: &[&node], absent: &BTreeMap::new() },
        "2025-01-01T00:00:00Z".parse().expect("a time"),
    );
    let names: Vec<String> = plan.orders.iter().map(Order::headline).collect();
    assert_eq!(
        names,
        ["delete pods default/p00000 uid=u00000 grace=0", "delete pods default/p00001 uid=u00001 grace=0"]
    );
}

#[test]
fn oldest_events_beyond_the_limit_are_removed() {
    let event = |index: usize| {
        let minute = index % 60;
        Object::new(json!({"metadata": {"name": format!("e{index:05}"), "namespace": "default", "uid": "u"},
            "lastTimestamp": format!("2025-01-01T00:{minute:02}:00Z")}))
    };
    let events: Vec<events::Seen> = (0..5003).map(|index| events::Seen::of(&event(index))).collect();
    let now = "2025-01-01T00:59:30Z".parse().expect("time");
    let plan = events::plan(&events::Input { events: &events }, now);
    assert_eq!(plan.orders.len(), 3);
    assert!(plan.orders.iter().all(|order| order.headline().starts_with("delete events default/e0")));
}

#[test]
fn hundred_pods_at_most_are_told_why_they_wait_in_one_plan() {
    let mut pods = pods(250, "Pending");
    for pod in &mut pods {
        pod.0["spec"] = json!({"containers": [{"name": "c"}]});
    }
    let pods: Vec<&Object> = pods.iter().collect();
    let now = "2025-01-01T00:10:00Z".parse().expect("time");
    let (nominated, placed, nodes, claims, volumes, namespaces, budgets) = (&[], &[], &[], &[], &[], &[], &[]);
    let input = scheduler::Input { pods: &pods, nominated, placed, nodes, claims, volumes, namespaces, budgets };
    let plan = scheduler::plan(&input, now);
    let told = plan.orders.iter().filter(|order| order.headline().starts_with("status pods"));
    assert_eq!(told.count(), 100);
    assert_eq!(plan.report.len(), 101);
    assert_eq!(plan.due, Some("2025-01-01T00:10:01Z".parse().expect("time")));
}

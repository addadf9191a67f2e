//! What a DaemonSet does on which node.

use super::*;

const NOW: &str = "2025-01-01T01:00:00Z";

fn set(image: &str) -> Object {
    Object::new(json!({
        "metadata": {"name": "logs", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "logs"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {
                "metadata": {"labels": {"app": "logs"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }))
}

fn node(name: &str) -> Object {
    Object::new(json!({
        "metadata": {"name": name, "labels": {"disk": name}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }))
}

fn hash(set: &Object) -> String {
    Present::of(set, &[], &BTreeSet::new()).hash
}

fn pod_on(node: &str, of: &Object, ready: bool) -> Object {
    Object::new(json!({
        "metadata": {
            "name": format!("logs-{node}"), "namespace": "default", "uid": node,
            "labels": {"app": "logs", revisions::HASH_LABEL: hash(of)},
            "creationTimestamp": "2025-01-01T00:00:00Z",
            "ownerReferences": [{"uid": "d", "controller": true, "kind": "DaemonSet", "name": "logs"}],
        },
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2025-01-01T00:00:01Z"}]},
    }))
}

fn revision_of(set: &Object, number: i64) -> Object {
    let hash = hash(set);
    let metadata = json!({"name": format!("logs-{hash}"), "namespace": "default", "uid": hash,
        "labels": {"app": "logs", revisions::HASH_LABEL: hash}});
    Object::new(json!({"metadata": metadata, "revision": number}))
}

fn planned(set: &Object, pods: &[&Object], nodes: &[&Object]) -> Plan {
    let revisions = [revision_of(set, 1)];
    let input = Input {
        daemonset: set,
        pods,
        orphans: &[],
        revisions: &[&revisions[0]],
        orphan_revisions: &[],
        taken: &BTreeSet::new(),
        nodes,
    };
    plan(&input, NOW.parse().expect("a time"))
}

/// `+node` for a pod that is made, `-pod` for one that goes.
fn changes(plan: &Plan) -> Vec<String> {
    let changes = plan.orders.iter().filter_map(|order| match order {
        Order::Create { kind, object, .. } if **kind == kinds::POD => {
            Some(format!("+{}", object["spec"]["nodeName"].as_str().unwrap_or_default()))
        }
        Order::Delete { target, .. } => Some(format!("-{}", target.name)),
        _ => None,
    });
    changes.collect()
}

fn said(plan: &Plan) -> Value {
    let status = plan.orders.iter().find_map(|order| match order {
        Order::Status { change, .. } => Some(change["status"].clone()),
        _ => None,
    });
    status.expect("a status")
}

#[test]
fn each_node_that_is_meant_has_one_pod() {
    let (set, one, two, mut three) = (set("a"), node("n1"), node("n2"), node("n3"));
    three.0["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
                                       {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
    let there = pod_on("n1", &set, true);
    let plan = planned(&set, &[&there], &[&one, &two, &three]);
    assert_eq!(changes(&plan), ["+n2"], "nobody would take it up on a silent node");
    let Some(Order::Create { object, .. }) = plan.orders.iter().find(|order| matches!(order, Order::Create { .. }))
    else {
        panic!("a pod")
    };
    assert_eq!(object["metadata"]["labels"][revisions::HASH_LABEL], hash(&set));
    assert!(object["spec"]["tolerations"].to_string().contains("node.kubernetes.io/unreachable"));
    let status = said(&plan);
    let numbers = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberUnavailable"];
    assert_eq!(numbers.map(|number| status[number].as_i64()), [Some(2), Some(1), Some(1), Some(1)]);
}

#[test]
fn selectors_and_taints_say_which_nodes_are_meant() {
    let (one, mut two) = (node("n1"), node("n2"));
    let mut picky = set("a");
    picky.0["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "n1"});
    let wrong = pod_on("n2", &picky, true);
    assert_eq!(changes(&planned(&picky, &[&wrong], &[&one, &two])), ["+n1", "-logs-n2"]);
    let set = set("a");
    let (first, second) = (pod_on("n1", &set, true), pod_on("n2", &set, true));
    two.0["spec"]["taints"] = json!([{"key": "x", "effect": "NoSchedule"}]);
    let plan = planned(&set, &[&first, &second], &[&one, &two]);
    assert!(changes(&plan).is_empty(), "one that is there stays");
    assert_eq!(said(&plan)["numberMisscheduled"], 1);
    two.0["spec"]["taints"][0]["effect"] = "NoExecute".into();
    assert_eq!(changes(&planned(&set, &[&first, &second], &[&one, &two])), ["-logs-n2"]);
    // Cordoned nodes are for daemons too.
    two.0["spec"]["taints"][0] = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    assert_eq!(changes(&planned(&set, &[&first], &[&one, &two])), ["+n2"]);
}

#[test]
fn new_template_replaces_as_many_pods_as_may_be_missing() {
    let (old, new) = (set("a"), set("b"));
    let nodes = [node("n1"), node("n2"), node("n3")];
    let nodes: Vec<&Object> = nodes.iter().collect();
    let pods = ["n1", "n2", "n3"].map(|name| pod_on(name, &old, true));
    let all: Vec<&Object> = pods.iter().collect();
    assert_eq!(changes(&planned(&new, &all, &nodes)), ["-logs-n1"]);
    let broken = pod_on("n2", &old, false);
    assert_eq!(changes(&planned(&new, &[&pods[0], &broken, &pods[2]], &nodes)), ["-logs-n2"], "nobody misses it");
    let mut two = new.clone();
    two.0["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = json!("50%");
    assert_eq!(changes(&planned(&two, &all, &nodes)).len(), 2);
    let mut manual = new;
    manual.0["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    assert!(changes(&planned(&manual, &all, &nodes)).is_empty());
}

#[test]
fn pod_that_ended_is_followed_by_another_after_a_while() {
    let (set, node) = (set("a"), node("n1"));
    let mut ended = pod_on("n1", &set, false);
    ended.0["status"]["phase"] = "Failed".into();
    assert_eq!(changes(&planned(&set, &[&ended], &[&node])), ["-logs-n1"]);
    ended.0["metadata"]["creationTimestamp"] = "2025-01-01T00:59:55Z".into();
    let plan = planned(&set, &[&ended], &[&node]);
    assert!(changes(&plan).is_empty());
    assert_eq!(plan.due.map(|due| due.to_string()).as_deref(), Some("2025-01-01T01:00:05Z"));
}

#[test]
fn templates_have_revisions_and_one_that_comes_back_is_the_latest() {
    let (first, second) = (set("a"), set("b"));
    let revisions = [revision_of(&first, 1), revision_of(&second, 2)];
    let numbers = |set: &Object, revisions: &[&Object]| {
        let input = Input {
            daemonset: set,
            pods: &[],
            orphans: &[],
            revisions,
            orphan_revisions: &[],
            taken: &BTreeSet::new(),
            nodes: &[],
        };
        let plan = plan(&input, NOW.parse().expect("a time"));
        let numbers = plan.orders.iter().filter_map(|order| match order {
            Order::Create { object, .. } => object["revision"].as_i64(),
            Order::Update { change, .. } => change["revision"].as_i64(),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(numbers(&first, &[]), [1]);
    assert_eq!(numbers(&second, &[&revisions[0]]), [2]);
    assert_eq!(numbers(&second, &[&revisions[0], &revisions[1]]), [] as [i64; 0]);
    assert_eq!(numbers(&first, &[&revisions[0], &revisions[1]]), [3]);
    // Somebody wrote the present template down by hand, and deleted what the set had made.
    let mut by_hand = revision_of(&second, 2);
    by_hand.0["data"] = json!({"spec": {"template": first.0["spec"]["template"]}});
    by_hand.0["data"]["spec"]["template"]["$patch"] = "replace".into();
    by_hand.0["metadata"]["labels"][revisions::HASH_LABEL] = "other".into();
    assert_eq!(numbers(&first, &[&by_hand]), [] as [i64; 0]);
    assert_eq!(numbers(&second, &[&by_hand]), [3]);
}

#[test]
fn what_was_left_of_a_set_of_this_name_is_taken_up() {
    let (set, node) = (set("a"), node("n1"));
    let (left, mut others) = (revision_of(&set, 4), revision_of(&set, 1));
    others.0["metadata"]["labels"]["app"] = "other".into();
    let plan = |revisions: &[&Object], orphan_revisions: &[&Object]| {
        let input = Input {
            daemonset: &set,
            pods: &[],
            orphans: &[],
            revisions,
            orphan_revisions,
            taken: &BTreeSet::new(),
            nodes: &[&node],
        };
        plan(&input, NOW.parse().expect("a time"))
    };
    let first = plan(&[], &[&left, &others]);
    let [Order::Update { target, change }] = &first.orders[..] else { panic!("{first}") };
    assert_eq!((target.name.as_str(), &change["metadata"]["ownerReferences"][0]["uid"]), (left.name(), &json!("d")));
    let then = plan(&[&left], &[&others]);
    let made = then.orders.iter().filter(|order| matches!(order, Order::Create { .. })).count();
    assert_eq!(made, 1, "the pod, and no revision of a name that is taken: {then}");
}

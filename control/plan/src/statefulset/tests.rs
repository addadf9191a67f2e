//! What a StatefulSet does next.

use super::*;

const NOW: &str = "2025-01-01T01:00:00Z";

fn set(image: &str, spec: &Value) -> Object {
    let mut set = Object::new(json!({
        "metadata": {"name": "db", "namespace": "default", "uid": "s", "generation": 2},
        "spec": {
            "replicas": 3, "serviceName": "dbs", "selector": {"matchLabels": {"app": "db"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": image}], "volumes": [{"name": "data", "emptyDir": {}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        },
    }));
    for (key, value) in spec.as_object().into_iter().flatten() {
        set.0["spec"][key] = value.clone();
    }
    set
}

fn revision_of(set: &Object) -> Object {
    let hash = revisions::hash(set);
    let mut template = set.0["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    Object::new(json!({
        "metadata": {"name": revisions::name(set, &hash), "namespace": "default", "uid": hash,
            "labels": {"app": "db", revisions::HASH_LABEL: hash}},
        "revision": 1, "data": {"spec": {"template": template}},
    }))
}

fn pod_of(set: &Object, ordinal: i64, ready: bool) -> Object {
    let name = format!("db-{ordinal}");
    Object::new(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name,
            "labels": {"app": "db", revisions::HASH_LABEL: revisions::name(set, &revisions::hash(set))},
            "ownerReferences": [{"uid": "s", "controller": true}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2025-01-01T00:59:50Z"}]},
    }))
}

fn claim(name: &str) -> Object {
    Object::new(json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "db"}}}))
}

fn planned(set: &Object, earlier: &[&Object], pods: &[Object], claims: &[&Object]) -> Plan {
    let mut revisions: Vec<Object> = earlier.iter().map(|set| revision_of(set)).collect();
    revisions.push(revision_of(set));
    if let [_, last] = &mut revisions[..] {
        last.0["revision"] = 2.into();
    }
    let (revisions, pods): (Vec<_>, Vec<_>) = (revisions.iter().collect(), pods.iter().collect());
    // Pods that are there have theirs.
    let own: Vec<Object> = pods.iter().map(|pod| claim(&format!("data-{}", pod.name()))).collect();
    let own = own.iter().filter(|own| claims.iter().all(|claim| claim.name() != own.name()));
    let claims = &claims.iter().copied().chain(own).collect::<Vec<_>>();
    let input =
        Input { statefulset: set, pods: &pods, orphans: &[], revisions: &revisions, orphan_revisions: &[], claims };
    plan(&input, NOW.parse().expect("a time"))
}

/// `+name` of what is made, `-name` of what goes.
fn changes(plan: &Plan) -> Vec<String> {
    let changes = plan.orders.iter().filter_map(|order| match order {
        Order::Create { object, .. } => Some(format!("+{}", object["metadata"]["name"].as_str().unwrap_or_default())),
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
fn pods_come_one_after_the_other_each_with_its_claim() {
    let plain = set("a", &json!({}));
    let pods = |count: i64, ready: bool| {
        (0..count).map(|number| pod_of(&plain, number, ready || number + 1 < count)).collect::<Vec<_>>()
    };
    let first = planned(&plain, &[], &[], &[]);
    assert_eq!(changes(&first), ["+data-db-0", "+db-0"]);
    let Some(Order::Create { object, .. }) = first.orders.get(1) else { panic!("{first}") };
    assert_eq!((&object["spec"]["hostname"], &object["spec"]["subdomain"]), (&json!("db-0"), &json!("dbs")));
    assert_eq!(
        object["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}])
    );
    assert_eq!(object["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
    assert_eq!(changes(&planned(&plain, &[], &pods(1, false), &[])), [""; 0], "the first is not ready");
    assert_eq!(changes(&planned(&plain, &[], &pods(1, true), &[&claim("data-db-1")])), ["+db-1"], "its claim is there");
    assert_eq!(changes(&planned(&plain, &[], &pods(3, true), &[])), [""; 0]);
    let status = said(&planned(&plain, &[], &pods(3, false), &[]));
    assert_eq!((&status["replicas"], &status["readyReplicas"]), (&json!(3), &json!(2)));
    let slow = set("a", &json!({"minReadySeconds": 60}));
    let waits = planned(&slow, &[], &[pod_of(&slow, 0, true)], &[]);
    assert_eq!(
        (changes(&waits), waits.due.map(|due| due.to_string())),
        (vec![], Some("2025-01-01T01:00:51Z".to_owned()))
    );
    let side_by_side = set(
        "a",
        &json!({"podManagementPolicy": "Parallel", "volumeClaimTemplates": [],
        "ordinals": {"start": 5}}),
    );
    assert_eq!(changes(&planned(&side_by_side, &[], &[], &[])), ["+db-5", "+db-6", "+db-7"]);
    // One that ended makes room for another of its name.
    let mut ended = pods(3, true);
    ended[1].0["status"]["phase"] = "Failed".into();
    assert_eq!(changes(&planned(&plain, &[], &ended, &[])), ["-db-1"]);
}

#[test]
fn those_that_are_too_many_go_from_the_last_and_their_claims_if_that_is_wanted() {
    let less = json!({"replicas": 1});
    let (set_, delete) = (set("a", &less), json!({"whenScaled": "Delete", "whenDeleted": "Retain"}));
    let pods: Vec<Object> = (0..3).map(|number| pod_of(&set_, number, true)).collect();
    assert_eq!(changes(&planned(&set_, &[], &pods, &[])), ["-db-2"]);
    let mut going = pods.clone();
    going[2].0["metadata"]["deletionTimestamp"] = NOW.into();
    assert_eq!(changes(&planned(&set_, &[], &going, &[])), [""; 0], "one at a time");
    let claims = [claim("data-db-0"), claim("data-db-2"), claim("data-db-1"), claim("data-db-02"), claim("other-db-2")];
    let claims: Vec<&Object> = claims.iter().collect();
    assert_eq!(changes(&planned(&set_, &[], &pods[..2], &claims)), ["-db-1"]);
    let mut frugal = set_.clone();
    frugal.0["spec"]["persistentVolumeClaimRetentionPolicy"] = delete;
    assert_eq!(changes(&planned(&frugal, &[], &pods[..2], &claims)), ["-db-1", "-data-db-2"]);
}

#[test]
fn new_template_replaces_pods_from_the_last_to_the_partition_one_at_a_time() {
    let (old, mut new) = (set("a", &json!({})), set("b", &json!({})));
    let before = revisions::name(&old, &revisions::hash(&old));
    new.0["status"] = json!({"currentRevision": before});
    let mut pods: Vec<Object> = (0..3).map(|number| pod_of(&old, number, true)).collect();
    let first = planned(&new, &[&old], &pods, &[]);
    assert_eq!(changes(&first), ["-db-2"]);
    assert_eq!((&said(&first)["currentReplicas"], &said(&first)["updatedReplicas"]), (&json!(3), &json!(0)));
    pods[2] = pod_of(&new, 2, false);
    assert_eq!(changes(&planned(&new, &[&old], &pods, &[])), [""; 0], "it is not ready");
    pods[2] = pod_of(&new, 2, true);
    assert_eq!(changes(&planned(&new, &[&old], &pods, &[])), ["-db-1"]);
    let mut canary = new.clone();
    canary.0["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 2.into();
    assert_eq!(changes(&planned(&canary, &[&old], &pods, &[])), [""; 0]);
    // One below the partition that is made anew is as it was.
    let lost = planned(&canary, &[&old], &[pods[0].clone(), pods[2].clone()], &[&claim("data-db-1")]);
    let Some(Order::Create { object, .. }) = lost.orders.first() else { panic!("{lost}") };
    assert_eq!(object["spec"]["containers"][0]["image"], "a");
    assert_eq!(object["metadata"]["labels"][revisions::HASH_LABEL], before.as_str());
    let done: Vec<Object> = (0..3).map(|number| pod_of(&new, number, true)).collect();
    let status = said(&planned(&new, &[&old], &done, &[]));
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    let mut manual = new;
    manual.0["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    assert_eq!(changes(&planned(&manual, &[&old], &pods, &[])), [""; 0]);
}

#[test]
fn pods_that_are_called_as_its_own_are_taken_up_and_no_others() {
    let set = set("a", &json!({}));
    let (mut own, mut other) = (pod_of(&set, 0, true), pod_of(&set, 7, true));
    own.0["metadata"]["ownerReferences"] = json!([]);
    other.0["metadata"]["name"] = "db-07".into();
    other.0["metadata"]["ownerReferences"] = json!([]);
    let revision = revision_of(&set);
    let input = Input {
        statefulset: &set,
        pods: &[],
        orphans: &[&own, &other],
        revisions: &[&revision],
        orphan_revisions: &[],
        claims: &[],
    };
    let plan = plan(&input, NOW.parse().expect("a time"));
    let [Order::Update { target, .. }] = &plan.orders[..] else { panic!("{plan}") };
    assert_eq!(target.name, "db-0");
}

#[test]
fn claim_that_could_not_be_made_with_its_pod_is_made_later() {
    let set = set("a", &json!({}));
    let (pod, revision) = (pod_of(&set, 0, false), revision_of(&set));
    let input = Input {
        statefulset: &set,
        pods: &[&pod],
        orphans: &[],
        revisions: &[&revision],
        orphan_revisions: &[],
        claims: &[],
    };
    assert_eq!(changes(&plan(&input, NOW.parse().expect("a time"))), ["+data-db-0"]);
}

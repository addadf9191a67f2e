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

/// What the revision of the present template is called, and its hash.
fn named(set: &Object) -> (String, String) {
    let present = Present::of(set, &[], &BTreeSet::new());
    (present.name, present.hash)
}

fn revision_of(set: &Object) -> Object {
    let (name, hash) = named(set);
    let mut template = set.0["spec"]["template"].clone();
    template["$patch"] = "replace".into();
    Object::new(json!({
        "metadata": {"name": name, "namespace": "default", "uid": hash,
            "labels": {"app": "db", revisions::HASH_LABEL: hash}},
        "revision": 1, "data": {"spec": {"template": template}},
    }))
}

fn pod_of(set: &Object, ordinal: i64, ready: bool) -> Object {
    let name = format!("db-{ordinal}");
    Object::new(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name,
            "labels": {"app": "db", revisions::HASH_LABEL: named(set).0},
            "ownerReferences": [{"uid": "s", "controller": true}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
            "lastTransitionTime": "2025-01-01T00:59:50Z"}]},
    }))
}

fn claim(name: &str) -> Object {
    Object::new(json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "db"}}}))
}

/// A claim of the pod with this number, which this one owns and controls.
fn claim_of(ordinal: i64, owner: &Value) -> Object {
    let mut claim = claim(&format!("data-db-{ordinal}"));
    claim.0["metadata"]["ownerReferences"] = if owner.is_null() { json!([]) } else { json!([owner]) };
    claim
}

/// A reference by which an object of this kind, name and uid controls another.
fn by(kind: &'static wk_api::Kind, name: &str, uid: &str) -> Value {
    owned::controller_reference(kind, &Object::new(json!({"metadata": {"name": name, "uid": uid}})))
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
    plan_of(set, &pods, &revisions, &[], claims)
}

fn plan_of(set: &Object, pods: &[&Object], revisions: &[&Object], taken: &[&str], claims: &[&Object]) -> Plan {
    let taken = taken.iter().copied().collect();
    let input = Input { statefulset: set, pods, orphans: &[], revisions, orphan_revisions: &[], taken: &taken, claims };
    plan(&input, NOW.parse().expect("a time"))
}

/// `+name` of what is made, `-name` of what goes, `name: kind owner, ..` of what has other owners now.
fn changes(plan: &Plan) -> Vec<String> {
    let changes = plan.orders.iter().filter_map(|order| match order {
        Order::Create { object, .. } => Some(format!("+{}", object["metadata"]["name"].as_str().unwrap_or_default())),
        Order::Delete { target, .. } => Some(format!("-{}", target.name)),
        Order::Update { target, change } if *target.kind == kinds::PERSISTENTVOLUMECLAIM => {
            let owners = change["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let owners: Vec<_> =
                owners.map(|it| format!("{} {}", read::text(it, "kind"), read::text(it, "name"))).collect();
            Some(format!("{}: {}", target.name, owners.join(", ")))
        }
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
fn those_that_are_too_many_go_from_the_last() {
    let set_ = set("a", &json!({"replicas": 1}));
    let pods: Vec<Object> = (0..3).map(|number| pod_of(&set_, number, true)).collect();
    assert_eq!(changes(&planned(&set_, &[], &pods, &[])), ["-db-2"]);
    let mut going = pods.clone();
    going[2].0["metadata"]["deletionTimestamp"] = NOW.into();
    assert_eq!(changes(&planned(&set_, &[], &going, &[])), [""; 0], "one at a time");
}

/// A set of one pod with this policy.
fn with_policy(scaled: &str, deleted: &str) -> Object {
    let policy = json!({"whenScaled": scaled, "whenDeleted": deleted});
    set("a", &json!({"replicas": 1, "persistentVolumeClaimRetentionPolicy": policy}))
}

#[test]
fn claims_are_owned_by_what_they_go_with_whatever_the_policy_was_before() {
    let (of_set, of_pod) = (by(&kinds::STATEFULSET, "db", "s"), |pod: &str| by(&kinds::POD, pod, pod));
    let nobody = Value::Null;
    for (scaled, deleted, wanted, too_many) in [
        ("Retain", "Retain", &nobody, &nobody),
        ("Retain", "Delete", &of_set, &of_set),
        ("Delete", "Retain", &nobody, &of_pod("db-1")),
        ("Delete", "Delete", &of_set, &of_pod("db-1")),
    ] {
        let set = with_policy(scaled, deleted);
        let pods = [pod_of(&set, 0, true), pod_of(&set, 1, true)];
        let name_of = |owner: &Value| match owner {
            Value::Null => String::new(),
            owner => format!("{} {}", read::text(owner, "kind"), read::text(owner, "name")),
        };
        let right = [wanted, too_many];
        for number in [0, 1] {
            let pod = format!("db-{number}");
            for now in [&nobody, &of_set, &of_pod(&pod)] {
                let owner = |of: usize| if of == number { now } else { right[of] };
                let claims = [claim_of(0, owner(0)), claim_of(1, owner(1))];
                let mut found = changes(&planned(&set, &[], &pods, &[&claims[0], &claims[1]]));
                found.retain(|change| change != "-db-1");
                let expected = format!("data-{pod}: {}", name_of(right[number]));
                let expected = if now == right[number] { vec![] } else { vec![expected] };
                assert_eq!(found, expected, "{scaled} {deleted}: {now}");
            }
        }
    }
}

#[test]
fn claims_of_others_and_of_those_that_were_called_the_same_are_left_alone() {
    let set = with_policy("Delete", "Delete");
    let pods = [pod_of(&set, 0, true)];
    for owner in [
        by(&kinds::STATEFULSET, "db", "earlier"),
        by(&kinds::POD, "db-0", "earlier"),
        by(&kinds::CONFIGMAP, "other", "other"),
    ] {
        assert_eq!(changes(&planned(&set, &[], &pods, &[&claim_of(0, &owner)])), [""; 0], "{owner}");
    }
    // An owner that is no controller stays beside the set.
    let mut beside = by(&kinds::CONFIGMAP, "other", "other");
    beside["controller"] = false.into();
    assert_eq!(
        changes(&planned(&set, &[], &pods, &[&claim_of(0, &beside)])),
        ["data-db-0: ConfigMap other, StatefulSet db"]
    );
}

#[test]
fn pod_that_is_one_too_many_goes_once_its_claims_are_its_own_and_no_other_claim_goes() {
    let set = with_policy("Delete", "Retain");
    let pods: Vec<Object> = (0..3).map(|number| pod_of(&set, number, true)).collect();
    // Kept on purpose in an earlier scaling, or restored for a later one.
    let (left, unlike) = (claim_of(4, &Value::Null), claim("other-db-2"));
    let free = [claim_of(0, &Value::Null), claim_of(1, &Value::Null), claim_of(2, &Value::Null)];
    let all: Vec<&Object> = free.iter().chain([&left, &unlike]).collect();
    assert_eq!(changes(&planned(&set, &[], &pods, &all)), ["data-db-1: Pod db-1", "data-db-2: Pod db-2"]);
    let own = |number: i64| claim_of(number, &by(&kinds::POD, &format!("db-{number}"), &format!("db-{number}")));
    let (one, two) = (own(1), own(2));
    let all = [&free[0], &one, &two, &left, &unlike];
    assert_eq!(changes(&planned(&set, &[], &pods, &all)), ["-db-2"]);
    // It is wanted again before it went.
    let mut more = set.clone();
    more.0["spec"]["replicas"] = 3.into();
    assert_eq!(changes(&planned(&more, &[], &pods, &all)), ["data-db-1: ", "data-db-2: "]);
    // It went: nobody is left that could own what a look did not see.
    assert_eq!(changes(&planned(&set, &[], &pods[..1], &[&free[0], &free[2], &left])), [""; 0]);
}

#[test]
fn pod_is_made_once_the_claims_of_the_last_one_of_its_name_are_gone() {
    let set = with_policy("Delete", "Delete");
    let mut going = claim_of(0, &by(&kinds::STATEFULSET, "db", "s"));
    going.0["metadata"]["deletionTimestamp"] = NOW.into();
    let of_earlier =
        [by(&kinds::POD, "db-0", "db-0"), by(&kinds::STATEFULSET, "db", "earlier")].map(|it| claim_of(0, &it));
    for claim in [&going, &of_earlier[0], &of_earlier[1]] {
        let plan = planned(&set, &[], &[], &[claim]);
        assert_eq!(changes(&plan), [""; 0], "{plan}");
        assert!(plan.report.iter().any(|line| line.contains("data-db-0")), "{plan}");
    }
    assert_eq!(changes(&planned(&set, &[], &[], &[&claim_of(0, &Value::Null)])), ["+db-0"]);
}

#[test]
fn however_many_pods_wait_for_claims_the_others_are_made_and_those_that_are_too_many_go() {
    let set = set("db:1", &json!({"replicas": 301, "podManagementPolicy": "Parallel"}));
    let going = |ordinal: i64| {
        let mut claim = claim_of(ordinal, &Value::Null);
        claim.0["metadata"]["deletionTimestamp"] = NOW.into();
        claim
    };
    let going: Vec<Object> = (0..300).map(going).collect();
    let found = changes(&planned(&set, &[], &[pod_of(&set, 301, true)], &going.iter().collect::<Vec<_>>()));
    assert_eq!(found, ["+data-db-300", "+db-300", "-db-301"]);
}

#[test]
fn claim_may_be_of_each_set_that_its_name_ends_with() {
    let sets = |claim| sets_of_claim(claim).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(sets("data-my-db-3"), ["my-db", "db"]);
    for claim in ["data", "db-0", "data-db-x", "-3", ""] {
        assert_eq!(sets(claim), [""; 0], "{claim}");
    }
    let long = format!("{}-0", "a-".repeat(120));
    assert!(sets(&long).len() <= SET_NAMES_MAX, "{}", sets(&long).len());
}

/// How many sets' names of 63 letters at most a claim's name can end with.
const SET_NAMES_MAX: usize = 32;

#[test]
fn new_template_replaces_pods_from_the_last_to_the_partition_one_at_a_time() {
    let (old, mut new) = (set("a", &json!({})), set("b", &json!({})));
    let before = named(&old).0;
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
        taken: &BTreeSet::new(),
        claims: &[],
    };
    let plan = plan(&input, NOW.parse().expect("a time"));
    let [Order::Update { target, .. }] = &plan.orders[..] else { panic!("{plan}") };
    assert_eq!(target.name, "db-0");
}

#[test]
fn claim_that_could_not_be_made_with_its_pod_is_made_while_that_waits() {
    let set = set("a", &json!({}));
    let (mut pod, revision) = (pod_of(&set, 0, false), revision_of(&set));
    let planned = |pod: &Object| changes(&plan_of(&set, &[pod], &[&revision], &[], &[]));
    assert_eq!(planned(&pod), [""; 0], "it runs with what it has");
    pod.0["status"]["phase"] = "Pending".into();
    assert_eq!(planned(&pod), ["+data-db-0"]);
}

/// Any JSON, of words that revisions are read by.
fn anything(dice: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    const WORDS: [&str; 10] = [
        "spec",
        "template",
        "metadata",
        "labels",
        "annotations",
        "finalizers",
        "containers",
        "volumes",
        "$patch",
        "name",
    ];
    match dice(if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => true.into(),
        2 => 7.into(),
        3 => "x".into(),
        4 => json!({}),
        5 => (0..dice(3)).map(|_| anything(dice, depth - 1)).collect(),
        _ => {
            let members = (0..dice(6)).map(|_| {
                let word = usize::try_from(dice(10)).expect("small");
                (WORDS[word].to_owned(), anything(dice, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

#[test]
fn revision_may_hold_anything_and_pods_are_of_a_template_all_the_same() {
    let mut seed = 11_u64;
    let mut dice = |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut set = set("a", &json!({"volumeClaimTemplates": []}));
    set.0["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 1000.into();
    let mut revision = revision_of(&set);
    set.0["status"] = json!({"currentRevision": revision.name()});
    let spec = json!({"containers": [{"name": "c", "image": "old"}]});
    let crooked = [
        json!("x"),
        json!({"spec": "x"}),
        json!({"spec": spec, "metadata": "x"}),
        json!({"spec": spec, "metadata": {"labels": "x"}}),
        json!({"spec": spec, "metadata": {"labels": ["x"]}}),
        json!({"spec": spec, "metadata": {"annotations": 7}}),
        json!({"metadata": {"labels": {"app": "db"}}}),
    ];
    let image = |revision: &Object| {
        let plan = plan_of(&set, &[], &[revision], &[], &[]);
        let Some(Order::Create { object, .. }) = plan.orders.first() else { panic!("{plan}") };
        object["spec"]["containers"][0]["image"].clone()
    };
    for template in crooked {
        revision.0["data"] = json!({"spec": {"template": template}});
        assert_eq!(image(&revision), "a", "{template}");
    }
    for _ in 0..3000 {
        revision.0["data"] = json!({"spec": {"template": anything(&mut dice, 4)}});
        image(&revision);
    }
    revision.0["data"] = json!({"spec": {"template": {"spec": spec}}});
    assert_eq!(image(&revision), "old");
}

#[test]
fn revision_that_was_taken_up_keeps_its_name_and_so_do_the_pods_of_it() {
    let mut set = set("a", &json!({}));
    let mut adopted = revision_of(&set);
    adopted.0["metadata"]["name"] = "earlier-1".into();
    set.0["status"] = json!({"currentRevision": "earlier-1"});
    let mut pods: Vec<Object> = (0..3).map(|number| pod_of(&set, number, true)).collect();
    for pod in &mut pods {
        pod.0["metadata"]["labels"][revisions::HASH_LABEL] = "earlier-1".into();
    }
    let claims: Vec<Object> = (0..3).map(|number| claim_of(number, &Value::Null)).collect();
    let (pods, claims): (Vec<_>, Vec<_>) = (pods.iter().collect(), claims.iter().collect());
    let plan = plan_of(&set, &pods, &[&adopted], &[], &claims);
    assert_eq!(changes(&plan), [""; 0], "they are of the present template");
    let status = said(&plan);
    assert_eq!((&status["updateRevision"], &status["updatedReplicas"]), (&json!("earlier-1"), &json!(3)));
    // A new template: those below the partition are as they were.
    let mut new = set.clone();
    new.0["spec"]["template"]["spec"]["containers"][0]["image"] = "b".into();
    new.0["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 3.into();
    let plan = plan_of(&new, &pods[..2], &[&adopted], &[], &claims);
    let made = plan.orders.iter().find_map(|order| match order {
        Order::Create { kind, object, .. } if **kind == kinds::POD => Some(&object["spec"]["containers"][0]["image"]),
        _ => None,
    });
    assert_eq!(made, Some(&json!("a")), "{plan}");
}

#[test]
fn revision_is_called_otherwise_where_a_set_of_another_kind_has_the_name() {
    let set = set("a", &json!({}));
    let (name, _) = named(&set);
    let plan = plan_of(&set, &[], &[], &[&name], &[]);
    let [Order::Create { object: revision, .. }, Order::Create { .. }, Order::Create { object: pod, .. }, ..] =
        &plan.orders[..]
    else {
        panic!("{plan}")
    };
    let made = Object::new(revision.clone());
    assert_ne!(made.name(), name);
    assert_eq!(pod["metadata"]["labels"][revisions::HASH_LABEL], made.name());
    // It is found again, whoever has the other name by then.
    for taken in [&[name.as_str(), made.name()][..], &[made.name()]] {
        let plan = plan_of(&set, &[], &[&made], taken, &[]);
        assert_eq!(changes(&plan), ["+data-db-0", "+db-0"], "{plan}");
        assert_eq!(said(&plan)["updateRevision"], made.name());
    }
}

#[test]
fn number_of_a_revision_has_an_end() {
    let (old, new) = (set("a", &json!({})), set("b", &json!({})));
    let mut last = revision_of(&old);
    last.0["revision"] = i64::MAX.into();
    let plan = plan_of(&new, &[], &[&last], &[], &[]);
    let Some(Order::Create { object, .. }) = plan.orders.first() else { panic!("{plan}") };
    assert_eq!(object["revision"], i64::MAX);
}

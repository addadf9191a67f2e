//! Rules about places and other pods, wishes, and room made for pods that matter more.

use super::*;

fn node(name: &str, zone: &str, pods: u64) -> Object {
    Object::new(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": zone}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": pods.to_string()},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
}

fn pod(name: &str, app: &str, on: Option<&str>, spec: &Value) -> Object {
    let mut pod = Object::new(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1",
            "creationTimestamp": "2025-01-01T00:00:00Z", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c"}], "nodeName": on.unwrap_or_default()},
        "status": {"phase": if on.is_some() { "Running" } else { "Pending" }},
    }));
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod.0["spec"][key] = value.clone();
    }
    pod
}

/// What of a pod matters to others; None when it has no node.
fn placed(pod: &Object) -> Option<Placed<'_>> {
    let (node, is_going) = (pod::node(pod), pod.is_deleting());
    let sibling_of = owned::controller_uid(pod).filter(|_| !is_going);
    let (asked, priority) = (requests::of_pod(pod), preempt::priority(pod));
    (!node.is_empty()).then_some(Placed { node, sibling_of, asked, priority, is_going, pod: Some(pod) })
}

struct World {
    nodes: Vec<Object>,
    pods: Vec<Object>,
    budgets: Vec<Object>,
}

impl World {
    /// Nodes `a` and `b` in the zone `east`, `c` in `west`, for so many pods each.
    fn new(room: u64) -> Self {
        let nodes = vec![node("a", "east", room), node("b", "east", room), node("c", "west", room)];
        Self { nodes, pods: Vec::new(), budgets: Vec::new() }
    }

    fn with(mut self, pods: impl IntoIterator<Item = Object>) -> Self {
        self.pods.extend(pods);
        self
    }

    fn plan(&self) -> Plan {
        let pods: Vec<&Object> = self.pods.iter().collect();
        let placed: Vec<_> = pods.iter().filter_map(|pod| placed(pod)).collect();
        let (nodes, budgets): (Vec<_>, Vec<_>) = (self.nodes.iter().collect(), self.budgets.iter().collect());
        let namespace = Object::new(json!({"metadata": {"name": "default", "labels": {"team": "shop"}}}));
        let input = Input {
            pods: &pods,
            nominated: &[],
            placed: &placed,
            nodes: &nodes,
            claims: &[],
            volumes: &[],
            namespaces: &[&namespace],
            budgets: &budgets,
        };
        plan(&input, "2025-01-01T00:10:00Z".parse().expect("a time"))
    }

    /// Which pods get which node, as `pod on node`; which go, as `-pod`; why others wait.
    fn told(&self) -> Vec<String> {
        let plan = self.plan();
        let told = plan.orders.iter().filter_map(|order| match order {
            Order::Bind { target, node } => Some(format!("{} on {node}", target.name)),
            Order::Evict { target, why, .. } => {
                assert_eq!(why.reason, "PreemptionByScheduler");
                Some(format!("-{}", target.name))
            }
            Order::Status { target, change } => {
                let status = &change["status"];
                let room = status["nominatedNodeName"].as_str().map(|node| format!("{} for {node}", target.name));
                room.or_else(|| Some(status["conditions"].as_array()?.last()?["message"].as_str()?.to_owned()))
            }
            _ => None,
        });
        told.collect()
    }
}

fn meant(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

fn affinity(of: &str, terms: &Value) -> Value {
    json!({"affinity": {of: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

#[test]
fn node_affinity_says_which_nodes_will_do_and_which_are_liked() {
    let zone = |operator: &str| {
        json!({"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": operator, "values": ["east"]}]}]})
    };
    let west = pod("w", "w", None, &affinity("nodeAffinity", &zone("NotIn")));
    assert_eq!(World::new(9).with([west]).told(), ["w on c"]);
    let nowhere = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]});
    let nowhere = pod("w", "w", None, &affinity("nodeAffinity", &nowhere));
    let why = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
    assert_eq!(World::new(9).with([nowhere]).told(), [why]);
    let likes = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}}]}}});
    assert_eq!(World::new(9).with([pod("w", "w", None, &likes)]).told(), ["w on b"]);
    // Liked is not required.
    let full = (0..9).map(|number| pod(&format!("f{number}"), "f", Some("b"), &json!({})));
    assert_eq!(World::new(9).with(full).with([pod("w", "w", None, &likes)]).told(), ["w on a"]);
}

#[test]
fn pods_that_keep_apart_do_so_whoever_says_it() {
    let apart = affinity("podAntiAffinity", &json!([{"labelSelector": meant("web"), "topologyKey": "zone"}]));
    let web = |name: &str, on: Option<&str>| pod(name, "web", on, &apart);
    let why = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    let three = World::new(9).with([web("1", None), web("2", None), web("3", None)]);
    assert_eq!(three.told(), ["1 on a", "2 on c", why]);
    // One that says nothing is kept away by one that does.
    let plain = pod("p", "web", None, &json!({}));
    assert_eq!(World::new(9).with([web("1", Some("b")), plain]).told(), ["p on c"]);
    let other = pod("o", "other", None, &json!({}));
    assert_eq!(World::new(9).with([web("1", Some("a")), other]).told(), ["o on b"], "which is not about it");
    let both = [web("1", Some("a")), web("2", Some("c")), pod("p", "web", None, &json!({}))];
    let why = "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(World::new(9).with(both).told(), [why]);
}

#[test]
fn pods_that_belong_together_are_in_one_place_and_the_first_is_anywhere() {
    let term = json!({"labelSelector": meant("web"), "topologyKey": "zone"});
    let near = affinity("podAffinity", &json!([term]));
    let pods = [pod("1", "web", None, &near), pod("2", "web", None, &near), pod("3", "other", None, &near)];
    assert_eq!(World::new(9).with(pods).told(), ["1 on a", "2 on b", "3 on a"]);
    let there = pod("0", "web", Some("c"), &json!({}));
    assert_eq!(World::new(9).with([there, pod("1", "other", None, &near)]).told(), ["1 on c"]);
    // Somebody who is not one of them waits for them.
    let why = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
    assert_eq!(World::new(9).with([pod("1", "other", None, &near)]).told(), [why]);
    // Namespaces are meant by name, or by their labels.
    let elsewhere = |space: Value| {
        let mut term = term.clone();
        term.as_object_mut().expect("an object").extend(space.as_object().expect("an object").clone());
        let there = pod("0", "web", Some("c"), &json!({}));
        World::new(9).with([there, pod("1", "other", None, &affinity("podAffinity", &json!([term])))]).told()
    };
    assert_eq!(elsewhere(json!({"namespaces": ["other"]})), [why]);
    assert_eq!(elsewhere(json!({"namespaceSelector": meant("shop")})), [why]);
    assert_eq!(elsewhere(json!({"namespaceSelector": {"matchLabels": {"team": "shop"}}})), ["1 on c"]);
    assert_eq!(elsewhere(json!({"namespaceSelector": {}})), ["1 on c"]);
    assert_eq!(elsewhere(json!({"matchLabelKeys": ["app"]})), [why], "of its own app");
    assert_eq!(elsewhere(json!({"mismatchLabelKeys": ["app"]})), ["1 on c"]);
}

#[test]
fn pods_are_spread_as_evenly_as_they_ask() {
    let spread = |when: &str| {
        json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when, "labelSelector": meant("web")}]})
    };
    let web = |name: &str, when: &str| pod(name, "web", None, &spread(when));
    let there = || [pod("0", "web", Some("a"), &json!({})), pod("1", "web", Some("b"), &json!({}))];
    let hard = World::new(9).with(there()).with([web("2", "DoNotSchedule"), web("3", "DoNotSchedule")]);
    assert_eq!(hard.told(), ["2 on c", "3 on c"]);
    let mut full = World::new(9).with(there()).with([web("2", "DoNotSchedule")]);
    full.nodes[2].0["spec"]["unschedulable"] = true.into();
    let why = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints.";
    assert_eq!(full.told(), [why]);
    full.pods.pop();
    full.pods.push(web("2", "ScheduleAnyway"));
    assert_eq!(full.told(), ["2 on a"], "it is a wish");
    assert_eq!(World::new(9).with(there()).with([web("2", "ScheduleAnyway")]).told(), ["2 on c"]);
    // A node without the label is no place, and one that the pod could not be on does not count.
    let mut two = World::new(9).with(there()).with([web("2", "DoNotSchedule")]);
    two.nodes[2].0["metadata"]["labels"] = json!({});
    assert_eq!(two.told(), ["2 on a"]);
    two.nodes[2] = node("c", "west", 9);
    two.pods[2].0["spec"]["nodeSelector"] = json!({"zone": "east"});
    assert_eq!(two.told(), ["2 on a"]);
    two.pods[2].0["spec"]["topologySpreadConstraints"][0]["nodeAffinityPolicy"] = "Ignore".into();
    assert!(two.told()[0].contains("didn't match pod topology spread constraints"), "{:?}", two.told());
}

/// A pod that was told that it does not fit.
fn waiting(name: &str, priority: i64) -> Object {
    let mut pod = pod(name, "new", None, &json!({"priority": priority}));
    pod.0["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Too many pods.",
        "lastProbeTime": "2025-01-01T00:09:59Z"}]);
    pod
}

fn running(name: &str, on: &str, priority: i64) -> Object {
    pod(name, "old", Some(on), &json!({"priority": priority}))
}

#[test]
fn pods_that_matter_less_go_for_one_that_matters_more_and_no_more_than_needed() {
    let there = || {
        [
            running("1", "a", 5),
            running("2", "b", 3),
            running("3", "c", 4),
            running("4", "b", 9),
            running("5", "a", 9),
            running("6", "c", 9),
        ]
    };
    let world = |new: Object| World::new(2).with(there()).with([new]);
    assert_eq!(world(waiting("new", 8)).told(), ["-2", "new for b"]);
    // Who is only as important stays, and so do all for who asks for it.
    assert_eq!(world(waiting("new", 3)).told(), [""; 0]);
    let mut polite = waiting("new", 8);
    polite.0["spec"]["preemptionPolicy"] = "Never".into();
    assert_eq!(world(polite).told(), [""; 0]);
    // It is told first, and sends others away after that.
    assert_eq!(
        world(pod("new", "new", None, &json!({"priority": 8}))).told(),
        ["0/3 nodes are available: 3 Too many pods."]
    );
    // The last that came goes first.
    let mut same =
        World::new(1).with([running("1", "a", 0), running("2", "b", 0), running("3", "c", 0), waiting("new", 8)]);
    same.pods[1].0["status"]["startTime"] = "2025-01-01T00:05:00Z".into();
    assert_eq!(same.told(), ["-2", "new for b"]);
    // Where it would not be let in nobody goes.
    same.nodes[1].0["spec"]["taints"] = json!([{"key": "x", "effect": "NoSchedule"}]);
    assert_eq!(same.told(), ["-1", "new for a"]);
}

#[test]
fn room_that_is_being_made_is_waited_for_and_nobody_less_takes_it() {
    let mut going = running("1", "a", 0);
    going.0["metadata"]["deletionTimestamp"] = "2025-01-01T00:10:30Z".into();
    let full = || [running("2", "b", 9), running("3", "c", 9)];
    let world = World::new(1).with([going]).with(full()).with([waiting("new", 8)]);
    assert_eq!(world.told(), [""; 0], "it goes already");
    // The room is there: it is not for the one that matters less and came first.
    let mut less = pod("less", "new", None, &json!({}));
    less.0["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z".into();
    let mut two = waiting("new", 8);
    two.0["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "3"}}}]);
    let cpu = |name: &str, on: &str, cpu: &str, priority: i64| {
        let mut pod = running(name, on, priority);
        pod.0["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        pod
    };
    less.0["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "2"}}}]);
    let world = World::new(9).with([cpu("1", "a", "2", 0), cpu("2", "b", "4", 9), cpu("3", "c", "4", 9), two, less]);
    let told = world.told();
    assert_eq!(told[..2], ["-1", "new for a"]);
    assert!(told[2].contains("Insufficient cpu") && told.len() == 3, "{told:?}");
}

#[test]
fn pod_waits_for_room_on_the_nodes_own_disks() {
    let asks = |storage: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"ephemeral-storage": storage}}}]});
    let there = ["a", "b"].map(|on| pod(on, "web", Some(on), &asks("8Gi")));
    let told = |storage: &str| World::new(9).with(there.clone()).with([pod("new", "web", None, &asks(storage))]).told();
    assert_eq!(told("4Gi"), ["new on c"]);
    assert_eq!(told("11Gi"), ["0/3 nodes are available: 3 Insufficient ephemeral-storage."]);
}

#[test]
fn room_is_given_up_where_its_pod_cannot_be_any_more_and_kept_while_somebody_leaves() {
    let mut urgent = waiting("new", 8);
    urgent.0["status"]["nominatedNodeName"] = "a".into();
    let mut world = World::new(1).with([running("1", "a", 0), running("2", "b", 9), running("3", "c", 9), urgent]);
    world.pods[0].0["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let given_up = |world: &World| {
        let plan = world.plan();
        let changes = plan.orders.iter().filter_map(|order| match order {
            Order::Status { change, .. } => Some(change["status"].clone()),
            _ => None,
        });
        changes.collect::<Vec<_>>()
    };
    assert_eq!(given_up(&world), [json!(null); 0]);
    // Somebody who matters more was faster.
    world.pods[0] = running("1", "a", 9);
    assert_eq!(given_up(&world), [json!({"nominatedNodeName": null})]);
    // With another reason that is one write, and it does not wait until a reason may be said.
    world.nodes[0].0["spec"]["unschedulable"] = true.into();
    assert_eq!(given_up(&world), [json!({"nominatedNodeName": null})]);
    world.pods[3].0["status"]["conditions"][0]["lastProbeTime"] = "2025-01-01T00:09:00Z".into();
    let both = given_up(&world);
    assert!(both.len() == 1 && both[0]["nominatedNodeName"].is_null() && both[0]["conditions"].is_array(), "{both:?}");
}

#[test]
fn of_two_that_matter_as_much_the_room_is_for_whom_it_was_made() {
    let cpu = |name: &str, cpu: &str, created: &str| {
        let mut pod = waiting(name, 8);
        pod.0["metadata"]["creationTimestamp"] = created.into();
        pod.0["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        pod
    };
    let mut urgent = cpu("urgent", "4", "2025-01-01T00:00:00Z");
    urgent.0["status"]["nominatedNodeName"] = "a".into();
    let older = cpu("older", "2", "2024-01-01T00:00:00Z");
    let mut world = World::new(9).with([urgent, older]);
    world.nodes.truncate(1);
    assert_eq!(world.told()[..1], ["urgent on a"]);
}

#[test]
fn a_pod_that_takes_its_time_to_go_is_not_waited_for_where_others_can_go() {
    let going = |on: &str, by: &str| {
        let mut going = running("1", on, 0);
        going.0["metadata"]["deletionTimestamp"] = by.into();
        going
    };
    let world =
        |by: &str, new: Object| World::new(1).with([going("a", by), running("2", "b", 3), running("3", "c", 9), new]);
    assert_eq!(world("2025-01-01T00:10:59Z", waiting("new", 8)).told(), [""; 0], "it is gone in a minute");
    assert_eq!(world("2026-01-01T00:00:00Z", waiting("new", 8)).told(), ["-2", "new for b"], "in a year");
    assert_eq!(world("2025-01-01T00:00:00Z", waiting("new", 8)).told(), ["-2", "new for b"], "or never, as it seems");
    // One for which it goes waits for as long as it takes.
    let mut nominated = waiting("new", 8);
    nominated.0["status"]["nominatedNodeName"] = "a".into();
    assert_eq!(world("2026-01-01T00:00:00Z", nominated).told(), [""; 0]);
    // Nobody else who could go: nobody is sent away, and nothing is kept for it meanwhile.
    let mut alone = world("2026-01-01T00:00:00Z", waiting("new", 8));
    alone.pods[1] = running("2", "b", 9);
    assert_eq!(alone.told(), [""; 0]);
    // And who goes by this plan is not sent away twice, however long it takes.
    let slow = |name: &str, on: &str| {
        let mut slow = running(name, on, 0);
        slow.0["spec"]["terminationGracePeriodSeconds"] = 3600.into();
        slow
    };
    let both = World::new(1).with([slow("1", "a"), slow("2", "b"), running("3", "c", 9)]);
    let both = both.with([waiting("new", 8), waiting("newer", 8), waiting("newest", 8)]);
    assert_eq!(both.told(), ["-1", "new for a", "-2", "newer for b"]);
}

#[test]
fn rules_about_others_are_worked_out_only_for_a_pod_that_fits_otherwise() {
    let terms: Vec<_> =
        (0..20).map(|zone| json!({"labelSelector": meant("web"), "topologyKey": format!("z{zone}")})).collect();
    let there = || (0..30).map(|number| pod(&format!("w{number}"), "web", Some("a"), &json!({})));
    let mut huge = affinity("podAffinity", &json!(terms));
    huge["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1000"}}}]);
    let cost = |world: &World| {
        terms::MEANT.set(0);
        let told = world.told();
        (told, terms::MEANT.get())
    };
    let (told, meant) =
        cost(&World::new(90).with(there()).with((0..9).map(|n| pod(&format!("h{n}"), "h", None, &huge))));
    assert_eq!((told[0].as_str(), meant), ("0/3 nodes are available: 3 Insufficient cpu.", 0));
    let mut told_before = waiting("h", 8);
    told_before.0["spec"]["affinity"] = huge["affinity"].clone();
    told_before.0["spec"]["containers"] = huge["containers"].clone();
    let (_, meant) = cost(&World::new(90).with(there()).with([told_before]));
    assert_eq!(meant, 0, "nor to look for room that there cannot be");
    // What keeps pods away is worked out once for all of one set.
    let apart = affinity("podAntiAffinity", &json!([{"labelSelector": meant_not("x"), "topologyKey": "zone"}]));
    let there = (0..30).map(|number| pod(&format!("w{number}"), "web", Some("c"), &apart));
    let (told, meant) =
        cost(&World::new(90).with(there).with((0..9).map(|n| pod(&format!("p{n}"), "p", None, &json!({})))));
    assert_eq!((told.len(), told[0].as_str(), meant), (9, "p0 on a", 30));
}

fn meant_not(app: &str) -> Value {
    json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [app]}]})
}

#[test]
fn a_pod_with_more_rules_than_can_be_worked_out_is_told_so_and_holds_up_nobody() {
    let wish = json!({"weight": 1, "podAffinityTerm": {"labelSelector": meant("web"), "topologyKey": "zone"}});
    let many = json!({"affinity": {"podAffinity": {(terms::PREFERRED): vec![wish; 2_000]}}});
    let beside = |count: usize| {
        let (nodes, many) = (World::new(9).nodes, pod("many", "m", None, &many));
        let placed =
            Placed { node: "a", sibling_of: None, asked: Amounts::default(), priority: 0, is_going: false, pod: None };
        let (nodes, placed): (Vec<&Object>, _) = (nodes.iter().collect(), vec![placed; count]);
        let (pods, nodes, placed) = (&[&many], &nodes, &placed);
        let (nominated, claims, volumes, namespaces, budgets) = (&[], &[], &[], &[], &[]);
        let input = Input { pods, nominated, placed, nodes, claims, volumes, namespaces, budgets };
        plan(&input, "2025-01-01T00:10:00Z".parse().expect("a time")).report
    };
    assert_eq!(beside(30), ["1 pods find a node"]);
    let why = "default/many waits: 0/3 nodes are available: the pod has more rules than can be worked out.";
    assert_eq!((beside(4_000), beside(5_000)), (vec![why.to_owned()], vec![why.to_owned()]), "which is said once");
    let keeps_away = vec![json!({"labelSelector": meant("web"), "topologyKey": "zone"}); 1_001];
    let keeps_away = pod("k", "k", None, &affinity("podAntiAffinity", &json!(keeps_away)));
    let told = World::new(9).with([keeps_away, pod("p", "p", None, &json!({}))]).told();
    assert!(told[0].contains("more rules than") && told[1] == "p on a", "{told:?}");
}

#[test]
fn a_taint_that_is_better_avoided_is_where_there_is_another_node() {
    let taint = |effect: &str| json!([{"key": "spot", "value": "yes", "effect": effect}]);
    let mut world = World::new(9).with([pod("p", "p", None, &json!({}))]);
    world.nodes[0].0["spec"]["taints"] = taint("PreferNoSchedule");
    assert_eq!(world.told(), ["p on b"]);
    world.pods[0].0["spec"]["tolerations"] = json!([{"key": "spot", "operator": "Exists"}]);
    assert_eq!(world.told(), ["p on a"]);
    world.pods[0].0["spec"]["tolerations"] = json!([{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}]);
    assert_eq!(world.told(), ["p on b"], "which is about another effect");
    // It is a wish: a node that is the only one will do, and fewer such taints are better.
    for node in [1, 2] {
        world.nodes[node].0["spec"]["taints"] = taint("NoSchedule");
    }
    world.pods[0].0["spec"]["tolerations"] = json!([]);
    assert_eq!(world.told(), ["p on a"]);
    let two = json!([{"key": "spot", "effect": "PreferNoSchedule"}, {"key": "old", "effect": "PreferNoSchedule"}]);
    for (node, taints) in [(0, two), (1, taint("PreferNoSchedule")), (2, taint("NoSchedule"))] {
        world.nodes[node].0["spec"]["taints"] = taints;
    }
    assert_eq!(world.told(), ["p on b"]);
}

#[test]
fn budgets_are_broken_only_where_there_is_no_other_way() {
    let budget = |allowed: i64| {
        Object::new(json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": meant("guarded")},
            "status": {"disruptionsAllowed": allowed}}))
    };
    let guarded = |name: &str, on: &str| pod(name, "guarded", Some(on), &json!({}));
    let mut world = World::new(1).with([guarded("1", "a"), guarded("2", "b"), running("3", "c", 7), waiting("new", 8)]);
    world.budgets.push(budget(0));
    assert_eq!(world.told(), ["-3", "new for c"], "rather one that matters more");
    world.budgets[0] = budget(1);
    assert_eq!(world.told(), ["-1", "new for a"]);
    // Two that come: the budget has one to spare.
    world.pods.push(waiting("newer", 8));
    assert_eq!(world.told(), ["-1", "new for a", "-3", "newer for c"]);
    world.pods.remove(2);
    world.pods.push(running("3", "c", 9));
    assert_eq!(world.told(), ["-1", "new for a", "-2", "newer for b"], "there is no other way");
}

#[test]
fn only_pods_that_may_have_to_go_are_asked_for() {
    let there = [running("1", "a", 0), running("2", "b", 9), running("3", "c", 5)];
    let placed: Vec<_> = there.iter().filter_map(placed).collect();
    let mut nodes = World::new(1).nodes;
    let asked = |new: &Object, nodes: &[Object]| {
        let nodes: Vec<&Object> = nodes.iter().collect();
        rooms(&[new], &placed, &nodes).into_iter().map(|(node, below)| format!("{node} {below}")).collect::<Vec<_>>()
    };
    assert_eq!(asked(&waiting("new", 8), &nodes), ["a 8", "c 8"]);
    assert_eq!(asked(&pod("new", "new", None, &json!({"priority": 8})), &nodes), [""; 0], "it was not told yet");
    let mut huge = waiting("new", 8);
    huge.0["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "1000"}}}]);
    assert_eq!(asked(&huge, &nodes), [""; 0], "nobody goes for what no node has");
    nodes[0].0["spec"]["unschedulable"] = true.into();
    assert_eq!(asked(&waiting("new", 8), &nodes), ["c 8"]);
}

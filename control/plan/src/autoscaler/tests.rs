use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a small number of seconds")
}

fn autoscaler(metric: &Value) -> Object {
    Object::new(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "h", "resourceVersion": "5", "generation": 1},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 10, "metrics": [metric],
        },
    }))
}

fn resource(name: &str, target: &Value) -> Value {
    json!({"type": "Resource", "resource": {"name": name, "target": target}})
}

fn half_of_cpu() -> Object {
    autoscaler(&resource("cpu", &json!({"type": "Utilization", "averageUtilization": 50})))
}

fn deployment(replicas: i64) -> Object {
    Object::new(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "9"},
        "spec": {"replicas": replicas},
    }))
}

fn pods(ready: &[bool]) -> Vec<Object> {
    let pod = |(index, ready): (usize, &bool)| {
        let status = if *ready { "True" } else { "False" };
        Object::new(json!({
            "metadata": {"name": format!("web-{index}"), "namespace": "shop", "uid": format!("p{index}")},
            "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "200m", "memory": "100Mi"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
        }))
    };
    ready.iter().enumerate().map(pod).collect()
}

fn using(millicores: &[u64], mebibytes: u64) -> Usages {
    let amounts = |millis: &u64| Amounts { nanocores: millis * 1_000_000, memory: mebibytes << 20 };
    let entry = |(index, millis)| (format!("p{index}"), vec![("app".to_owned(), amounts(millis))]);
    millicores.iter().enumerate().map(entry).collect()
}

fn decide(
    autoscaler: &Object,
    pods: &[Object],
    usages: Option<&Usages>,
    memory: &Memory,
    now: Timestamp,
) -> (Plan, Memory) {
    let deployment = deployment(i64::try_from(pods.len()).expect("few pods"));
    let pods: Vec<&Object> = pods.iter().collect();
    let subject = Some((&kinds::DEPLOYMENT, &deployment));
    plan(&Input { autoscaler, subject, pods: &pods, usages, memory }, now)
}

/// The number of replicas that it is set to, if it is.
fn set_to(plan: &Plan) -> Option<i64> {
    plan.orders.iter().find_map(|order| match order {
        Order::Update { change, .. } => change.pointer("/spec/replicas")?.as_i64(),
        _ => None,
    })
}

fn status(plan: &Plan) -> Value {
    let found = plan.orders.iter().find_map(|order| match order {
        Order::Status { change, .. } => Some(change["status"].clone()),
        _ => None,
    });
    found.expect("the status is written")
}

fn reason(plan: &Plan, kind: &str) -> String {
    let status = status(plan);
    let conditions = status["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|condition| condition["type"] == kind).expect("the condition");
    format!("{} {}", found["status"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default())
}

#[test]
fn pods_at_twice_the_aim_become_twice_as_many() {
    let (plan, _) =
        decide(&half_of_cpu(), &pods(&[true, true]), Some(&using(&[200, 200], 1)), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), Some(4));
    let status = status(&plan);
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    let current = &status["currentMetrics"][0]["resource"]["current"];
    assert_eq!(current, &json!({"averageUtilization": 100, "averageValue": "200m"}));
    assert!(plan.to_string().contains("SuccessfulRescale"), "{plan}");
    assert_eq!(reason(&plan, "ScalingActive"), "True ValidMetricFound");
}

#[test]
fn ratio_near_one_changes_nothing() {
    let (plan, _) =
        decide(&half_of_cpu(), &pods(&[true, true]), Some(&using(&[105, 109], 1)), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), None);
}

#[test]
fn fewer_pods_are_wanted_for_five_minutes_before_any_goes() {
    let autoscaler = half_of_cpu();
    let pods = pods(&[true; 4]);
    let (busy, idle) = (using(&[100; 4], 1), using(&[10; 4], 1));
    let (_, memory) = decide(&autoscaler, &pods, Some(&busy), &Memory::default(), at(0));
    let (held, memory) = decide(&autoscaler, &pods, Some(&idle), &memory, at(299));
    assert_eq!(set_to(&held), None);
    assert_eq!(reason(&held, "AbleToScale"), "True ScaleDownStabilized");
    let (gone, _) = decide(&autoscaler, &pods, Some(&idle), &memory, at(301));
    assert_eq!(set_to(&gone), Some(1));
}

#[test]
fn replicas_stay_within_bounds_and_grow_no_faster_than_twofold_or_by_four() {
    let flat_out = using(&[2000, 2000], 1);
    let (plan, _) = decide(&half_of_cpu(), &pods(&[true, true]), Some(&flat_out), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), Some(6), "2 and four more");
    assert_eq!(reason(&plan, "ScalingLimited"), "True ScaleUpLimit");
    let flat_out = using(&[2000; 8], 1);
    let (plan, _) = decide(&half_of_cpu(), &pods(&[true; 8]), Some(&flat_out), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), Some(10));
    assert_eq!(reason(&plan, "ScalingLimited"), "True TooManyReplicas");
}

#[test]
fn pods_that_are_not_ready_yet_count_as_idle_when_more_are_asked_for() {
    // Without the two that start it would be four; with them it is what there is.
    let usages = using(&[200, 200, 999, 999], 1);
    let pods = pods(&[true, true, false, false]);
    let (plan, _) = decide(&half_of_cpu(), &pods, Some(&usages), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), None);
}

#[test]
fn pods_that_nobody_measured_count_as_at_the_aim_when_fewer_are_asked_for() {
    let autoscaler = half_of_cpu();
    // Two of four idle: one less is enough for certain, two are not.
    let usages = using(&[0, 0], 1);
    let (held, memory) = decide(&autoscaler, &pods(&[true; 4]), Some(&usages), &Memory::default(), at(0));
    assert_eq!(set_to(&held), None, "a new leader waits like any other");
    let (plan, _) = decide(&autoscaler, &pods(&[true; 4]), Some(&usages), &memory, at(301));
    assert_eq!(set_to(&plan), Some(2));
}

#[test]
fn memory_is_scaled_by_its_average_value() {
    let autoscaler = autoscaler(&resource("memory", &json!({"type": "AverageValue", "averageValue": "50Mi"})));
    let (plan, _) = decide(&autoscaler, &pods(&[true, true]), Some(&using(&[0, 0], 75)), &Memory::default(), at(0));
    assert_eq!(set_to(&plan), Some(3));
    let current = &status(&plan)["currentMetrics"][0]["resource"]["current"];
    assert_eq!(current, &json!({"averageValue": "75Mi"}));
}

#[test]
fn without_metrics_nothing_is_scaled_and_the_condition_says_why() {
    let (plan, _) = decide(&half_of_cpu(), &pods(&[true]), None, &Memory::default(), at(0));
    assert_eq!(set_to(&plan), None);
    assert_eq!(reason(&plan, "ScalingActive"), "False FailedGetResourceMetric");
    let custom = autoscaler(&json!({"type": "External", "external": {}}));
    let (plan, _) = decide(&custom, &pods(&[true]), Some(&using(&[1], 1)), &Memory::default(), at(0));
    assert_eq!(reason(&plan, "ScalingActive"), "False InvalidMetricSourceType");
    let hpa = half_of_cpu();
    let input = Input { autoscaler: &hpa, subject: None, pods: &[], usages: None, memory: &Memory::default() };
    assert_eq!(reason(&super::plan(&input, at(0)).0, "AbleToScale"), "False FailedGetScale");
}

#[test]
fn a_percentage_of_nothing_is_told_once_with_the_container_that_requests_nothing() {
    let mut pods = pods(&[true]);
    pods[0].0["spec"]["containers"][0]["resources"] = json!({});
    let mut hpa = half_of_cpu();
    let (plan, _) = decide(&hpa, &pods, Some(&using(&[1], 1)), &Memory::default(), at(0));
    let why = "failed to get cpu utilization: missing request for cpu in container app of Pod web-0";
    let status = status(&plan);
    let active = &status["conditions"].as_array().expect("conditions")[1];
    assert_eq!(active["message"], format!("the HPA was unable to compute the replica count: {why}"));
    let told = plan.orders.iter().filter_map(|order| match order {
        Order::Event(event) => Some((event.kind, event.reason, event.message.clone())),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(EventType::Warning, "FailedGetResourceMetric", why.to_owned())]);
    hpa.0["status"] = status;
    let (again, _) = decide(&hpa, &pods, Some(&using(&[1], 1)), &Memory::default(), at(15));
    assert_eq!(again.orders, [], "and not at each look");
}

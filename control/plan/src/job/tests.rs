//! Facts of Jobs: what is ordered in which situation.

use serde_json::{Value, json};
use wk_api::{Object, patch};

use super::indexes::Indexes;
use super::*;

const NOW: &str = "2026-01-01T00:10:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn job(spec: &Value, status: &Value) -> Object {
    let mut object = json!({
        "metadata": {"name": "work", "namespace": "default", "uid": "j1", "resourceVersion": "7"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"job": "work"}},
            "template": {"metadata": {"labels": {"job": "work"}}, "spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": "i"}]}}},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    });
    patch::merge(&mut object["spec"], spec);
    patch::merge(&mut object["status"], status);
    Object::new(object)
}

fn pod(uid: &str, phase: &str, more: &Value) -> Object {
    let mut object = json!({
        "metadata": {"name": uid, "namespace": "default", "uid": uid, "resourceVersion": "3",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"job": "work"}, "finalizers": [FINALIZER],
            "ownerReferences": [{"controller": true, "uid": "j1"}]},
        "status": {"phase": phase},
    });
    patch::merge(&mut object, more);
    Object::new(object)
}

fn look(job: &Object, pods: &[Object]) -> Plan {
    let pods: Vec<&Object> = pods.iter().collect();
    plan(&Input { job, pods: &pods, orphans: &[] }, now())
}

fn created(plan: &Plan) -> Vec<&Value> {
    let objects = plan.orders.iter().filter_map(|order| match order {
        Order::Create { object, .. } => Some(object),
        _ => None,
    });
    objects.collect()
}

fn status(plan: &Plan) -> Value {
    let change = plan.orders.iter().find_map(|order| match order {
        Order::Status { change, .. } => Some(change["status"].clone()),
        _ => None,
    });
    change.unwrap_or_default()
}

/// What the job says after its status was written, looked at until nothing is written any more.
fn settle(job: &mut Object, pods: &mut [Object]) -> Vec<Order> {
    let mut all = Vec::new();
    for _ in 0..10 {
        let plan = look(job, pods);
        // Pods that are to be made are not made here, and asked for each time.
        if plan.orders.iter().all(|order| matches!(order, Order::Create { .. })) {
            all.extend(plan.orders);
            return all;
        }
        for order in &plan.orders {
            match order {
                Order::Status { change, .. } => patch::merge(&mut job.0, change),
                Order::Update { target, change } => {
                    let pod = pods.iter_mut().find(|pod| pod.uid() == target.uid).expect("is there");
                    patch::merge(&mut pod.0, change);
                }
                _ => {}
            }
        }
        all.extend(plan.orders);
    }
    panic!("goes on for ever: {all:?}");
}

fn condition(job: &Object, kind: &str) -> String {
    conditions::find(job, kind).map_or_else(String::new, |found| read::text(found, "reason").to_owned())
}

#[test]
fn pods_are_made_up_to_the_parallelism_and_to_what_is_still_needed() {
    for (spec, done, active, missing) in [
        (json!({}), 0, 0, 1),
        (json!({"parallelism": 3, "completions": 5}), 0, 1, 2),
        (json!({"parallelism": 3, "completions": 5}), 4, 0, 1),
        (json!({"parallelism": 2, "completions": null}), 0, 0, 2),
        (json!({"parallelism": 0}), 0, 0, 0),
        (json!({"suspend": true}), 0, 0, 0),
    ] {
        let pods: Vec<Object> = (0..active).map(|nth| pod(&format!("p{nth}"), "Running", &json!({}))).collect();
        let plan = look(&job(&spec, &json!({"succeeded": done})), &pods);
        assert_eq!(created(&plan).len(), missing, "{spec} {done} {active}");
    }
}

#[test]
fn a_success_is_put_down_then_let_go_then_counted_and_the_job_is_complete() {
    let (mut job, mut pods) = (job(&json!({}), &json!({})), [pod("p1", "Succeeded", &json!({}))]);
    let first = look(&job, &pods);
    assert_eq!(status(&first)["uncountedTerminatedPods"]["succeeded"], json!(["p1"]));
    assert_eq!(status(&first)["succeeded"], 0);
    let orders = settle(&mut job, &mut pods);
    assert!(!orders.iter().any(|order| matches!(order, Order::Create { .. })));
    assert_eq!((job.int("/status/succeeded"), job.int("/status/active")), (Some(1), Some(0)));
    assert_eq!(condition(&job, "Complete"), "CompletionsReached");
    assert_eq!(job.text("/status/completionTime"), NOW);
    assert!(!is_tracked(&pods[0]));
    assert_eq!(job.0["status"]["uncountedTerminatedPods"], json!({}));
}

#[test]
fn a_failed_pod_is_replaced_after_a_wait_that_doubles() {
    let ended = |second: &str| {
        let at = format!("2026-01-01T00:09:{second}Z");
        json!({"metadata": {"finalizers": null},
            "status": {"containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]}})
    };
    let one = look(&job(&json!({}), &json!({"failed": 1})), &[pod("p1", "Failed", &ended("55"))]);
    assert_eq!((created(&one).len(), one.due), (0, Some("2026-01-01T00:10:05Z".parse().expect("a time"))));
    let pods = [pod("p1", "Failed", &ended("30")), pod("p2", "Failed", &ended("45"))];
    let two = look(&job(&json!({}), &json!({"failed": 2})), &pods);
    assert_eq!((created(&two).len(), two.due), (0, Some("2026-01-01T00:10:05Z".parse().expect("a time"))));
    let later = look(&job(&json!({}), &json!({"failed": 1})), &[pod("p1", "Failed", &ended("50"))]);
    assert_eq!(created(&later).len(), 1);
}

#[test]
fn too_many_failures_end_the_job_and_what_still_runs() {
    let spec = json!({"backoffLimit": 0, "parallelism": 2, "completions": 2});
    let mut job = job(&spec, &json!({}));
    let mut pods = [pod("p1", "Failed", &json!({})), pod("p2", "Running", &json!({}))];
    let orders = look(&job, &pods).orders;
    assert!(orders.iter().any(|order| matches!(order, Order::Delete { target, .. } if target.uid == "p2")));
    assert_eq!(condition(&job, "Failed"), "");
    pods[1] = pod("p2", "Failed", &json!({}));
    settle(&mut job, &mut pods);
    assert_eq!(condition(&job, "Failed"), "BackoffLimitExceeded");
    assert_eq!(job.int("/status/failed"), Some(2));
}

#[test]
fn a_job_past_its_deadline_fails() {
    let late = json!({"activeDeadlineSeconds": 600});
    let (mut job, mut none) = (job(&late, &json!({})), []);
    settle(&mut job, &mut none);
    assert_eq!(condition(&job, "Failed"), "DeadlineExceeded");
}

#[test]
fn indexes_that_are_not_done_are_worked_on_lowest_first() {
    let spec = json!({"completionMode": "Indexed", "completions": 6, "parallelism": 3});
    let job = job(&spec, &json!({"completedIndexes": "0-1,3", "succeeded": 3}));
    let active = pod("p2", "Running", &json!({"metadata": {"annotations": {INDEX: "2"}}}));
    let plan = look(&job, &[active]);
    let made = created(&plan);
    let names: Vec<_> = made.iter().map(|pod| pod["metadata"]["generateName"].clone()).collect();
    assert_eq!(names, [json!("work-4-"), json!("work-5-")]);
    assert_eq!(made[0]["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    assert_eq!(made[0]["spec"]["hostname"], "work-4");
    assert_eq!(Indexes::parse("0-1,3", 6).to_string(), "0-1,3");
}

#[test]
fn a_finished_job_goes_when_its_time_is_over() {
    let ended = |at: &str| {
        let done = json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at}]});
        look(&job(&json!({"ttlSecondsAfterFinished": 60}), &done), &[])
    };
    assert!(matches!(ended("2026-01-01T00:08:00Z").orders[..], [Order::Delete { .. }]));
    let waits = ended("2026-01-01T00:09:30Z");
    assert_eq!((waits.orders.len(), waits.due), (0, Some("2026-01-01T00:10:30Z".parse().expect("a time"))));
}

#[test]
fn suspending_ends_the_pods_and_resuming_starts_the_clock_anew() {
    let mut job = job(&json!({"suspend": true}), &json!({}));
    let orders = look(&job, &[pod("p1", "Running", &json!({}))]).orders;
    assert!(orders.iter().any(|order| matches!(order, Order::Delete { .. })));
    settle(&mut job, &mut []);
    assert_eq!((condition(&job, "Suspended"), job.at("/status/startTime").is_none()), ("JobSuspended".into(), true));
    job.0["spec"]["suspend"] = false.into();
    let plan = look(&job, &[]);
    assert_eq!(status(&plan)["startTime"], NOW);
    assert_eq!(created(&plan).len(), 1);
}

fn failed(uid: &str, index: Option<&str>, code: i64) -> Object {
    let ended = json!({"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"});
    let mut more = json!({"status": {"containerStatuses": [{"name": "main", "state": {"terminated": ended}}]}});
    if let Some(index) = index {
        more["metadata"] = json!({"annotations": {INDEX: index}});
    }
    pod(uid, "Failed", &more)
}

fn on_exit(action: &str, code: i64) -> Value {
    json!({"action": action, "onExitCodes": {"operator": "In", "values": [code]}})
}

#[test]
fn a_failure_that_a_rule_ignores_is_not_counted_and_the_pod_is_replaced() {
    let spec = json!({"backoffLimit": 0, "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [on_exit("Ignore", 13), {"action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}});
    let mut job = job(&spec, &json!({}));
    let mut evicted = failed("p2", None, 143);
    evicted.0["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
    let mut pods = [failed("p1", None, 13), evicted];
    let orders = settle(&mut job, &mut pods);
    assert!(orders.iter().any(|order| matches!(order, Order::Create { .. })));
    assert_eq!((condition(&job, "Failed"), job.int("/status/failed")), (String::new(), Some(0)));
    assert!(!pods.iter().any(is_tracked), "they are let go all the same");
}

#[test]
fn a_failure_that_a_rule_names_ends_the_job_at_once() {
    let spec = json!({"podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [on_exit("FailJob", 42)]}});
    let mut job = job(&spec, &json!({}));
    settle(&mut job, &mut [failed("p1", None, 42)]);
    assert_eq!(condition(&job, "Failed"), "PodFailurePolicy");
    let message = conditions::find(&job, "Failed").expect("set")["message"].clone();
    let why = "Container main for pod default/p1 failed with exit code 42 matching FailJob rule at index 0";
    assert_eq!(message, why);
}

#[test]
fn indexes_fail_each_for_itself_and_the_job_when_all_are_over() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1,
        "backoffLimit": 100});
    let mut job = job(&spec, &json!({"completedIndexes": "1", "succeeded": 1}));
    let mut pods = vec![failed("p1", Some("0"), 1)];
    let orders = settle(&mut job, &mut pods);
    let again = orders.iter().find_map(|order| match order {
        Order::Create { object, .. } => Some(object["metadata"]["annotations"][policy::FAILURES].clone()),
        _ => None,
    });
    assert_eq!((again, condition(&job, "Failed")), (Some(json!("1")), String::new()));
    let mut second = failed("p2", Some("0"), 1);
    second.0["metadata"]["annotations"][policy::FAILURES] = "1".into();
    pods.push(second);
    settle(&mut job, &mut pods);
    assert_eq!(job.text("/status/failedIndexes"), "0");
    assert_eq!(condition(&job, "Failed"), "FailedIndexes");
}

#[test]
fn more_failed_indexes_than_allowed_end_the_job_and_a_rule_may_fail_an_index_at_once() {
    let spec = json!({"completionMode": "Indexed", "completions": 9, "parallelism": 2, "backoffLimitPerIndex": 5,
        "backoffLimit": 100, "maxFailedIndexes": 1, "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [on_exit("FailIndex", 7)]}});
    let mut job = job(&spec, &json!({}));
    settle(&mut job, &mut [failed("p1", Some("0"), 7), failed("p2", Some("3"), 7)]);
    assert_eq!(job.text("/status/failedIndexes"), "0,3");
    assert_eq!(condition(&job, "Failed"), "MaxFailedIndexesExceeded");
}

#[test]
fn enough_successes_by_the_policy_complete_the_job_and_end_the_rest() {
    let rules = json!([{"succeededIndexes": "0,2-3", "succeededCount": 2}]);
    let spec =
        json!({"completionMode": "Indexed", "completions": 5, "parallelism": 5, "successPolicy": {"rules": rules}});
    let mut job = job(&spec, &json!({"completedIndexes": "2", "succeeded": 1}));
    assert_eq!(condition(&job, "SuccessCriteriaMet"), "");
    job.0["status"]["completedIndexes"] = "0,2".into();
    let running = pod("p9", "Running", &json!({"metadata": {"annotations": {INDEX: "1"}}}));
    let orders = look(&job, &[running]).orders;
    assert!(orders.iter().any(|order| matches!(order, Order::Delete { target, .. } if target.uid == "p9")));
    settle(&mut job, &mut []);
    assert_eq!(condition(&job, "Complete"), "SuccessPolicy");
}

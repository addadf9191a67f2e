//! What stands in the cells.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::*;

fn now() -> Timestamp {
    "2025-01-01T01:00:00Z".parse().unwrap()
}

/// The cells of an object created five minutes ago, joined.
fn printed(kind: &Kind, mut value: Value) -> String {
    value["metadata"]["name"] = json!("x");
    value["metadata"]["creationTimestamp"] = json!("2025-01-01T00:55:00Z");
    let text = value.to_string();
    let table = table(kind, &[&Object::new(value)], now(), Include::None, json!({}), true);
    let (of_text, _) = cells_of_text(kind, text.as_bytes(), now()).unwrap();
    assert_eq!(Value::from(of_text), table["rows"][0]["cells"], "as it is shown where it is not decoded");
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len());
    let texts: Vec<String> =
        cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect();
    texts.join("|")
}

fn pod(status: &Value, deleting: bool) -> String {
    let mut value = json!({
        "metadata": {}, "spec": {"nodeName": "n1", "containers": [{}, {}], "initContainers": [{"name": "i"}]},
        "status": status
    });
    if deleting {
        value["metadata"]["deletionTimestamp"] = json!("2025-01-01T01:00:00Z");
    }
    printed(&POD, value)
}

#[test]
fn the_status_of_a_pod_is_that_of_its_containers() {
    let running = json!({"ready": true, "state": {"running": {}}});
    let rest = "|5m|<none>|n1|<none>|<none>";
    for (status, deleting, text) in [
        (json!({"phase": "Pending"}), false, "x|0/2|Pending|0"),
        (json!({"phase": "Running", "containerStatuses": [running, running]}), false, "x|2/2|Running|0"),
        (json!({"phase": "Running", "containerStatuses": [running, running]}), true, "x|2/2|Terminating|0"),
        (json!({"phase": "Failed", "reason": "Evicted"}), false, "x|0/2|Evicted|0"),
        (json!({"phase": "Succeeded"}), true, "x|0/2|Succeeded|0"),
        (
            json!({"phase": "Running", "containerStatuses": [running, {
                "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2025-01-01T00:59:00Z"}}
            }]}),
            false,
            "x|1/2|CrashLoopBackOff|3 (60s ago)",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}),
            false,
            "x|0/2|OOMKilled|0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
            false,
            "x|0/2|ExitCode:3|0",
        ),
        (
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}, running]}),
            false,
            "x|1/2|NotReady|0",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
            false,
            "x|0/2|Init:0/1|0",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}]}),
            false,
            "x|0/2|Init:Error|0",
        ),
    ] {
        assert_eq!(pod(&status, deleting), format!("{text}{rest}"));
    }
}

#[test]
fn every_kind_prints_as_kubectl_prints_it() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j"}]}});
    let workload = json!({"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let autoscaler = |member: &str, metrics: Value| {
        let target = json!({"kind": "Deployment", "name": "web"});
        let spec = json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5, member: metrics});
        json!({"spec": spec, "status": {"currentReplicas": 1}})
    };
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]);
    for (kind, value, text) in [
        (
            &DEPLOYMENT,
            json!({"spec": workload, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
            "x|2/3|3|1|5m|a,b|i:1,j|app=web",
        ),
        (
            &REPLICASET,
            json!({"spec": workload, "status": {"replicas": 3, "readyReplicas": 2}}),
            "x|3|3|2|5m|a,b|i:1,j|app=web",
        ),
        (&STATEFULSET, json!({"spec": workload, "status": {"readyReplicas": 2}}), "x|2/3|5m|a,b|i:1,j"),
        (
            &DAEMONSET,
            json!({"spec": workload, "status": {"desiredNumberScheduled": 4, "currentNumberScheduled": 3,
                "numberReady": 2, "updatedNumberScheduled": 1}}),
            "x|4|3|2|1|0|<none>|5m|a,b|i:1,j|app=web",
        ),
        (
            &REPLICATIONCONTROLLER,
            json!({"spec": {"replicas": 3, "selector": {"app": "web"}, "template": template}, "status": {"replicas": 1}}),
            "x|3|1|0|5m|a,b|i:1,j|app=web",
        ),
        (&PODTEMPLATE, json!({"template": template}), "x|a,b|i:1,j|<none>"),
        (
            &CONTROLLERREVISION,
            json!({"revision": 2, "metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]}}),
            "x|daemonset.apps/d|2|5m",
        ),
        (
            &JOB,
            json!({"spec": {"completions": 2, "template": template}, "status": {"succeeded": 1,
                "startTime": "2025-01-01T00:58:00Z"}}),
            "x|Running|1/2|2m|5m|a,b|i:1,j|<none>",
        ),
        (
            &JOB,
            json!({"spec": {"parallelism": 3}, "status": {"succeeded": 3, "startTime": "2025-01-01T00:58:00Z",
                "completionTime": "2025-01-01T00:58:07Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
            "x|Complete|3/1 of 3|7s|5m|||<none>",
        ),
        (&JOB, json!({"spec": {}}), "x|Running|0/1||5m|||<none>"),
        (
            &CRONJOB,
            json!({"spec": {"schedule": "* * * * *", "suspend": false, "jobTemplate": {"spec": {"template": template}}},
                "status": {"active": [{}], "lastScheduleTime": "2025-01-01T00:59:00Z"}}),
            "x|* * * * *|<none>|False|1|60s|5m|a,b|i:1,j|<none>",
        ),
        (&HORIZONTALPODAUTOSCALER, autoscaler("metrics", cpu), "x|Deployment/web|cpu: <unknown>/80%|2|5|1|5m"),
        (
            &HORIZONTALPODAUTOSCALER_V1,
            autoscaler("targetCPUUtilizationPercentage", json!(70)),
            "x|Deployment/web|cpu: <unknown>/70%|2|5|1|5m",
        ),
        (
            &PODDISRUPTIONBUDGET,
            json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
            "x|50%|N/A|1|5m",
        ),
        (
            &SERVICE,
            json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.1", "selector": {"app": "web"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            "x|NodePort|10.96.0.1|<none>|80:30080/TCP,53/UDP|5m|app=web",
        ),
        (
            &SERVICE,
            json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
            "x|ExternalName|<none>|a.b|<none>|5m|<none>",
        ),
        (&SERVICE, json!({"spec": {"type": "LoadBalancer"}}), "x|LoadBalancer|<none>|<pending>|<none>|5m|<none>"),
        (
            &ENDPOINTSLICE,
            json!({"addressType": "IPv4", "ports": [{"port": 80}],
                "endpoints": [{"addresses": ["1", "2"]}, {"addresses": ["3"]}, {"addresses": ["4"]}]}),
            "x|IPv4|80|1,2,3 + 1 more...|5m",
        ),
        (&ENDPOINTSLICE, json!({"addressType": "IPv4"}), "x|IPv4|<unset>|<unset>|5m"),
        (
            &INGRESS,
            json!({"spec": {"rules": [{"host": "a.localhost"}, {"host": "b.localhost"}], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}),
            "x|<none>|a.localhost,b.localhost|127.0.0.1|80, 443|5m",
        ),
        (&INGRESS, json!({"spec": {"ingressClassName": "wk", "rules": [{}]}}), "x|wk|*||80|5m"),
        (
            &NODE,
            json!({"metadata": {"labels": {"node-role.kubernetes.io/voter": ""}}, "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.33.0"}}}),
            "x|Ready,SchedulingDisabled|voter|5m|v1.33.0|127.0.0.1|<none>|<unknown>|<unknown>|<unknown>",
        ),
        (&NODE, json!({}), "x|Unknown|<none>|5m||<none>|<none>|<unknown>|<unknown>|<unknown>"),
        (&NAMESPACE, json!({"status": {"phase": "Active"}}), "x|Active|5m"),
        (&CONFIGMAP, json!({"data": {"a": "b"}, "binaryData": {"c": "ZA=="}}), "x|2|5m"),
        (
            &EVENT,
            json!({"lastTimestamp": "2025-01-01T00:59:00Z", "firstTimestamp": "2025-01-01T00:50:00Z", "count": 4,
                "type": "Warning", "reason": "BackOff", "message": "again ", "source": {"component": "node", "host": "n1"},
                "involvedObject": {"kind": "Pod", "name": "web"}}),
            "60s|Warning|BackOff|pod/web||node, n1|again|10m|4|x",
        ),
        (
            &IPADDRESS,
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}}),
            "x|services/default/web|5m",
        ),
    ] {
        assert_eq!(printed(kind, value), text);
    }
}

#[test]
fn an_empty_object_prints_without_panic_and_rows_carry_what_was_asked() {
    let object = Object::new(json!({"metadata": {"name": "x"}}));
    for kind in kinds() {
        let shown = table(kind, &[&object], now(), Include::Metadata, json!({"resourceVersion": "7"}), false);
        assert_eq!(shown["metadata"]["resourceVersion"], "7");
        assert_eq!(shown["columnDefinitions"], Value::Null);
        assert_eq!(shown["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
    let whole = table(&POD, &[&object], now(), Include::Object, Value::Null, true);
    assert_eq!(whole["rows"][0]["object"], object.0);
    assert_eq!(whole["columnDefinitions"][0]["format"], "name");
}

/// Pods in which any member that a column might read is there or not.
fn any_pod() -> impl Strategy<Value = Value> {
    let flag = || any::<bool>();
    let word = |words: &'static [&'static str]| prop::sample::select(words).prop_map(Value::from);
    let state = prop_oneof![
        Just(json!({})),
        Just(json!({"running": {"startedAt": "2025-01-01T00:58:00Z"}})),
        word(&["", "PodInitializing", "CrashLoopBackOff"]).prop_map(|reason| json!({"waiting": {"reason": reason}})),
        (word(&["", "Completed", "Error"]), 0..3_i64, 0..3_i64).prop_map(|(reason, signal, code)| {
            let at = "2025-01-01T00:59:00Z";
            json!({"terminated": {"reason": reason, "signal": signal, "exitCode": code, "finishedAt": at}})
        }),
    ];
    let status = (word(&["a", "b"]), flag(), flag(), 0..3_i64, state.clone(), state)
        .prop_map(|(name, ready, started, restarts, state, last)| {
            json!({"name": name, "ready": ready, "started": started, "restartCount": restarts, "state": state,
                "lastState": last, "image": "x", "containerID": "y"})
        })
        .boxed();
    let container = (word(&["a", "b"]), word(&["Always", ""]))
        .prop_map(|(name, policy)| json!({"name": name, "restartPolicy": policy, "env": [{"name": "E", "value": "{"}]}))
        .boxed();
    let condition = (
        word(&["Ready", "Initialized", "PodScheduled", "gate"]),
        word(&["True", "False"]),
        word(&["", "SchedulingGated"]),
    )
        .prop_map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason, "message": "m"}));
    let some = |item: BoxedStrategy<Value>| prop::collection::vec(item, 0..3).prop_map(Value::from);
    let spec = (some(container.clone()), some(container), word(&["", "n1"]), flag());
    let phases = word(&["Pending", "Running", "Succeeded", "Failed"]);
    let words = (phases, word(&["", "NodeLost", "Evicted"]), word(&["", "10.0.0.1"]), word(&["", "n2"]));
    let statuses = (some(status.clone()), some(status), some(condition.boxed()));
    (spec, words, statuses, flag(), flag()).prop_map(|(spec, words, statuses, deleting, addresses)| {
        let mut pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "x", "namespace": "n", "creationTimestamp": "2025-01-01T00:55:00Z", "labels": {"a": "\""},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"containers": spec.0, "initContainers": spec.1, "nodeName": spec.2, "volumes": [{}],
                "restartPolicy": "Never", "schedulerName": "s", "serviceAccountName": "a", "hostNetwork": spec.3},
            "status": {
                "phase": words.0, "reason": words.1, "podIP": words.2, "nominatedNodeName": words.3,
                "containerStatuses": statuses.0, "initContainerStatuses": statuses.1, "conditions": statuses.2,
            },
        });
        if spec.3 {
            pod["spec"]["readinessGates"] = json!([{"conditionType": "gate"}, {"conditionType": "other"}]);
        }
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2025-01-01T01:00:00Z");
        }
        if addresses {
            pod["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}]);
        }
        pod
    })
}

proptest! {
    #[test]
    fn what_is_picked_of_a_pod_is_all_that_its_columns_and_selectors_read(pod in any_pod()) {
        let text = pod.to_string();
        let (picked, metadata) = cells_of_text(&POD, text.as_bytes(), now()).unwrap();
        prop_assert_eq!(&picked, &cells(&POD, &Object::new(pod.clone()), now()));
        prop_assert_eq!(serde_json::from_slice::<Value>(metadata).unwrap(), pod["metadata"].clone());
        let selected = Kind::selected_of_text(POD.collection(), text.as_bytes()).unwrap();
        let pod = Object::new(pod);
        prop_assert_eq!(selected.labels(), pod.labels());
        let fields = |object| Kind::fields_of(POD.collection(), object).collect::<Vec<_>>();
        prop_assert_eq!(fields(&selected), fields(&pod));
    }
}

#[test]
fn what_kubectl_keeps_of_a_secret_is_not_in_its_metadata() {
    let applied = json!({"metadata": {"annotations": {LAST_APPLIED: "{\"data\":{}}", "a": "b"}}});
    let shown = |kind| metadata(kind, &Object::new(applied.clone()))["metadata"]["annotations"].clone();
    assert_eq!(shown(&SECRET), json!({"a": "b"}));
    assert_eq!(shown(&CONFIGMAP), applied["metadata"]["annotations"]);
    let row = row(&SECRET, &Object::new(applied), now(), Include::Metadata);
    assert!(!row.to_string().contains("data\\\""), "{row}");
}

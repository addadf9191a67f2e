//! What each kind refuses, in Kubernetes' words. One row a rule: the smallest change to a sound object that breaks it.

use serde_json::{Value, json};

mod others;
mod patched;
mod podspecs;
mod reach;
mod workloads;

use super::*;
use crate::kind::Serving;
use crate::patch::merge;
use crate::strategy::{Facts, create};

fn sound(kind: &Kind) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let spec = match kind.kind {
        "Pod" => json!({"containers": [{"name": "c", "image": "i"}]}),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            json!({"selector": {"matchLabels": {"a": "b"}}, "template": template})
        }
        "ReplicationController" => json!({"template": template}),
        "Job" => json!({"template": once}),
        "CronJob" => json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}}),
        "HorizontalPodAutoscaler" => json!({"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}),
        "Service" => json!({"ports": [{"port": 80}]}),
        "Ingress" => json!({"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}),
        "IPAddress" => json!({"parentRef": {"resource": "services", "name": "web", "namespace": "default"}}),
        "PersistentVolume" => {
            json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}})
        }
        "PersistentVolumeClaim" => {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
        }
        "IngressClass" => json!({"controller": "example.com/ingress"}),
        "ServiceCIDR" => json!({"cidrs": ["10.0.0.0/16"]}),
        "VolumeAttachment" => {
            json!({"attacher": "a.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "v"}})
        }
        "ValidatingAdmissionPolicy" => {
            let rules =
                json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
            json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]})
        }
        "ValidatingAdmissionPolicyBinding" => json!({"policyName": "p", "validationActions": ["Deny"]}),
        "CertificateSigningRequest" => {
            // "-----BEGIN CERTIFICATE REQUEST-----\n"
            json!({"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K", "signerName": "example.com/s"})
        }
        "FlowSchema" => json!({"priorityLevelConfiguration": {"name": "global-default"}}),
        "PriorityLevelConfiguration" => json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
        "HTTPRoute" | "GRPCRoute" => json!({}),
        "GatewayClass" => json!({"controllerName": "example.com/gateway"}),
        "Gateway" => {
            json!({"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})
        }
        "ReferenceGrant" => {
            json!({"from": [{"group": "", "kind": "Pod", "namespace": "a"}], "to": [{"group": "", "kind": "Secret"}]})
        }
        _ => Value::Null,
    };
    let name = if kind.kind == "IPAddress" { "10.96.0.1" } else { "web" };
    let mut value = json!({"metadata": {"name": name}, "spec": spec});
    match kind.kind {
        "CustomResourceDefinition" => {
            value["metadata"]["name"] = json!("gizmos.example.com");
            value["spec"] = json!({
                "group": "example.com", "scope": "Cluster", "names": {"plural": "gizmos", "kind": "Gizmo"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                }],
            });
        }
        "RoleBinding" | "ClusterRoleBinding" => value["roleRef"] = json!({"kind": "ClusterRole", "name": "view"}),
        "EndpointSlice" => value["addressType"] = json!("IPv4"),
        "PodTemplate" => value["template"] = template,
        "ControllerRevision" => value["data"] = json!({}),
        "StorageClass" => value["provisioner"] = json!("example.com/disk"),
        "CSIStorageCapacity" => value["storageClassName"] = json!("fast"),
        "RuntimeClass" => value["handler"] = json!("wasm"),
        "Event" if kind.group == "events.k8s.io" => {
            value["regarding"] = json!({"namespace": "default", "kind": "Pod", "name": "p"});
            value["eventTime"] = json!("2025-01-01T00:00:00.000000Z");
            value["reportingController"] = json!("example.com/c");
            for (key, text) in
                [("reportingInstance", "c-1"), ("action", "Make"), ("reason", "Made"), ("type", "Normal")]
            {
                value[key] = json!(text);
            }
        }
        "Event" => value["involvedObject"] = json!({"namespace": "default", "kind": "Pod", "name": "p"}),
        _ => {}
    }
    value
}

fn refusal(kind: &Kind, change: &Value) -> String {
    let mut body = sound(kind);
    merge(&mut body, change);
    let facts = Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" };
    match create(kind, kind.is_namespaced().then_some("default"), body, &facts) {
        Ok(_) => String::new(),
        Err(status) => status.message,
    }
}

#[test]
fn sound_objects_pass() {
    for kind in kinds().iter().filter(|kind| kind.serving == Serving::Stored) {
        assert_eq!(refusal(kind, &json!({})), "", "{kind}");
    }
}

#[test]
fn broken_metadata_is_refused() {
    for (change, text) in [
        (
            json!({"name": "W_9"}),
            "metadata.name: Invalid value: \"W_9\": a lowercase RFC 1123 subdomain must consist of",
        ),
        (json!({"labels": {"a b": "c"}}), "metadata.labels: Invalid value: \"a b\": name part must consist of"),
        (json!({"labels": {"a": "-"}}), "metadata.labels: Invalid value: \"-\": a valid label must be an empty string"),
        (
            json!({"annotations": {"a b": "c"}}),
            "metadata.annotations: Invalid value: \"a b\": name part must consist of",
        ),
        (json!({"finalizers": ["x"]}), "name is neither a standard finalizer name nor is it fully qualified"),
        (
            json!({"ownerReferences": [{}]}),
            "metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty",
        ),
    ] {
        let message = refusal(&CONFIGMAP, &json!({"metadata": change}));
        assert!(message.contains(text), "{message}");
    }
    assert!(refusal(&NAMESPACE, &json!({"metadata": {"name": "a.b"}})).contains("a lowercase RFC 1123 label must"));
    assert!(refusal(&SERVICE, &json!({"metadata": {"name": "1a"}})).contains("a DNS-1035 label must consist of"));
    assert!(refusal(&IPADDRESS, &json!({"metadata": {"name": "::0"}})).contains("must be in canonical form (\"::\")"));
}

#[test]
fn broken_containers_are_refused_all_at_once() {
    let containers = json!([
        {"name": "C", "ports": [{"containerPort": 70000}, {"name": "UP"}], "env": [{"name": "="}, {"name": "A", "valueFrom": {}}]},
        {"name": "d", "image": " i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1", "gpu": "1"}}},
        {"name": "d", "image": "i", "volumeMounts": [{"name": "x", "mountPath": "/x"}], "livenessProbe": {}},
    ]);
    let message = refusal(&POD, &json!({"spec": {"containers": containers, "restartPolicy": "Maybe"}}));
    for text in [
        "spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label must",
        "spec.containers[0].image: Required value",
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "spec.containers[0].ports[1].containerPort: Required value",
        "spec.containers[0].ports[1].name: Invalid value: \"UP\": must contain only alpha-numeric characters",
        "spec.containers[0].env[0].name: Invalid value: \"=\": a valid environment variable name must",
        "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`",
        "spec.containers[1].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        "spec.containers[1].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        "spec.containers[1].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type",
        "spec.containers[2].name: Duplicate value: \"d\"",
        "spec.containers[2].volumeMounts[0].name: Not found: \"x\"",
        "spec.containers[2].livenessProbe: Required value: must specify a handler type",
        "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
    ] {
        assert!(message.contains(text), "{text}\nin {message}");
    }
    assert!(refusal(&POD, &json!({"spec": {"containers": []}})).ends_with("spec.containers: Required value"));
}

#[test]
fn broken_specs_are_refused() {
    let port = |change: Value| {
        let mut port = json!({"port": 80});
        merge(&mut port, &change);
        json!({"ports": [port]})
    };
    let path = |change: Value| {
        let mut path =
            json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "w", "port": {"number": 1}}}});
        merge(&mut path, &change);
        json!({"rules": [{"http": {"paths": [path]}}]})
    };
    for (kind, spec, text) in [
        (&DEPLOYMENT, json!({"replicas": -1}), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (&DEPLOYMENT, json!({"selector": null}), "spec.selector: Required value"),
        (
            &DEPLOYMENT,
            json!({"selector": {"matchLabels": null}}),
            "spec.selector: Invalid value: {}: empty selector is invalid",
        ),
        (
            &DEPLOYMENT,
            json!({"selector": {"matchLabels": {"a": "c"}}}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            &DEPLOYMENT,
            json!({"template": {"spec": {"restartPolicy": "Never"}}}),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            &DEPLOYMENT,
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (&DEPLOYMENT, json!({"strategy": {"rollingUpdate": {"maxSurge": "x"}}}), "a valid percent string must be"),
        (&DEPLOYMENT, json!({"strategy": {"type": "X"}}), "supported values: \"Recreate\", \"RollingUpdate\""),
        (&DEPLOYMENT, json!({"minReadySeconds": 700}), "must be greater than minReadySeconds"),
        (&REPLICASET, json!({"template": null}), "spec.template: Required value"),
        (&SERVICE, json!({"ports": []}), "spec.ports: Required value"),
        (&SERVICE, port(json!({"port": 0})), "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535"),
        (&SERVICE, port(json!({"protocol": "X"})), "supported values: \"SCTP\", \"TCP\", \"UDP\""),
        (
            &SERVICE,
            port(json!({"nodePort": 30000})),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is",
        ),
        (&SERVICE, json!({"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[1].name: Required value"),
        (&SERVICE, json!({"type": "X"}), "spec.type: Unsupported value: \"X\""),
        (&SERVICE, json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        (&SERVICE, json!({"clusterIP": "x"}), "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address"),
        (&INGRESS, json!({"defaultBackend": null}), "either `defaultBackend` or `rules` must be specified"),
        (&INGRESS, json!({"rules": [{"host": "1.2.3.4"}]}), "must be a DNS name, not an IP address"),
        (&INGRESS, json!({"rules": [{"host": "a.*"}]}), "a wildcard DNS-1123 subdomain must start with '*.'"),
        (&INGRESS, json!({"rules": [{"http": {}}]}), "spec.rules[0].http.paths: Required value"),
        (
            &INGRESS,
            path(json!({"path": "x"})),
            "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute",
        ),
        (&INGRESS, path(json!({"path": "/a//b"})), "must not contain '//'"),
        (&INGRESS, path(json!({"pathType": null})), "pathType: Required value: pathType must be specified"),
        (&INGRESS, path(json!({"backend": {"service": {"port": null}}})), "port name or number is required"),
    ] {
        let message = refusal(kind, &json!({"spec": spec}));
        assert!(message.contains(text), "{text}\nin {message}");
    }
}

#[test]
fn broken_data_addresses_and_events_are_refused() {
    for (kind, change, text) in [
        (
            &CONFIGMAP,
            json!({"data": {"a b": "c"}}),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of",
        ),
        (&CONFIGMAP, json!({"data": {"a": "x".repeat(1 << 21)}}), "data: Too long: may not be more than 1048576 bytes"),
        (&SECRET, json!({"type": "kubernetes.io/tls"}), "data[tls.key]: Required value"),
        (&ENDPOINTSLICE, json!({"addressType": null}), "addressType: Required value"),
        (
            &ENDPOINTSLICE,
            json!({"endpoints": [{"addresses": ["x"]}]}),
            "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IP address",
        ),
        (&EVENT, json!({"involvedObject": {"namespace": "other"}}), "does not match event.namespace"),
        (&NODE, json!({"spec": {"taints": [{"key": "a", "effect": "X"}]}}), "spec.taints[0].effect: Unsupported value"),
    ] {
        let message = refusal(kind, &change);
        assert!(message.contains(text), "{text}\nin {message}");
    }
}

#[test]
fn kinds_are_found_by_every_name_they_have() {
    for kind in kinds() {
        assert_eq!(Kind::find(kind.group, kind.version, kind.plural), Some(*kind));
        assert_eq!(Kind::by_kind(&kind.api_version(), kind.kind), Some(*kind));
        if kind.storage.is_some() {
            continue;
        }
        // Metrics are called pods and nodes, and a person who says that means those.
        let is_metrics = kind.group == "metrics.k8s.io";
        for word in [kind.plural, kind.singular].iter().chain(kind.short_names).filter(|word| !word.is_empty()) {
            let found = Kind::by_word(word);
            assert_eq!(found.is_some_and(|found| found == *kind), !is_metrics, "{word}");
        }
    }
    assert_eq!(DEPLOYMENT.resource(), "deployments.apps");
    assert_eq!(Kind::name_in_store(Some("default"), "web"), "default/web");
    assert_eq!(Kind::name_in_store(None, "n1"), "n1");
}

#[test]
fn quality_of_service_follows_from_requests_and_limits() {
    let class = |resources: Value| pods::qos_class(&json!({"containers": [{"resources": resources}]}));
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    let full = json!({"cpu": "1", "memory": "1Gi"});
    assert_eq!(class(json!({"limits": full, "requests": {"cpu": "1000m", "memory": "1024Mi"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": full, "requests": {"cpu": "1"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": full, "requests": {"cpu": "500m"}})), "Burstable");
}

#[test]
fn kinds_that_nothing_acts_on_are_these_and_say_so() {
    let idle: Vec<&str> = kinds().iter().filter(|kind| !kind.acts).map(|kind| kind.plural).collect();
    // Whoever writes a controller for one takes it out here, and out of the README.
    let expected = [
        "podtemplates",
        "networkpolicies",
        "servicecidrs",
        "csidrivers",
        "csinodes",
        "csistoragecapacities",
        "volumeattachments",
        "flowschemas",
        "prioritylevelconfigurations",
        "gatewayclasses",
        "gateways",
        "httproutes",
        "grpcroutes",
        "referencegrants",
    ];
    assert_eq!(idle, expected);
}

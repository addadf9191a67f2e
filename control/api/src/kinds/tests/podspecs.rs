//! What a pod's spec may not say. Facts: `pkg/apis/core/validation/validation.go` of Kubernetes 1.33.

use serde_json::{Value, json};

use super::refusal;
use crate::kinds::POD;

fn with_volume(volume: &Value) -> Value {
    json!({"volumes": [volume]})
}

fn with_container(change: &Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    crate::patch::merge(&mut container, change);
    json!({"containers": [container]})
}

#[test]
fn each_rule_of_a_pods_spec_is_told_in_kubernetes_words() {
    for (spec, text) in [
        (with_volume(&json!({"name": "v"})), ""),
        (
            with_volume(&json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}})),
            "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            with_volume(&json!({"name": "v", "emptyDir": {}, "nfs": {"server": "s", "path": "/p"}})),
            "may not specify more than 1 volume type",
        ),
        (
            with_volume(&json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "X"}})),
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            with_volume(&json!({"name": "v", "hostPath": {"path": "/a", "type": "X"}})),
            "spec.volumes[0].hostPath.type: Unsupported value: \"X\"",
        ),
        (
            with_volume(&json!({"name": "v", "nfs": {"server": "s", "path": "p"}})),
            "spec.volumes[0].nfs.path: Invalid value: \"p\": must be an absolute path",
        ),
        (
            with_volume(&json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 512}})),
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            with_volume(&json!({"name": "v", "configMap": {"name": "s", "items": [{"key": "k", "path": "..x"}]}})),
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
        ),
        (
            with_volume(
                &json!({"name": "v", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "status.podIP"}}]}}),
            ),
            "spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: \"status.podIP\": supported values: \"metadata.annotations\"",
        ),
        (
            with_volume(
                &json!({"name": "v", "downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            ),
            "resourceFieldRef.containerName: Required value",
        ),
        (
            with_volume(
                &json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}),
            ),
            "expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
        ),
        (
            with_volume(
                &json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s", "items": [{"key": "k", "path": "t"}]}}]}}),
            ),
            "conflicting duplicate paths",
        ),
        (
            with_volume(&json!({"name": "v", "ephemeral": {}})),
            "spec.volumes[0].ephemeral.volumeClaimTemplate: Required value",
        ),
        (
            with_volume(&json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}})),
            "volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            with_volume(&json!({"name": "v", "iscsi": {"targetPortal": "p", "iqn": "x", "lun": 256}})),
            "spec.volumes[0].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
        ),
        (
            with_container(&json!({"restartPolicy": "Always"})),
            "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
        ),
        (
            with_container(&json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]})),
            "fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label not supported: spec.x",
        ),
        (
            with_container(
                &json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]}),
            ),
            "fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\"",
        ),
        (
            with_container(
                &json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b/c']"}}}]}),
            ),
            "fieldRef.fieldPath: Invalid value: \"a/b/c\": a qualified name",
        ),
        (
            with_container(
                &json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]}),
            ),
            "resource: Unsupported value: \"limits.gpu\"",
        ),
        (
            with_container(
                &json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a b"}}}]}),
            ),
            "valueFrom.secretKeyRef.key: Invalid value: \"a b\": a valid config key must",
        ),
        (
            with_container(
                &json!({"ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]}),
            ),
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//5\"",
        ),
        (
            with_container(
                &json!({"volumeMounts": [{"name": "x", "mountPath": "/x", "mountPropagation": "Bidirectional"}]}),
            ),
            "available only to privileged containers",
        ),
        (
            with_container(
                &json!({"volumeMounts": [{"name": "x", "mountPath": "/x", "subPath": "/a", "subPathExpr": "b"}]}),
            ),
            "subPathExpr and subPath are mutually exclusive",
        ),
        (
            with_container(&json!({"volumeDevices": [{"name": "x", "devicePath": ""}]})),
            "spec.containers[0].volumeDevices[0].devicePath: Required value",
        ),
        (
            with_container(&json!({"readinessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 5}})),
            "must not be set for readinessProbes",
        ),
        (
            with_container(&json!({"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}})),
            "successThreshold: Invalid value: 2: must be 1",
        ),
        (
            with_container(&json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            "must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        (
            with_container(&json!({"livenessProbe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}})),
            "a valid HTTP header must consist of alphanumeric characters or '-'",
        ),
        (
            with_container(&json!({"resources": {"requests": {"a.b/c": "1"}}})),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            with_container(
                &json!({"resources": {"limits": {"hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "4Mi"}}}),
            ),
            "HugePages require cpu or memory",
        ),
        (
            with_container(&json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "X"}]})),
            "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
        ),
        (
            with_container(&json!({"securityContext": {"runAsUser": -1}})),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            with_container(&json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (
            with_container(&json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}})),
            "localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "i", "livenessProbe": {"tcpSocket": {"port": 1}}}]}),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "i", "restartPolicy": "Never"}]}),
            "spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}]}),
            "",
        ),
        (
            json!({"ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "x"}]}),
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
        ),
        (
            json!({"ephemeralContainers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}]}]}),
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "A"}]}}),
            "spec.securityContext.sysctls[0].name: Invalid value: \"A\": must have at most 253 characters and match regex",
        ),
        (
            json!({"securityContext": {"supplementalGroups": [-5]}}),
            "spec.securityContext.supplementalGroups[0]: Invalid value: -5",
        ),
        (json!({"securityContext": {"fsGroupChangePolicy": "X"}}), "supported values: \"Always\", \"OnRootMismatch\""),
        (
            json!({"hostPID": true, "shareProcessNamespace": true}),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ),
        (json!({"imagePullSecrets": [{}]}), "spec.imagePullSecrets[0].name: Required value"),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            "nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 101, "preference": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}]}}]}}}),
            "weight: Invalid value: 101: must be in the range 1-100",
        ),
        (
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}}}),
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "X"}]}),
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]}),
            "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ),
        (
            json!({"readinessGates": [{"conditionType": "a b"}]}),
            "spec.readinessGates[0].conditionType: Invalid value: \"a b\"",
        ),
        (json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}), "spec.schedulingGates[1]: Duplicate value: \"a\""),
        (
            json!({"schedulingGates": [{"name": "a"}], "nodeName": "n"}),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            json!({"dnsPolicy": "None"}),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            json!({"dnsConfig": {"nameservers": ["1.1.1.1", "x", "1.1.1.1", "1.1.1.1"]}}),
            "must not have more than 3 nameservers",
        ),
        (
            json!({"dnsConfig": {"searches": ["."], "options": [{}]}}),
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ),
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["A"]}]}),
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address",
        ),
        (
            json!({"preemptionPolicy": "X"}),
            "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
        ),
        (
            json!({"overhead": {"cpu": "-1"}}),
            "spec.overhead[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            json!({"os": {"name": "wasi"}}),
            "spec.os.name: Unsupported value: \"wasi\": supported values: \"linux\", \"windows\"",
        ),
        (
            json!({"resourceClaims": [{"name": "a"}]}),
            "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
    ] {
        let message = refusal(&POD, &json!({"spec": spec}));
        let holds = if text.is_empty() { message.is_empty() } else { message.contains(text) };
        assert!(holds, "{text}\nin {message}");
    }
}

#[test]
fn a_pod_behind_gates_says_so() {
    let pod = super::workloads::made(&POD, &json!({"spec": {"schedulingGates": [{"name": "a"}]}}));
    assert_eq!(pod.text("/status/conditions/0/reason"), "SchedulingGated");
    let pod =
        super::workloads::made(&POD, &json!({"spec": {"volumes": [{"name": "v", "image": {"reference": "r:1"}}]}}));
    assert_eq!(pod.text("/spec/volumes/0/image/pullPolicy"), "IfNotPresent");
}

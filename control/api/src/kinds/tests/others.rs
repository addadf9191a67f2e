//! What the kinds refuse that are neither workloads nor of the first day. One row a rule, in Kubernetes' words.

use serde_json::{Value, json};

use super::*;

fn refusals(rows: &[(&Kind, Value, &str)]) {
    for (kind, change, text) in rows {
        let message = refusal(kind, change);
        assert!(message.contains(text), "{text}\nin {message:?} of {kind}");
    }
}

#[test]
fn broken_roles_and_bindings_are_refused() {
    let rule = |rule: Value| json!({"rules": [rule]});
    refusals(&[
        (
            &ROLE,
            rule(json!({"apiGroups": [""], "resources": ["pods"]})),
            "rules[0].verbs: Required value: verbs must contain",
        ),
        (
            &ROLE,
            rule(json!({"verbs": ["get"], "resources": ["pods"]})),
            "resource rules must supply at least one api group",
        ),
        (
            &ROLE,
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/x"]})),
            "namespaced rules cannot apply to non-resource URLs",
        ),
        (
            &CLUSTERROLE,
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]})),
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        (&CLUSTERROLE, json!({"aggregationRule": {}}), "at least one clusterRoleSelector required if aggregationRule"),
        (&ROLEBINDING, json!({"roleRef": {"kind": "X"}}), "roleRef.kind: Unsupported value: \"X\""),
        (&CLUSTERROLEBINDING, json!({"roleRef": {"kind": "Role"}}), "roleRef.kind: Unsupported value: \"Role\""),
        (&ROLEBINDING, json!({"subjects": [{"kind": "Robot", "name": "r"}]}), "subjects[0].kind: Unsupported value"),
        (
            &CLUSTERROLEBINDING,
            json!({"subjects": [{"kind": "ServiceAccount", "name": "r"}]}),
            "subjects[0].namespace: Required value",
        ),
    ]);
}

#[test]
fn broken_policies_of_namespaces_are_refused() {
    let limit = |item: Value| json!({"spec": {"limits": [item]}});
    refusals(&[
        (
            &LIMITRANGE,
            limit(json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}})),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
        ),
        (
            &LIMITRANGE,
            limit(json!({"type": "Pod", "default": {"cpu": "1"}})),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
        ),
        (
            &LIMITRANGE,
            limit(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}})),
            "ratio 500m is less than 1",
        ),
        (
            &RESOURCEQUOTA,
            json!({"spec": {"hard": {"pots": "1"}}}),
            "spec.hard[pots]: Invalid value: \"pots\": must be a standard resource for quota",
        ),
        (&RESOURCEQUOTA, json!({"spec": {"hard": {"pods": "-1"}}}), "must be greater than or equal to 0"),
        (
            &RESOURCEQUOTA,
            json!({"spec": {"hard": {"pods": "500m"}}}),
            "spec.hard[pods]: Invalid value: \"500m\": must be an integer",
        ),
        (&RESOURCEQUOTA, json!({"spec": {"scopes": ["BestEffort", "NotBestEffort"]}}), "conflicting scopes"),
        (
            &RESOURCEQUOTA,
            json!({"spec": {"hard": {"secrets": "1"}, "scopes": ["Terminating"]}}),
            "unsupported scope applied to resource",
        ),
        (
            &NETWORKPOLICY,
            json!({"spec": {"ingress": [{"from": [{}]}]}}),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            &NETWORKPOLICY,
            json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}}),
            "except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ),
        (
            &NAMESPACE,
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "none"}}}),
            "must be one of privileged, baseline, restricted",
        ),
    ]);
}

#[test]
fn broken_storage_is_refused() {
    refusals(&[
        (&PERSISTENTVOLUME, json!({"spec": {"hostPath": null}}), "spec: Required value: must specify a volume type"),
        (
            &PERSISTENTVOLUME,
            json!({"spec": {"nfs": {"server": "s", "path": "/"}}}),
            "may not specify more than 1 volume type",
        ),
        (
            &PERSISTENTVOLUME,
            json!({"spec": {"capacity": {"storage": "0"}}}),
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
        ),
        (&PERSISTENTVOLUMECLAIM, json!({"spec": {"accessModes": null}}), "at least 1 access mode is required"),
        (&PERSISTENTVOLUMECLAIM, json!({"spec": {"resources": null}}), "spec.resources[storage]: Required value"),
        (
            &PERSISTENTVOLUMECLAIM,
            json!({"spec": {"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"]}}),
            "may not use ReadWriteOncePod with other access modes",
        ),
        (&STORAGECLASS, json!({"provisioner": null}), "provisioner: Required value"),
        (
            &STORAGECLASS,
            json!({"volumeBindingMode": "Later"}),
            "supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ),
        (&CSIDRIVER, json!({"spec": {"fsGroupPolicy": "X"}}), "spec.fsGroupPolicy: Unsupported value: \"X\""),
        (
            &VOLUMEATTACHMENT,
            json!({"spec": {"source": null}}),
            "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
        (
            &SECRET,
            json!({"type": "kubernetes.io/service-account-token"}),
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
        (
            &SECRET,
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{"}}),
            "<secret contents redacted>",
        ),
    ]);
}

#[test]
fn broken_classes_webhooks_and_requests_are_refused() {
    let hook = |change: Value| {
        let mut hook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://h/x"}, "rules": []});
        merge(&mut hook, &change);
        json!({"webhooks": [hook]})
    };
    refusals(&[
        (
            &PRIORITYCLASS,
            json!({"value": 1_000_000_001}),
            "maximum allowed value of a user defined priority is 1000000000",
        ),
        (&PRIORITYCLASS, json!({"metadata": {"name": "system-x"}}), "system-x is not a known system priority class"),
        (&RUNTIMECLASS, json!({"handler": "A b"}), "handler: Invalid value: \"A b\": a lowercase RFC 1123 label"),
        (&INGRESSCLASS, json!({"spec": {"controller": "x"}}), "must be a domain-prefixed path"),
        (
            &LEASE,
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            &ENDPOINTS,
            json!({"subsets": [{}]}),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        ),
        (
            &ENDPOINTS,
            json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            &VALIDATINGWEBHOOKCONFIGURATION,
            hook(json!({"name": "a"})),
            "should be a domain with at least three segments",
        ),
        (
            &VALIDATINGWEBHOOKCONFIGURATION,
            hook(json!({"sideEffects": null})),
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            &MUTATINGWEBHOOKCONFIGURATION,
            hook(json!({"timeoutSeconds": 31})),
            "the timeout value must be between 1 and 30 seconds",
        ),
        (
            &MUTATINGWEBHOOKCONFIGURATION,
            hook(json!({"clientConfig": null})),
            "exactly one of url or service is required",
        ),
        (
            &VALIDATINGADMISSIONPOLICY,
            json!({"spec": {"matchConstraints": null}}),
            "spec.matchConstraints: Required value",
        ),
        (
            &VALIDATINGADMISSIONPOLICYBINDING,
            json!({"spec": {"validationActions": ["Deny", "Warn"]}}),
            "must not contain both Deny and Warn",
        ),
        (&CERTIFICATESIGNINGREQUEST, json!({"spec": {"signerName": "x"}}), "must be a fully qualified domain and path"),
        (
            &CERTIFICATESIGNINGREQUEST,
            json!({"spec": {"usages": ["cook"]}}),
            "spec.usages[0]: Unsupported value: \"cook\"",
        ),
        (&GATEWAY, json!({"spec": {"listeners": null}}), "spec.listeners: Required value"),
        (
            &HTTPROUTE,
            json!({"spec": {"rules": [{"backendRefs": [{"name": "w"}]}]}}),
            "Must have port for Service reference",
        ),
    ]);
}

#[test]
fn events_are_one_collection_under_two_names() {
    let facts = Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" };
    let regarding = json!({"namespace": "default", "kind": "Pod", "name": "p"});
    let body = json!({"metadata": {"name": "e"}, "regarding": regarding, "note": "n", "deprecatedCount": 2});
    let stored = create(&NEW_EVENT, Some("default"), body, &facts).unwrap();
    assert_eq!((stored.api_version(), stored.text("/message"), stored.int("/count")), ("v1", "n", Some(2)));
    let shown = NEW_EVENT.shown(&stored);
    assert_eq!(
        (shown.api_version(), shown.text("/note"), shown.text("/regarding/name")),
        ("events.k8s.io/v1", "n", "p")
    );
    let cells = (NEW_EVENT.rules.cells)(&shown, facts.now);
    assert_eq!(cells, (EVENT.rules.cells)(&stored, facts.now));
}

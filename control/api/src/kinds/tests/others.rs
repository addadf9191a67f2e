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
    let stored = create(&NEW_EVENT, Some("default"), new_event(), &facts).unwrap();
    assert_eq!((stored.api_version(), stored.text("/message")), ("v1", "n"));
    let shown = NEW_EVENT.shown(&stored);
    assert_eq!(
        (shown.api_version(), shown.text("/note"), shown.text("/regarding/name")),
        ("events.k8s.io/v1", "n", "p")
    );
    let cells = (NEW_EVENT.rules.cells)(&shown, facts.now);
    assert_eq!(cells, (EVENT.rules.cells)(&stored, facts.now));
}

fn new_event() -> Value {
    let regarding = json!({"namespace": "default", "kind": "Pod", "name": "p"});
    json!({
        "metadata": {"name": "e"}, "regarding": regarding, "note": "n", "type": "Normal", "reason": "Made", "action": "Make",
        "eventTime": "2025-01-01T00:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1",
    })
}

#[test]
fn events_of_the_newer_form_are_asked_for_more() {
    let facts = Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" };
    let changed = |change: Value| {
        let mut body = new_event();
        merge(&mut body, &change);
        body
    };
    for (change, text) in [
        (json!({"eventTime": null}), "eventTime: Required value"),
        (json!({"type": null}), "type: Invalid value: \"\": has invalid value: "),
        (json!({"type": "X"}), "type: Invalid value: \"\": has invalid value: X"),
        (json!({"deprecatedCount": 2}), "count: Invalid value: \"\": needs to be unset"),
        (json!({"deprecatedSource": {"host": "h"}}), "source: Invalid value: \"\": needs to be unset"),
        (
            json!({"deprecatedFirstTimestamp": "2025-01-01T00:00:00Z"}),
            "firstTimestamp: Invalid value: \"\": needs to be",
        ),
        (json!({"series": {"count": 1}}), "series.count: Invalid value: \"\": should be at least 2"),
        (json!({"series": {"count": 2}}), "series.lastObservedTime: Required value"),
        (json!({"reportingController": "a b"}), "reportingController: Invalid value: \"a b\""),
    ] {
        let refused = create(&NEW_EVENT, Some("default"), changed(change), &facts).unwrap_err();
        assert!(refused.message.contains(text), "{text}: {}", refused.message);
    }
    let stored = create(&NEW_EVENT, Some("default"), new_event(), &facts).unwrap();
    let refused = crate::strategy::update(&NEW_EVENT, &stored, changed(json!({"note": "other"})), &facts).unwrap_err();
    assert!(refused.message.contains("message: Invalid value: \"other\": field is immutable"), "{}", refused.message);
    let series = json!({"series": {"count": 2, "lastObservedTime": "2025-01-01T00:00:01.000000Z"}});
    crate::strategy::update(&NEW_EVENT, &stored, changed(series), &facts).expect("a series may begin");
    // The older form takes what it always took.
    let old = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "count": 2, "type": "X"});
    let stored = create(&EVENT, Some("default"), old, &facts).unwrap();
    assert_eq!(NEW_EVENT.shown(&stored).int("/deprecatedCount"), Some(2));
}

#[test]
fn broken_gateways_and_routes_are_refused_as_their_definitions_say() {
    let rule = |rule: Value| json!({"spec": {"rules": [rule]}});
    let path = |path: Value| rule(json!({"matches": [{"path": path}]}));
    let filter = |filter: Value| rule(json!({"filters": [filter]}));
    let listener = |listeners: Value| json!({"spec": {"listeners": listeners}});
    refusals(&[
        (
            &HTTPROUTE,
            path(json!({"type": "Foo"})),
            "spec.rules[0].matches[0].path.type: Unsupported value: \"Foo\": supported values: \"Exact\", \"PathPrefix\", \"RegularExpression\"",
        ),
        (&HTTPROUTE, path(json!({"value": "x"})), "value must be an absolute path and start with '/' when type one of"),
        (&HTTPROUTE, path(json!({"value": "/a//b"})), "must not contain '//' when type one of ['Exact', 'PathPrefix']"),
        (
            &HTTPROUTE,
            filter(json!({"type": "RequestRedirect"})),
            "spec.rules[0].filters[0]: Invalid value: \"object\": filter.requestRedirect must be specified for RequestRedirect filter.type",
        ),
        (
            &HTTPROUTE,
            filter(json!({"type": "RequestRedirect", "requestRedirect": {"statusCode": 418}})),
            "spec.rules[0].filters[0].requestRedirect.statusCode: Unsupported value: 418: supported values: \"301\", \"302\"",
        ),
        (
            &HTTPROUTE,
            json!({"spec": {"hostnames": ["10.0.0.1:80"]}}),
            "spec.hostnames[0]: Invalid value: \"10.0.0.1:80\"",
        ),
        (
            &HTTPROUTE,
            json!({"spec": {"parentRefs": [{"name": "g"}, {"name": "g"}]}}),
            "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
        ),
        (
            &HTTPROUTE,
            rule(json!({"timeouts": {"request": "1s", "backendRequest": "2s"}})),
            "backendRequest timeout cannot be longer than request timeout",
        ),
        (
            &HTTPROUTE,
            rule(json!({"backendRefs": [{"name": "w", "port": 80, "weight": -1}]})),
            "spec.rules[0].backendRefs[0].weight: Invalid value: -1: spec.rules[0].backendRefs[0].weight in body should be greater than or equal to 0",
        ),
        (
            &GRPCROUTE,
            rule(json!({"matches": [{"method": {}}]})),
            "One or both of 'service' or 'method' must be specified",
        ),
        (
            &GATEWAY,
            listener(
                json!([{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 80, "protocol": "HTTP"}]),
            ),
            "Combination of port, protocol and hostname must be unique for each listener",
        ),
        (
            &GATEWAY,
            listener(json!([{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {}}])),
            "certificateRefs or options must be specified when mode is Terminate",
        ),
        (
            &GATEWAY,
            listener(json!([{"name": "a", "port": 0, "protocol": "HTTP"}])),
            "should be greater than or equal to 1",
        ),
        (&GATEWAYCLASS, json!({"spec": {"controllerName": "x"}}), "spec.controllerName in body should match"),
        (&REFERENCEGRANT, json!({"spec": {"to": [{"kind": "Secret"}]}}), "spec.to[0].group: Required value"),
    ]);
}

#[test]
fn routes_and_gateways_are_filled_in_as_their_definitions_say() {
    let facts = Facts { now: "2025-01-01T00:00:00Z".parse().unwrap(), uid: "u", suffix: "x" };
    let body = json!({"metadata": {"name": "r"}, "spec": {
        "parentRefs": [{"name": "g"}],
        "rules": [{"backendRefs": [{"name": "w", "port": 80}], "filters": [{"type": "URLRewrite", "urlRewrite": {}}]}],
    }});
    let made = create(&HTTPROUTE, Some("default"), body, &facts).unwrap();
    let group = "gateway.networking.k8s.io";
    assert_eq!(made.at("/spec/parentRefs/0"), Some(&json!({"name": "g", "group": group, "kind": "Gateway"})));
    let rule = made.at("/spec/rules/0").unwrap();
    assert_eq!(rule["matches"], json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
    assert_eq!(rule["backendRefs"][0], json!({"name": "w", "port": 80, "group": "", "kind": "Service", "weight": 1}));
    let body = json!({"metadata": {"name": "g"}, "spec": {"gatewayClassName": "c", "listeners": [
        {"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "s"}]}},
    ]}});
    let made = create(&GATEWAY, Some("default"), body, &facts).unwrap();
    let listener = made.at("/spec/listeners/0").unwrap();
    assert_eq!(listener["allowedRoutes"], json!({"namespaces": {"from": "Same"}}));
    assert_eq!(listener["tls"]["certificateRefs"][0], json!({"name": "s", "group": "", "kind": "Secret"}));
    assert_eq!(listener["tls"]["mode"], "Terminate");
}

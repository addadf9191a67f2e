//! Where services may be reached, what slices may hold, and other texts that are refused since nothing could use them.

use serde_json::{Value, json};

use super::*;

fn refusals(rows: &[(&Kind, Value, &str)]) {
    for (kind, change, text) in rows {
        let message = refusal(kind, change);
        assert!(message.contains(text), "{text}\nin {message:?} of {kind}");
    }
}

#[test]
fn services_that_this_cluster_cannot_reach_are_refused() {
    let spec = |spec: Value| json!({ "spec": spec });
    let only = "may only be used when `type` is 'LoadBalancer'";
    refusals(&[
        (&SERVICE, spec(json!({"ipFamilies": ["IPv9"]})), "spec.ipFamilies[0]: Unsupported value: \"IPv9\""),
        (
            &SERVICE,
            spec(json!({"ipFamilies": ["IPv6"]})),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured",
        ),
        (&SERVICE, spec(json!({"ipFamilyPolicy": "X"})), "spec.ipFamilyPolicy: Unsupported value: \"X\""),
        (&SERVICE, spec(json!({"ipFamilyPolicy": "RequireDualStack"})), "not configured for dual-stack services"),
        (&SERVICE, spec(json!({"externalIPs": ["127.0.0.1"]})), "may not be in the loopback range"),
        (&SERVICE, spec(json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]})), only),
        (
            &SERVICE,
            spec(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["x"]})),
            "spec.loadBalancerSourceRanges[0]: Invalid value: \"x\"",
        ),
        (&SERVICE, spec(json!({"healthCheckNodePort": 5})), "may only be set when `type` is 'LoadBalancer' and"),
        (&SERVICE, spec(json!({"allocateLoadBalancerNodePorts": false})), only),
        (&SERVICE, spec(json!({"loadBalancerClass": "x/y"})), only),
        (&SERVICE, spec(json!({"trafficDistribution": "X"})), "spec.trafficDistribution: Unsupported value: \"X\""),
        (
            &SERVICE,
            spec(json!({"type": "NodePort", "clusterIP": "None"})),
            "may not be set to 'None' for NodePort services",
        ),
    ]);
}

#[test]
fn slices_of_addresses_that_lead_nowhere_are_refused() {
    let endpoint = |endpoint: Value| json!({"addressType": "IPv4", "endpoints": [endpoint]});
    let at = |address: &str| endpoint(json!({"addresses": [address]}));
    refusals(&[
        (&ENDPOINTSLICE, at("127.0.0.1"), "may not be in the loopback range"),
        (&ENDPOINTSLICE, at("169.254.1.1"), "may not be in the link-local range"),
        (&ENDPOINTSLICE, endpoint(json!({"addresses": ["10.0.0.1"], "hostname": "A_"})), "endpoints[0].hostname"),
        (&ENDPOINTSLICE, endpoint(json!({"addresses": ["10.0.0.1"], "nodeName": "A_"})), "endpoints[0].nodeName"),
        (
            &ENDPOINTSLICE,
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "appProtocol": "a b"}]}),
            "ports[0].appProtocol: Invalid value: \"a b\"",
        ),
    ]);
}

#[test]
fn the_loopback_may_stand_behind_the_api_and_behind_nothing_else() {
    let endpoint = json!([{"addresses": ["127.0.0.1"]}]);
    let subsets = json!([{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 6443}]}]);
    let slice = |name: &str, service: &str| {
        let labels = json!({"kubernetes.io/service-name": service});
        json!({"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": endpoint})
    };
    assert_eq!(refusal(&ENDPOINTSLICE, &slice("kubernetes", "kubernetes")), "");
    assert_eq!(refusal(&ENDPOINTSLICE, &slice("kubernetes-1", "kubernetes")), "");
    assert_eq!(refusal(&ENDPOINTS, &json!({"metadata": {"name": "kubernetes"}, "subsets": subsets})), "");
    for (name, service) in [("kubernetes", "web"), ("web", "kubernetes"), ("kubernetes-x", "kubernetes")] {
        assert!(refusal(&ENDPOINTSLICE, &slice(name, service)).contains("loopback"), "{name} {service}");
    }
    assert!(refusal(&ENDPOINTS, &json!({"metadata": {"name": "web"}, "subsets": subsets})).contains("loopback"));
}

#[test]
fn what_nothing_could_use_is_refused() {
    let term = |expression: Value| json!({"provisioner": "a/b", "allowedTopologies": [{"matchLabelExpressions": [expression]}]});
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    let selector = json!({"spec": {"selector": null}});
    refusals(&[
        (
            &STORAGECLASS,
            term(json!({"key": "a"})),
            "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
        ),
        (&STORAGECLASS, term(json!({"key": "a", "values": ["x", "x"]})), "values[1]: Duplicate value: \"x\""),
        (
            &RUNTIMECLASS,
            json!({"handler": "x", "scheduling": {"nodeSelector": {"a b": "c"}}}),
            "scheduling.nodeSelector",
        ),
        (
            &RUNTIMECLASS,
            json!({"handler": "x", "scheduling": {"tolerations": [{"key": "a", "operator": "Z"}]}}),
            "scheduling.tolerations[0].operator: Unsupported value: \"Z\"",
        ),
        (
            &NAMESPACE,
            json!({"spec": {"finalizers": ["x"]}}),
            "spec.finalizers[0]: Invalid value: \"x\": name is neither",
        ),
        (&NODE, json!({"spec": {"podCIDR": "x"}}), "spec.podCIDRs[0]: Invalid value: \"x\""),
        (&NODE, json!({"spec": {"taints": [taint, taint]}}), "taints must be unique by key and effect pair"),
        (
            &INGRESS,
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {"ingressClassName": "y"}}),
            "must match `ingressClassName` when both are specified",
        ),
        (
            &CONFIGMAP,
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]}}),
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        (
            &POD,
            json!({"spec": {"hostUsers": false, "hostNetwork": true}}),
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
        ),
        (
            &POD,
            json!({"spec": {"os": {"name": "windows"}, "hostPID": true}}),
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
        ),
        (&DEPLOYMENT, selector.clone(), "spec.selector: Required value"),
        (&DEPLOYMENT, selector, "`selector` does not match template `labels`"),
        (&JOB, json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}}), "`selector` not auto-generated"),
    ]);
}

#[test]
fn names_of_variables_and_domains_are_as_free_as_in_kubernetes() {
    let pod = json!({"spec": {
        "containers": [{"name": "c", "image": "i", "env": [{"name": "1a b", "value": "x"}], "envFrom": [{"prefix": "1 a", "configMapRef": {"name": "m"}}]}],
        "dnsConfig": {"searches": ["_x.y", "."]},
    }});
    assert_eq!(refusal(&POD, &pod), "");
    let equals = json!({"spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "a=b"}]}]}});
    assert!(refusal(&POD, &equals).contains("printable ASCII characters other than '='"));
}

#[test]
fn services_say_how_the_addresses_of_balancers_are_reached_and_are_read_without_dates() {
    let ingress = json!([{"ip": "203.0.113.1"}, {"hostname": "a.example"}]);
    let mut service = json!({
        "metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": ingress}, "conditions": [{"type": "A", "status": "True"}]},
    });
    SERVICE.fill(&mut service);
    let ingress = json!([{"ip": "203.0.113.1", "ipMode": "VIP"}, {"hostname": "a.example"}]);
    assert_eq!(service["status"]["loadBalancer"]["ingress"], ingress);
    let read = crate::Object::new(service).read::<k8s_openapi::api::core::v1::Service>().expect("a service");
    assert_eq!(read.status.and_then(|status| status.conditions).map_or(0, |all| all.len()), 1);
}

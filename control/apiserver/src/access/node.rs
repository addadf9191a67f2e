//! What a node may do: see and write what its own pods need, as Kubernetes' Node authorizer has it.
//!
//! Our own nodes do not come this way: their agents have the store in their process. This is for whoever holds a node's
//! certificate. What such a caller may *write into* objects is in [`super::guard`].

use std::sync::OnceLock;

use wk_access::rbac::Rule;
use wk_access::{Ask, Decision, Resource, defaults};
use wk_api::{Object, kinds};
use wk_cluster::{key, object};
use wk_store::View;

use super::service_accounts::kind;

/// Where nodes' leases are.
const LEASES: &str = "kube-node-lease";

/// Whether the node of this name may do this. A look at all pods: nodes ask rarely.
pub(super) fn decide(view: &View, node: &str, ask: &Ask<'_>) -> Decision {
    let Ask::Resource(ask) = ask else { return Decision::default() };
    let related = |verbs: &[&str], is_needed: fn(&Object, &str) -> bool| match ask {
        _ if !verbs.contains(&ask.verb) => {
            Decision::deny(format!("can only {} individual resources of this type", verbs.join("/")))
        }
        Resource { name: "", .. } => Decision::deny("can only read individual resources of this type"),
        Resource { subresource: "", .. } => {
            let needed = pods_of(view, node).any(|pod| pod.namespace() == ask.namespace && is_needed(&pod, ask.name));
            if needed { Decision::allow("") } else { unrelated(node) }
        }
        _ => Decision::deny("cannot read subresource"),
    };
    match (ask.group, ask.resource) {
        ("", "secrets") => related(&["get", "list", "watch"], |pod, name| names(pod, SECRETS, name)),
        ("", "configmaps") => related(&["get", "list", "watch"], |pod, name| names(pod, CONFIG_MAPS, name)),
        ("", "persistentvolumeclaims") if ask.subresource.is_empty() => {
            related(&["get"], |pod, name| names(pod, CLAIMS, name))
        }
        ("", "persistentvolumes") => volume(view, node, ask),
        ("", "serviceaccounts") if ask.subresource == "token" && ask.verb == "create" => {
            let own = |pod: &Object| pod.namespace() == ask.namespace && account(pod) == ask.name;
            if pods_of(view, node).any(|pod| own(&pod)) { Decision::allow("") } else { unrelated(node) }
        }
        ("", "serviceaccounts") if ask.subresource.is_empty() => related(&["get"], |pod, name| account(pod) == name),
        ("", "pods") => pods(view, node, ask),
        ("", "nodes") => nodes(node, ask),
        ("coordination.k8s.io", "leases") => lease(node, ask),
        _ => by_rules(ask),
    }
}

fn unrelated(node: &str) -> Decision {
    Decision::deny(format!("no relationship found between node '{node}' and this object"))
}

/// What every node may do.
fn by_rules(ask: &Resource<'_>) -> Decision {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    let rules = RULES.get_or_init(defaults::node_rules);
    if rules.iter().any(|rule| rule.allows(&Ask::Resource(*ask))) { Decision::allow("") } else { Decision::default() }
}

fn pods(view: &View, node: &str, ask: &Resource<'_>) -> Decision {
    if matches!(ask.verb, "list" | "watch") && ask.name.is_empty() {
        let own = format!("spec.nodeName={node}");
        let is_own = ask.fields.split(',').any(|term| term.trim() == own);
        return if is_own {
            Decision::allow("")
        } else {
            Decision::deny("can only list/watch pods with spec.nodeName field selector")
        };
    }
    let found = view.get(&key(&kinds::POD, Some(ask.namespace), ask.name));
    let is_own = || found.is_some_and(|stored| object(&stored).text("/spec/nodeName") == node);
    if ask.name.is_empty() || is_own() { by_rules(ask) } else { unrelated(node) }
}

fn nodes(node: &str, ask: &Resource<'_>) -> Decision {
    let only_own = || Decision::deny(format!("node '{node}' cannot read '{}', only its own Node object", ask.name));
    match ask.verb {
        "get" | "list" | "watch" if ask.name == node => by_rules(ask),
        "get" => only_own(),
        "list" | "watch" => Decision::deny(format!("node '{node}' cannot read all nodes, only its own Node object")),
        _ => by_rules(ask),
    }
}

fn lease(node: &str, ask: &Resource<'_>) -> Decision {
    if ask.namespace != LEASES {
        return Decision::deny(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    // The name of what is created is not known yet; the guard looks at it.
    if ask.verb != "create" && ask.name != node {
        return Decision::deny("can only access node lease with the same name as the requesting node");
    }
    by_rules(ask)
}

fn volume(view: &View, node: &str, ask: &Resource<'_>) -> Decision {
    if ask.verb != "get" || ask.name.is_empty() || !ask.subresource.is_empty() {
        return Decision::deny("can only get individual resources of this type");
    }
    let Some(claims) = kind("persistentvolumeclaims") else { return unrelated(node) };
    let is_bound = |pod: &Object| {
        pod.items("/spec/volumes")
            .iter()
            .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
            .any(|claim| {
                let stored = view.get(&key(claims, Some(pod.namespace()), claim));
                stored.is_some_and(|stored| object(&stored).text("/spec/volumeName") == ask.name)
            })
    };
    if pods_of(view, node).any(|pod| is_bound(&pod)) { Decision::allow("") } else { unrelated(node) }
}

fn pods_of<'a>(view: &'a View, node: &'a str) -> impl Iterator<Item = std::sync::Arc<Object>> + 'a {
    let pods = view.list(kinds::POD.collection(), "").map(|stored| object(&stored));
    // A finished pod needs nothing any more.
    pods.filter(move |pod| {
        pod.text("/spec/nodeName") == node && !matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
    })
}

fn account(pod: &Object) -> &str {
    match pod.text("/spec/serviceAccountName") {
        "" => "default",
        name => name,
    }
}

/// Where a pod names objects of one kind: in volumes, and in its containers.
struct Places {
    /// Pointers below a volume.
    volumes: &'static [&'static str],
    /// Pointers below a source of a projected volume.
    projected: &'static str,
    /// Pointer below an entry of `envFrom`.
    env_from: &'static str,
    /// Pointer below an entry of `env`.
    env: &'static str,
    /// Pointer to a list of references in the spec.
    listed: &'static str,
}

const SECRETS: &Places = &Places {
    volumes: &[
        "/secret/secretName",
        "/csi/nodePublishSecretRef/name",
        "/rbd/secretRef/name",
        "/cephfs/secretRef/name",
        "/iscsi/secretRef/name",
    ],
    projected: "/secret/name",
    env_from: "/secretRef/name",
    env: "/valueFrom/secretKeyRef/name",
    listed: "/spec/imagePullSecrets",
};

const CONFIG_MAPS: &Places = &Places {
    volumes: &["/configMap/name"],
    projected: "/configMap/name",
    env_from: "/configMapRef/name",
    env: "/valueFrom/configMapKeyRef/name",
    listed: "",
};

const CLAIMS: &Places =
    &Places { volumes: &["/persistentVolumeClaim/claimName"], projected: "", env_from: "", env: "", listed: "" };

/// Whether `pod` names the object `name` in one of these places.
fn names(pod: &Object, places: &Places, name: &str) -> bool {
    let is = |value: &serde_json::Value, pointer: &str| {
        !pointer.is_empty() && value.pointer(pointer).and_then(serde_json::Value::as_str) == Some(name)
    };
    let items = |value: &serde_json::Value, pointer: &str| {
        value.pointer(pointer).and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
    };
    let in_volumes = pod.items("/spec/volumes").iter().any(|volume| {
        places.volumes.iter().any(|place| is(volume, place))
            || items(volume, "/projected/sources").iter().any(|source| is(source, places.projected))
    });
    let in_containers = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"].iter().any(|list| {
        pod.items(list).iter().any(|container| {
            items(container, "/envFrom").iter().any(|source| is(source, places.env_from))
                || items(container, "/env").iter().any(|entry| is(entry, places.env))
        })
    });
    let listed = !places.listed.is_empty() && pod.items(places.listed).iter().any(|entry| is(entry, "/name"));
    in_volumes || in_containers || listed
}

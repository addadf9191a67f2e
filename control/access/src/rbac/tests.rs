//! Roles against a reference that reads the objects anew for each question, and facts about single rules.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use wk_api::Object;

use super::*;
use crate::ask::Ask;
use crate::user::{User, service_account};

fn rule(value: &Value) -> Rule {
    Rule::list(&json!([value])).remove(0)
}

fn pods(verbs: &[&str], resources: &[&str]) -> Rule {
    rule(&json!({"verbs": verbs, "apiGroups": [""], "resources": resources}))
}

fn ask<'a>(verb: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Ask<'a> {
    let Ask::Resource(ask) = Ask::resource(verb, "", resource).named(name) else { unreachable!("a resource") };
    Ask::Resource(crate::ask::Resource { subresource, ..ask })
}

#[test]
fn a_resource_takes_in_no_subresource_and_a_star_takes_in_all() {
    let plain = pods(&["get"], &["pods"]);
    assert!(plain.allows(&ask("get", "pods", "", "a")));
    assert!(!plain.allows(&ask("get", "pods", "log", "a")));
    assert!(pods(&["get"], &["*"]).allows(&ask("get", "pods", "log", "a")));
    assert!(pods(&["get"], &["*/scale"]).allows(&ask("get", "pods", "scale", "a")));
    assert!(!pods(&["get"], &["*/scale"]).allows(&ask("get", "pods", "", "a")));
    assert!(!pods(&["get"], &["pods/"]).allows(&ask("get", "pods", "", "a")));
    let named = rule(&json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["pods"], "resourceNames": ["a"]}));
    assert!(named.allows(&ask("delete", "pods", "", "a")));
    assert!(!named.allows(&ask("list", "pods", "", "")));
}

#[test]
fn paths_match_whole_or_by_a_trailing_star() {
    let paths = rule(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
    let get = |path| paths.allows(&Ask::Path { verb: "get", path });
    assert!(get("/healthz") && get("/api/v1") && get("/api/"));
    assert!(!get("/api") && !get("/healthz/x"));
    assert!(!paths.allows(&Ask::Path { verb: "post", path: "/healthz" }));
    assert!(!paths.allows(&ask("get", "pods", "", "a")));
}

#[test]
fn what_is_not_held_is_told_as_kubernetes_tells_it() {
    let user = User::new("bob", ["dev", "system:authenticated"]);
    let held = [pods(&["get"], &["pods"])];
    let asked = [pods(&["get", "list", "watch"], &["pods"]), pods(&["get"], &["secrets"])];
    assert_eq!(
        not_held(&user, &held, &asked).expect("more than is held"),
        "user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
         currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}\n{APIGroups:[\"\"], \
         Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    assert_eq!(not_held(&user, &[pods(&["*"], &["*"])], &asked), None);
    let named = rule(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}));
    assert_eq!(not_held(&user, &held, std::slice::from_ref(&named)), None, "one of all");
    assert!(not_held(&user, &[named], &held).is_some(), "all of one");
}

#[test]
fn a_binding_to_a_role_that_is_missing_grants_nothing_and_says_so() {
    let mut roles = Rbac::builder();
    roles.binding(&binding("b", "shop", "Role", "gone", &json!([{"kind": "User", "name": "alice"}])));
    let decision = roles.finish().decide(&User::new("alice", []), &Ask::resource("get", "", "pods").within("shop"));
    assert!(!decision.allowed);
    assert_eq!(decision.reason, "RBAC: role.rbac.authorization.k8s.io \"gone\" not found");
}

#[test]
fn a_service_account_of_a_binding_is_the_user_that_its_token_names() {
    let mut roles = Rbac::builder();
    roles.role(&role("r", "shop", &json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])));
    let subjects = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "work"}]);
    roles.binding(&binding("b", "shop", "Role", "r", &subjects));
    let roles = roles.finish();
    let get = Ask::resource("get", "", "pods").within("shop");
    let decision = roles.decide(&service_account("work", "robot", "u1"), &get);
    assert_eq!(
        decision.reason,
        "RBAC: allowed by RoleBinding \"b/shop\" of Role \"r\" to ServiceAccount \"robot/work\""
    );
    assert!(!roles.decide(&service_account("shop", "robot", "u1"), &get).allowed);
}

#[test]
fn an_aggregating_role_has_the_rules_of_what_is_labelled_for_it_in_the_order_of_names() {
    let part = |name: &str, resource: &str| {
        Object::new(json!({
            "metadata": {"name": name, "labels": {"to": "x"}},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}],
        }))
    };
    let (b, a, again) = (part("b", "pods"), part("a", "secrets"), part("c", "pods"));
    let mut whole = Object::new(json!({
        "metadata": {"name": "whole"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "x"}}]},
    }));
    let all = [&b, &a, &again];
    let rules = aggregated(&whole, &all).expect("it has none yet");
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0]["resources"][0], "secrets");
    whole.0["rules"] = rules.into();
    assert_eq!(aggregated(&whole, &all), None);
    assert_eq!(aggregated(&a, &all), None, "no aggregation asked for");
}

fn role(name: &str, namespace: &str, rules: &Value) -> Object {
    Object::new(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
}

fn binding(name: &str, namespace: &str, kind: &str, role: &str, subjects: &Value) -> Object {
    Object::new(json!({
        "metadata": {"name": name, "namespace": namespace},
        "subjects": subjects,
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
    }))
}

/// The question answered by reading everything, in Kubernetes' own order and words of documentation.
fn reference(roles: &[Object], bindings: &[Object], user: &User, ask: &Ask<'_>) -> bool {
    let asked_in = match ask {
        Ask::Resource(ask) => ask.namespace,
        Ask::Path { .. } => "",
    };
    bindings.iter().any(|binding| {
        let home = binding.namespace();
        if !home.is_empty() && home != asked_in {
            return false;
        }
        let is_subject = binding.items("/subjects").iter().any(|subject| match subject["kind"].as_str() {
            Some("User") => subject["name"] == user.name.as_str(),
            Some("Group") => user.groups.iter().any(|group| subject["name"] == group.as_str()),
            _ => false,
        });
        let of_role = roles.iter().filter(|role| {
            role.name() == binding.text("/roleRef/name")
                && match binding.text("/roleRef/kind") {
                    "ClusterRole" => role.namespace().is_empty(),
                    _ => !home.is_empty() && role.namespace() == home,
                }
        });
        is_subject && of_role.flat_map(|role| Rule::list(&role.0["rules"])).any(|rule| rule.allows(ask))
    })
}

fn words(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(from), 0..3)
}

const VERBS: &[&str] = &["get", "list", "*"];
const GROUPS: &[&str] = &["", "apps", "*"];
const RESOURCES: &[&str] = &["pods", "pods/log", "*/log", "secrets", "*"];
const NAMES: &[&str] = &["a", "b"];
const SPACES: &[&str] = &["", "x", "y"];
const ROLES: &[&str] = &["r", "s"];
const PATHS: &[&str] = &["/api", "/api/*", "*"];

fn rules() -> impl Strategy<Value = Value> {
    let one = (words(VERBS), words(GROUPS), words(RESOURCES), words(NAMES), words(PATHS)).prop_map(
        |(verbs, groups, resources, names, paths)| {
            json!({
                "verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names,
                "nonResourceURLs": paths,
            })
        },
    );
    prop::collection::vec(one, 0..3).prop_map(Value::from)
}

fn subjects() -> impl Strategy<Value = Value> {
    let one = (prop::sample::select(vec!["User", "Group"]), prop::sample::select(vec!["u", "v", "g"]))
        .prop_map(|(kind, name)| json!({"kind": kind, "name": name}));
    prop::collection::vec(one, 0..3).prop_map(Value::from)
}

fn asks() -> &'static [Ask<'static>] {
    static ASKS: OnceLock<Vec<Ask<'static>>> = OnceLock::new();
    ASKS.get_or_init(|| {
        let mut asks = vec![Ask::Path { verb: "get", path: "/api" }, Ask::Path { verb: "list", path: "/api/v1" }];
        for verb in ["get", "list"] {
            for group in ["", "apps"] {
                for resource in ["pods", "secrets"] {
                    for subresource in ["", "log"] {
                        for namespace in ["", "x", "y"] {
                            for name in ["", "a"] {
                                asks.push(Ask::Resource(crate::ask::Resource {
                                    verb,
                                    group,
                                    resource,
                                    subresource,
                                    namespace,
                                    name,
                                    fields: "",
                                }));
                            }
                        }
                    }
                }
            }
        }
        asks
    })
}

proptest! {
    #[test]
    fn the_index_decides_as_the_reference_does(
        roles in prop::collection::btree_map((prop::sample::select(ROLES), prop::sample::select(SPACES)), rules(), 0..5),
        bindings in prop::collection::vec(
            (prop::sample::select(SPACES), prop::sample::select(vec!["Role", "ClusterRole"]), prop::sample::select(ROLES), subjects()),
            0..5,
        ),
    ) {
        let roles: Vec<Object> = roles.iter().map(|((name, space), rules)| role(name, space, rules)).collect();
        let bindings: Vec<Object> = bindings
            .iter()
            .enumerate()
            .map(|(at, (space, kind, name, subjects))| binding(&format!("b{at}"), space, kind, name, subjects))
            .collect();
        let mut builder = Rbac::builder();
        for role in &roles {
            builder.role(role);
        }
        for binding in &bindings {
            builder.binding(binding);
        }
        let index = builder.finish();
        for user in [User::new("u", ["g"]), User::new("v", []), User::new("g", ["u"])] {
            for ask in asks() {
                prop_assert_eq!(index.decide(&user, ask).allowed, reference(&roles, &bindings, &user, ask), "{:?} {:?}", user, ask);
            }
        }
    }

    #[test]
    fn who_holds_all_of_a_rule_may_do_all_that_it_allows(held in rules(), asked in rules()) {
        let (held, asked) = (Rule::list(&held), Rule::list(&asked));
        let is_covered = covers(&held, &asked).is_empty();
        for ask in asks() {
            if is_covered && asked.iter().any(|rule| rule.allows(ask)) {
                prop_assert!(held.iter().any(|rule| rule.allows(ask)), "{:?}", ask);
            }
        }
    }
}

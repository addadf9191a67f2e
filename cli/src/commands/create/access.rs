//! Roles and their bindings.

use serde_json::{Map, Value, json};

use super::Made;
use crate::args::{BindingArgs, RoleArgs};
use crate::discovery::Kinds;
use crate::exit::{ExitError, usage};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role, or a ClusterRole.
pub(super) fn role(kinds: &Kinds, args: &RoleArgs, of_cluster: bool) -> anyhow::Result<Made> {
    let is_plain = args.non_resource_url.is_empty() && args.aggregation_rule.is_empty();
    if !of_cluster && !is_plain {
        return Err(usage("--non-resource-url and --aggregation-rule are for clusterroles").into());
    }
    let mut object = json!({"rules": rules(kinds, args)?});
    if !args.aggregation_rule.is_empty() {
        let labels: Map<String, Value> = args
            .aggregation_rule
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
    }
    Ok(if of_cluster {
        Made::of_cluster(GROUP, "ClusterRole", "clusterroles", object)
    } else {
        Made::of(GROUP, "Role", "roles", object)
    })
}

/// One rule a group, as kubectl makes them.
fn rules(kinds: &Kinds, args: &RoleArgs) -> anyhow::Result<Vec<Value>> {
    if args.resource.is_empty() && args.non_resource_url.is_empty() && args.aggregation_rule.is_empty() {
        return Err(usage("say with what: --resource pods,deployments.apps").into());
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for word in &args.resource {
        let (word, subresource) = word.split_once('/').map_or((word.as_str(), None), |(word, sub)| (word, Some(sub)));
        let (group, plural) = if word == "*" {
            ("*".to_owned(), "*".to_owned())
        } else {
            let resource = kinds.find(word)?;
            (resource.group.clone(), resource.plural.clone())
        };
        let named = subresource.map_or(plural.clone(), |sub| format!("{plural}/{sub}"));
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, resources)) => resources.push(named),
            None => groups.push((group, vec![named])),
        }
    }
    let mut rules: Vec<Value> = Vec::new();
    for (group, resources) in groups {
        let mut rule = json!({"verbs": args.verb, "apiGroups": [group], "resources": resources});
        if !args.resource_name.is_empty() {
            rule["resourceNames"] = args.resource_name.clone().into();
        }
        rules.push(rule);
    }
    if !args.non_resource_url.is_empty() {
        rules.push(json!({"verbs": args.verb, "nonResourceURLs": args.non_resource_url}));
    }
    Ok(rules)
}

/// A RoleBinding, or a ClusterRoleBinding.
pub(super) fn binding(args: &BindingArgs, of_cluster: bool) -> Result<Made, ExitError> {
    let (kind, name) = match (&args.role, &args.clusterrole) {
        (Some(_), _) if of_cluster => return Err(usage("a clusterrolebinding needs --clusterrole")),
        (Some(role), _) => ("Role", role),
        (None, Some(role)) => ("ClusterRole", role),
        (None, None) => return Err(usage("say what they get: --role or --clusterrole")),
    };
    let mut subjects: Vec<Value> = Vec::new();
    subjects.extend(args.user.iter().map(|name| json!({"kind": "User", "apiGroup": GROUP, "name": name})));
    subjects.extend(args.group.iter().map(|name| json!({"kind": "Group", "apiGroup": GROUP, "name": name})));
    for account in &args.serviceaccount {
        let (namespace, name) = account
            .split_once(':')
            .ok_or_else(|| usage(format!("--serviceaccount {account:?} is not NAMESPACE:NAME")))?;
        subjects.push(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}));
    }
    if subjects.is_empty() {
        return Err(usage("say who: --user, --group or --serviceaccount"));
    }
    let object = json!({"roleRef": {"apiGroup": GROUP, "kind": kind, "name": name}, "subjects": subjects});
    Ok(if of_cluster {
        Made::of_cluster(GROUP, "ClusterRoleBinding", "clusterrolebindings", object)
    } else {
        Made::of(GROUP, "RoleBinding", "rolebindings", object)
    })
}

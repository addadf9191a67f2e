//! ClusterRoles that are made of others (`aggregationRule`).

use serde_json::Value;
use wk_api::Object;
use wk_api::selector::Labels;

/// The rules that an aggregating ClusterRole is to have, when they are others than it has.
pub fn aggregated(role: &Object, all: &[&Object]) -> Option<Vec<Value>> {
    let selectors = role.at("/aggregationRule/clusterRoleSelectors")?.as_array()?;
    let mut by_name: Vec<&&Object> = all.iter().filter(|other| other.name() != role.name()).collect();
    by_name.sort_by_key(|other| other.name().to_owned());
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let Some(selector) = labels(selector) else { continue };
        for other in by_name.iter().filter(|other| selector.matches(&other.labels())) {
            for rule in other.items("/rules") {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (role.items("/rules") != rules).then_some(rules)
}

/// A `metav1.LabelSelector`; None when it is not one, and then it selects nothing.
fn labels(selector: &Value) -> Option<Labels> {
    Labels::from_label_selector(selector).ok()
}

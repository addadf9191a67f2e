//! Quotas, priorities and disruption budgets.

use serde_json::{Map, Value, json};

use super::Made;
use crate::args::{BudgetArgs, PriorityClassArgs, QuotaArgs};
use crate::exit::{ExitError, usage};

/// A ResourceQuota.
pub(super) fn quota(args: &QuotaArgs) -> Result<Made, ExitError> {
    let pair = |text: &String| {
        let (what, amount) =
            text.split_once('=').ok_or_else(|| usage(format!("--hard {text:?} is not WHAT=AMOUNT")))?;
        wk_api::Quantity::parse(amount).map_err(|error| usage(format!("--hard {text:?}: {error}")))?;
        Ok((what.to_owned(), Value::from(amount)))
    };
    let hard = args.hard.iter().map(pair).collect::<Result<Map<_, _>, ExitError>>()?;
    let mut spec = json!({"hard": hard});
    if !args.scopes.is_empty() {
        spec["scopes"] = args.scopes.clone().into();
    }
    Ok(Made::of("", "ResourceQuota", "resourcequotas", json!({"spec": spec})))
}

/// A PriorityClass.
pub(super) fn priority_class(args: &PriorityClassArgs) -> Made {
    let object = json!({"value": args.value, "globalDefault": args.global_default, "description": args.description,
        "preemptionPolicy": args.preemption_policy});
    Made::of_cluster("scheduling.k8s.io", "PriorityClass", "priorityclasses", object)
}

/// A PodDisruptionBudget.
pub(super) fn budget(args: &BudgetArgs) -> Result<Made, ExitError> {
    let amount = |text: &str| text.parse::<u32>().map_or_else(|_| Value::from(text), Value::from);
    let mut labels = Map::new();
    for pair in args.selector.split(',') {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| usage(format!("--selector {pair:?} is not LABEL=VALUE")))?;
        labels.insert(key.to_owned(), value.trim_start_matches('=').into());
    }
    let mut spec = json!({"selector": {"matchLabels": labels}});
    if let Some(min) = &args.min_available {
        spec["minAvailable"] = amount(min);
    }
    if let Some(max) = &args.max_unavailable {
        spec["maxUnavailable"] = amount(max);
    }
    Ok(Made::of("policy", "PodDisruptionBudget", "poddisruptionbudgets", json!({"spec": spec})))
}

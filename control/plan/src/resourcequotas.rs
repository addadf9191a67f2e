//! What a quota says is used, counted anew: admission adds to it in the write that uses it, and this takes off what was
//! given back.
//!
//! The order names the version of the quota that was counted beside. A write that was admitted meanwhile has changed it,
//! so the store refuses a count that does not know of that write.

use serde_json::{Value, json};
use wk_api::quota::{self, Amounts};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Order, Plan, Target};
use crate::read;

/// What the decision is made from.
pub struct Input<'a> {
    /// The quota.
    pub quota: &'a Object,
    /// Everything of its namespace that it could be about, from one view with it.
    pub content: &'a [(&'static Kind, &'a Object)],
}

/// Writes the count, if it says something else.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let quota = input.quota;
    let mut used = Amounts::new();
    for (kind, object) in input.content {
        quota::add(&mut used, &quota::charge(quota, kind, object, now));
        // A pod that is being deleted counts until its time is up.
        if let Some(over) = object.deletion_timestamp().filter(|over| *over >= now) {
            plan.due_by(over.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(over));
        }
    }
    let status = quota::status(quota, &used);
    let said = |list: &str| quota.at(&format!("/status/{list}")).unwrap_or(&Value::Null);
    if !["hard", "used"].iter().all(|list| read::same(said(list), &status[*list])) {
        plan.say(format!("{}: counted anew", quota.name()));
        // A merge patch keeps what it does not name, so what is no longer bounded is named.
        let mut change = status.clone();
        for list in ["hard", "used"] {
            let before = quota.at(&format!("/status/{list}")).and_then(Value::as_object).into_iter().flatten();
            for (name, _) in before.filter(|(name, _)| status[list].get(name).is_none()) {
                change[list][name] = Value::Null;
            }
        }
        let target = Target::version(&kinds::RESOURCEQUOTA, quota);
        plan.orders.push(Order::Status { target, change: json!({"status": change}) });
    }
    plan
}

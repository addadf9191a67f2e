//! Kubernetes' plug-in `ResourceQuota`: the quota's own `status.used` is written in the transaction that uses it, so
//! two writers meet there, and together they cannot use more than there is.
//!
//! What is given back (a pod that ended, an object that was deleted) is counted by a controller: until then a quota
//! shows too much, never too little.

use wk_api::quota::{self, Amounts};
use wk_api::{Kind, Object, Quantity, Status, kinds};
use wk_base::time::Timestamp;
use wk_store::{Expect, Op, View};

use crate::write::put;
use crate::{definitions, object, read};

/// Charges every quota of the namespace for what `new` uses more than `old`; 403 where there is not enough left.
pub(super) fn charge(
    view: &View,
    kind: &Kind,
    old: Option<&Object>,
    new: &Object,
    now: Timestamp,
) -> Result<Vec<Op>, Status> {
    let mut ops = Vec::new();
    if !kind.is_namespaced() {
        return Ok(ops);
    }
    for stored in view.list(kinds::RESOURCEQUOTA.collection(), &read::prefix(Some(new.namespace()))) {
        let mut quota = Object::clone(&object(&stored));
        let before = old.map(|old| quota::charge(&quota, kind, old, now)).unwrap_or_default();
        let mut more = quota::charge(&quota, kind, new, now);
        for (name, amount) in &mut more {
            *amount = *amount - before.get(name).copied().unwrap_or(Quantity::ZERO);
        }
        more.retain(|_, amount| *amount > Quantity::ZERO);
        let refuse = |why: String| Err(Status::forbidden(kind, new.name(), &why));
        if old.is_none()
            && let Some(unsaid) = quota::unsaid(&quota, kind, new)
        {
            return refuse(format!("failed quota: {}: {unsaid}", quota.name()));
        }
        if more.is_empty() {
            continue;
        }
        let hard = quota::hard(&quota);
        let mut used = known_use(view, &quota, &hard, now);
        let mut sum = used.clone();
        quota::add(&mut sum, &more);
        let over: Vec<&String> = more.keys().filter(|name| sum.get(*name) > hard.get(*name)).collect();
        if !over.is_empty() {
            let list = |amounts: &Amounts| {
                let zero = Quantity::ZERO;
                let texts = over.iter().map(|name| format!("{name}={}", amounts.get(*name).unwrap_or(&zero)));
                texts.collect::<Vec<_>>().join(",")
            };
            let (name, more, used, hard) = (quota.name(), list(&more), list(&used), list(&hard));
            return refuse(format!("exceeded quota: {name}, requested: {more}, used: {used}, limited: {hard}"));
        }
        used = sum;
        // A quota that is itself being written is charged by that write.
        if *kind == kinds::RESOURCEQUOTA && quota.name() == new.name() {
            continue;
        }
        quota.0["status"] = quota::status(&quota, &used);
        ops.push(Op { key: stored.key().clone(), expect: Expect::Revision(stored.revision()), change: put(&quota) });
    }
    Ok(ops)
}

/// What the quota says is used, if it says so of all that it bounds; else what there is.
fn known_use(view: &View, quota: &Object, hard: &Amounts, now: Timestamp) -> Amounts {
    let used = quota::used(quota);
    if hard.keys().all(|name| used.contains_key(name)) {
        return used;
    }
    let mut sum = Amounts::new();
    for kind in definitions::stored_kinds_in(view).into_iter().filter(|kind| quota::counts(hard, kind)) {
        for stored in view.list(kind.collection(), &read::prefix(Some(quota.namespace()))) {
            quota::add(&mut sum, &quota::charge(quota, kind, &object(&stored), now));
        }
    }
    sum
}

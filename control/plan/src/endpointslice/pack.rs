//! Laying endpoints into slices: each stays where it is, new ones fill gaps, emptied slices go.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use wk_api::{Object, kinds};

use super::{Metadata, Ports};
use crate::order::{Order, Target};

/// Endpoints of one slice: the API's own limit (`endpoints` has `maxItems` 1000).
pub(super) const ENDPOINTS_MAX: usize = 1000;

/// The orders that bring the slices to `groups`.
pub(super) fn orders(metadata: &Metadata<'_>, groups: BTreeMap<Ports, Vec<Value>>, slices: &[&Object]) -> Vec<Order> {
    let mut orders = Vec::new();
    let mut slices: Vec<&Object> = slices.iter().copied().filter(|slice| !slice.is_deleting()).collect();
    slices.sort_by_key(|slice| slice.name());
    for (ports, endpoints) in groups {
        let (same, others): (Vec<&Object>, Vec<&Object>) =
            slices.into_iter().partition(|slice| Ports::said(slice) == ports);
        slices = others;
        orders.extend(group(metadata, &ports, endpoints, &same));
    }
    // What is left has ports that no pod has any more.
    orders.extend(slices.into_iter().map(delete));
    orders
}

fn group(metadata: &Metadata<'_>, ports: &Ports, endpoints: Vec<Value>, slices: &[&Object]) -> Vec<Order> {
    let mut orders = Vec::new();
    let mut by_uid: BTreeMap<String, Value> = endpoints.into_iter().map(|one| (uid(&one).to_owned(), one)).collect();
    let mut filled: Vec<Vec<Value>> = Vec::new();
    for slice in slices {
        let kept = slice.items("/endpoints").iter().filter_map(|endpoint| by_uid.remove(uid(endpoint)));
        filled.push(kept.collect());
    }
    let mut fresh: VecDeque<Value> = by_uid.into_values().collect();
    for endpoints in &mut filled {
        let room = ENDPOINTS_MAX.saturating_sub(endpoints.len()).min(fresh.len());
        endpoints.extend(fresh.drain(..room));
    }
    // The first slice stays even when it is empty.
    for (index, (slice, endpoints)) in slices.iter().zip(&filled).enumerate() {
        if endpoints.is_empty() && index > 0 {
            orders.push(delete(slice));
        } else {
            orders.extend(metadata.update(slice, endpoints));
        }
    }
    let mut rest = Vec::from(fresh);
    if slices.is_empty() && rest.is_empty() {
        orders.push(metadata.create(ports, &[]));
    }
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(ENDPOINTS_MAX));
        orders.push(metadata.create(ports, &rest));
        rest = tail;
    }
    orders
}

fn uid(endpoint: &Value) -> &str {
    endpoint["targetRef"]["uid"].as_str().unwrap_or_default()
}

pub(super) fn delete(slice: &Object) -> Order {
    Target::version(&kinds::ENDPOINTSLICE, slice).delete()
}

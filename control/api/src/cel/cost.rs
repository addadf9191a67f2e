//! What a rule may cost at worst: how often its loops run over what the schema allows.
//!
//! Kubernetes weighs each operation; here only loops count, so that a rule which it takes is never refused for its cost,
//! and one that multiplies lists without a bound is. What the rule does cost is bounded when it is judged.

use crate::custom::schema::{Schema, Type};

/// Bytes of a request, as Kubernetes' estimate has it: what has no bound of its own has this one.
const REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// Loops of one rule at most, over all the places where it is judged (`StaticEstimatedCostLimit`).
pub(crate) const LOOPS_MAX: u64 = 10_000_000;

/// The most items or members that there may be in a value of `schema`.
pub(crate) fn most(schema: &Schema) -> u64 {
    let each = |below: &Schema, around: u64| REQUEST_BYTES / (least_bytes(below) + around);
    if let Some(below) = &schema.items {
        return schema.counts.items_max.unwrap_or_else(|| each(below, 1));
    }
    match &schema.additional {
        // A key in quotes, a colon and a comma.
        Some(Some(below)) => schema.counts.members_max.unwrap_or_else(|| each(below, 6)),
        _ => 1,
    }
}

/// In how many places a value of `schema` can be within one object that says nothing else.
pub(crate) fn most_places(schema: &Schema) -> u64 {
    REQUEST_BYTES / (least_bytes(schema) + 1)
}

/// The fewest bytes that a value of `schema` can be written in.
fn least_bytes(schema: &Schema) -> u64 {
    if schema.nullable || schema.int_or_string {
        return 1;
    }
    match schema.kind {
        None | Some(Type::Integer | Type::Number) => 1,
        Some(Type::Boolean) => 4,
        Some(Type::String) => 2 + schema.text.min.unwrap_or_default(),
        Some(Type::Array) => 2,
        Some(Type::Object) => {
            let needed = schema
                .properties
                .iter()
                .filter(|(name, below)| schema.required.contains(name) && below.default.is_none());
            2 + needed.map(|(name, below)| name.len() as u64 + 4 + least_bytes(below)).sum::<u64>()
        }
    }
}

/// What Kubernetes says of a rule that may loop `loops` times; None when that is few enough.
pub(crate) fn exceeds(loops: u64) -> Option<String> {
    if loops <= LOOPS_MAX {
        return None;
    }
    let tenths = loops / (LOOPS_MAX / 10);
    let factor = if tenths > 1_000 { "more than 100x".to_owned() } else { format!("{}.{}x", tenths / 10, tenths % 10) };
    Some(format!(
        "estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
         maxProperties, and maxLength where arrays, maps, and strings are declared)"
    ))
}

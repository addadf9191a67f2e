//! `resources` of a container.

use serde_json::Value;

use super::NOT_NEGATIVE;
use crate::field::Errors;
use crate::json;
use crate::names;
use crate::quantity::Quantity;

/// Resources that need no prefix.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Amounts, names, and requests within limits.
pub(crate) fn requirements(errors: &mut Errors, resources: &Value, path: &str) {
    list(errors, resources, "limits", path);
    list(errors, resources, "requests", path);
    let asked = || json::members(resources, &["limits"]).chain(json::members(resources, &["requests"]));
    let has = |wanted: fn(&str) -> bool| asked().any(|(name, _)| wanted(name));
    if has(|name| name.starts_with("hugepages-")) && !has(|name| ["cpu", "memory"].contains(&name)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    for (name, request) in json::members(resources, &["requests"]) {
        let unlimited = json::dig(resources, &["limits", name]).is_null();
        if unlimited && (name.contains('/') || name.starts_with("hugepages-")) {
            errors.required(format!("{path}.limits"), "Limit must be set for non overcommitable resources");
        }
        let limit = json::dig(resources, &["limits", name]);
        let (Ok(amount), Ok(bound)) = (Quantity::from_value(request), Quantity::from_value(limit)) else {
            continue;
        };
        let shared = STANDARD.contains(&name.as_str());
        if !shared && amount != bound {
            let detail = format!("must be equal to {name} limit of {bound}");
            errors.invalid(format!("{path}.requests"), request, &detail);
        } else if amount > bound {
            let detail = format!("must be less than or equal to {name} limit of {bound}");
            errors.invalid(format!("{path}.requests"), request, &detail);
        }
    }
}

/// An amount of a resource that limits and quotas name: any qualified name, and no less than nothing.
pub(crate) fn amount(errors: &mut Errors, name: &str, amount: &Value, field: &str) {
    super::text(errors, field, name, names::qualified_name);
    if !STANDARD.contains(&name) && name != "storage" && !name.starts_with("hugepages-") && !name.contains('/') {
        errors.invalid_str(field, name, "must be a standard resource type or fully qualified");
    }
    match Quantity::from_value(amount) {
        Ok(quantity) if quantity.is_negative() => errors.invalid(field, amount, NOT_NEGATIVE),
        Ok(_) => {}
        Err(error) => errors.invalid(field, amount, &error.to_string()),
    }
}

pub(super) fn list(errors: &mut Errors, resources: &Value, key: &str, path: &str) {
    for (name, amount) in json::members(resources, &[key]) {
        let field = format!("{path}.{key}[{name}]");
        super::text(errors, &field, name, names::qualified_name);
        let standard = STANDARD.contains(&name.as_str()) || name.starts_with("hugepages-");
        if !standard && !name.contains('/') {
            errors.invalid_str(&field, name, "must be a standard resource type or fully qualified");
            errors.invalid_str(&field, name, "must be a standard resource for containers");
        }
        match Quantity::from_value(amount) {
            Ok(quantity) if quantity.is_negative() => errors.invalid(&field, amount, NOT_NEGATIVE),
            Ok(quantity) if !standard && !quantity.is_whole() => errors.invalid(&field, amount, "must be an integer"),
            Ok(_) => {}
            Err(error) => errors.invalid(&field, amount, &error.to_string()),
        }
    }
}

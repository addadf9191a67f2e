//! The maps of ConfigMaps and Secrets.

use serde_json::Value;

use super::IMMUTABLE;
use crate::field::Errors;
use crate::json;
use crate::names;

/// All values of one object together, as in Kubernetes: such objects are held in memory by every peer.
const SIZE_MAX: usize = 1 << 20;

/// Keys and total size; `maps` are the names of the members that are maps.
pub(crate) fn maps(errors: &mut Errors, value: &Value, maps: &[&str]) {
    let mut size = 0;
    for (index, name) in maps.iter().enumerate() {
        for (key, entry) in json::members(value, &[name]) {
            let field = format!("{name}[{key}]");
            super::text(errors, &field, key, names::config_key);
            if maps[..index].iter().any(|other| !json::dig(value, &[other, key]).is_null()) {
                errors.invalid_str(field, key, &format!("duplicate of key present in {}", maps[0]));
            }
            size += entry.as_str().map_or(0, str::len);
        }
    }
    if size > SIZE_MAX {
        errors.too_long(maps.first().copied().unwrap_or_default(), SIZE_MAX);
    }
}

/// With `immutable: true` nothing changes any more, that field included.
pub(crate) fn immutable(errors: &mut Errors, new: &Value, old: &Value, maps: &[&str]) {
    if !json::flag(old, &["immutable"]) {
        return;
    }
    if !json::flag(new, &["immutable"]) {
        errors.forbidden("immutable", &format!("{IMMUTABLE} when `immutable` is set"));
    }
    for name in maps {
        if !json::same(json::get(new, name), json::get(old, name)) {
            errors.forbidden(*name, &format!("{IMMUTABLE} when `immutable` is set"));
        }
    }
}

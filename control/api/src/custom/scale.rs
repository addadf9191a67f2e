//! Where a custom kind keeps what its `/scale` shows.

use serde_json::Value;

use crate::json;

/// Paths within an object, by names.
#[derive(Debug)]
pub(crate) struct ScalePaths {
    pub(crate) spec: Vec<String>,
    pub(crate) status: Vec<String>,
    /// Where the selector is, as text.
    pub(crate) selector: Option<Vec<String>>,
}

impl ScalePaths {
    /// Reads `subresources.scale`.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let names = |key: &str| -> Vec<String> {
            let text = json::text(value, &[key]).trim_start_matches('.');
            text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let selector = Some(names("labelSelectorPath")).filter(|names| !names.is_empty());
        value.is_object().then(|| Self {
            spec: names("specReplicasPath"),
            status: names("statusReplicasPath"),
            selector,
        })
    }

    /// How many are asked for.
    pub(crate) fn replicas(&self, object: &Value) -> Option<i64> {
        at(object, &self.spec).as_i64()
    }

    /// How many there are.
    pub(crate) fn running(&self, object: &Value) -> i64 {
        at(object, &self.status).as_i64().unwrap_or_default()
    }

    /// Which they are.
    pub(crate) fn selector<'a>(&self, object: &'a Value) -> Option<&'a str> {
        at(object, self.selector.as_ref()?).as_str()
    }

    /// Asks for `replicas`.
    pub(crate) fn put(&self, object: &mut Value, replicas: i64) {
        let Some((last, above)) = self.spec.split_last() else { return };
        let owner = above.iter().fold(object, |value, name| json::object_at(value, name));
        json::set(owner, last, replicas);
    }
}

/// What is at `path`.
pub(crate) fn at<'a>(value: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(value, |value, name| json::get(value, name))
}

//! downwardAPI: what a pod's object says of it, as files that follow its changes.

use serde_json::Value;
use wk_api::Object;

use crate::spec::{DownwardFile, DownwardValue};

use super::{File, Files};

/// Adds `items`; `allocatable` is what the node has.
pub(super) fn downward(
    items: &[DownwardFile],
    pod: &Object,
    allocatable: Option<&Value>,
    mode: u32,
    files: &mut Files,
) {
    for item in items {
        let text = match &item.value {
            DownwardValue::Field(field) => field.of_metadata(pod),
            DownwardValue::Resource(resource) => resource.value(pod, allocatable),
        };
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode: item.mode.unwrap_or(mode) });
    }
}

//! `wk.dev/instances`: how the requests of a pod share instances of its guest.

use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use wk_engine::{Instances, Reuse};

use super::{SpecError, refuse};

/// The annotation: `per-request` (the default), `pooled` or `single`.
pub const INSTANCES: &str = "wk.dev/instances";
/// With `pooled`: how many requests one instance answers in its life.
pub const INSTANCE_REQUESTS: &str = "wk.dev/instance-requests";
/// With `pooled`: the age at which an instance answers no further request.
pub const INSTANCE_AGE: &str = "wk.dev/instance-age";

/// Nobody needs more, and a count without bound is what `single` is for.
const REQUESTS_MAX: u32 = 1_000_000;
/// A day; what shall live longer is a `single`.
const AGE_MAX: Duration = Duration::from_hours(24);

/// What the pod's annotations say.
pub(super) fn instances(pod: &core::Pod) -> Result<Instances, SpecError> {
    let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let field = |name: &str| format!("metadata.annotations[{name}]");
    let mode = annotation(INSTANCES).unwrap_or("per-request");
    if !matches!(mode, "per-request" | "pooled" | "single") {
        return refuse(field(INSTANCES), format!("{mode:?} is none of per-request, pooled and single"));
    }
    let mut reuse = Reuse::default();
    if let Some(text) = annotation(INSTANCE_REQUESTS) {
        reuse.requests = match text.parse() {
            Ok(requests) if (1..=REQUESTS_MAX).contains(&requests) => requests,
            _ => {
                return refuse(field(INSTANCE_REQUESTS), format!("{text:?} is not a number from 1 to {REQUESTS_MAX}"));
            }
        };
    }
    if let Some(text) = annotation(INSTANCE_AGE) {
        let age = text.parse::<jiff::SignedDuration>().ok().and_then(|age| Duration::try_from(age).ok());
        reuse.age = match age {
            Some(age) if !age.is_zero() && age <= AGE_MAX => age,
            _ => return refuse(field(INSTANCE_AGE), format!("{text:?} is not a duration of at most 24h, such as 10m")),
        };
    }
    for bound in [INSTANCE_REQUESTS, INSTANCE_AGE] {
        if mode != "pooled" && annotation(bound).is_some() {
            return refuse(field(bound), format!("means something only beside {INSTANCES}: pooled"));
        }
    }
    Ok(match mode {
        "pooled" => Instances::Pooled(reuse),
        "single" => Instances::Single,
        _ => Instances::PerRequest,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(annotations: &serde_json::Value) -> Result<Instances, SpecError> {
        instances(&serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap())
    }

    #[test]
    fn modes_and_bounds_come_from_annotations() {
        assert_eq!(read(&json!({})), Ok(Instances::PerRequest));
        assert_eq!(read(&json!({INSTANCES: "single"})), Ok(Instances::Single));
        assert_eq!(read(&json!({INSTANCES: "pooled"})), Ok(Instances::Pooled(Reuse::default())));
        let bounds = json!({INSTANCES: "pooled", INSTANCE_REQUESTS: "7", INSTANCE_AGE: "90s"});
        let reuse = Reuse { requests: 7, age: Duration::from_secs(90) };
        assert_eq!(read(&bounds), Ok(Instances::Pooled(reuse)));
    }

    #[test]
    fn what_means_nothing_is_refused_by_field() {
        for (annotations, field) in [
            (json!({INSTANCES: "forever"}), INSTANCES),
            (json!({INSTANCES: "pooled", INSTANCE_REQUESTS: "0"}), INSTANCE_REQUESTS),
            (json!({INSTANCES: "pooled", INSTANCE_AGE: "soon"}), INSTANCE_AGE),
            (json!({INSTANCES: "single", INSTANCE_REQUESTS: "7"}), INSTANCE_REQUESTS),
            (json!({INSTANCE_AGE: "1m"}), INSTANCE_AGE),
        ] {
            assert_eq!(read(&annotations).unwrap_err().field, format!("metadata.annotations[{field}]"));
        }
    }
}

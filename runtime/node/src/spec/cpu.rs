//! What a container may have of the cores.

use k8s_openapi::api::core::v1 as core;
use wk_api::quantity::Quantity;

use super::{SpecError, refuse};

/// `requests.cpu` and `limits.cpu` in thousandths of a core. Without a request the limit is one, as in Kubernetes.
pub(super) fn cpu(container: &core::Container, field: &str) -> Result<(u64, Option<u64>), SpecError> {
    let resources = container.resources.as_ref();
    let read = |what: &str, list: Option<&std::collections::BTreeMap<String, _>>| {
        let Some(amount) = list.and_then(|list| list.get("cpu")) else { return Ok(None) };
        let amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = amount;
        match Quantity::parse(&amount.0).ok().and_then(|quantity| u64::try_from(quantity.millis()).ok()) {
            Some(millis) => Ok(Some(millis)),
            None => {
                refuse(format!("{field}.resources.{what}.cpu"), format!("{:?} is not an amount of cores", amount.0))
            }
        }
    };
    let limit = read("limits", resources.and_then(|resources| resources.limits.as_ref()))?.filter(|limit| *limit > 0);
    let request = read("requests", resources.and_then(|resources| resources.requests.as_ref()))?;
    Ok((request.or(limit).unwrap_or(0), limit))
}

//! A container's environment: values, references, the downward API, and `$(NAME)` in values and arguments.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use super::{SpecError, refuse};

/// Replaces each `$(NAME)` by the variable's value; `$$` is a dollar sign, and an unknown name stays as it is written
/// (Kubernetes: *Define Dependent Environment Variables*).
pub(crate) fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let known = named.and_then(|(name, behind)| Some((env.iter().rfind(|(known, _)| known == name)?, behind)));
        rest = if let Some(((_, value), behind)) = known {
            result.push_str(value);
            behind
        } else {
            result.push('$');
            after.strip_prefix('$').unwrap_or(after)
        };
    }
    result.push_str(rest);
    result
}

/// What `fieldRef` may name.
pub(super) struct Facts<'a> {
    pub(super) pod: &'a core::Pod,
    pub(super) node: &'a str,
    pub(super) ip: IpAddr,
}

pub(super) fn env_value(variable: &core::EnvVar, field: &str, facts: &Facts<'_>) -> Result<String, SpecError> {
    let field = || format!("{field}.env[{}].valueFrom", variable.name);
    let Some(source) = &variable.value_from else { return Ok(variable.value.clone().unwrap_or_default()) };
    let Some(reference) = &source.field_ref else {
        return refuse(field(), "only fieldRef is supported yet");
    };
    match facts.resolve(&reference.field_path) {
        Some(value) => Ok(value),
        None => refuse(field(), format!("unknown fieldPath {:?}", reference.field_path)),
    }
}

impl Facts<'_> {
    /// The fields that Kubernetes' downward API offers as environment variables.
    fn resolve(&self, path: &str) -> Option<String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        Some(match path {
            "metadata.name" => meta.name.clone()?,
            "metadata.namespace" => meta.namespace.clone()?,
            "metadata.uid" => meta.uid.clone()?,
            "spec.nodeName" => self.node.to_owned(),
            "spec.serviceAccountName" => spec?.service_account_name.clone().unwrap_or_default(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            _ => {
                let (map, key) = path
                    .strip_prefix("metadata.labels['")
                    .map(|key| (&meta.labels, key))
                    .or_else(|| path.strip_prefix("metadata.annotations['").map(|key| (&meta.annotations, key)))?;
                map.as_ref()?.get(key.strip_suffix("']")?).cloned().unwrap_or_default()
            }
        })
    }
}

//! Annotations that name ConfigMaps and Secrets: those that a guest finds with `wasi:config`, and authorities to trust.

use k8s_openapi::api::core::v1 as core;

use super::{SpecError, refuse};
use crate::sources::{Source, SourceKind};

/// The annotation, for instance `wk.dev/config: configmap/settings, secret/keys`. Of two that have the same key the later
/// one counts.
pub const CONFIG: &str = "wk.dev/config";
/// Sources that a pod may name: each is looked at for every setting that a guest asks for.
const SOURCES_MAX: usize = 16;

/// Which ConfigMaps and Secrets hold certificates, in PEM, of authorities that a pod's https requests believe besides the
/// machine's: `wk.dev/ca-certificates: configmap/company-ca`. They are read for each connection, so changes count at once.
pub const CA_CERTIFICATES: &str = "wk.dev/ca-certificates";

/// The sources that the annotation `name` names.
pub(super) fn read_sources(pod: &core::Pod, name: &str) -> Result<Vec<Source>, SpecError> {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get(name)) else { return Ok(Vec::new()) };
    let field = format!("metadata.annotations[{name}]");
    let named = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let sources = named.map(|word| match word.split_once('/') {
        Some(("configmap", name)) if !name.is_empty() => Ok(source(SourceKind::ConfigMap, name)),
        Some(("secret", name)) if !name.is_empty() => Ok(source(SourceKind::Secret, name)),
        _ => refuse(field.clone(), format!("{word:?} is neither configmap/NAME nor secret/NAME")),
    });
    let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
    if sources.len() > SOURCES_MAX {
        return refuse(field, format!("names {} sources, and at most {SOURCES_MAX} may be", sources.len()));
    }
    Ok(sources)
}

fn source(kind: SourceKind, name: &str) -> Source {
    Source { kind, name: name.to_owned(), optional: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<Source>, SpecError> {
        let pod = json!({"metadata": {"annotations": {CONFIG: text}}});
        read_sources(&serde_json::from_value(pod).unwrap(), CONFIG)
    }

    #[test]
    fn sources_are_named_by_kind_and_name() {
        let expected = [source(SourceKind::ConfigMap, "settings"), source(SourceKind::Secret, "keys")];
        assert_eq!(read("configmap/settings, secret/keys").unwrap(), expected);
        assert_eq!(read_sources(&core::Pod::default(), CONFIG).unwrap(), []);
        for bad in ["settings", "configmap/", "configmaps/a", "secret/a b/c, x"] {
            assert_eq!(read(bad).unwrap_err().field, "metadata.annotations[wk.dev/config]", "{bad}");
        }
        assert!(read(&"configmap/a,".repeat(17)).is_err());
    }
}

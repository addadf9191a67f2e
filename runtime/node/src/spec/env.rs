//! What a container's environment is made of, as the pod names it. Read once; what the names stand for is looked up
//! each time the container starts (`environment`).

use k8s_openapi::api::core::v1 as core;

use super::downward::{Field, ResourceField};
use super::{SpecError, refuse};
use crate::sources::{Source, SourceKind};

/// A container's environment, before anything of it is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvSpec {
    /// `envFrom`.
    pub imports: Vec<Import>,
    /// `env`.
    pub variables: Vec<Variable>,
    /// `enableServiceLinks`.
    pub service_links: bool,
}

/// All entries of a source as variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// What their names begin with.
    pub prefix: String,
    /// Where they are.
    pub source: Source,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: Value,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The pod: `$(NAME)` in it stands for a variable before it.
    Text(String),
    /// One entry of a source.
    Key(Source, String),
    /// The pod's fields.
    Field(Field),
    /// The resources of one of its containers.
    Resource(ResourceField),
}

/// Reads the environment of a container that the object has at `field`.
pub(super) fn read_env(
    container: &core::Container,
    field: &str,
    service_links: Option<bool>,
) -> Result<EnvSpec, SpecError> {
    let imports = container.env_from.iter().flatten().enumerate();
    let imports = imports.map(|(index, import)| read_import(import, &format!("{field}.envFrom[{index}]")));
    let variables = container.env.iter().flatten().map(|variable| {
        let value = read_value(variable, &container.name, field)?;
        Ok(Variable { name: variable.name.clone(), value })
    });
    let imports = imports.collect::<Result<_, _>>()?;
    let mut variables: Vec<Variable> = variables.collect::<Result<_, _>>()?;
    variables.shrink_to_fit();
    Ok(EnvSpec { imports, variables, service_links: service_links.unwrap_or(true) })
}

fn read_import(import: &core::EnvFromSource, field: &str) -> Result<Import, SpecError> {
    let source = if let Some(map) = &import.config_map_ref {
        source(SourceKind::ConfigMap, &map.name, map.optional)
    } else if let Some(secret) = &import.secret_ref {
        source(SourceKind::Secret, &secret.name, secret.optional)
    } else {
        return refuse(field, "names neither configMapRef nor secretRef");
    };
    Ok(Import { prefix: import.prefix.clone().unwrap_or_default(), source })
}

fn read_value(variable: &core::EnvVar, container: &str, field: &str) -> Result<Value, SpecError> {
    let field = || format!("{field}.env[{}].valueFrom", variable.name);
    let Some(from) = &variable.value_from else {
        return Ok(Value::Text(variable.value.clone().unwrap_or_default()));
    };
    if let Some(reference) = &from.field_ref {
        // All labels at once are for files.
        let field_named = Field::parse(&reference.field_path)
            .filter(|field_named| !matches!(field_named, Field::Labels | Field::Annotations));
        let Some(named) = field_named else {
            return refuse(field(), format!("unknown fieldPath {:?}", reference.field_path));
        };
        Ok(Value::Field(named))
    } else if let Some(reference) = &from.resource_field_ref {
        Ok(Value::Resource(ResourceField::parse(reference, container, &field())?))
    } else if let Some(key) = &from.config_map_key_ref {
        Ok(Value::Key(source(SourceKind::ConfigMap, &key.name, key.optional), key.key.clone()))
    } else if let Some(key) = &from.secret_key_ref {
        Ok(Value::Key(source(SourceKind::Secret, &key.name, key.optional), key.key.clone()))
    } else {
        refuse(field(), "names none of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef")
    }
}

fn source(kind: SourceKind, name: &str, optional: Option<bool>) -> Source {
    Source { kind, name: name.to_owned(), optional: optional == Some(true) }
}

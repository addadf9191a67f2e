//! Volumes of files that are made of objects: configMap, secret, downwardAPI and projected volumes, as the pod names them.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1 as core;

use super::downward::{Field, ResourceField};
use super::{SpecError, refuse};
use crate::sources::SourceKind;

/// Mode of projected files unless told otherwise, as in Kubernetes.
const MODE_DEFAULT: u32 = 0o644;
/// Life of a token that names none, as in Kubernetes.
const TOKEN_SECONDS_DEFAULT: i64 = 3600;

/// What the volume that every pod gets is made of (`wk-cluster` adds it): thousands of pods share one copy.
static API_ACCESS: LazyLock<Arc<[Projection]>> = LazyLock::new(|| {
    let certificate = Item { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None };
    let field = DownwardValue::Field(Field::Namespace);
    Arc::new([
        Projection::Token(TokenFile { path: "token".to_owned(), audience: String::new(), seconds: 3607 }),
        Projection::Entries(FromObject {
            kind: SourceKind::ConfigMap,
            name: "kube-root-ca.crt".to_owned(),
            items: vec![certificate],
            optional: false,
        }),
        Projection::Downward(vec![DownwardFile { path: "namespace".to_owned(), mode: None, value: field }]),
    ])
});

/// These, shared if they are what every pod has.
pub(super) fn shared(sources: Vec<Projection>) -> Arc<[Projection]> {
    if sources == **API_ACCESS { Arc::clone(&API_ACCESS) } else { sources.into() }
}

/// One source of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// Entries of a ConfigMap or Secret.
    Entries(FromObject),
    /// Fields of the pod.
    Downward(Vec<DownwardFile>),
    /// A token of the pod's service account.
    Token(TokenFile),
}

impl Projection {
    /// Whether a change of the pod's own object may change its files.
    pub fn may_show_changes(&self) -> bool {
        let may_change = |item: &DownwardFile| match &item.value {
            DownwardValue::Field(field) => field.may_change(),
            DownwardValue::Resource(_) => false,
        };
        matches!(self, Self::Downward(items) if items.iter().any(may_change))
    }
}

/// A field of the pod as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// The file, below the volume.
    pub path: String,
    /// Its mode.
    pub mode: Option<u32>,
    /// What it says.
    pub value: DownwardValue,
}

/// What a file tells of its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownwardValue {
    /// A field of its metadata.
    Field(Field),
    /// The resources of one of its containers.
    Resource(ResourceField),
}

/// A token as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// The file, below the volume.
    pub path: String,
    /// Whom it is for; empty for the cluster's API.
    pub audience: String,
    /// How long it is good.
    pub seconds: i64,
}

/// Entries of an object as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromObject {
    /// What the object is.
    pub kind: SourceKind,
    /// The object's name, in the pod's namespace.
    pub name: String,
    /// Which entries; none for all of them.
    pub items: Vec<Item>,
    /// Whether the object and its entries may be missing.
    pub optional: bool,
}

/// An entry as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The entry.
    pub key: String,
    /// The file, below the volume.
    pub path: String,
    /// Its mode.
    pub mode: Option<u32>,
}

pub(super) fn projection(part: &core::VolumeProjection, field: &str) -> Result<Projection, SpecError> {
    if let Some(source) = &part.config_map {
        return Ok(Projection::Entries(from_object(
            SourceKind::ConfigMap,
            &source.name,
            source.items.as_deref(),
            source.optional,
        )));
    }
    if let Some(source) = &part.secret {
        return Ok(Projection::Entries(from_object(
            SourceKind::Secret,
            &source.name,
            source.items.as_deref(),
            source.optional,
        )));
    }
    if let Some(source) = &part.downward_api {
        return downward(source.items.as_deref(), &format!("{field}.downwardAPI"));
    }
    if let Some(source) = &part.service_account_token {
        return Ok(Projection::Token(TokenFile {
            path: source.path.clone(),
            audience: source.audience.clone().unwrap_or_default(),
            seconds: source.expiration_seconds.unwrap_or(TOKEN_SECONDS_DEFAULT),
        }));
    }
    if part.cluster_trust_bundle.is_some() {
        return refuse(
            format!("{field}.clusterTrustBundle"),
            "this cluster has no ClusterTrustBundles: use a configMap",
        );
    }
    refuse(field, "this node projects configMap, downwardAPI, secret and serviceAccountToken")
}

/// The files of a downwardAPI volume.
pub(super) fn downward(items: Option<&[core::DownwardAPIVolumeFile]>, field: &str) -> Result<Projection, SpecError> {
    let read = |(index, item): (usize, &core::DownwardAPIVolumeFile)| {
        let field = format!("{field}.items[{index}]");
        let mode = item.mode.map(|given| mode(Some(given)));
        Ok(DownwardFile { path: item.path.clone(), mode, value: value(item, &field)? })
    };
    let items = items.unwrap_or_default().iter().enumerate().map(read);
    Ok(Projection::Downward(items.collect::<Result<_, _>>()?))
}

fn value(item: &core::DownwardAPIVolumeFile, field: &str) -> Result<DownwardValue, SpecError> {
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(reference), _) => match Field::parse(&reference.field_path).filter(Field::is_of_metadata) {
            Some(known) => Ok(DownwardValue::Field(known)),
            None => refuse(format!("{field}.fieldRef"), format!("unsupported fieldPath: {}", reference.field_path)),
        },
        // A volume is no container's own: the API asks for the name.
        (None, Some(reference)) => {
            ResourceField::parse(reference, "", &format!("{field}.resourceFieldRef")).map(DownwardValue::Resource)
        }
        (None, None) => refuse(field, "names neither fieldRef nor resourceFieldRef"),
    }
}

pub(super) fn from_object(
    kind: SourceKind,
    name: &str,
    items: Option<&[core::KeyToPath]>,
    optional: Option<bool>,
) -> FromObject {
    let item = |item: &core::KeyToPath| Item {
        key: item.key.clone(),
        path: item.path.clone(),
        mode: item.mode.map(|given| mode(Some(given))),
    };
    let items = items.unwrap_or_default().iter().map(item).collect();
    FromObject { kind, name: name.to_owned(), items, optional: optional == Some(true) }
}

pub(super) fn mode(given: Option<i32>) -> u32 {
    given.and_then(|mode| u32::try_from(mode).ok()).map_or(MODE_DEFAULT, |mode| mode & 0o777)
}

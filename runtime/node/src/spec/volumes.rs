//! A pod's volumes, and where its containers see them.
//!
//! Not here: making them (`volumes`). `mountPropagation` is passed over, as nothing is mounted in a guest; so are
//! `fsGroup` and `runAsUser`, as a guest has no user: what it may do with a file, its mount says.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1 as core;
use wk_api::quantity::Quantity;

use super::{ContainerSpec, MEMORY_DEFAULT, SpecError, refuse};

/// What an emptyDir holds that names no limit. Kubernetes has none and watches the node's disk; here a guest that fills
/// its directory meets its own limit long before its neighbours meet a full disk.
pub const EMPTY_DIR_DEFAULT: u64 = 1 << 30;
/// The same in memory: a quarter of what a container may use that names no limit.
pub const EMPTY_DIR_MEMORY_DEFAULT: u64 = 64 << 20;
/// Mounts of one container: each is a descriptor while an instance runs.
const MOUNTS_MAX: usize = 128;
/// Mode of projected files unless told otherwise, as in Kubernetes.
const MODE_DEFAULT: u32 = 0o644;

/// Life of a token that names none, as in Kubernetes.
const TOKEN_SECONDS_DEFAULT: i64 = 3600;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name in the pod: a DNS label.
    pub name: String,
    /// What it is made of.
    pub source: Source,
}

impl VolumeSpec {
    /// Bytes that guests may keep in it, if there is a limit.
    pub fn limit(&self) -> Option<u64> {
        match self.source {
            Source::EmptyDir { limit, .. } => Some(limit),
            Source::Projected { .. } | Source::HostPath { .. } | Source::Claim { .. } => None,
        }
    }
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory that lives as long as the pod.
    EmptyDir {
        /// Bytes that it holds at most.
        limit: u64,
        /// Whether it is kept off the disk.
        memory: bool,
    },
    /// Files made of objects: a configMap, secret, downwardAPI or projected volume.
    Projected {
        /// Their sources, in order: a later one wins.
        sources: Vec<Projection>,
        /// Mode of files that name none.
        mode: u32,
    },
    /// A directory of this machine.
    HostPath {
        /// From `/`, without `.` and `..`.
        path: PathBuf,
        /// What must be there.
        kind: HostPathType,
    },
    /// The volume of a claim.
    Claim {
        /// The claim's name, in the pod's namespace.
        name: String,
        /// Whether it is only read.
        read_only: bool,
    },
}

/// What must be at a `hostPath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathType {
    /// A directory, as a guest can use nothing else.
    Any,
    /// A directory.
    Directory,
    /// A directory, which is made if nothing is there.
    DirectoryOrCreate,
}

/// One source of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// Entries of a ConfigMap.
    ConfigMap(FromObject),
    /// Entries of a Secret.
    Secret(FromObject),
    /// Fields of the pod.
    Downward(Vec<DownwardFile>),
    /// A token of the pod's service account.
    Token(TokenFile),
}

/// A field of the pod as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// The file, below the volume.
    pub path: String,
    /// Its mode.
    pub mode: Option<u32>,
    /// `fieldPath`.
    pub field: String,
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

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// The volume's name.
    pub volume: String,
    /// Where the guest sees it: from `/`, without `.` and `..`.
    pub path: String,
    /// The part of the volume that is seen.
    pub below: Option<SubPath>,
    /// Whether nothing may be changed.
    pub read_only: bool,
}

/// A part of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    /// As written.
    Plain(String),
    /// With `$(NAME)` for variables of the container.
    Expression(String),
}

pub(super) fn read_volumes(spec: &core::PodSpec) -> Result<Vec<VolumeSpec>, SpecError> {
    let volumes = spec.volumes.iter().flatten().enumerate();
    let read = |(index, volume): (usize, &core::Volume)| {
        let source = source(volume, &format!("spec.volumes[{index}]"))?;
        Ok(VolumeSpec { name: volume.name.clone(), source })
    };
    volumes.map(read).collect()
}

/// Volumes in memory hold no more than the limits of the pod's containers together, whatever their `sizeLimit` says: as
/// Kubernetes documents `emptyDir.sizeLimit`. A container without a limit counts with what one instance of it gets.
pub(super) fn within_memory(mut volumes: Vec<VolumeSpec>, containers: &[ContainerSpec]) -> Vec<VolumeSpec> {
    let limits = containers.iter().map(|container| container.memory_total.unwrap_or(MEMORY_DEFAULT));
    let most = limits.fold(0, u64::saturating_add);
    for volume in &mut volumes {
        if let Source::EmptyDir { limit, memory: true } = &mut volume.source {
            *limit = most.min(*limit);
        }
    }
    volumes
}

fn source(volume: &core::Volume, field: &str) -> Result<Source, SpecError> {
    if let Some(source) = &volume.empty_dir {
        return empty_dir(source, &format!("{field}.emptyDir"));
    }
    if let Some(source) = &volume.config_map {
        let from = from_object(&source.name, source.items.as_deref(), source.optional);
        return Ok(Source::Projected { sources: vec![Projection::ConfigMap(from)], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let from = from_object(name, source.items.as_deref(), source.optional);
        return Ok(Source::Projected { sources: vec![Projection::Secret(from)], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.projected {
        let sources = source.sources.iter().flatten().enumerate();
        let read = |(index, part)| projection(part, &format!("{field}.projected.sources[{index}]"));
        return Ok(Source::Projected {
            sources: sources.map(read).collect::<Result<_, _>>()?,
            mode: mode(source.default_mode),
        });
    }
    if let Some(source) = &volume.downward_api {
        let items = downward(source.items.as_deref(), &format!("{field}.downwardAPI"))?;
        return Ok(Source::Projected { sources: vec![items], mode: mode(source.default_mode) });
    }
    if let Some(source) = &volume.host_path {
        return host_path(source, &format!("{field}.hostPath"));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        return Ok(Source::Claim { name: source.claim_name.clone(), read_only: source.read_only == Some(true) });
    }
    let why = "this node has no volumes of this kind: it has configMap, downwardAPI, emptyDir, hostPath, \
               persistentVolumeClaim, projected and secret";
    refuse(field, why)
}

fn empty_dir(source: &core::EmptyDirVolumeSource, field: &str) -> Result<Source, SpecError> {
    let memory = match source.medium.as_deref() {
        None | Some("") => false,
        Some("Memory") => true,
        Some(other) => return refuse(format!("{field}.medium"), format!("{other:?} is not a medium of this node")),
    };
    let default = if memory { EMPTY_DIR_MEMORY_DEFAULT } else { EMPTY_DIR_DEFAULT };
    let limit = match &source.size_limit {
        None => default,
        Some(limit) => match Quantity::parse(&limit.0).ok().and_then(|it| u64::try_from(it.value()).ok()) {
            // Zero is Kubernetes' way to say "none".
            Some(0) => default,
            Some(bytes) => bytes,
            None => return refuse(format!("{field}.sizeLimit"), format!("{:?} is not an amount of bytes", limit.0)),
        },
    };
    Ok(Source::EmptyDir { limit, memory })
}

fn projection(part: &core::VolumeProjection, field: &str) -> Result<Projection, SpecError> {
    if let Some(source) = &part.config_map {
        return Ok(Projection::ConfigMap(from_object(&source.name, source.items.as_deref(), source.optional)));
    }
    if let Some(source) = &part.secret {
        return Ok(Projection::Secret(from_object(&source.name, source.items.as_deref(), source.optional)));
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
    refuse(field, "this node projects configMap, downwardAPI, secret and serviceAccountToken")
}

fn downward(items: Option<&[core::DownwardAPIVolumeFile]>, field: &str) -> Result<Projection, SpecError> {
    let read = |(index, item): (usize, &core::DownwardAPIVolumeFile)| {
        let Some(reference) = &item.field_ref else {
            return refuse(format!("{field}.items[{index}].resourceFieldRef"), "not supported yet; leave it out");
        };
        let mode = item.mode.map(|given| mode(Some(given)));
        Ok(DownwardFile { path: item.path.clone(), mode, field: reference.field_path.clone() })
    };
    let items = items.unwrap_or_default().iter().enumerate().map(read);
    Ok(Projection::Downward(items.collect::<Result<_, _>>()?))
}

fn host_path(source: &core::HostPathVolumeSource, field: &str) -> Result<Source, SpecError> {
    let path = PathBuf::from(absolute(&source.path, &format!("{field}.path"))?);
    let kind = match source.type_.as_deref().unwrap_or_default() {
        "" => HostPathType::Any,
        "Directory" => HostPathType::Directory,
        "DirectoryOrCreate" => HostPathType::DirectoryOrCreate,
        other => {
            let why = format!("a guest has directories only, so {other} is not supported: mount its directory");
            return refuse(format!("{field}.type"), why);
        }
    };
    Ok(Source::HostPath { path, kind })
}

fn from_object(name: &str, items: Option<&[core::KeyToPath]>, optional: Option<bool>) -> FromObject {
    let item = |item: &core::KeyToPath| Item {
        key: item.key.clone(),
        path: item.path.clone(),
        mode: item.mode.map(|given| mode(Some(given))),
    };
    let items = items.unwrap_or_default().iter().map(item).collect();
    FromObject { name: name.to_owned(), items, optional: optional == Some(true) }
}

fn mode(given: Option<i32>) -> u32 {
    given.and_then(|mode| u32::try_from(mode).ok()).map_or(MODE_DEFAULT, |mode| mode & 0o777)
}

/// The mounts of a container; `volumes` are the pod's.
pub(super) fn read_mounts(
    container: &core::Container,
    field: &str,
    volumes: &[VolumeSpec],
) -> Result<Vec<MountSpec>, SpecError> {
    if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
        return refuse(format!("{field}.volumeDevices"), "a guest has files, not block devices");
    }
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    if mounts.len() > MOUNTS_MAX {
        return refuse(format!("{field}.volumeMounts"), format!("at most {MOUNTS_MAX} are supported"));
    }
    let read = |(index, mount): (usize, &core::VolumeMount)| {
        let field = format!("{field}.volumeMounts[{index}]");
        let Some(volume) = volumes.iter().find(|volume| volume.name == mount.name) else {
            return refuse(format!("{field}.name"), format!("the pod has no volume {:?}", mount.name));
        };
        Ok(MountSpec {
            volume: mount.name.clone(),
            path: absolute(&mount.mount_path, &format!("{field}.mountPath"))?,
            below: match (&mount.sub_path, &mount.sub_path_expr) {
                (Some(path), _) if !path.is_empty() => Some(SubPath::Plain(path.clone())),
                (_, Some(path)) if !path.is_empty() => Some(SubPath::Expression(path.clone())),
                _ => None,
            },
            // What is made of objects is written by nobody else, as in Kubernetes.
            read_only: mount.read_only == Some(true)
                || matches!(volume.source, Source::Projected { .. } | Source::Claim { read_only: true, .. }),
        })
    };
    mounts.iter().enumerate().map(read).collect()
}

/// `path` from `/`, without `.` and doubled slashes.
pub(super) fn absolute(path: &str, field: &str) -> Result<String, SpecError> {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => return refuse(field, format!("{path:?} leads out of where it is by '..'")),
        }
    }
    Ok(clean.to_string_lossy().into_owned())
}

//! A pod's volumes.
//!
//! Not here: making them (`volumes`), and where containers see them (`mounts`). `mountPropagation` is passed over, as nothing is mounted in a guest; so are
//! `fsGroup` and `runAsUser`, as a guest has no user: what it may do with a file, its mount says.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use wk_api::quantity::Quantity;

use super::mounts::absolute;
use super::projected::{Projection, downward, from_object, mode, projection, shared};
use super::{ContainerSpec, MEMORY_DEFAULT, SpecError, refuse};
use crate::sources::SourceKind;

/// What an emptyDir holds that names no limit. Kubernetes has none and watches the node's disk; here a guest that fills
/// its directory meets its own limit long before its neighbours meet a full disk.
pub const EMPTY_DIR_DEFAULT: u64 = 1 << 30;
/// The same in memory: a quarter of what a container may use that names no limit.
pub const EMPTY_DIR_MEMORY_DEFAULT: u64 = 64 << 20;
/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name in the pod: a DNS label.
    pub name: String,
    /// What it is made of.
    pub source: Source,
}

impl VolumeSpec {
    /// Whether it is a directory in memory.
    pub fn is_memory(&self) -> bool {
        matches!(self.source, Source::EmptyDir { memory: true, .. })
    }

    /// Bytes that guests may keep in it, if there is a limit.
    pub fn limit(&self) -> Option<u64> {
        match self.source {
            Source::EmptyDir { limit, .. } => Some(limit),
            Source::Projected { .. } | Source::HostPath { .. } | Source::Claim { .. } | Source::Image { .. } => None,
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
        sources: Arc<[Projection]>,
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
        /// Whether it is made for this pod alone: a generic ephemeral volume.
        ephemeral: bool,
    },
    /// What an image of the cluster's registry holds.
    Image {
        /// Which, as written.
        reference: String,
        /// Whether it may only be one that is on this node (`pullPolicy: Never`).
        never_pull: bool,
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

pub(super) fn read_volumes(spec: &core::PodSpec, pod: &str) -> Result<Vec<VolumeSpec>, SpecError> {
    let volumes = spec.volumes.iter().flatten().enumerate();
    let read = |(index, volume): (usize, &core::Volume)| {
        let source = source(volume, pod, &format!("spec.volumes[{index}]"))?;
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

/// Volumes on disk hold no more, each, than the pod may by its containers' limits of `ephemeral-storage`: the sum over containers
/// and sidecars, or an init container's if that is more (KEP-753). Logs are bounded by themselves, and a guest has no other
/// place to write to.
pub(super) fn within_storage(mut volumes: Vec<VolumeSpec>, spec: &core::PodSpec) -> Vec<VolumeSpec> {
    let limit = |container: &core::Container| {
        let limit = container.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage")?;
        u64::try_from(Quantity::parse(&limit.0).ok()?.value()).ok()
    };
    let inits = spec.init_containers.iter().flatten();
    let (sidecars, inits): (Vec<_>, Vec<_>) = inits.partition(|it| it.restart_policy.as_deref() == Some("Always"));
    let together = spec.containers.iter().chain(sidecars).filter_map(limit).reduce(u64::saturating_add);
    let Some(most) = together.max(inits.into_iter().filter_map(limit).max()) else { return volumes };
    for volume in &mut volumes {
        if let Source::EmptyDir { limit, memory: false } = &mut volume.source {
            *limit = most.min(*limit);
        }
    }
    volumes
}

fn source(volume: &core::Volume, pod: &str, field: &str) -> Result<Source, SpecError> {
    if let Some(source) = &volume.empty_dir {
        return empty_dir(source, &format!("{field}.emptyDir"));
    }
    if let Some(source) = &volume.config_map {
        let from = from_object(SourceKind::ConfigMap, &source.name, source.items.as_deref(), source.optional);
        return Ok(files(vec![Projection::Entries(from)], source.default_mode));
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let from = from_object(SourceKind::Secret, name, source.items.as_deref(), source.optional);
        return Ok(files(vec![Projection::Entries(from)], source.default_mode));
    }
    if let Some(source) = &volume.projected {
        let sources = source.sources.iter().flatten().enumerate();
        let read = |(index, part)| projection(part, &format!("{field}.projected.sources[{index}]"));
        return Ok(files(sources.map(read).collect::<Result<_, _>>()?, source.default_mode));
    }
    if let Some(source) = &volume.downward_api {
        let items = downward(source.items.as_deref(), &format!("{field}.downwardAPI"))?;
        return Ok(files(vec![items], source.default_mode));
    }
    if let Some(source) = &volume.host_path {
        return host_path(source, &format!("{field}.hostPath"));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let (name, read_only) = (source.claim_name.clone(), source.read_only == Some(true));
        return Ok(Source::Claim { name, read_only, ephemeral: false });
    }
    if volume.ephemeral.is_some() {
        let name = format!("{pod}-{}", volume.name);
        return Ok(Source::Claim { name, read_only: false, ephemeral: true });
    }
    if let Some(source) = &volume.image {
        let Some(reference) = source.reference.clone().filter(|reference| !reference.is_empty()) else {
            return refuse(format!("{field}.image.reference"), "missing");
        };
        return Ok(Source::Image { reference, never_pull: source.pull_policy.as_deref() == Some("Never") });
    }
    let why = "this node has no volumes of this kind: it has configMap, downwardAPI, emptyDir, ephemeral, hostPath, \
               image, persistentVolumeClaim, projected and secret";
    refuse(field, why)
}

fn files(sources: Vec<Projection>, default_mode: Option<i32>) -> Source {
    Source::Projected { sources: shared(sources), mode: mode(default_mode) }
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

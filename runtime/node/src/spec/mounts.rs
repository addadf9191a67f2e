//! Where a container sees the pod's volumes.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1 as core;

use super::volumes::Source;
use super::{SpecError, VolumeSpec, refuse};

/// Mounts of one container: each is a descriptor while an instance runs.
const MOUNTS_MAX: usize = 128;

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
                || matches!(
                    volume.source,
                    Source::Projected { .. } | Source::Image { .. } | Source::Claim { read_only: true, .. }
                ),
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

//! What the containers of a pod are for, and in which order they are listed.

use std::time::Duration;

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde_json::json;

use super::container::read_container;
use super::{ContainerSpec, NetworkSpec, SpecError, VolumeSpec, refuse};

/// What a container is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// `containers`: what the pod is for.
    #[default]
    Main,
    /// `initContainers`: runs to its end before the next one starts.
    Init,
    /// `initContainers` with `restartPolicy: Always`: starts in their order, and stays until the others have ended.
    Sidecar,
    /// `ephemeralContainers`: for a person who looks.
    Debug,
}

/// All containers of a pod, those first that start first.
pub(super) fn read_containers(
    spec: &core::PodSpec,
    request_timeout: Duration,
    network: &Arc<NetworkSpec>,
    volumes: &[VolumeSpec],
) -> Result<Vec<ContainerSpec>, SpecError> {
    let read = |container: &core::Container, role, field: &str| {
        read_container(container, role, field, request_timeout, network, spec.enable_service_links, volumes)
    };
    let mut containers = Vec::new();
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let role = if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
        let field = format!("spec.initContainers[{index}]");
        containers.push(read(container, role, &field)?);
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let field = format!("spec.containers[{index}]");
        containers.push(read(container, Role::Main, &field)?);
    }
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let field = format!("spec.ephemeralContainers[{index}]");
        let container = match as_container(container) {
            Ok(container) => container,
            Err(error) => return refuse(field, error.to_string()),
        };
        containers.push(read(&container, Role::Debug, &field)?);
    }
    Ok(containers)
}

/// An ephemeral container has the fields of any other, and `targetContainerName`: there are no processes to see, and
/// volumes and network are the pod's.
fn as_container(container: &core::EphemeralContainer) -> Result<core::Container, serde_json::Error> {
    let mut value = json!(container);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("targetContainerName");
    }
    serde_json::from_value(value)
}

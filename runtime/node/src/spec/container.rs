//! One container of the spec.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;

use super::cpu::cpu;
use super::env::read_env;
use super::limits::{MEMORY_DEFAULT, MEMORY_MAX, memory_limit, memory_request};
use super::mounts::{absolute, read_mounts};
use super::probes::Target;
use super::{ContainerSpec, NetworkSpec, Role, SpecError, VolumeSpec};
use crate::message;

pub(super) fn read_container(
    container: &core::Container,
    role: Role,
    field: &str,
    request_timeout: Duration,
    network: &Arc<NetworkSpec>,
    service_links: Option<bool>,
    volumes: &[VolumeSpec],
) -> Result<ContainerSpec, SpecError> {
    let target = Target { container, field };
    let (probes, hooks) = (target.probes()?, target.hooks()?);
    let mounts = read_mounts(container, field, volumes)?;
    let workdir = container.working_dir.as_deref().filter(|dir| !dir.is_empty());
    let workdir = workdir.map(|dir| absolute(dir, &format!("{field}.workingDir"))).transpose()?;
    let path = container.termination_message_path.as_deref();
    let path = path.filter(|path| !path.is_empty() && *path != message::DEFAULT_PATH);
    let message_path = path.map(|path| absolute(path, &format!("{field}.terminationMessagePath"))).transpose()?;
    let message_path = message_path.filter(|path| path != "/").map(String::into_boxed_str);
    let mut args = container.command.clone().unwrap_or_default();
    if args.is_empty() {
        args.push(container.name.clone());
    }
    args.extend(container.args.iter().flatten().cloned());

    let tcp = |port: &&core::ContainerPort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = container.ports.iter().flatten().filter(tcp);
    let (cpu_request, cpu_limit) = cpu(container, field)?;
    let memory_total = memory_limit(container, field)?;
    Ok(ContainerSpec {
        name: container.name.as_str().into(),
        role,
        probes,
        hooks,
        image: container.image.clone().unwrap_or_default(),
        args,
        env: read_env(container, field, service_links)?,
        memory_max: memory_total.unwrap_or(MEMORY_DEFAULT).min(MEMORY_MAX),
        memory_total,
        memory_request: memory_request(container, field)?,
        cpu_request,
        cpu_limit,
        request_timeout,
        ports: ports.filter_map(|port| u16::try_from(port.container_port).ok()).collect(),
        config: Vec::new(),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        instances: wk_engine::Instances::default(),
        mounts,
        workdir,
        network: Arc::clone(network),
        message_path,
        message_from_log: container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
    })
}

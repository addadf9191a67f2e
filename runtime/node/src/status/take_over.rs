//! What the last process of this node left behind, read from a pod's status: what ended for good stays ended.
//!
//! Nothing that ran is adopted: guests live in the node's process, and ended with it.

use k8s_openapi::api::core::v1 as core;
use wk_base::time::Timestamp;

use crate::container::{Container, RestartPolicy, Termination};
use crate::pod::Phase;
use crate::spec::{ContainerSpec, PodSpec};

/// The containers of a pod as this process takes them over: what ended for good stays ended, and what ran under an
/// earlier process of this node starts again, counted as a restart.
pub fn take_over(spec: &PodSpec, status: Option<&core::PodStatus>, now: Timestamp) -> Vec<Container> {
    let lists = status.map(|status| {
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
    });
    let statuses: Vec<_> = lists.into_iter().flatten().flatten().flatten().collect();
    let of = |name: &str| statuses.iter().find(|status| status.name == name).copied();
    spec.containers.iter().map(|container| take_over_one(container, spec.restart, of(&container.name), now)).collect()
}

/// How a pod that had come to its end before this process came to it, if it had.
pub fn settled(status: Option<&core::PodStatus>) -> Option<(Phase, Option<(String, String)>)> {
    let status = status?;
    let phase = match status.phase.as_deref()? {
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => return None,
    };
    let failed = status.reason.clone().map(|reason| (reason, status.message.clone().unwrap_or_default()));
    Some((phase, failed))
}

fn take_over_one(
    spec: &ContainerSpec,
    policy: RestartPolicy,
    status: Option<&core::ContainerStatus>,
    now: Timestamp,
) -> Container {
    let Some(status) = status else { return Container::new(spec, policy, 0, None) };
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    let read = |state: &core::ContainerState| {
        state.terminated.as_ref().map(|end| Termination {
            run: end.container_id.as_deref().and_then(super::run_of).unwrap_or(restarts),
            code: end.exit_code,
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone().unwrap_or_default(),
            started: end.started_at.as_ref().map(|time| time.0),
            finished: end.finished_at.as_ref().map_or(now, |time| time.0),
        })
    };
    if let Some(end) = status.state.as_ref().and_then(read) {
        let mut ended = Container::ended(spec, policy, restarts, end);
        ended.image_id.clone_from(&status.image_id);
        return ended;
    }
    let last = status.last_state.as_ref().and_then(read);
    // What was only about to run again has not made its next run yet, which is counted when it begins.
    let Some(running) = status.state.as_ref().and_then(|state| state.running.as_ref()) else {
        let waits = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let crashed = waits.is_some_and(|waits| waits.reason.as_deref() == Some("CrashLoopBackOff"));
        return Container::new(spec, policy, restarts + u32::from(crashed), last);
    };
    let end = Termination {
        run: restarts,
        code: 137,
        reason: "NodeRestarted".into(),
        message: "the node's process ended while the container ran".into(),
        started: running.started_at.as_ref().map(|time| time.0),
        finished: now,
    };
    match policy.of(spec.role) {
        RestartPolicy::Never => Container::ended(spec, policy, restarts, end),
        RestartPolicy::Always | RestartPolicy::OnFailure => Container::new(spec, policy, restarts + 1, Some(end)),
    }
}

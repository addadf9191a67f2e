//! What a pod's state is called: its phase, and whether it is initialized and ready.
//!
//! Source: `getPhase` and the status generators of `k8s.io/kubernetes/pkg/kubelet`.

use serde_json::Value;

use super::Pod;
use crate::container::{Container, RestartPolicy, State};
use crate::spec::Role;

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not every container has started.
    Pending,
    /// At least one container runs or will run again.
    Running,
    /// All containers ended with code 0.
    Succeeded,
    /// All containers ended, one at least with another code.
    Failed,
}

/// The readiness gates that do not hold, given the object's conditions, each with the reason in Kubernetes' words.
pub fn unmet_gates(gates: &[String], conditions: &[Value]) -> Vec<String> {
    let judged = gates.iter().filter_map(|gate| {
        let Some(condition) = conditions.iter().find(|it| it["type"] == **gate) else {
            return Some(missing_gate(gate));
        };
        let status = condition["status"].as_str().unwrap_or_default();
        let unmet = status != "True";
        unmet.then(|| format!("the status of pod readiness gate {gate:?} is not \"True\", but {status}"))
    });
    judged.collect()
}

/// Why a readiness gate that nobody wrote a condition for does not hold.
pub(super) fn missing_gate(gate: &str) -> String {
    format!("corresponding condition of pod readiness gate {gate:?} does not exist.")
}

impl Pod {
    /// `status.phase`, as the *Pod Lifecycle* page defines it.
    pub fn phase(&self) -> Phase {
        if let Some(phase) = self.settled {
            return phase;
        }
        if self.failed.is_some() || self.init_failed() {
            return Phase::Failed;
        }
        let mains = || self.of_role(Role::Main);
        let sidecars = || self.of_role(Role::Sidecar);
        let begun = |it: &Container| !matches!(it.state, State::Waiting { .. }) || it.last.is_some();
        let fresh = |it: &Container| matches!(it.state, State::Waiting { .. }) && it.last.is_none();
        let initializing = self.of_role(Role::Init).any(|it| it.end_of_life().is_none())
            || sidecars().any(|it| !it.is_started() && it.last.is_none() && it.end_of_life().is_none())
                && !mains().any(begun);
        if initializing || mains().chain(sidecars()).any(fresh) {
            return Phase::Pending;
        }
        if mains().chain(sidecars()).any(Container::is_running) {
            return Phase::Running;
        }
        // Nothing runs: what counts is how the containers ended, and whether they start again.
        let succeeded = mains().all(|it| it.end_of_life().is_some_and(|end| end.code == 0));
        match self.spec.restart {
            RestartPolicy::Always if !self.gone => Phase::Running,
            _ if succeeded => Phase::Succeeded,
            RestartPolicy::OnFailure if !self.gone => Phase::Running,
            RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never => Phase::Failed,
        }
    }

    /// Whether it should get traffic.
    pub fn is_ready(&self) -> bool {
        self.containers_ready() && self.unmet_gates.is_empty()
    }

    /// Whether all containers that shall stay up are ready: `ContainersReady`.
    pub fn containers_ready(&self) -> bool {
        let lives = matches!(self.phase(), Phase::Pending | Phase::Running);
        lives && self.unready().next().is_none()
    }

    /// The containers that keep it from being ready.
    pub fn unready(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|it| matches!(it.role, Role::Main | Role::Sidecar) && !it.is_ready())
    }

    /// The init containers and sidecars that keep the others from starting; none once one of those has started.
    pub fn uninitialized(&self) -> Vec<&Container> {
        if self.of_role(Role::Main).any(|it| !matches!(it.state, State::Waiting { .. }) || it.last.is_some()) {
            return Vec::new();
        }
        let before = self.containers.iter().filter(|it| matches!(it.role, Role::Init | Role::Sidecar));
        before.filter(|it| !it.has_passed()).collect()
    }

    /// Whether nothing but what serves its containers has a reason to run any more.
    pub fn is_over(&self) -> bool {
        self.settled.is_some() || self.init_failed() || self.of_role(Role::Main).all(|it| it.end_of_life().is_some())
    }

    /// Whether nothing of it runs, and nothing of it will again.
    pub fn is_done(&self) -> bool {
        (self.is_over() || self.failed.is_some()) && !self.containers.iter().any(Container::has_run)
    }

    /// Whether an init container failed for good.
    fn init_failed(&self) -> bool {
        self.of_role(Role::Init).any(|it| it.end_of_life().is_some_and(|end| end.code != 0))
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |it| it.role == role)
    }
}

//! What is said about a container: its states, what happens to it, what shall be done, what people are told.

use std::borrow::Cow;
use std::time::Duration;

use wk_base::time::Timestamp;
use wk_cluster::Severity;

use crate::spec::{Hook, ProbeKind, Role};

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start again whatever the exit code was.
    Always,
    /// Start again after a failure.
    OnFailure,
    /// Never start again.
    Never,
}

impl RestartPolicy {
    /// What a pod's policy means for a container of `role`.
    pub fn of(self, role: Role) -> Self {
        match (role, self) {
            (Role::Main, policy) => policy,
            (Role::Sidecar, _) => Self::Always,
            (Role::Debug, _) | (Role::Init, Self::Never) => Self::Never,
            (Role::Init, Self::Always | Self::OnFailure) => Self::OnFailure,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Which run it was, 0 for the first.
    pub run: u32,
    /// Exit code as a shell would show it: 137 for a container that was killed.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `DeadlineExceeded`, …
    pub reason: String,
    /// What a person needs to know, empty for a plain exit.
    pub message: String,
    /// When the run began, if it did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
}

impl Termination {
    pub(super) fn succeeded(&self) -> bool {
        self.code == 0
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not running yet, or not running again yet.
    Waiting {
        /// `ContainerCreating`, `PodInitializing`, `ErrImagePull`, `CrashLoopBackOff`, …
        reason: &'static str,
        /// Why, for a person.
        message: String,
        /// When to try (again); `None` while a start is under way, or waits for other containers.
        until: Option<Timestamp>,
    },
    /// Running, or for an HTTP component: ready to be instantiated for a request.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended, and it will not start again.
    Terminated(Termination),
}

/// What can happen to a container.
#[derive(Debug, Clone)]
pub enum Event {
    /// It runs.
    Started {
        /// The module's digest, shown as `imageID`.
        image_id: String,
    },
    /// Its start is under way, and takes so long that people want to know why.
    StartTakesLong {
        /// `Pulling`, `Compiling`.
        reason: &'static str,
        /// What it waits for, for a person.
        message: String,
    },
    /// What its start waited for so long is there.
    StartGoesOn,
    /// Its start failed: the reason Kubernetes gives, and why.
    StartFailed {
        /// `ErrImagePull`, `InvalidImageName`, `CreateContainerConfigError`, `CreateContainerError`.
        reason: &'static str,
        /// Why, for a person.
        message: String,
    },
    /// Its environment names what is not there: `CreateContainerConfigError` until it is.
    Lacks {
        /// What, in Kubernetes' words.
        message: String,
    },
    /// It ended by itself, was ended by a limit, or was stopped as ordered.
    Ended {
        /// Exit code, 137 when it was killed.
        code: i32,
        /// As in [`Termination::reason`].
        reason: String,
        /// As in [`Termination::message`].
        message: String,
    },
    /// One request failed inside the guest; the container itself goes on.
    RequestFailed {
        /// `Trapped`, `OOMKilled`, `DeadlineExceeded`, …
        reason: String,
        /// Which of the limits, or kinds of trap, that have this reason in common; empty for all others.
        limit: Cow<'static, str>,
        /// Why, for a person.
        message: String,
    },
    /// It went past a limit that ends nothing: what was too much was dropped or refused.
    LimitReached {
        /// `LogLimit`, `ConnectionLimit`, `FilesLimit`, `CPULimit`.
        reason: &'static str,
        /// Which limit, with its number.
        message: String,
    },
    /// A hook that was ordered is done.
    HookEnded {
        /// Which.
        hook: Hook,
        /// Why it failed, if it did, as everybody may read it; empty where there is nothing that may be told.
        failure: Option<String>,
    },
    /// A probe came to another result than before: as often as its threshold says.
    Probed {
        /// Which.
        probe: ProbeKind,
        /// Its result.
        healthy: bool,
    },
    /// A probe failed, for a person to read.
    ProbeFailed {
        /// Which.
        probe: ProbeKind,
        /// What it found.
        message: String,
    },
    /// What its start failed for the want of may be there now.
    Retry,
    /// Time passed.
    Tick,
}

/// A time as Kubernetes writes it: `10s`, `1m20s`, `5m0s`.
pub(super) fn as_kubernetes(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// What people are told, as an Event of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody may want to look.
    pub severity: Severity,
    /// `Killing`, `Unhealthy`, …
    pub reason: &'static str,
    /// In Kubernetes' words.
    pub message: String,
}

impl Notice {
    pub(super) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason, message: message.into() }
    }

    pub(super) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, message: message.into() }
    }

    /// Kubernetes' words for a container that is made to stop.
    pub(super) fn killing(name: &str, why: Why, policy: RestartPolicy) -> Self {
        let again = if policy == RestartPolicy::Never { "" } else { ", will be restarted" };
        let message = match why {
            Why::Leave => format!("Stopping container {name}"),
            Why::Changed => format!("Container {name} definition changed, will be restarted"),
            Why::Unhealthy(ProbeKind::Startup) => format!("Container {name} failed startup probe{again}"),
            Why::Unhealthy(ProbeKind::Liveness | ProbeKind::Readiness) => {
                format!("Container {name} failed liveness probe{again}")
            }
            Why::PostStart => "FailedPostStartHook".to_owned(),
        };
        Self { severity: Severity::Normal, reason: "Killing", message }
    }
}

/// What the agent shall do for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start run number `restart`.
    Start {
        /// 0 for the first run.
        restart: u32,
    },
    /// Call this hook and send [`Event::HookEnded`].
    Hook(Hook),
    /// Begin to probe it, until it stops.
    Probe,
    /// Stop the run: a command ends at once, an HTTP container takes no request any more and finishes those it has.
    Stop,
    /// End the run now, requests or not.
    Cut,
    /// The state changed: report it.
    Report,
    /// Tell people.
    Tell(Notice),
}

/// Why a container is made to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its pod goes away or is over: it does not start again.
    Leave,
    /// Its spec changed: it starts again whatever its policy says.
    Changed,
    /// A probe gave up on it.
    Unhealthy(ProbeKind),
    /// Its postStart hook failed.
    PostStart,
}

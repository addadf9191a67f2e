//! The life of one container of a pod: a pure state machine. It is told what happened and when; it answers what to do.
//!
//! Not here: when a container may start beside the others (`pod`), how one is started, probed and stopped (`agent`
//! has it done), where its state is written (`status`).
//!
//! The states and reasons are those of Kubernetes' *Pod Lifecycle* page ("Container states", "Container restarts",
//! "Container probes") and of *Container Lifecycle Hooks*.
//!
//! **Assumption**: each run that was ordered ends with exactly one [`Event::Ended`], [`Event::StartFailed`] or
//! [`Event::Lacks`].

use std::sync::Arc;
use std::time::Duration;

use wk_base::time::Timestamp;

use crate::spec::{ContainerSpec, Hook, ProbeKind, Role};

mod told;
mod words;

use told::Told;
pub use words::{Event, Notice, Order, RestartPolicy, State, Termination, Why};

/// First delay before a crashed container starts again; it doubles with each crash. Kubernetes' figures.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// No crashed container waits longer than this. Kubernetes' figure.
const BACKOFF_MAX: Duration = Duration::from_mins(5);
/// A container that ran this long is healthy again: its next crash waits the first delay. Kubernetes' figure.
const BACKOFF_RESET: Duration = Duration::from_mins(10);
/// What a container whose preStop hook took the whole grace period gets on top, once. Kubernetes' figure.
pub(crate) const HOOK_EXTENSION: Duration = Duration::from_secs(2);
/// The code of a run that was ended from outside, as a shell shows SIGKILL.
pub const KILLED: i32 = 137;
/// The code of a run that trapped, as a shell shows SIGABRT: it is told from one that was ended for its memory.
pub const TRAPPED: i32 = 134;

/// Why a container ended whose worker process did. It says nothing of the container: it starts again at once, and its next
/// crash waits no longer. The worker itself waits if it is often so (`place::worker`).
pub const WORKER_CRASHED: &str = "WorkerCrashed";

/// Why a container waits whose environment names what is not there.
pub const CONFIG_ERROR: &str = "CreateContainerConfigError";

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    /// Ordered.
    Starting,
    /// The guest runs, its postStart hook does too.
    PostStart,
    /// It runs.
    Up,
    /// Its preStop hook runs; the guest is stopped next.
    PreStop(Stopping),
    /// It was told to stop.
    Stopping(Stopping),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stopping {
    why: Why,
    /// When it is cut off; `None` once it has been.
    until: Option<Timestamp>,
}

/// One container and everything its status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Name in the pod.
    pub name: Arc<str>,
    /// What it is for.
    pub role: Role,
    /// Where it is in its life.
    pub state: State,
    /// How the run before this one ended, or the last failed request.
    pub last: Option<Termination>,
    /// Number of starts after the first: one that waits to start again has not done so.
    pub restarts: u32,
    /// Digest of the module that runs, once known.
    pub image_id: String,
    policy: RestartPolicy,
    run: Option<Run>,
    /// When the run under way began, if it has.
    began: Option<Timestamp>,
    /// Whether the containers after it may start: an init container completed, a sidecar has started once.
    passed: bool,
    /// What its startup probe says; true without one.
    startup: bool,
    /// What its readiness probe says; true without one.
    readiness: bool,
    /// The delay that the next crash waits; zero: the first restart is immediate, as the kubelet's.
    delay: Duration,
    /// The delay that the next failed start waits.
    start_delay: Duration,
    /// What was told of it a moment ago.
    told: Told,
    /// Whether its next start comes after a run that ended.
    again: bool,
    /// Whether its start was put off for what its environment names.
    lacks_sources: bool,
}

impl Container {
    /// A container about to make its run number `restarts`, in a pod with this restart policy.
    pub fn new(spec: &ContainerSpec, policy: RestartPolicy, restarts: u32, last: Option<Termination>) -> Self {
        Self {
            name: spec.name.clone(),
            role: spec.role,
            state: waiting("ContainerCreating"),
            last,
            restarts,
            image_id: String::new(),
            policy: policy.of(spec.role),
            run: None,
            began: None,
            passed: false,
            startup: false,
            readiness: false,
            delay: Duration::ZERO,
            start_delay: BACKOFF_FIRST,
            told: Told::default(),
            again: false,
            lacks_sources: false,
        }
    }

    /// A container that had ended for good before this node process began.
    pub fn ended(spec: &ContainerSpec, policy: RestartPolicy, restarts: u32, end: Termination) -> Self {
        let passed = spec.role == Role::Init && end.succeeded();
        Self { state: State::Terminated(end), passed, ..Self::new(spec, policy, restarts, None) }
    }

    /// Waits for the init containers of its pod, as its status says.
    pub fn waits_for_inits(&mut self) {
        if self.is_due() {
            self.state = waiting("PodInitializing");
        }
    }

    /// Takes in what happened at `now` and tells what to do. `grace` is the pod's, for a container that a probe ends.
    pub fn handle(&mut self, event: Event, spec: &ContainerSpec, grace: Duration, now: Timestamp) -> Vec<Order> {
        match event {
            Event::Started { image_id } => self.begun(image_id, spec, now),
            Event::Lacks { message } => {
                let orders = self.start_failed(CONFIG_ERROR, message, now);
                self.lacks_sources = true;
                orders
            }
            Event::StartFailed { reason, message } => self.start_failed(reason, message, now),
            Event::Ended { code, reason, message } => self.end(code, reason, message, now),
            Event::RequestFailed { reason, limit, message } => self.note_failed_request(reason, &limit, message, now),
            Event::LimitReached { reason, message } if self.told.is_due(reason, &message, now) => {
                vec![Order::Tell(Notice::warning(reason, format!("container {}: {message}", self.name)))]
            }
            Event::StartTakesLong { reason, message } => {
                let mut orders = self.start_waits_for(&message);
                if !orders.is_empty() {
                    orders.push(Order::Tell(Notice::normal(reason, format!("container {}: {message}", self.name))));
                }
                orders
            }
            Event::StartGoesOn => self.start_waits_for(""),
            Event::HookEnded { hook, failure } => self.hook_ended(hook, failure.as_deref(), spec, now + grace, now),
            Event::Probed { probe, healthy } => self.probed(probe, healthy, spec, grace, now),
            Event::ProbeFailed { probe, message } if self.run == Some(Run::Up) => {
                vec![Order::Tell(Notice::warning("Unhealthy", format!("{probe} probe failed: {message}")))]
            }
            Event::LimitReached { .. } | Event::ProbeFailed { .. } => Vec::new(),
            Event::Retry => self.start_again(),
            Event::Tick => self.tick(now),
        }
    }

    /// Starts it, if nothing but other containers kept it waiting.
    pub fn start(&mut self) -> Vec<Order> {
        if !self.is_due() {
            return Vec::new();
        }
        self.run = Some(Run::Starting);
        if std::mem::take(&mut self.again) {
            self.restarts += 1;
            self.state = waiting("ContainerCreating");
        }
        vec![Order::Start { restart: self.restarts }]
    }

    /// Stops it until `until`, when it is cut off: its preStop hook first, if it runs and has one.
    pub fn stop(&mut self, why: Why, until: Timestamp, spec: &ContainerSpec) -> Vec<Order> {
        let stopping = Stopping { why, until: Some(until) };
        let has_hook = spec.hooks.pre_stop.is_some();
        let (run, mut orders) = match self.run.take() {
            None => return Vec::new(),
            Some(Run::PostStart | Run::Up) if has_hook => (Run::PreStop(stopping), vec![Order::Hook(Hook::PreStop)]),
            Some(Run::Starting | Run::PostStart | Run::Up) => (Run::Stopping(stopping), vec![Order::Stop]),
            // A pod that goes away outranks a restart under way, and an earlier end a later one.
            Some(Run::PreStop(before)) => (Run::PreStop(before.or(stopping)), Vec::new()),
            Some(Run::Stopping(before)) => (Run::Stopping(before.or(stopping)), Vec::new()),
        };
        self.run = Some(run);
        if !orders.is_empty() {
            orders.insert(0, Order::Tell(Notice::killing(&self.name, why, self.policy)));
        }
        orders
    }

    /// When a tick will change something.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        match (&self.state, &self.run) {
            (_, Some(Run::PreStop(stopping) | Run::Stopping(stopping))) => stopping.until,
            (State::Waiting { until, .. }, None) => *until,
            (State::Waiting { .. } | State::Running { .. } | State::Terminated(_), _) => None,
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether it runs and its startup probe has passed: `started`.
    pub fn is_started(&self) -> bool {
        self.is_running() && self.startup
    }

    /// `ready`: what it is for is done, or can be asked of it now.
    pub fn is_ready(&self) -> bool {
        match (self.role, &self.state) {
            (Role::Init, State::Terminated(end)) => end.succeeded(),
            (Role::Main | Role::Sidecar, _) => self.is_started() && self.readiness,
            (Role::Init | Role::Debug, _) => false,
        }
    }

    /// Whether the containers after it may start.
    pub fn has_passed(&self) -> bool {
        self.passed
    }

    /// Whether it waits for nothing but to be started.
    pub fn is_due(&self) -> bool {
        self.run.is_none() && matches!(self.state, State::Waiting { until: None, .. })
    }

    /// Whether a run of it is under way.
    pub fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// Whether it was told to stop and has not stopped yet.
    pub fn is_stopping(&self) -> bool {
        matches!(&self.run, Some(Run::PreStop(_) | Run::Stopping(_)))
    }

    /// Whether it was told to go for good and has not gone yet.
    pub fn is_leaving(&self) -> bool {
        matches!(&self.run, Some(Run::PreStop(it) | Run::Stopping(it)) if it.why == Why::Leave)
    }

    /// How it ended, if it will not start again.
    pub fn end_of_life(&self) -> Option<&Termination> {
        if let State::Terminated(end) = &self.state { Some(end) } else { None }
    }

    /// Its spec changed: what went wrong with the old one is no reason to wait.
    pub fn forget_back_off(&mut self) {
        self.delay = Duration::ZERO;
        self.start_delay = BACKOFF_FIRST;
        if matches!(self.state, State::Waiting { until: Some(_), .. }) {
            self.state = waiting("ContainerCreating");
        }
    }

    /// Its pod has gone and it never ran, or waited to run again: it never will.
    pub fn abandon(&mut self, now: Timestamp) {
        if !matches!(self.state, State::Terminated(_)) {
            self.run = None;
            self.state = State::Terminated(Termination {
                run: self.restarts,
                code: KILLED,
                reason: "ContainerStatusUnknown".into(),
                message: "The container could not be located when the pod was terminated".into(),
                started: self.began.take(),
                finished: now,
            });
        }
    }

    /// What its environment lacked when its start was put off, if that is what it waits for.
    pub fn lacks(&self) -> Option<&str> {
        match &self.state {
            State::Waiting { message, until: Some(_), .. } if self.lacks_sources => Some(message),
            State::Waiting { .. } | State::Running { .. } | State::Terminated(_) => None,
        }
    }

    fn begun(&mut self, image_id: String, spec: &ContainerSpec, now: Timestamp) -> Vec<Order> {
        match &self.run {
            Some(Run::Starting) => {}
            Some(Run::Stopping(_)) => {
                self.began = Some(now);
                return Vec::new();
            }
            Some(Run::PostStart | Run::Up | Run::PreStop(_)) | None => return Vec::new(),
        }
        self.image_id = image_id;
        self.start_delay = BACKOFF_FIRST;
        self.began = Some(now);
        if spec.hooks.post_start.is_some() {
            self.run = Some(Run::PostStart);
            return vec![Order::Hook(Hook::PostStart)];
        }
        self.up(spec, now)
    }

    fn up(&mut self, spec: &ContainerSpec, now: Timestamp) -> Vec<Order> {
        self.run = Some(Run::Up);
        self.state = State::Running { since: self.began.unwrap_or(now) };
        self.startup = spec.probes.startup.is_none();
        self.readiness = spec.probes.readiness.is_none();
        self.passed |= self.role == Role::Sidecar && self.startup;
        let probe = spec.probes.any().then_some(Order::Probe);
        std::iter::once(Order::Report).chain(probe).collect()
    }

    fn start_failed(&mut self, reason: &'static str, message: String, now: Timestamp) -> Vec<Order> {
        match self.run {
            Some(Run::Starting) => {}
            // It was to stop anyway.
            Some(_) => return self.end(KILLED, "Error".into(), message, now),
            None => return Vec::new(),
        }
        self.run = None;
        self.lacks_sources = false;
        let delay = self.start_delay;
        self.start_delay = (delay * 2).min(BACKOFF_MAX);
        self.state = State::Waiting { reason, message, until: Some(now + delay) };
        vec![Order::Report]
    }

    fn hook_ended(
        &mut self,
        hook: Hook,
        failure: Option<&str>,
        spec: &ContainerSpec,
        until: Timestamp,
        now: Timestamp,
    ) -> Vec<Order> {
        match (hook, self.run.clone()) {
            (Hook::PostStart, Some(Run::PostStart)) if failure.is_none() => self.up(spec, now),
            (Hook::PostStart, Some(Run::PostStart)) => {
                let told = format!("PostStartHook failed{}", because(failure));
                let mut orders = vec![Order::Tell(Notice::warning("FailedPostStartHook", told))];
                orders.extend(self.stop(Why::PostStart, until, spec));
                orders
            }
            (Hook::PreStop, Some(Run::PreStop(stopping))) => {
                self.run = Some(Run::Stopping(stopping));
                let told = failure.map(|_| {
                    Order::Tell(Notice::warning("FailedPreStopHook", format!("PreStopHook failed{}", because(failure))))
                });
                told.into_iter().chain([Order::Stop]).collect()
            }
            (Hook::PostStart | Hook::PreStop, _) => Vec::new(),
        }
    }

    fn probed(
        &mut self,
        probe: ProbeKind,
        healthy: bool,
        spec: &ContainerSpec,
        grace: Duration,
        now: Timestamp,
    ) -> Vec<Order> {
        if self.run != Some(Run::Up) {
            return Vec::new();
        }
        match (probe, healthy) {
            (ProbeKind::Startup, true) => {
                self.startup = true;
                self.passed |= self.role == Role::Sidecar;
            }
            (ProbeKind::Readiness, healthy) => self.readiness = healthy,
            (ProbeKind::Liveness, true) => return Vec::new(),
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                let own = spec.probes.of(probe).and_then(|probe| probe.grace);
                return self.stop(Why::Unhealthy(probe), now + own.unwrap_or(grace), spec);
            }
        }
        vec![Order::Report]
    }

    fn end(&mut self, code: i32, reason: String, message: String, now: Timestamp) -> Vec<Order> {
        let why = match self.run.take() {
            None => return Vec::new(),
            Some(Run::PreStop(stopping) | Run::Stopping(stopping)) => Some(stopping.why),
            Some(Run::Starting | Run::PostStart | Run::Up) => None,
        };
        let started = self.began.take();
        // It was told to stop and did: that is no success of its own.
        let is_killed = code == 0 && matches!(why, Some(Why::Unhealthy(_) | Why::PostStart));
        let (code, reason) = if is_killed { (KILLED, "Error".to_owned()) } else { (code, reason) };
        let end = Termination { run: self.restarts, code, reason, message, started, finished: now };
        self.passed |= self.role == Role::Init && end.succeeded();
        if !self.starts_again(why, &end) {
            self.state = State::Terminated(end);
            return vec![Order::Report];
        }
        let ran = started.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
        if ran >= BACKOFF_RESET || why == Some(Why::Changed) {
            self.delay = Duration::ZERO;
        }
        let delay = if end.reason == WORKER_CRASHED { Duration::ZERO } else { self.delay };
        if end.reason != WORKER_CRASHED {
            self.delay = (delay * 2).clamp(BACKOFF_FIRST, BACKOFF_MAX);
        }
        self.again = true;
        let message = format!("back-off {} restarting failed container={}", words::as_kubernetes(delay), self.name);
        self.last = Some(end);
        if delay.is_zero() {
            self.state = waiting("ContainerCreating");
            let mut orders = self.start();
            orders.push(Order::Report);
            return orders;
        }
        self.state = State::Waiting { reason: "CrashLoopBackOff", message, until: Some(now + delay) };
        vec![Order::Report]
    }

    fn starts_again(&self, why: Option<Why>, end: &Termination) -> bool {
        match (why, self.policy) {
            (Some(Why::Leave), _) | (None, RestartPolicy::Never) => false,
            (Some(Why::Changed), _) | (None, RestartPolicy::Always) => true,
            // Somebody else ended it: its exit code says nothing.
            (Some(Why::Unhealthy(_) | Why::PostStart), policy) => policy != RestartPolicy::Never,
            (None, RestartPolicy::OnFailure) => !end.succeeded(),
        }
    }

    fn note_failed_request(&mut self, reason: String, limit: &str, message: String, now: Timestamp) -> Vec<Order> {
        let worth_telling = self.told.is_due(&reason, limit, now);
        // What looks for containers that ran out of memory looks for this code.
        let code = if reason == "OOMKilled" { KILLED } else { 1 };
        self.last = Some(Termination { run: self.restarts, code, reason, message, started: self.began, finished: now });
        if worth_telling { vec![Order::Report] } else { Vec::new() }
    }

    /// Shows what its start under way waits for, if it is under way; an error of the one before is old news.
    fn start_waits_for(&mut self, message: &str) -> Vec<Order> {
        if self.run != Some(Run::Starting) {
            return Vec::new();
        }
        self.state = State::Waiting { reason: "ContainerCreating", message: message.to_owned(), until: None };
        vec![Order::Report]
    }

    /// Starts it if it waits for a time.
    fn start_again(&mut self) -> Vec<Order> {
        match &mut self.state {
            State::Waiting { until, .. } if until.is_some() && self.run.is_none() => *until = None,
            State::Waiting { .. } | State::Running { .. } | State::Terminated(_) => return Vec::new(),
        }
        self.start()
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Order> {
        if self.wakes_at().is_none_or(|wake| wake > now) {
            return Vec::new();
        }
        match &mut self.run {
            None => self.start_again(),
            // A hook that took the whole grace period: the guest still gets a moment.
            Some(Run::PreStop(stopping)) => {
                let why = stopping.why;
                self.run = Some(Run::Stopping(Stopping { why, until: Some(now + HOOK_EXTENSION) }));
                vec![Order::Stop]
            }
            Some(Run::Stopping(stopping)) => {
                stopping.until = None;
                vec![Order::Cut]
            }
            Some(Run::Starting | Run::PostStart | Run::Up) => Vec::new(),
        }
    }
}

/// Why a hook failed, as the end of a sentence.
fn because(failure: Option<&str>) -> String {
    failure.filter(|told| !told.is_empty()).map_or_else(String::new, |told| format!(": {told}"))
}

impl Stopping {
    fn or(self, other: Self) -> Self {
        let why = if other.why == Why::Leave { Why::Leave } else { self.why };
        // One that was cut off stays so.
        Self { why, until: self.until.and_then(|until| other.until.map(|other| until.min(other))) }
    }
}

fn waiting(reason: &'static str) -> State {
    State::Waiting { reason, message: String::new(), until: None }
}

#[cfg(test)]
mod tests;

//! The life of one container of a pod: a pure state machine. It is told what happened and when; it answers what to do.
//!
//! Not here: how a container is started, where its state is written. `agent` does the first, `status` renders the
//! second.
//!
//! The states and reasons are those of Kubernetes' *Pod Lifecycle* page ("Container states", "Container restarts").

use std::time::Duration;

use wk_base::time::Timestamp;

/// First delay before a crashed container starts again; it doubles with each crash. Kubernetes' figures.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// No crashed container waits longer than this. Kubernetes' figure.
const BACKOFF_MAX: Duration = Duration::from_mins(5);
/// A container that ran this long is healthy again: its next crash waits the first delay. Kubernetes' figure.
const BACKOFF_RESET: Duration = Duration::from_mins(10);
/// How often the last failed request of a running container is worth a status write: each costs the cluster an fsync.
const FAILURE_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Why a container waits whose environment names what is not there.
pub const CONFIG_ERROR: &str = "CreateContainerConfigError";

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

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
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
    fn succeeded(&self) -> bool {
        self.code == 0
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not running yet, or not running again yet.
    Waiting {
        /// `ContainerCreating`, `ErrImagePull`, `CrashLoopBackOff`, …
        reason: &'static str,
        /// Why, for a person.
        message: String,
        /// When to try (again); `None` while a start is under way.
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
    /// Its start failed: the reason Kubernetes gives, and why.
    StartFailed {
        /// `ErrImagePull`, `InvalidImageName`, `CreateContainerConfigError`, `CreateContainerError`.
        reason: &'static str,
        /// Why, for a person.
        message: String,
    },
    /// It ended by itself or was ended by a limit.
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
        /// Why, for a person.
        message: String,
    },
    /// What its start failed for the want of may be there now.
    Retry,
    /// Time passed.
    Tick,
}

/// What the agent shall do for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Start run number `restart`.
    Start {
        /// 0 for the first run.
        restart: u32,
    },
    /// The state changed: report it.
    Report,
}

/// One container and everything its status shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Name in the pod.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// How the run before this one ended, or the last failed request.
    pub last: Option<Termination>,
    /// Number of starts after the first.
    pub restarts: u32,
    /// Digest of the module that runs, once known.
    pub image_id: String,
    policy: RestartPolicy,
    /// The delay that the next crash waits; zero: the first restart is immediate, as the kubelet's.
    delay: Duration,
    /// The delay that the next failed start waits.
    start_delay: Duration,
    reported_failure: Option<Timestamp>,
}

impl Container {
    /// A container about to make its run number `restarts`.
    pub fn new(name: String, policy: RestartPolicy, restarts: u32, last: Option<Termination>) -> Self {
        let state = State::Waiting { reason: "ContainerCreating", message: String::new(), until: None };
        Self {
            name,
            state,
            last,
            restarts,
            image_id: String::new(),
            policy,
            delay: Duration::ZERO,
            start_delay: BACKOFF_FIRST,
            reported_failure: None,
        }
    }

    /// A container that had ended for good before this node process began.
    pub fn ended(name: String, policy: RestartPolicy, restarts: u32, end: Termination) -> Self {
        Self { state: State::Terminated(end), ..Self::new(name, policy, restarts, None) }
    }

    /// Takes in what happened at `now` and tells what to do.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Order> {
        match event {
            Event::Started { image_id } => {
                self.image_id = image_id;
                self.start_delay = BACKOFF_FIRST;
                self.state = State::Running { since: now };
                vec![Order::Report]
            }
            Event::StartFailed { reason, message } => {
                let delay = self.start_delay;
                self.start_delay = (delay * 2).min(BACKOFF_MAX);
                self.state = State::Waiting { reason, message, until: Some(now + delay) };
                vec![Order::Report]
            }
            Event::Ended { code, reason, message } => self.end(code, reason, message, now),
            Event::RequestFailed { reason, message } => self.note_failed_request(reason, message, now),
            Event::Retry => self.start_again(|_| true),
            Event::Tick => self.start_again(|until| until <= now),
        }
    }

    /// When a tick will change something.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Waiting { until, .. } => *until,
            State::Running { .. } | State::Terminated(_) => None,
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Ends it for good: the pod is over its deadline.
    pub fn kill(&mut self, reason: &str, message: &str, now: Timestamp) {
        if !matches!(self.state, State::Terminated(_)) {
            let started = self.started();
            self.state = State::Terminated(Termination {
                code: 137,
                reason: reason.to_owned(),
                message: message.to_owned(),
                started,
                finished: now,
            });
        }
    }

    /// What its environment lacked when its start was put off, if that is what it waits for.
    pub fn lacks(&self) -> Option<&str> {
        match &self.state {
            State::Waiting { reason: CONFIG_ERROR, message, until: Some(_) } => Some(message),
            State::Waiting { .. } | State::Running { .. } | State::Terminated(_) => None,
        }
    }

    fn started(&self) -> Option<Timestamp> {
        match self.state {
            State::Running { since } => Some(since),
            State::Waiting { .. } | State::Terminated(_) => None,
        }
    }

    fn end(&mut self, code: i32, reason: String, message: String, now: Timestamp) -> Vec<Order> {
        let started = self.started();
        let end = Termination { code, reason, message, started, finished: now };
        let again = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !end.succeeded(),
            RestartPolicy::Never => false,
        };
        if !again {
            self.state = State::Terminated(end);
            return vec![Order::Report];
        }
        let ran = started.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
        if ran >= BACKOFF_RESET {
            self.delay = Duration::ZERO;
        }
        let delay = self.delay;
        self.delay = (delay * 2).clamp(BACKOFF_FIRST, BACKOFF_MAX);
        self.restarts += 1;
        let message =
            format!("back-off {} s restarting failed container {}: {}", delay.as_secs(), self.name, end.reason);
        self.last = Some(end);
        if delay.is_zero() {
            self.state = State::Waiting { reason: "ContainerCreating", message: String::new(), until: None };
            return vec![Order::Start { restart: self.restarts }, Order::Report];
        }
        self.state = State::Waiting { reason: "CrashLoopBackOff", message, until: Some(now + delay) };
        vec![Order::Report]
    }

    fn note_failed_request(&mut self, reason: String, message: String, now: Timestamp) -> Vec<Order> {
        let started = self.started();
        self.last = Some(Termination { code: 1, reason, message, started, finished: now });
        let due =
            self.reported_failure.is_none_or(|last| now.duration_since(last).unsigned_abs() >= FAILURE_REPORT_INTERVAL);
        if !due {
            return Vec::new();
        }
        self.reported_failure = Some(now);
        vec![Order::Report]
    }

    /// Starts it if it waits for a time that is `due`.
    fn start_again(&mut self, due: impl Fn(Timestamp) -> bool) -> Vec<Order> {
        match &mut self.state {
            State::Waiting { until, .. } if until.is_some_and(&due) => {
                *until = None;
                vec![Order::Start { restart: self.restarts }]
            }
            State::Waiting { .. } | State::Running { .. } | State::Terminated(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn crash() -> Event {
        Event::Ended { code: 1, reason: "Error".into(), message: String::new() }
    }

    fn running(policy: RestartPolicy) -> Container {
        let mut container = Container::new("app".into(), policy, 0, None);
        assert_eq!(container.handle(Event::Started { image_id: "sha256:1".into() }, at(0)), [Order::Report]);
        container
    }

    #[test]
    fn first_crash_restarts_at_once_and_later_ones_wait_ten_seconds_doubling() {
        let mut container = running(RestartPolicy::Always);
        assert_eq!(container.handle(crash(), at(1)), [Order::Start { restart: 1 }, Order::Report]);
        for (restart, delay) in [(2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)] {
            container.handle(Event::Started { image_id: String::new() }, at(1));
            container.handle(crash(), at(1));
            assert_eq!(container.wakes_at(), Some(at(1 + delay)), "restart {restart}");
            assert!(container.handle(Event::Tick, at(delay)).is_empty());
            assert_eq!(container.handle(Event::Tick, at(1 + delay)), [Order::Start { restart }]);
        }
    }

    #[test]
    fn container_that_ran_ten_minutes_starts_its_back_off_anew() {
        let mut container = running(RestartPolicy::Always);
        container.handle(crash(), at(1));
        container.handle(Event::Started { image_id: String::new() }, at(2));
        assert_eq!(container.handle(crash(), at(700)), [Order::Start { restart: 2 }, Order::Report]);
    }

    #[test]
    fn container_that_waits_for_a_config_map_starts_when_it_appears() {
        let mut container = Container::new("app".into(), RestartPolicy::Always, 0, None);
        let message = "configmap \"c\" not found".to_owned();
        container.handle(Event::StartFailed { reason: CONFIG_ERROR, message }, at(0));
        assert_eq!(container.lacks(), Some("configmap \"c\" not found"));
        assert_eq!(container.handle(Event::Retry, at(1)), [Order::Start { restart: 0 }]);
        assert_eq!(container.lacks(), None);
        assert_eq!(container.handle(Event::Retry, at(1)), [], "its start is under way");
    }

    #[test]
    fn policy_decides_who_starts_again() {
        let done = Event::Ended { code: 0, reason: "Completed".into(), message: String::new() };
        for (policy, event, again) in [
            (RestartPolicy::Always, done.clone(), true),
            (RestartPolicy::OnFailure, done, false),
            (RestartPolicy::OnFailure, crash(), true),
            (RestartPolicy::Never, crash(), false),
        ] {
            let mut container = running(policy);
            container.handle(event, at(1));
            assert_eq!(!matches!(container.state, State::Terminated(_)), again, "{policy:?}");
        }
    }

    #[test]
    fn failed_requests_are_reported_once_in_ten_seconds() {
        let mut container = running(RestartPolicy::Always);
        let failed = Event::RequestFailed { reason: "Trapped".into(), message: "unreachable".into() };
        assert_eq!(container.handle(failed.clone(), at(1)), [Order::Report]);
        assert_eq!(container.handle(failed.clone(), at(2)), []);
        assert_eq!(container.handle(failed, at(11)), [Order::Report]);
        assert!(container.is_running());
    }
}

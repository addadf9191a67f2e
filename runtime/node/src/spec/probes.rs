//! Probes and lifecycle hooks of a container, as its spec says them.
//!
//! Not here: calling them (`probes`, `hooks`), and what follows from their results (`container`).
//!
//! Source: Kubernetes' *Configure Liveness, Readiness and Startup Probes* and *Container Lifecycle Hooks*.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{SpecError, refuse};

/// The probes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// `startupProbe`: until it passes, the others wait.
    pub startup: Option<Probe>,
    /// `readinessProbe`: whether it gets traffic.
    pub readiness: Option<Probe>,
    /// `livenessProbe`: whether it is started anew.
    pub liveness: Option<Probe>,
}

impl Probes {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.startup.is_some() || self.readiness.is_some() || self.liveness.is_some()
    }

    /// The probe of a kind.
    pub fn of(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
        }
    }
}

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `readinessProbe`.
    Readiness,
    /// `livenessProbe`.
    Liveness,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        })
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// `initialDelaySeconds`.
    pub initial_delay: Duration,
    /// `periodSeconds`.
    pub period: Duration,
    /// `timeoutSeconds`.
    pub timeout: Duration,
    /// `successThreshold`.
    pub success: u32,
    /// `failureThreshold`.
    pub failure: u32,
    /// `terminationGracePeriodSeconds`, else the pod's.
    pub grace: Option<Duration>,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `httpGet`.
    Http(HttpGet),
    /// `tcpSocket`.
    Tcp {
        /// Its port.
        port: u16,
    },
    /// `grpc`: the health service, version 1.
    Grpc {
        /// Its port.
        port: u16,
        /// The service asked about; the whole server if empty.
        service: String,
    },
    /// `exec`.
    Exec(Vec<String>),
}

/// A request to the pod itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// The pod's port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Whether the scheme is HTTPS.
    pub https: bool,
    /// `httpHeaders`.
    pub headers: Vec<(String, String)>,
}

/// The hooks of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `lifecycle.postStart`: it does not count as running before this is done.
    pub post_start: Option<Action>,
    /// `lifecycle.preStop`: done before it is made to stop.
    pub pre_stop: Option<Action>,
}

/// Which of a container's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `postStart`.
    PostStart,
    /// `preStop`.
    PreStop,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `httpGet`.
    Http(HttpGet),
    /// `exec`.
    Exec(Vec<String>),
    /// `sleep`.
    Sleep(Duration),
}

/// Whose probes and hooks are read: its ports have names.
pub(super) struct Target<'a> {
    pub(super) container: &'a core::Container,
    pub(super) field: &'a str,
}

impl Target<'_> {
    pub(super) fn probes(&self) -> Result<Probes, SpecError> {
        let container = self.container;
        Ok(Probes {
            startup: self.probe(container.startup_probe.as_ref(), "startupProbe")?,
            readiness: self.probe(container.readiness_probe.as_ref(), "readinessProbe")?,
            liveness: self.probe(container.liveness_probe.as_ref(), "livenessProbe")?,
        })
    }

    pub(super) fn hooks(&self) -> Result<Hooks, SpecError> {
        let Some(lifecycle) = &self.container.lifecycle else { return Ok(Hooks::default()) };
        Ok(Hooks {
            post_start: self.action(lifecycle.post_start.as_ref(), "postStart")?,
            pre_stop: self.action(lifecycle.pre_stop.as_ref(), "preStop")?,
        })
    }

    fn probe(&self, probe: Option<&core::Probe>, name: &str) -> Result<Option<Probe>, SpecError> {
        let Some(probe) = probe else { return Ok(None) };
        let field = format!("{}.{name}", self.field);
        let check = if let Some(http) = &probe.http_get {
            Check::Http(self.http(http, &field)?)
        } else if let Some(tcp) = &probe.tcp_socket {
            own_host(tcp.host.as_deref(), &format!("{field}.tcpSocket.host"))?;
            Check::Tcp { port: self.port(&tcp.port, &format!("{field}.tcpSocket.port"))? }
        } else if let Some(grpc) = &probe.grpc {
            let port = self.port(&IntOrString::Int(grpc.port), &format!("{field}.grpc.port"))?;
            Check::Grpc { port, service: grpc.service.clone().unwrap_or_default() }
        } else if let Some(exec) = &probe.exec {
            Check::Exec(command(exec, &field)?)
        } else {
            return refuse(field, "says nothing to ask: one of httpGet, tcpSocket, grpc, exec");
        };
        // What the API's defaults leave out cannot be less than these.
        let at_least = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let seconds = |value, default| Duration::from_secs(u64::from(at_least(value, default)));
        let grace = probe.termination_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
        Ok(Some(Probe {
            check,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success: at_least(probe.success_threshold, 1),
            failure: at_least(probe.failure_threshold, 3),
            grace: grace.map(super::seconds),
        }))
    }

    fn action(&self, handler: Option<&core::LifecycleHandler>, name: &str) -> Result<Option<Action>, SpecError> {
        let Some(handler) = handler else { return Ok(None) };
        let field = format!("{}.lifecycle.{name}", self.field);
        if let Some(http) = &handler.http_get {
            return self.http(http, &field).map(Action::Http).map(Some);
        }
        if let Some(exec) = &handler.exec {
            return command(exec, &field).map(Action::Exec).map(Some);
        }
        if let Some(sleep) = &handler.sleep {
            return Ok(Some(Action::Sleep(super::seconds(u64::try_from(sleep.seconds).unwrap_or(0)))));
        }
        refuse(field, "says nothing to do: one of httpGet, exec, sleep")
    }

    fn http(&self, http: &core::HTTPGetAction, field: &str) -> Result<HttpGet, SpecError> {
        own_host(http.host.as_deref(), &format!("{field}.httpGet.host"))?;
        let headers = http.http_headers.iter().flatten();
        let path = http.path.clone().unwrap_or_default();
        Ok(HttpGet {
            port: self.port(&http.port, &format!("{field}.httpGet.port"))?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            https: http.scheme.as_deref() == Some("HTTPS"),
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    /// A port by number, or by the name that the container gave it.
    fn port(&self, port: &IntOrString, field: &str) -> Result<u16, SpecError> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let ports = self.container.ports.iter().flatten();
                let named = ports.into_iter().find(|port| port.name.as_ref() == Some(name));
                let Some(number) = named.map(|port| port.container_port).or_else(|| name.parse().ok()) else {
                    return Ok(PORT_UNKNOWN);
                };
                Some(number)
            }
        };
        match number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0) {
            Some(number) => Ok(number),
            None => refuse(field, "is no port"),
        }
    }
}

/// Stands for the port of a name that no port of the container has.
pub const PORT_UNKNOWN: u16 = 0;

/// A probe of another machine would let whoever writes a pod reach what the node reaches.
fn own_host(host: Option<&str>, field: &str) -> Result<(), SpecError> {
    match host {
        None | Some("" | "localhost" | "127.0.0.1" | "::1") => Ok(()),
        Some(_) => refuse(field, "the pod itself is asked and no other host; a Host header goes into httpHeaders"),
    }
}

fn command(exec: &core::ExecAction, field: &str) -> Result<Vec<String>, SpecError> {
    match &exec.command {
        Some(command) if !command.is_empty() => Ok(command.clone()),
        _ => refuse(format!("{field}.exec.command"), "missing"),
    }
}

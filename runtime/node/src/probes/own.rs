//! What the node itself asks of a pod: for probes and hooks. In-process, and no traffic of anybody: it is not waited for
//! when the pod is drained, and a failure of the guest is the probe's news and not the container's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{ACCEPT, HOST, HeaderName, USER_AGENT};
use http::{HeaderValue, Request, Response};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use wk_base::body::{self, Body};

use crate::net::{Caller, Refused};
use crate::spec::{Action, HttpGet, PORT_UNKNOWN};
use crate::streams::console::Consoles;
use crate::streams::exec::{self, Ended, NOT_FOUND};
use crate::traffic::{Apps, CallError};
use crate::usage::Meters;

/// Read of an answer: the rest says nothing more. Kubernetes' figure.
const ANSWER_BYTES_MAX: usize = 10 * 1024;
/// Of what the node says of a hook's command so much goes into an event.
const HOOK_BYTES_MAX: usize = 512;
/// What guests know the prober of Kubernetes by.
const AGENT: &str = "kube-probe/1.33";

/// Asks pods of this node.
#[derive(Clone)]
pub struct Own {
    apps: Apps,
    consoles: Consoles,
    meters: Meters,
}

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Target {
    /// The pod's uid.
    pub pod: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The pod's address.
    pub ip: IpAddr,
}

impl Target {
    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }
}

impl HttpGet {
    /// What the guest sees as the request's target.
    pub(super) fn url(&self, target: &Target) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", target.address(self.port), self.path)
    }
}

impl Own {
    /// Asks the containers of these tables, and counts that in `meters`.
    pub fn new(apps: Apps, consoles: Consoles, meters: Meters) -> Self {
        Self { apps, consoles, meters }
    }

    /// Counts a probe.
    pub(super) fn probed(&self, target: &Target, healthy: bool) {
        if let Some(usage) = self.meters.usage(&target.pod, &target.container) {
            usage.probed(healthy);
        }
    }

    /// Does what a hook says; why it failed, if it did.
    pub async fn act(&self, target: &Target, action: &Action) -> Option<HookFailure> {
        match action {
            // As the kubelet: what counts is that there was an answer.
            Action::Http(get) => {
                let told = String::new();
                self.status(target, get).await.err().map(|why| HookFailure { why, told })
            }
            Action::Exec(command) => match self.command(target, command).await {
                Ok(ended) => HookFailure::of(&ended),
                Err(why) => Some(HookFailure { why, told: String::new() }),
            },
            Action::Sleep(time) => {
                tokio::time::sleep(*time).await;
                None
            }
        }
    }

    /// `httpGet`: an answer between 200 and 399 is a good one.
    pub(super) async fn get(&self, target: &Target, get: &HttpGet) -> Result<(), String> {
        match self.status(target, get).await? {
            200..400 => Ok(()),
            status => Err(format!("HTTP probe failed with statuscode: {status}")),
        }
    }

    /// `tcpSocket`: somebody listens.
    pub(super) fn connect(&self, target: &Target, port: u16) -> Result<(), String> {
        named(port)?;
        if self.apps.listens(&target.pod, port) {
            return Ok(());
        }
        let connected = self.apps.connect(&target.pod, port, Caller::NODE).map(drop);
        connected.map_err(|error| match error {
            Refused::Nobody => refused(target, port),
            other @ Refused::Full => format!("dial tcp {}: {other}", target.address(port)),
        })
    }

    /// `exec`: a command that ends with code 0.
    pub(super) async fn exec(&self, target: &Target, command: &[String]) -> Result<(), String> {
        why(&self.command(target, command).await?).map_or(Ok(()), Err)
    }

    async fn command(&self, target: &Target, command: &[String]) -> Result<Ended, String> {
        let Some(console) = self.consoles.get(&target.pod, &target.container) else {
            return Err("the container does not run".to_owned());
        };
        Ok(exec::once(&console, command, ANSWER_BYTES_MAX).await)
    }

    async fn status(&self, target: &Target, get: &HttpGet) -> Result<u16, String> {
        named(get.port)?;
        let url = get.url(target);
        let said = |error: &dyn std::fmt::Display| format!("Get {url:?}: {error}");
        let request = request(get, &url).map_err(|error| said(&error))?;
        let response = self.ask(target, get.port, request).await.map_err(|error| said(&error))?;
        let status = response.status().as_u16();
        // The guest's work is done with its body.
        let _ = body::collect(response.into_body(), ANSWER_BYTES_MAX).await;
        Ok(status)
    }

    /// A request as HTTP/2 has it, which a program is sent without asking first.
    pub(super) async fn ask_h2(
        &self,
        target: &Target,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Body>, String> {
        if !self.apps.is_program(&target.pod, port) {
            return self.ask(target, port, request).await;
        }
        let stream = self.apps.connect(&target.pod, port, Caller::NODE).map_err(|_| refused(target, port))?;
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
        // It ends with the sender and the answer's body.
        tokio::spawn(async move { drop(connection.await) });
        let answered = sender.send_request(request).await;
        answered.map(|response| response.map(body::boxed)).map_err(|error| error.to_string())
    }

    async fn ask(&self, target: &Target, port: u16, request: Request<Body>) -> Result<Response<Body>, String> {
        self.apps.ask(&target.pod, port, request).await.map_err(|error| match error {
            CallError::Gone(_) | CallError::Refused(_) => refused(target, port),
            error @ (CallError::Cut | CallError::Failed(_)) => error.to_string(),
        })
    }
}

/// Why a hook failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFailure {
    /// All that is known, for the node's own log.
    pub why: String,
    /// What everybody may read. What a guest printed or answered is not in it: it may hold what is not for everybody's eyes.
    pub told: String,
}

impl HookFailure {
    /// None for a command that ended well.
    fn of(ended: &Ended) -> Option<Self> {
        let told = match ended {
            Ended::Code(code, _) => terminated(*code),
            Ended::Missing(words) => {
                format!("{}\n{}", &words[..words.floor_char_boundary(HOOK_BYTES_MAX)], terminated(NOT_FOUND))
            }
        };
        why(ended).map(|why| Self { why, told })
    }
}

/// Why a command that ended like this has failed, if it has: what it wrote, and its code.
fn why(ended: &Ended) -> Option<String> {
    let (code, output) = match ended {
        Ended::Code(0, _) => return None,
        Ended::Code(code, output) => (*code, output),
        Ended::Missing(words) => (NOT_FOUND, words),
    };
    let ended = terminated(code);
    Some(match output.trim_end() {
        "" => ended,
        output => format!("{output}\n{ended}"),
    })
}

fn terminated(code: i32) -> String {
    format!("command terminated with exit code {code}")
}

/// An error for the port of a name that no port of the container has: the pod runs, and is not ready, as in Kubernetes.
fn named(port: u16) -> Result<(), String> {
    if port == PORT_UNKNOWN {
        Err("the container has no port of the name that is asked for".to_owned())
    } else {
        Ok(())
    }
}

fn refused(target: &Target, port: u16) -> String {
    format!("dial tcp {}: connect: connection refused", target.address(port))
}

fn request(get: &HttpGet, url: &str) -> Result<Request<Body>, http::Error> {
    let mut request = Request::get(url).body(body::empty())?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &get.headers {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    // The last of those that were given counts, and a host is whom the guest is called.
    for known in [USER_AGENT, ACCEPT] {
        if let Some(given) = get.headers.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(known.as_str())) {
            headers.insert(known, HeaderValue::try_from(&given.1)?);
        }
    }
    if let Some(host) = headers.remove(HOST) {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(http::uri::Authority::try_from(host.as_bytes())?);
        *request.uri_mut() = http::Uri::from_parts(parts)?;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hook_prints_is_told_to_nobody_whatever_code_it_ends_with() {
        assert_eq!(HookFailure::of(&Ended::Code(0, "secret".into())), None);
        for code in [1, 127] {
            let failure = HookFailure::of(&Ended::Code(code, "secret\n".into())).unwrap();
            assert_eq!(failure.told, format!("command terminated with exit code {code}"));
            assert_eq!(failure.why, format!("secret\n{}", failure.told), "the node's own log has it");
        }
        let missing = HookFailure::of(&Ended::Missing("there is no sh".into())).unwrap();
        assert_eq!(missing.told, "there is no sh\ncommand terminated with exit code 127");
        let long = HookFailure::of(&Ended::Missing("ä".repeat(HOOK_BYTES_MAX))).unwrap();
        assert!(long.told.len() < HOOK_BYTES_MAX + 50, "{}", long.told.len());
    }

    #[test]
    fn probes_say_who_they_are_and_ask_the_host_that_the_spec_names() {
        let headers = [("X-A", "1"), ("Host", "web.example"), ("User-Agent", "mine")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let get = HttpGet { port: 8080, path: "/healthz?a=b".into(), https: false, headers };
        let target = Target { pod: "u".into(), container: "c".into(), ip: IpAddr::from([10, 0, 0, 7]) };
        let asked = request(&get, &get.url(&target)).unwrap();
        assert_eq!(asked.uri(), "http://web.example/healthz?a=b");
        assert_eq!(asked.headers()["x-a"], "1");
        assert_eq!(asked.headers()["user-agent"], "mine");
        let plain = HttpGet { headers: Vec::new(), ..get };
        let asked = request(&plain, &plain.url(&target)).unwrap();
        assert_eq!(asked.uri(), "http://10.0.0.7:8080/healthz?a=b");
        assert_eq!(asked.headers()["user-agent"], AGENT);
    }
}

//! A request's way through the ingress: [`handle`] and the steps it names.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use wk_base::body::{self, Body};

use crate::answer::{Answer, SERVER, quoted};
use crate::balance::{Choice, Group, Held, Verdict};
use crate::connection::{Connection, Open};
use crate::request_body::{Fault, Source};
use crate::response_body::Outgoing;
use crate::{UpstreamError, headers, target};

/// Headers a request may have: what hyper allows in HTTP/1, so that HTTP/2 is no way around it.
const HEADERS_MAX: usize = 100;

/// Answers one request: by an application, or in our own words.
pub(crate) async fn handle(connection: Arc<Connection>, request: Request<Incoming>) -> Response<Outgoing> {
    let open = Open::new(connection);
    let outcome = pass(open.connection(), request).await;
    let metrics = open.connection().ingress().metrics();
    match outcome {
        Ok(passed) => {
            metrics.answered(passed.response.status());
            let idle = open.connection().ingress().limits.body_idle;
            let Passed { response, length, held } = passed;
            response.map(|body| Outgoing::app(body, length, idle, held, open))
        }
        Err(answer) => {
            tracing::debug!(%answer, "answered by the ingress");
            metrics.answered(answer.status());
            metrics.requests_answered_here.up();
            answer.response().map(|text| Outgoing::here(text, open))
        }
    }
}

/// An application's response, checked and cleaned.
struct Passed {
    response: Response<Body>,
    /// The length its body must have.
    length: Option<u64>,
    held: Held,
}

async fn pass(connection: &Arc<Connection>, request: Request<Incoming>) -> Result<Passed, Answer> {
    let ingress = connection.ingress();
    let (mut head, incoming) = request.into_parts();
    admit(connection, &head, &incoming)?;
    let (group, host) = find_group(connection, &head)?;
    headers::forward(&mut head.headers, host, connection.client(), connection.scheme());
    to_origin_form(&mut head);
    ingress.budget.request();
    let exchange = Exchange {
        connection,
        source: Source::new(incoming, connection, &ingress.limits),
        deadline: Instant::now() + ingress.limits.response_head,
    };
    exchange.run(&group, head).await
}

/// Refuses what no application is to see.
fn admit(connection: &Connection, head: &Parts, body: &Incoming) -> Result<(), Answer> {
    if head.method == Method::CONNECT {
        return Err(Answer::Method(head.method.clone()));
    }
    if head.headers.len() > HEADERS_MAX {
        return Err(Answer::HeadersTooMany(HEADERS_MAX));
    }
    let largest = connection.ingress().limits.request_body;
    if body.size_hint().lower() > largest {
        return Err(Answer::BodyTooLarge(largest));
    }
    Ok(())
}

/// The backend for a request, and the authority it asks for.
fn find_group(connection: &Connection, head: &Parts) -> Result<(Arc<Group>, HeaderValue), Answer> {
    let target = target::read(head).map_err(Answer::Refused)?;
    if let Some(sni) = connection.misdirected(&target.host) {
        return Err(Answer::Misdirected { sni: sni.to_owned(), host: target.host.into_owned() });
    }
    let routes = connection.ingress().routes.load();
    let Some(group) = routes.group(&target.host, &target.path) else {
        return Err(Answer::NoRoute { host: target.host.into_owned(), path: quoted(&target.path) });
    };
    let host = match head.headers.get(header::HOST) {
        Some(host) => host.clone(),
        // It was read as a host name or an address just now.
        None => HeaderValue::from_str(target.authority).map_err(|_| Answer::Refused(target::Refusal::HostInvalid))?,
    };
    Ok((Arc::clone(group), host))
}

/// Leaves path and query of a request's target: the authority is in `Host`, whatever protocol it came in by.
fn to_origin_form(head: &mut Parts) {
    if head.uri.authority().is_some() {
        head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// Endpoints that one request is sent to at most. A cluster of five voters goes on without two of its nodes, so the
/// third attempt finds a live one where there is one on each; the fourth is for a table that is a moment old.
const ATTEMPTS_MAX: usize = 4;

/// One request and its attempts.
struct Exchange<'a> {
    connection: &'a Arc<Connection>,
    source: Source,
    /// For the response's head, over all attempts.
    deadline: Instant,
}

/// Why an attempt failed, and where the fault lies.
enum Failure {
    Upstream(UpstreamError),
    Client(Fault),
}

impl Exchange<'_> {
    /// Tries an endpoint, and others as long as that may be repeated.
    ///
    /// A request that may have been processed is sent once more. One that surely was not may find several nodes gone,
    /// and goes on until [`ATTEMPTS_MAX`].
    async fn run(&self, group: &Group, head: Parts) -> Result<Passed, Answer> {
        let ingress = self.connection.ingress();
        let Some(first) = group.choose(&ingress.standings, ingress.now(), &ingress.limits) else {
            let (service, host) = (group.backend().name.clone(), host_of(&head));
            return Err(match group.backend().lacks.clone() {
                Some(why) => Answer::NoService { service, host, why },
                None => Answer::NoReplica { service, host },
            });
        };
        let mut tried = Vec::new();
        let failed = first.endpoint;
        let mut failure = match self.attempt(first, head.clone()).await {
            Ok(passed) => return Ok(passed),
            Err(failure) => failure,
        };
        tried.push(Arc::clone(&failed.pod));
        let mut node = Arc::clone(&failed.node);
        let mut broken = 0;
        loop {
            broken += u32::from(matches!(failure, Failure::Upstream(UpstreamError::Broken(_))));
            if broken > 1 || tried.len() >= ATTEMPTS_MAX || !self.repeatable(&head.method, &failure) {
                return Err(explain(failure, group, &head));
            }
            // The table may have changed while we waited: the route's newest replicas are the ones to try.
            let newest = find_group(self.connection, &head);
            let newest = newest.as_ref().map_or(group, |(newest, _)| newest);
            let Some(next) = newest.choose_other(&ingress.standings, &tried, &node) else {
                return Err(explain(failure, group, &head));
            };
            if !ingress.budget.retry(ingress.now()) {
                ingress.metrics().retries_over_budget.up();
                return Err(explain(failure, group, &head));
            }
            ingress.metrics().retries.up();
            tried.push(Arc::clone(&next.endpoint.pod));
            node = Arc::clone(&next.endpoint.node);
            failure = match self.attempt(next, head.clone()).await {
                Ok(passed) => return Ok(passed),
                Err(failure) => failure,
            };
        }
    }

    /// Sends the request to one endpoint and waits for the head of its response.
    async fn attempt(&self, choice: Choice<'_>, head: Parts) -> Result<Passed, Failure> {
        let ingress = self.connection.ingress();
        let Choice { endpoint, held, sent } = choice;
        let method = head.method.clone();
        let request = Request::from_parts(head, self.source.attempt());
        let called = timeout_at(self.deadline, ingress.upstream.call(endpoint, request)).await;
        let called = called.unwrap_or(Err(UpstreamError::Deadline(ingress.limits.response_head)));
        let error = match called {
            Ok(response) => {
                held.standing().succeeded();
                self.source.settle();
                return accept(response, &method, held).map_err(|why| Failure::Upstream(UpstreamError::Failed(why)));
            }
            Err(error) => error,
        };
        tracing::debug!(error = &error as &dyn std::error::Error, pod = %endpoint.pod, "an attempt failed");
        if let Some(fault) = self.source.fault() {
            // Whatever the endpoint made of it, the client's body was at fault.
            return Err(Failure::Client(fault));
        }
        match &error {
            UpstreamError::NotSent(_) | UpstreamError::Broken(_) => {
                if let Verdict::Ejected(millis) = held.standing().failed(sent, ingress.now(), &ingress.limits) {
                    ingress.metrics().ejections.up();
                    tracing::info!(pod = %endpoint.pod, node = %endpoint.node, millis, "endpoint ejected");
                }
            }
            // It was reached.
            UpstreamError::Failed(_) => held.standing().succeeded(),
            // It may be slow, or the request may be.
            UpstreamError::Deadline(_) => {}
        }
        Err(Failure::Upstream(error))
    }

    /// Whether the same request may be sent once more.
    fn repeatable(&self, method: &Method, failure: &Failure) -> bool {
        let harmless = match failure {
            Failure::Upstream(UpstreamError::NotSent(_)) => true,
            Failure::Upstream(UpstreamError::Broken(_)) => method.is_idempotent(),
            Failure::Upstream(UpstreamError::Failed(_) | UpstreamError::Deadline(_)) | Failure::Client(_) => false,
        };
        harmless && self.source.replayable()
    }
}

/// The one place that turns failures into answers.
fn explain(failure: Failure, group: &Group, head: &Parts) -> Answer {
    let service = || group.backend().name.clone();
    match failure {
        Failure::Client(Fault::Idle(limit)) => Answer::BodyIdle(limit),
        Failure::Client(Fault::TooLarge(limit)) => Answer::BodyTooLarge(limit),
        Failure::Client(Fault::Broke) => Answer::BodyBroke,
        Failure::Upstream(UpstreamError::NotSent(_)) => Answer::Unreachable { service: service(), host: host_of(head) },
        Failure::Upstream(UpstreamError::Broken(_)) => Answer::Broken { service: service(), host: host_of(head) },
        Failure::Upstream(UpstreamError::Failed(why)) => {
            Answer::AppFailed { service: service(), host: host_of(head), why: quoted(&why) }
        }
        Failure::Upstream(UpstreamError::Deadline(after)) => {
            Answer::Deadline { service: service(), host: host_of(head), after }
        }
    }
}

/// The authority of a request that was made ready to be forwarded.
fn host_of(head: &Parts) -> String {
    head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(quoted).unwrap_or_default()
}

/// Makes an application's response ours to send, or says why it cannot be sent.
fn accept(response: Response<Body>, method: &Method, held: Held) -> Result<Passed, String> {
    let (mut head, mut body) = response.into_parts();
    if head.status.is_informational() {
        return Err(format!("it answered with status {}", head.status));
    }
    headers::strip_hop_by_hop(&mut head.headers);
    head.headers.entry(header::SERVER).or_insert(SERVER);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let mut length = content_length(&head.headers)?;
    if method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // The length is that of a body which is not sent.
        (body, length) = (body::empty(), None);
    }
    if let (Some(length), Some(exact)) = (length, body.size_hint().exact())
        && length != exact
    {
        return Err(format!("its content-length is {length}, its body has {exact} bytes"));
    }
    Ok(Passed { response: Response::from_parts(head, body), length, held })
}

/// The length a response's head announces.
fn content_length(headers: &http::HeaderMap) -> Result<Option<u64>, String> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let length = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (length.and_then(|text| text.parse().ok()), values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err("its content-length is not one number".to_owned()),
    }
}

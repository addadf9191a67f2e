//! An HTTP container that serves in a worker: requests to it, and what it tells meanwhile.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderValue, Request, Response, Uri, uri};
use hyper::body::Incoming;
use tokio::time::Instant;
use wk_base::body::{self, Body};
use wk_engine::{Failure, Sandbox};

use super::callbacks::Registered;
use super::link::{DEATH_TOLD_MAX, Link};
use super::run::Teller;
use super::{Class, Code, Workers};
use crate::place::FailureSink;
use crate::worker::frames::{Frame, Reader};
use crate::worker::wire::{self, FAILED, GUEST, Given, Job, Start};

/// The engine in the worker keeps the guest's deadline; past that and this, which is more than a machine under load is
/// behind, the worker itself may be stuck.
const DEADLINE_SLACK: Duration = Duration::from_secs(5);
/// Loading code takes milliseconds, and seconds for the largest on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);
/// The longest failure: a trap's backtrace has 4 KiB.
const FAILURE_BYTES_MAX: usize = 16 << 10;

/// An HTTP guest in a worker. It is taken down when this is dropped; requests in flight come to their end.
pub struct Remote {
    link: Arc<Link>,
    number: HeaderValue,
    patience: Duration,
    reading: tokio::task::JoinHandle<()>,
}

impl Remote {
    /// Starts the container and waits until it serves.
    pub(crate) async fn start(
        workers: &Workers,
        class: &Class,
        code: Code,
        sandbox: Sandbox,
        failed: &FailureSink,
    ) -> Result<Self, String> {
        let link = workers.link(class).await?;
        let number = link.number();
        let (given, kept) = Given::of(sandbox);
        let patience = given.request_deadline();
        let start = wire::with_length(&Start { number, job: Job::Serve, digest: code.digest, given });
        let answers = kept.answers.clone();
        let teller = Teller::new(kept, Some(Arc::clone(failed)));
        let started = tokio::time::timeout(START_MAX, begin(&link, number, &code.file, answers, start)).await;
        let (frames, registered) = match started {
            Ok(Ok(begun)) => begun,
            Ok(Err(Some(why))) => return Err(why),
            Ok(Err(None)) => return Err(link.broke("it does not start containers").await),
            Err(_) => {
                link.give_up("it does not answer");
                return Err(link.ended().await);
            }
        };
        let reading = tokio::spawn(read(frames, registered, teller, Arc::downgrade(&link)));
        Ok(Self { link, number: HeaderValue::from(number), patience, reading })
    }

    /// The worker's process id.
    pub fn pid(&self) -> u32 {
        self.link.pid()
    }

    /// Waits until the worker ends, and tells how.
    pub async fn crashed(&self) -> String {
        self.link.ended().await
    }

    /// Hands one request to the guest; as the engine's own does.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let deadline = Instant::now() + self.patience + DEADLINE_SLACK;
        let answer = tokio::time::timeout_at(deadline, self.call(request)).await;
        answer.unwrap_or_else(|_| {
            // One late answer is no reason to end all others of the namespace, unless there will be none any more.
            let link = Arc::clone(&self.link);
            tokio::spawn(async move { link.end_if_stuck("it did not answer long past a request's deadline").await });
            Err(Failure::Deadline(self.patience))
        })
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let request = self.addressed(request)?;
        match self.link.request(request).await {
            Ok(response) => answer(response).await,
            // Nothing was sent, so that another replica may take it.
            Err(Some(_)) => Err(Failure::Busy { message: "the pod's worker process has just ended".to_owned() }),
            Err(None) => match tokio::time::timeout(DEATH_TOLD_MAX, self.link.ended()).await {
                Ok(ended) => Err(Failure::Crashed(format!("{ended}, with the request in its hands"))),
                Err(_) => Err(Failure::Io("the request broke off on its way to the guest".to_owned())),
            },
        }
    }

    /// The request as HTTP/2 takes it: with scheme and authority, which HTTP/1.0 and internal callers may lack.
    fn addressed(&self, mut request: Request<Body>) -> Result<Request<Body>, Failure> {
        static NUMBER: HeaderName = HeaderName::from_static(GUEST);
        if request.uri().scheme().is_none() || request.uri().authority().is_none() {
            let host = request.headers().get(HOST).and_then(|host| uri::Authority::try_from(host.as_bytes()).ok());
            let path = request.uri().path_and_query().map_or("/", uri::PathAndQuery::as_str);
            let authority = host.unwrap_or_else(|| uri::Authority::from_static("localhost"));
            let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
            *request.uri_mut() = uri.map_err(|error| Failure::Io(error.to_string()))?;
        }
        request.headers_mut().insert(NUMBER.clone(), self.number.clone());
        Ok(request)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // With the frames goes the container.
        self.reading.abort();
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("pid", &self.pid()).field("number", &self.number).finish_non_exhaustive()
    }
}

/// Starts the container. The error is the worker's refusal, or none when the worker broke.
async fn begin(
    link: &Link,
    number: u64,
    code: &File,
    answers: wire::Answers,
    start: Bytes,
) -> Result<(Reader<Incoming>, Registered), Option<String>> {
    let (frames, registered) = link.start(number, code, answers, body::full(start)).await.ok_or(None)?;
    let mut frames = Reader::new(frames);
    match frames.frame().await {
        Ok(Some(Frame::Started)) => Ok((frames, registered)),
        Ok(Some(Frame::Refused(why))) => Err(Some(why)),
        _ => Err(None),
    }
}

/// Passes on what the container tells until its worker says no more, which is then of no use.
async fn read(mut frames: Reader<Incoming>, registered: Registered, mut teller: Teller, link: std::sync::Weak<Link>) {
    let why = loop {
        match frames.frame().await {
            Ok(Some(Frame::Ended(_) | Frame::Refused(_) | Frame::NotCalled(_) | Frame::Started)) => {
                break "it ended a container that nobody ended".to_owned();
            }
            Ok(Some(frame)) => teller.tell(frame),
            Ok(None) => break "it forgot a container".to_owned(),
            Err(error) => break format!("it said what makes no sense: {error}"),
        }
    };
    drop(registered);
    if let Some(link) = link.upgrade() {
        link.broke(&why).await;
    }
}

async fn answer(response: Response<Body>) -> Result<Response<Body>, Failure> {
    if !response.headers().contains_key(FAILED) {
        return Ok(response);
    }
    let told = body::collect(response.into_body(), FAILURE_BYTES_MAX).await;
    let failed = told.map_err(|error| error.to_string());
    let failed = failed.and_then(|bytes| wire::decode::<Failure>(&bytes).map_err(|error| error.to_string()));
    Err(failed.unwrap_or_else(Failure::Io))
}

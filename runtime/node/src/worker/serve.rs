//! What a worker answers on the node's two sockets: containers to start, and requests for those that serve.

use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use http::header::{HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_engine::{Commons, Engine, Failure, Fill, HttpApp, Input, Mounts, Prepared, Sandbox, Usage, Used, disk_use};

use crate::worker::asked::Pot;
use crate::worker::bank::Bank;
use crate::worker::codes::Codes;
use crate::worker::frames::{Frame, Full, Reader};
use crate::worker::network::{Filler, Node};
use crate::worker::output::Frames;
use crate::worker::watched::Watched;
use crate::worker::wire::{
    self, CONNECTION_WINDOW, Callbacks, FAILED, GUEST, HEADER_BYTES_MAX, Job, READY_PATH, Ready, START_PATH,
    STREAM_WINDOW, STREAMS_MAX, Start,
};

/// Input that waits for the guest to read it: a pipe's size.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// How often the node learns what containers use, and which directories are full: it looks as often itself.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// Everything of a worker that its connections share.
pub(super) struct Worker {
    engine: Engine,
    ready: Ready,
    /// What all containers hold, and those without a limit.
    commons: [Arc<Commons>; 2],
    /// Where that is borrowed.
    banks: [Bank; 2],
    serving: DashMap<u64, (HttpApp, Frames)>,
    /// Where the node is asked.
    node: SendRequest<Body>,
    /// Code that was handed over for containers that are about to start.
    codes: Codes,
    /// What containers use, and where that is told.
    counted: DashMap<u64, Tally>,
}

/// What one container uses, as far as it was told.
struct Tally {
    usage: Arc<Usage>,
    /// While they are kept it is known how full they are.
    mounts: Mounts,
    frames: Frames,
    told: Used,
    full: Vec<bool>,
}

impl Tally {
    fn tell(&mut self) {
        let now = self.usage.used();
        if now != self.told {
            self.told = now;
            self.frames.hint(Frame::Used(now));
        }
        for (index, (mount, told)) in self.mounts.list().iter().zip(&mut self.full).enumerate() {
            if *told || mount.limit.is_none() {
                continue;
            }
            if let Some(disk) = disk_use(&mount.root).filter(|disk| disk.refused) {
                *told = true;
                self.frames.hint(Frame::Full(Full { mount: index, used: disk.used }));
            }
        }
    }
}

fn connection() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        // The node cancels what its clients give up, as often as they do.
        .max_pending_accept_reset_streams(STREAMS_MAX as usize)
        .max_local_error_reset_streams(None::<usize>)
        .auto_date_header(false);
    builder
}

impl Worker {
    pub(super) fn new(engine: Engine, ready: Ready, node: SendRequest<Body>) -> Arc<Self> {
        let banks = [Pot::All, Pot::Unlimited].map(|pot| Bank::new(node.clone(), pot));
        Arc::new(Self {
            engine,
            ready,
            commons: banks.clone().map(Commons::borrowing),
            banks,
            serving: DashMap::new(),
            node,
            codes: Codes::default(),
            counted: DashMap::new(),
        })
    }

    /// Takes a container's code.
    pub(super) fn take_code(&self, number: u64, code: File) {
        self.codes.put(number, code);
    }

    /// Tells what containers use, for as long as the process lives.
    pub(super) async fn count(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(COUNT_INTERVAL);
        loop {
            ticks.tick().await;
            self.counted.iter_mut().for_each(|mut entry| entry.value_mut().tell());
            for (commons, bank) in self.commons.iter().zip(&self.banks) {
                bank.give_back(commons.surplus()).await;
            }
        }
    }

    /// Starts containers for whoever is at the other end, until that is closed.
    pub(super) async fn control(self: Arc<Self>, socket: UnixStream) {
        let answer = service_fn(move |request| {
            let worker = Arc::clone(&self);
            async move { Ok::<_, Infallible>(worker.command(request)) }
        });
        let ended = connection().serve_connection(TokioIo::new(socket), answer).await;
        tracing::debug!(?ended, "the node closed a connection");
    }

    /// Answers requests of any number at once.
    pub(super) async fn requests(self: Arc<Self>, socket: UnixStream) {
        let answer = service_fn(move |request| {
            let worker = Arc::clone(&self);
            async move { Ok::<_, Infallible>(worker.request(request).await) }
        });
        let ended = connection().serve_connection(TokioIo::new(socket), answer).await;
        tracing::debug!(?ended, "the node closed a connection");
    }

    /// Answers requests, one after another.
    pub(super) async fn kept_requests(self: Arc<Self>, socket: UnixStream) {
        let answer = service_fn(move |mut request: Request<Incoming>| {
            // It says how the bytes travelled here, and nothing of the request.
            request.headers_mut().remove(TRANSFER_ENCODING);
            let worker = Arc::clone(&self);
            async move { Ok::<_, Infallible>(worker.request(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.auto_date_header(false);
        let ended = builder.serve_connection(TokioIo::new(socket), answer).await;
        tracing::debug!(?ended, "the node closed a connection");
    }

    fn command(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            READY_PATH => Response::new(body::full(wire::encode(&self.ready))),
            START_PATH => {
                let frames = Frames::default();
                let ends = CancellationToken::new();
                // The stream is the container: when the node drops it, so is this.
                let body = Held { frames: frames.clone(), _ends: ends.clone().drop_guard() };
                tokio::spawn(async move {
                    let body = request.into_body();
                    ends.run_until_cancelled(self.start(body, &frames, ends.clone())).await;
                    frames.end();
                });
                Response::new(body::boxed(body))
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn start(&self, body: Incoming, frames: &Frames, ends: CancellationToken) {
        let mut reader = Reader::new(body);
        let start = reader.value().await.and_then(|bytes| wire::decode::<Start>(&bytes));
        let Start { number, job, digest, given } = match start {
            Ok(start) => start,
            Err(error) => return frames.tell(Frame::Refused(format!("read what to start: {error}"))),
        };
        let Some(code) = self.codes.of(number).await else {
            return frames.tell(Frame::Refused("the node did not hand over the container's code".to_owned()));
        };
        let prepared = match self.engine.load(&digest, &Arc::new(code)).await {
            Ok(prepared) => prepared,
            Err(error) => return frames.tell(Frame::Refused(Chain(&error).to_string())),
        };
        let node = Arc::new(Node::new(self.node.clone(), number, given.gives_sockets()));
        let output = Arc::new(frames.clone());
        let commons = self.commons.clone();
        let asks = Node::clone(&node);
        let fill = Box::new(|mounts| Arc::new(Filler::new(asks, mounts)) as Arc<dyn Fill>);
        let back = Callbacks { output, network: node.clone(), next: node.clone(), config: node, fill, commons };
        let mut pipe = None;
        let sandbox = given.sandbox(back, || {
            let (writer, source) = tokio::io::duplex(INPUT_BYTES_MAX);
            pipe = Some(writer);
            Input::new(source)
        });
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(error) => return frames.tell(Frame::Refused(Chain(&error).to_string())),
        };
        let _counting = Counting::new(self, number, &sandbox, frames);
        let input = pipe.map(|pipe| feed(reader, pipe));
        let job = self.work(number, job, &prepared, sandbox, frames, ends);
        match input {
            Some(input) => alongside(job, input).await,
            None => job.await,
        }
    }

    async fn work(
        &self,
        number: u64,
        job: Job,
        prepared: &Arc<Prepared>,
        sandbox: Sandbox,
        frames: &Frames,
        ends: CancellationToken,
    ) {
        match job {
            Job::Serve => match self.engine.http(prepared, sandbox) {
                Ok(app) => {
                    let _serving = Serving::new(self, number, app, frames);
                    frames.tell(Frame::Started);
                    ends.cancelled().await;
                }
                Err(error) => frames.tell(Frame::Refused(error.to_string())),
            },
            Job::Run => {
                frames.tell(Frame::Started);
                let exit = self.engine.run(prepared, sandbox, ends).await;
                self.count_last(number);
                frames.tell(Frame::Ended(exit));
            }
            Job::Call(function, args) => {
                frames.tell(Frame::Started);
                let exit = self.engine.invoke(prepared, sandbox, &function, args, ends).await;
                self.count_last(number);
                frames.tell(exit.map_or_else(Frame::NotCalled, Frame::Ended));
            }
        }
    }

    /// Tells what there is to tell of a container before its end is told.
    fn count_last(&self, number: u64) {
        if let Some(mut tally) = self.counted.get_mut(&number) {
            tally.tell();
        }
    }

    async fn request(&self, mut request: Request<Incoming>) -> Response<Body> {
        let number = request.headers_mut().remove(GUEST).and_then(|value| value.to_str().ok()?.parse().ok());
        let app = number.and_then(|number: u64| self.serving.get(&number).map(|it| it.clone()));
        // It has ended in the moment between: nothing was done with the request.
        let Some((app, frames)) = app else {
            return failed(&Failure::Busy { message: "the container is not here any more".into() });
        };
        match app.handle(request.map(body::boxed)).await {
            Ok(mut response) => {
                response.headers_mut().remove(FAILED);
                response.map(|body| Watched::wrap(body, frames))
            }
            Err(failure) => failed(&failure),
        }
    }
}

/// A container whose usage is told, until this is dropped.
struct Counting<'a> {
    worker: &'a Worker,
    number: u64,
}

impl<'a> Counting<'a> {
    fn new(worker: &'a Worker, number: u64, sandbox: &Sandbox, frames: &Frames) -> Self {
        let mounts = sandbox.mounts.clone();
        let full = vec![false; mounts.list().len()];
        let (usage, frames) = (Arc::clone(&sandbox.usage), frames.clone());
        worker.counted.insert(number, Tally { usage, mounts, frames, told: Used::default(), full });
        Self { worker, number }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.worker.counted.remove(&self.number);
    }
}

/// An app in the table, until this is dropped.
struct Serving<'a> {
    worker: &'a Worker,
    number: u64,
}

impl<'a> Serving<'a> {
    fn new(worker: &'a Worker, number: u64, app: HttpApp, frames: &Frames) -> Self {
        worker.serving.insert(number, (app, frames.clone()));
        Self { worker, number }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.worker.serving.remove(&self.number);
    }
}

/// `main`'s result; `aside` may go on until then.
async fn alongside<T>(main: impl Future<Output = T>, aside: impl Future<Output = ()>) -> T {
    let aside = async {
        aside.await;
        std::future::pending().await
    };
    tokio::select! {
        result = main => result,
        never = aside => never,
    }
}

/// Passes input on until it ends, or the guest reads no more.
async fn feed(reader: Reader<Incoming>, mut pipe: DuplexStream) {
    let (first, mut rest) = reader.rest();
    if pipe.write_all(&first).await.is_err() {
        return;
    }
    while let Some(Ok(frame)) = rest.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if pipe.write_all(&data).await.is_err() {
            return;
        }
    }
}

/// A container's frames, whose drop ends it.
struct Held {
    frames: Frames,
    _ends: tokio_util::sync::DropGuard,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = body::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, body::BoxError>>> {
        std::pin::Pin::new(&mut self.frames).poll_frame(cx)
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

fn failed(failure: &Failure) -> Response<Body> {
    static NAME: HeaderName = HeaderName::from_static(FAILED);
    let mut response = Response::new(body::full(wire::encode(failure)));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(NAME.clone(), HeaderValue::from_static("1"));
    response
}

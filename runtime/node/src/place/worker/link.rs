//! One worker that runs, as one speaks to it. The process lives as long as somebody holds its [`Link`], and no longer.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wk_base::backoff::Backoff;
use wk_base::body::{self, Body};

use super::Class;
use super::callbacks::{Callbacks, Registered};
use super::pool::Pool;
use super::process::{Spare, watch_over};
use crate::usage::Account;
use crate::worker::door::Door;
use crate::worker::wire::{
    self, Answers, Assignment, CONNECTION_WINDOW, HEADER_BYTES_MAX, Handed, READY_PATH, Ready, STREAM_WINDOW,
    STREAMS_MAX,
};

/// A process starts in some tens of milliseconds; on a machine that is busy compiling, in some hundreds.
const START_MAX: Duration = Duration::from_secs(10);
/// Between the end of a process' sockets and its exit status lies a moment.
const FATE_MAX: Duration = Duration::from_secs(1);
/// The connection that carried something may end a moment before it is known that the whole worker has.
pub(super) const DEATH_TOLD_MAX: Duration = Duration::from_millis(200);
/// A worker that is well answers within a millisecond, and one on a machine that swaps within seconds.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Between two tries to hand over code while the worker is behind with taking it.
const HAND_AGAIN_FIRST: Duration = Duration::from_millis(1);
const HAND_AGAIN_MAX: Duration = Duration::from_millis(50);
/// One that has not taken it by then never will: loading code takes seconds at most.
const HAND_MAX: Duration = Duration::from_secs(30);
/// What a worker says when it is ready: a few sentences.
const READY_BYTES_MAX: usize = 16 << 10;

/// A worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process could not be made.
    #[error("start the process")]
    Spawn(#[source] io::Error),
    /// It did not take its sockets.
    #[error("hand sockets to the process")]
    Sockets(#[source] io::Error),
    /// HTTP/2 did not begin.
    #[error("talk to the process")]
    Http(#[source] hyper::Error),
    /// It ended, or answered nonsense.
    #[error("it did not get ready: {0}")]
    Answer(String),
    /// It is silent.
    #[error("it was not ready within {0:?}")]
    Silent(Duration),
}

/// A worker that runs.
pub(super) struct Link {
    class: Class,
    control: SendRequest<Body>,
    pool: Pool,
    door: Arc<Door>,
    callbacks: Arc<Callbacks>,
    numbers: AtomicU64,
    state: Arc<State>,
    fate: watch::Receiver<Option<String>>,
    pid: u32,
}

/// What outlives the link.
struct State {
    born: Instant,
    dead: CancellationToken,
    /// Why the node ended it, if it found something wrong with it.
    wrong: OnceLock<String>,
    /// Whether nobody wanted it any more while it was well.
    released: AtomicBool,
    /// Whether it is being asked whether it is stuck.
    asks: AtomicBool,
}

/// What is remembered of a worker: itself while it lives, and afterwards how it went.
pub(super) struct Life {
    link: Weak<Link>,
    state: Arc<State>,
}

impl Life {
    /// The worker, if it lives.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.upgrade().filter(|link| !link.state.dead.is_cancelled())
    }

    fn crashed(&self) -> bool {
        self.state.dead.is_cancelled() && !self.state.released.load(Ordering::Acquire)
    }

    /// Whether it ended by itself, and not long after its start.
    pub(super) fn crashed_within(&self, time: Duration) -> bool {
        self.crashed() && self.state.born.elapsed() < time
    }
}

impl Link {
    /// Tells a process what it is for, and connects to it.
    pub(super) async fn to(
        process: Spare,
        assignment: &Assignment,
        class: &Class,
        account: Account,
    ) -> Result<(Arc<Self>, Life, Ready), StartError> {
        let (control, control_theirs) = UnixStream::pair().map_err(StartError::Sockets)?;
        let (requests, requests_theirs) = UnixStream::pair().map_err(StartError::Sockets)?;
        let (asked, asking) = UnixStream::pair().map_err(StartError::Sockets)?;
        let sockets = [control_theirs.as_fd(), requests_theirs.as_fd(), asking.as_fd()];
        process.send(&wire::encode(assignment), &sockets).map_err(StartError::Sockets)?;
        drop((control_theirs, requests_theirs, asking));
        let (pid, (child, door)) = (process.pid(), process.split());
        let (told, fate) = watch::channel(None);
        let dead = CancellationToken::new();
        tokio::spawn(watch_over(child, dead.clone(), told));
        let connected = async {
            let control = connect(control, &dead).await?;
            let requests = connect(requests, &dead).await?;
            let callbacks = Arc::new(Callbacks::new(account));
            tokio::spawn(dead.clone().run_until_cancelled_owned(Arc::clone(&callbacks).serve(asked)));
            let (wrong, released) = (OnceLock::new(), AtomicBool::new(false));
            let asks = AtomicBool::new(false);
            let state = Arc::new(State { born: Instant::now(), dead: dead.clone(), wrong, released, asks });
            let (door, numbers, class) = (Arc::new(door), AtomicU64::default(), class.clone());
            let pool = Pool::new(requests, Arc::clone(&door));
            let link = Arc::new(Self { class, control, pool, door, callbacks, numbers, state, fate, pid });
            let ready = link.ready().await?;
            let life = Life { link: Arc::downgrade(&link), state: Arc::clone(&link.state) };
            Ok((link, life, ready))
        };
        let connected = tokio::time::timeout(START_MAX, connected).await;
        connected.unwrap_or(Err(StartError::Silent(START_MAX))).inspect_err(|_| dead.cancel())
    }

    /// Its process' id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A number for a container.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Passes a request on. One that surely did not get there comes back.
    pub(super) async fn request(&self, request: Request<Body>) -> Result<Response<Body>, Option<Request<Body>>> {
        self.pool.request(request).await
    }

    /// Starts the container of this number, whose frames the answer is. It may ask for as long as both are kept. None when
    /// the worker does not take it.
    pub(super) async fn start(
        &self,
        number: u64,
        code: &File,
        answers: Answers,
        body: Body,
    ) -> Option<(Incoming, Registered)> {
        let handed = wire::encode(&Handed::Code(number));
        // The few that wait at a time fit into the socket, but when a thousand containers start at once.
        let mut pause = Backoff::new(HAND_AGAIN_FIRST, HAND_AGAIN_MAX);
        let until = Instant::now() + HAND_MAX;
        while let Err(error) = self.door.send(&handed, &[code.as_fd()]) {
            let waits = error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until;
            if !waits || self.state.dead.is_cancelled() {
                return None;
            }
            tokio::time::sleep(pause.next_delay()).await;
        }
        let registered = self.callbacks.register(number, answers);
        let response = self.control.clone().send_request(to(wire::START_PATH, body)).await.ok()?;
        Some((response.into_body(), registered))
    }

    /// Ends the process if it does not even say that it is there: something in it waits for ever, or loops.
    pub(super) async fn end_if_stuck(&self, why: &str) {
        // One asks for all.
        if self.state.asks.swap(true, Ordering::AcqRel) {
            return;
        }
        let answers = tokio::time::timeout(STUCK_AFTER, self.ready()).await.is_ok_and(|ready| ready.is_ok());
        self.state.asks.store(false, Ordering::Release);
        if !answers {
            self.give_up(why);
        }
    }

    /// Ends the process, which does not do as it should.
    pub(super) fn give_up(&self, why: &str) {
        if !self.state.dead.is_cancelled() {
            let _ = self.state.wrong.set(why.to_owned());
            self.state.dead.cancel();
        }
    }

    /// Waits until nothing is to be had from it any more, and tells why in a sentence.
    pub(super) async fn ended(&self) -> String {
        self.state.dead.cancelled().await;
        let fate = match self.state.wrong.get() {
            Some(wrong) => wrong.clone(),
            None => self.fate().await,
        };
        format!("the worker process of {} ended: {fate}", self.class)
    }

    /// The same for one whose words make no sense: it may have ended, which is known in a moment, or is made to.
    pub(super) async fn broke(&self, why: &str) -> String {
        if let Ok(ended) = tokio::time::timeout(DEATH_TOLD_MAX, self.ended()).await {
            return ended;
        }
        self.give_up(why);
        self.ended().await
    }

    /// How the process ended, which it has.
    async fn fate(&self) -> String {
        let mut fate = self.fate.clone();
        let told = tokio::time::timeout(FATE_MAX, fate.wait_for(Option::is_some)).await;
        let told = told.ok().and_then(|told| told.ok()?.clone());
        told.unwrap_or_else(|| "lost its connection to the node".to_owned())
    }

    async fn ready(&self) -> Result<Ready, StartError> {
        let answer = async {
            let response = self.control.clone().send_request(to(READY_PATH, body::empty())).await?;
            let bytes = body::collect(body::boxed(response.into_body()), READY_BYTES_MAX).await?;
            Ok::<_, body::BoxError>(wire::decode::<Ready>(&bytes)?)
        };
        match answer.await {
            Ok(ready) => Ok(ready),
            Err(_) if self.state.dead.is_cancelled() => Err(StartError::Answer(self.fate().await)),
            Err(error) => Err(StartError::Answer(error.to_string())),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.state.dead.is_cancelled() {
            self.state.released.store(true, Ordering::Release);
            tracing::info!(class = %self.class, pid = self.pid, "worker is not needed any more");
            self.state.dead.cancel();
        }
    }
}

fn to(path: &'static str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::builder()
        .scheme("http")
        .authority("worker")
        .path_and_query(path)
        .build()
        .expect("a constant path makes a URI");
    request
}

async fn connect(socket: UnixStream, dead: &CancellationToken) -> Result<SendRequest<Body>, StartError> {
    socket.set_nonblocking(true).map_err(StartError::Sockets)?;
    let socket = tokio::net::UnixStream::from_std(socket).map_err(StartError::Sockets)?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_MAX as usize)
        .max_header_list_size(HEADER_BYTES_MAX)
        .handshake::<_, Body>(TokioIo::new(socket))
        .await
        .map_err(StartError::Http)?;
    // One without the others is of no use.
    let ends = dead.clone();
    let ended = connection.map(move |_| ends.cancel());
    tokio::spawn(dead.clone().run_until_cancelled_owned(ended));
    Ok(sender)
}

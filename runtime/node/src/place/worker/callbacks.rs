//! Answers what guests in a worker ask of the node: each from what its own container was given here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use dashmap::DashMap;
use futures::StreamExt as _;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;
use wk_base::body::{self, Body, BoxError};
use wk_engine::{Connection, Datagrams, Network, NetworkError};

use super::loans::Loans;
use crate::usage::Account;
use crate::worker::asked::{ANSWERED, ASKED, Answered, Asked, Came, Pot, datagram, read_datagram};
use crate::worker::wire::{self, Answers, CONNECTION_WINDOW, GUEST, HEADER_BYTES_MAX, STREAM_WINDOW, STREAMS_MAX};

/// Connections to one port that have come and not been taken: a usual backlog.
const WAITING_MAX: usize = 128;

/// A port that a guest has let go of is closed here before that; one that is in use that long is somebody's.
const LET_GO_MAX: Duration = Duration::from_millis(50);
/// Between two looks at it.
const LET_GO_LOOK: Duration = Duration::from_millis(1);

/// What containers of one worker may ask for, by their numbers.
pub(super) struct Callbacks {
    containers: DashMap<u64, Answers>,
    /// Connections that came to a port and were not taken yet.
    waiting: DashMap<u64, Waiting>,
    numbers: AtomicU64,
    loans: Loans,
}

/// A connection that came.
struct Waiting {
    /// The container it is for.
    of: u64,
    /// The listener that it came to.
    port: u64,
    connection: Mutex<Connection>,
    _place: OwnedSemaphorePermit,
}

/// A port of a container. When it closes, what came to it and was not taken is cut off.
struct Port {
    callbacks: Arc<Callbacks>,
    of: u64,
    number: u64,
    places: Arc<Semaphore>,
}

impl Port {
    /// The number by which a connection can be taken; None when too many wait already.
    fn put(&self, connection: Connection) -> Option<Came> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let came = self.callbacks.numbers.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting { of: self.of, port: self.number, connection: Mutex::new(connection), _place: place };
        self.callbacks.waiting.insert(came, waiting);
        Some(Came(came))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.callbacks.waiting.retain(|_, waiting| waiting.port != self.number);
    }
}

/// A container that may ask, until this is dropped.
pub(super) struct Registered {
    callbacks: Arc<Callbacks>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.callbacks.containers.remove(&self.number);
        self.callbacks.waiting.retain(|_, waiting| waiting.of != self.number);
    }
}

impl Callbacks {
    /// Nobody may ask yet; memory is lent from `account`.
    pub(super) fn new(account: Account) -> Self {
        let (containers, waiting) = (DashMap::new(), DashMap::new());
        Self { containers, waiting, numbers: AtomicU64::default(), loans: Loans::new(account) }
    }

    /// Answers what is asked for all containers: memory.
    fn bank(&self, asked: &Asked) -> Option<Answered> {
        if let Asked::Borrow(pot, bytes) = *asked {
            return Some(Answered::Lent(self.loans.lend(pot, bytes, self.memory_max(pot))));
        }
        let Asked::GiveBack(pot, bytes) = *asked else { return None };
        self.loans.take_back(pot, bytes);
        Some(Answered::Lent(true))
    }

    /// What its containers that take from a pot may hold together by their own limits: no worker needs more of it.
    fn memory_max(&self, pot: Pot) -> u64 {
        let of_pot = self.containers.iter().filter(|answers| answers.pot == pot);
        of_pot.fold(0, |sum, answers| sum.saturating_add(answers.memory_max.0))
    }

    /// Lets a container ask.
    pub(super) fn register(self: &Arc<Self>, number: u64, answers: Answers) -> Registered {
        self.containers.insert(number, answers);
        Registered { callbacks: Arc::clone(self), number }
    }

    /// Answers what comes over `socket` until the worker closes it.
    pub(super) async fn serve(self: Arc<Self>, socket: UnixStream) {
        let made = socket.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(socket));
        let Ok(socket) = made else { return };
        let answer = service_fn(move |request| {
            let callbacks = Arc::clone(&self);
            async move { Ok::<_, Infallible>(callbacks.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_pending_accept_reset_streams(STREAMS_MAX as usize)
            .max_local_error_reset_streams(None::<usize>)
            .auto_date_header(false);
        let _ = builder.serve_connection(TokioIo::new(socket), answer).await;
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        // It says how it travelled here; what goes on from here goes by HTTP/1.1 or by a call.
        *request.version_mut() = http::Version::HTTP_11;
        let headers = request.headers_mut();
        let number = headers.remove(GUEST).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        let asked = headers.remove(ASKED).and_then(|it| serde_json::from_slice(it.as_bytes()).ok());
        let (Some(number), Some(asked)) = (number, asked) else { return refused(NetworkError::Denied) };
        if let Some(answered) = self.bank(&asked) {
            return told(&answered, Response::new(body::empty()));
        }
        let Some(answers) = self.containers.get(&number).map(|it| it.clone()) else {
            return refused(NetworkError::Denied);
        };
        let network = &answers.network;
        let answered = match asked {
            Asked::Resolve(name) => network
                .resolve(&name)
                .await
                .map(|all| told(&Answered::Addresses, Response::new(body::full(wire::encode(&all))))),
            Asked::Connect(to) => network.connect(to).await.map(|it| joined(it, request.into_body())),
            Asked::Take(came) => match self.waiting.remove_if(&came, |_, waiting| waiting.of == number) {
                Some((_, waiting)) => {
                    let connection = waiting.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
                    Ok(joined(connection, request.into_body()))
                }
                None => Err(NetworkError::Reset),
            },
            Asked::Listen(at) => self.listen(&**network, number, at).await,
            Asked::Datagrams(at) => network.datagrams(at).map(|it| datagrams(it, request.into_body())),
            Asked::MaySend(to) => {
                network.may_send(to).map(|()| told(&Answered::Response, Response::new(body::empty())))
            }
            Asked::Request(patience) => {
                let answer = network.request(request.map(body::boxed), patience).await;
                answer.map(|response| told(&Answered::Response, response))
            }
            Asked::Next => Ok(next(&answers, request).await),
            Asked::Borrow(..) | Asked::GiveBack(..) => Err(NetworkError::Denied),
            Asked::Settings(key) => Ok(settings(&answers, key.as_deref())),
            Asked::Fill(mount) => {
                let filled = answers.mounts.fill_one(mount).await;
                let answered = filled.map_or_else(|why| Answered::NotFilled(why.to_string()), |()| Answered::Filled);
                Ok(told(&answered, Response::new(body::empty())))
            }
        };
        answered.unwrap_or_else(refused)
    }

    /// A port of the container `of`.
    fn port(self: &Arc<Self>, of: u64) -> Port {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        Port { callbacks: Arc::clone(self), of, number, places: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    async fn listen(
        self: &Arc<Self>,
        network: &dyn Network,
        number: u64,
        at: SocketAddr,
    ) -> Result<Response<Body>, NetworkError> {
        // What the guest has just let go of comes here beside this.
        let until = Instant::now() + LET_GO_MAX;
        let mut listener = loop {
            match network.listen(at) {
                Err(NetworkError::InUse) if Instant::now() < until => tokio::time::sleep(LET_GO_LOOK).await,
                listener => break listener?,
            }
        };
        let local = listener.local();
        let port = self.port(number);
        let coming = futures::stream::poll_fn(move |cx| {
            loop {
                let connection = ready!(listener.poll_accept(cx));
                // A guest that takes none is not offered more: what comes is cut off, as past a backlog.
                if let Some(came) = port.put(connection) {
                    return Poll::Ready(Some(Ok::<_, BoxError>(http_body::Frame::data(came.bytes()))));
                }
            }
        });
        Ok(told(&Answered::Bound(local), Response::new(body::boxed(StreamBody::new(coming)))))
    }
}

async fn next(answers: &Answers, request: Request<Incoming>) -> Response<Body> {
    let answer = match &answers.next {
        Some(next) => next.handle(request.map(body::boxed)).await,
        None => Err("this container has no next one".to_owned()),
    };
    match answer {
        Ok(response) => told(&Answered::Response, response),
        Err(why) => told(&Answered::NoNext(why), Response::new(body::empty())),
    }
}

/// One setting or all of them, read from this node's copy: nothing that waits.
fn settings(answers: &Answers, key: Option<&str>) -> Response<Body> {
    let config = answers.config.as_ref();
    let answer = match key {
        Some(key) => wire::encode(&config.map_or(Ok(None), |config| config.get(key))),
        None => wire::encode(&config.map_or(Ok(Vec::new()), |config| config.all())),
    };
    told(&Answered::Response, Response::new(body::full(answer)))
}

/// Marks a response as an answer.
fn told(answered: &Answered, mut response: Response<Body>) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_maybe_shared(wire::encode(answered)) {
        response.headers_mut().insert(ANSWERED, value);
    }
    response
}

fn refused(error: NetworkError) -> Response<Body> {
    told(&Answered::Refused(error), Response::new(body::empty()))
}

/// A connection as the two bodies of a request.
fn joined(connection: Connection, mut incoming: Incoming) -> Response<Body> {
    let Connection { stream, local, remote } = connection;
    let (from, mut to) = tokio::io::split(stream);
    tokio::spawn(async move {
        loop {
            match incoming.frame().await {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if to.write_all(&data).await.is_err() {
                        return;
                    }
                }
                // The guest writes no more.
                None => return drop(to.shutdown().await),
                // It, or its worker, is gone: so is the connection.
                Some(Err(_)) => return,
            }
        }
    });
    let pieces = ReaderStream::new(from).map(|it| it.map(http_body::Frame::data).map_err(BoxError::from));
    told(&Answered::Connected(local, remote), Response::new(body::boxed(StreamBody::new(pieces))))
}

/// A UDP port as the two bodies of a request.
fn datagrams(mut socket: Box<dyn Datagrams>, mut incoming: Incoming) -> Response<Body> {
    let local = socket.local();
    let (mut behind, mut ended) = (BytesMut::new(), false);
    let coming = futures::stream::poll_fn(move |cx| {
        while !ended {
            match read_datagram(&mut behind) {
                Ok(Some((data, to))) => {
                    // What cannot be sent is lost, as on networks.
                    let _ = socket.send(data, to);
                    continue;
                }
                Ok(None) => {}
                Err(()) => return Poll::Ready(None),
            }
            match http_body::Body::poll_frame(std::pin::Pin::new(&mut incoming), cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        behind.extend_from_slice(&data);
                    }
                }
                Poll::Ready(_) => ended = true,
                Poll::Pending => break,
            }
        }
        if ended {
            return Poll::Ready(None);
        }
        socket.poll_receive(cx).map(|received| {
            let (data, from) = received.ok()?;
            Some(Ok::<_, BoxError>(http_body::Frame::data(datagram(&data, from))))
        })
    });
    told(&Answered::Bound(local), Response::new(body::boxed(StreamBody::new(coming))))
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http2 as client;
    use wk_engine::{Config, MemoryBytes, Mounts, NoNetwork};

    use super::*;
    use crate::worker::asked::SETTINGS_BYTES_MAX;

    struct Named;

    impl Config for Named {
        fn get(&self, key: &str) -> Result<Option<String>, String> {
            Ok((key == "mode").then(|| "fast".to_owned()))
        }

        fn all(&self) -> Result<Vec<(String, String)>, String> {
            Err("not now".to_owned())
        }
    }

    /// Asks as a worker does, with any header it likes.
    async fn ask(worker: &mut client::SendRequest<Body>, number: &str, asked: &[u8]) -> Response<Incoming> {
        let mut request = Request::new(body::empty());
        *request.uri_mut() = http::Uri::from_static("http://node/");
        request.headers_mut().insert(GUEST, number.parse().unwrap());
        request.headers_mut().insert(ASKED, HeaderValue::from_bytes(asked).unwrap());
        worker.send_request(request).await.unwrap()
    }

    fn answered(response: &Response<Incoming>) -> Answered {
        wire::decode(response.headers()[ANSWERED].as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn worker_is_answered_for_its_own_containers_while_they_run_and_nonsense_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        let account = Account::of_machine();
        let callbacks = Arc::new(Callbacks::new(account.clone()));
        tokio::spawn(Arc::clone(&callbacks).serve(there));
        here.set_nonblocking(true).unwrap();
        let here = TokioIo::new(tokio::net::UnixStream::from_std(here).unwrap());
        let (mut worker, connection) = client::handshake::<_, _, Body>(TokioExecutor::new(), here).await.unwrap();
        tokio::spawn(connection);

        let answers = Answers {
            network: Arc::new(NoNetwork),
            next: None,
            config: Some(Arc::new(Named)),
            mounts: Mounts::default(),
            memory_max: MemoryBytes(100),
            pot: Pot::Unlimited,
        };
        let registered = callbacks.register(7, answers);
        let setting = |key: Option<&str>| wire::encode(&Asked::Settings(key.map(str::to_owned)));
        let found = ask(&mut worker, "7", &setting(Some("mode"))).await;
        let bytes = body::collect(body::boxed(found.into_body()), SETTINGS_BYTES_MAX).await.unwrap();
        assert_eq!(wire::decode::<Result<Option<String>, String>>(&bytes).unwrap(), Ok(Some("fast".to_owned())));
        let next = ask(&mut worker, "7", &wire::encode(&Asked::Next)).await;
        assert!(matches!(answered(&next), Answered::NoNext(_)));

        // It borrows for what it runs and no more, and what it has is free again when it ends.
        let borrow = |bytes| wire::encode(&Asked::Borrow(Pot::Unlimited, bytes));
        let free = account.of(Pot::All).held();
        for (bytes, lent) in [(60, true), (41, false), (40, true)] {
            let answer = ask(&mut worker, "0", &borrow(bytes)).await;
            assert!(matches!(answered(&answer), Answered::Lent(it) if it == lent), "{bytes}");
        }
        let other = ask(&mut worker, "0", &wire::encode(&Asked::Borrow(Pot::All, 1))).await;
        assert!(matches!(answered(&other), Answered::Lent(false)), "none of its containers takes from there");
        assert_eq!(account.of(Pot::All).held(), free + 100);
        ask(&mut worker, "0", &wire::encode(&Asked::GiveBack(Pot::Unlimited, u64::MAX))).await;
        assert_eq!(account.of(Pot::All).held(), free);

        for (number, asked) in [
            ("8", &setting(Some("mode"))[..]),
            ("-1", &setting(None)[..]),
            ("7", b"{"),
            ("7", br#"{"Become":"root"}"#),
            ("7", &wire::encode(&Asked::Connect("127.0.0.1:1".parse().unwrap()))),
        ] {
            let refused = ask(&mut worker, number, asked).await;
            assert!(matches!(answered(&refused), Answered::Refused(NetworkError::Denied)), "{number} {asked:?}");
        }
        // A connection that came to another container's port is not there for this one.
        let taken = ask(&mut worker, "7", &wire::encode(&Asked::Take(0))).await;
        assert!(matches!(answered(&taken), Answered::Refused(NetworkError::Reset)));
        drop(registered);
        let gone = ask(&mut worker, "7", &setting(Some("mode"))).await;
        assert!(matches!(answered(&gone), Answered::Refused(NetworkError::Denied)));
    }

    #[test]
    fn a_port_nobody_accepts_at_is_full_by_itself_and_cuts_off_what_waits_when_it_closes() {
        let callbacks = Arc::new(Callbacks::new(Account::of_machine()));
        let connection = || {
            let address = "127.0.0.1:1".parse().unwrap();
            Connection { stream: Box::new(tokio::io::duplex(1).0), local: address, remote: address }
        };
        let (lazy, other) = (callbacks.port(7), callbacks.port(8));
        for _ in 0..WAITING_MAX {
            assert!(lazy.put(connection()).is_some());
        }
        assert!(lazy.put(connection()).is_none() && other.put(connection()).is_some());
        drop(lazy);
        assert_eq!(callbacks.waiting.len(), 1);
        let lazy = callbacks.port(7);
        let Came(first) = lazy.put(connection()).unwrap();
        for _ in 1..WAITING_MAX {
            lazy.put(connection());
        }
        assert!(lazy.put(connection()).is_none());
        callbacks.waiting.remove(&first);
        assert!(lazy.put(connection()).is_some(), "one that was taken makes room");
    }
}

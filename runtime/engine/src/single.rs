//! The one long-lived instance of a pod whose mode is `single`: a 0.2 guest answers its requests one after another, a
//! 0.3 guest side by side. A trap or a missed deadline ends the instance; the next request finds a new one.
//!
//! A task owns the instance, since it must outlive the clients: one that goes away in the middle of its request leaves
//! the instance, and the others' requests, as they were.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Request;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::bindings::Service;
use wk_base::body::Body;

use crate::engine::Engine;
use crate::failure::{Failure, caught};
use crate::host::Host;
use crate::http::{Answer, Verdict, incoming};
use crate::instance::{Exports, Instance};
use crate::prepare::Prepared;
use crate::sandbox::Sandbox;
use crate::service;

/// Requests that wait for the instance. More would wait longer than anyone listens; other replicas take them.
const WAITING_MAX: usize = 128;

/// Requests a 0.3 instance holds at once: each holds a stack and buffers in the guest's one memory.
const SIDE_BY_SIDE_MAX: usize = 64;

/// How long the others may go on when one missed its deadline and the instance is given up because of it.
const DRAIN: Duration = Duration::from_secs(2);

/// How often a busy instance is looked at from outside: a guest that loops does not look at deadlines itself.
const WATCH: Duration = Duration::from_millis(100);

/// The way to a pod's single instance.
#[derive(Default)]
pub(crate) struct Single {
    /// Made by the first request, and anew if the task behind it ended: by a fault of ours, which is not to stay.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
}

/// One request on its way to the instance.
pub(crate) struct Job {
    pub(crate) request: Request<Body>,
    pub(crate) set: oneshot::Sender<Answer>,
    pub(crate) verdict: Verdict,
    pub(crate) deadline: Instant,
    /// Closed when the response's body is done with.
    pub(crate) body: oneshot::Receiver<()>,
    /// Closed when nothing more comes of the request, and the verdict is there if there is to be one.
    pub(crate) over: oneshot::Sender<()>,
}

impl Single {
    /// Puts the request in the queue, unless that is full.
    pub(crate) fn put(
        &self,
        engine: &Engine,
        prepared: &Arc<Prepared>,
        sandbox: &Arc<Sandbox>,
        job: Job,
    ) -> Result<(), Failure> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(mpsc::Sender::is_closed) {
            let (sender, jobs) = mpsc::channel(WAITING_MAX);
            let keeper =
                Keeper { engine: engine.clone(), prepared: Arc::clone(prepared), sandbox: Arc::clone(sandbox) };
            // Within what the container may have of the cores, like any guest.
            tokio::spawn(engine.guest(sandbox, keeper.keep(jobs)));
            *queue = Some(sender);
        }
        let sent = queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok());
        sent.then_some(()).ok_or_else(|| Failure::Busy {
            message: format!("{WAITING_MAX} requests wait for the pod's single instance already"),
        })
    }
}

/// Keeps one instance alive for as long as somebody may send a request.
struct Keeper {
    engine: Engine,
    prepared: Arc<Prepared>,
    sandbox: Arc<Sandbox>,
}

/// Why an instance stopped answering for now.
enum Pause {
    /// It has nothing to do.
    Idle,
    /// It is to be given up.
    Retired,
}

impl Keeper {
    async fn keep(self, mut jobs: mpsc::Receiver<Job>) {
        let mut alive: Option<Instance> = None;
        while let Some(job) = jobs.recv().await {
            if job.set.is_closed() || job.deadline <= Instant::now() {
                continue;
            }
            let mut instance = match alive.take() {
                Some(mut instance) => {
                    Host::resume(&mut instance.store, self.engine.running());
                    instance
                }
                None => match self.start(job.deadline).await {
                    Ok(instance) => instance,
                    Err(failure) => {
                        let _ = job.verdict.set(failure);
                        continue;
                    }
                },
            };
            let pause = match instance.exports {
                Exports::Proxy(_) => self.one(&mut instance, job).await,
                Exports::Service(_) => self.side_by_side(&mut instance, job, &mut jobs).await,
            };
            if let Pause::Idle = pause {
                Host::rest(&mut instance.store);
                alive = Some(instance);
            }
        }
    }

    async fn start(&self, deadline: Instant) -> Result<Instance, Failure> {
        let pre = self.prepared.http.as_ref().expect("only HTTP components are asked for an instance");
        let started = timeout_at(deadline, caught(Instance::start(&self.engine, pre, &self.sandbox))).await;
        started.unwrap_or(Err(Failure::Deadline(self.sandbox.request_deadline))).flatten()
    }

    /// One request of a 0.2 guest.
    async fn one(&self, instance: &mut Instance, job: Job) -> Pause {
        let Job { request, set, verdict, deadline, over, .. } = job;
        // Whoever waits looks at the verdict when `over` is gone: that stays here, where no panic takes it along.
        let answered = timeout_at(deadline, caught(instance.answer(request, set, &verdict))).await;
        let failure = match answered.map(Result::flatten) {
            Ok(Ok(())) => return Pause::Idle,
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Deadline(self.sandbox.request_deadline),
        };
        let _ = verdict.set(failure);
        drop(over);
        Pause::Retired
    }

    /// Requests of a 0.3 guest, for as long as it has any.
    async fn side_by_side(&self, instance: &mut Instance, first: Job, jobs: &mut mpsc::Receiver<Job>) -> Pause {
        let Exports::Service(service) = &instance.exports else { return Pause::Retired };
        let flights = Flights::default();
        let store = &mut instance.store;
        let driven = {
            let driven = store.run_concurrent(async |accessor| drive(accessor, service, first, jobs, &flights).await);
            tokio::select! {
                driven = caught(driven) => Some(driven.map(|driven| driven.and_then(|pause| pause))),
                () = flights.overdue() => None,
            }
        };
        match driven {
            Some(Ok(Ok(Pause::Idle))) => return Pause::Idle,
            Some(Ok(Ok(Pause::Retired))) | None => {
                let late = || Failure::Deadline(self.sandbox.request_deadline);
                flights.fail(|is_late| if is_late { late() } else { Failure::Lost });
            }
            Some(Err(panicked)) => flights.fail(|_| panicked.clone()),
            Some(Ok(Err(error))) => {
                let failure = Failure::of(&error, &store.data().limits);
                flights.fail(|_| failure.clone());
            }
        }
        Pause::Retired
    }
}

/// Starts calls as requests come, until there is nothing to do or a deadline was missed.
async fn drive(
    accessor: &Accessor<Host>,
    service: &Service,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    flights: &Flights,
) -> wasmtime::Result<Pause> {
    let mut calls = FuturesUnordered::new();
    calls.push(call(accessor, service, first, flights));
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            Some(in_time) = calls.next() => {
                if !in_time? && open {
                    open = false;
                    flights.hurry(Instant::now() + DRAIN);
                }
            }
            job = jobs.recv(), if open && calls.len() < SIDE_BY_SIDE_MAX => match job {
                Some(job) if job.set.is_closed() => {}
                Some(job) => calls.push(call(accessor, service, job, flights)),
                // The pod is gone, and whatever the guest does besides requests goes with it.
                None => open = false,
            },
            // What the guest does beyond its responses is part of its work.
            () = service::settled(accessor), if open && calls.is_empty() => return Ok(Pause::Idle),
        }
        if calls.is_empty() && !open {
            return Ok(Pause::Retired);
        }
    }
}

/// One request of many. False if it missed its deadline.
async fn call(accessor: &Accessor<Host>, service: &Service, job: Job, flights: &Flights) -> wasmtime::Result<bool> {
    let Job { request, set, verdict, deadline, body, over } = job;
    let flight = flights.add(Flight { verdict: Arc::clone(&verdict), deadline, over });
    let answered = timeout_at(deadline, async {
        service::answer(accessor, service, incoming(request), set, &verdict).await?;
        let _ = body.await;
        wasmtime::error::Ok(())
    });
    match answered.await {
        Ok(answered) => {
            // A trap leaves the flight where it is: all of them end with its reason.
            answered?;
            flights.remove(flight);
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

/// A request in the guest's hands.
struct Flight {
    verdict: Verdict,
    deadline: Instant,
    over: oneshot::Sender<()>,
}

/// All of them, seen from outside the guest.
#[derive(Default)]
struct Flights(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    flights: std::collections::HashMap<u64, Flight>,
    /// When the instance is given up in any case.
    end: Option<Instant>,
}

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, flight: Flight) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.flights.insert(id, flight);
        id
    }

    fn remove(&self, id: u64) {
        self.lock().flights.remove(&id);
    }

    fn hurry(&self, end: Instant) {
        self.lock().end = Some(end);
    }

    /// Until one should have ended a while ago and the guest gave nobody the chance to end it.
    async fn overdue(&self) {
        loop {
            tokio::time::sleep(WATCH).await;
            let now = Instant::now();
            let inner = self.lock();
            if inner.end.is_some_and(|end| end <= now) {
                return;
            }
            // While it drains, the one that missed its deadline is known already.
            if inner.end.is_none() && inner.flights.values().any(|flight| flight.deadline + WATCH <= now) {
                return;
            }
        }
    }

    /// Ends all that are left, each with the failure that `reason` has for one that is late or not.
    fn fail(&self, reason: impl Fn(bool) -> Failure) {
        let now = Instant::now();
        for (_, flight) in self.lock().flights.drain() {
            let _ = flight.verdict.set(reason(flight.deadline <= now));
            drop(flight.over);
        }
    }
}

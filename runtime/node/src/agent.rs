//! The node agent: one loop that owns every pod of this node and turns what happens into orders and carries them out.
//!
//! Not here: decisions. `converge`, `pod` and `container` make them; this file does what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use wk_api::Object;
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_base::time::{Clock, Timestamp};
use wk_cluster::{Cluster, object};
use wk_network::Pool;
use wk_store::{Key, Part, Revision, Stored};

use crate::container::State;
use crate::events::Recorder;
use crate::pod::{Order, Pod};
use crate::probes::Own;
use crate::records::Records;
use crate::run::{Reporter, Run, Runner};
use crate::spec::Standard;
use crate::write::{self, Wish, Writes};
use crate::{container, pod, status};

mod assign;
mod care;

use care::Handles;

/// Events that wait for the agent. Runs wait when it is full; each pod has at most a few in it.
const QUEUE_MAX: usize = 1024;
/// Status writes under way at once: enough to share one fsync among many, few enough to keep the API responsive.
const WRITES_MAX: usize = 64;
/// A status that could not be written (no quorum) is tried again after this.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Everything that can happen to the agent.
#[derive(Debug)]
pub enum Event {
    /// The pods assigned to this node, or this node's object, may have changed.
    Changed,
    /// ConfigMaps or Secrets may have changed.
    SourcesChanged,
    /// Something happened to a pod.
    Pod {
        /// Its uid.
        uid: String,
        /// What.
        event: pod::Event,
    },
    /// A write of a pod's object ended.
    Written {
        /// Its uid.
        uid: String,
        /// How.
        outcome: write::Outcome,
    },
}

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub node: String,
    /// Its address.
    pub ip: IpAddr,
    /// How far apart pods run whose namespaces say nothing.
    pub isolation: Standard,
}

struct Local {
    stored: Arc<Stored>,
    generation: i64,
    /// The version of the object that was last compared with the pod, when nothing was under way.
    compared: Option<Revision>,
    pod: Pod,
    /// By the container's index.
    runs: Vec<(usize, Handles)>,
    writes: Writes,
}

impl Local {
    /// The pod's object, decoded: not kept, for it takes several times what the pod does.
    fn object(&self) -> Arc<Object> {
        object(&self.stored)
    }
}

/// The agent's state; [`Agent::run`] is its only owner.
pub struct Agent {
    config: Config,
    cluster: Cluster,
    runner: Arc<Runner>,
    own: Own,
    records: Records,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    queue: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    write_slots: Arc<Semaphore>,
    addresses: Option<Pool>,
    pods: BTreeMap<Arc<str>, Box<Local>>,
    /// The cluster's pods at the last look.
    seen: Part,
    /// Pods to look at again the next time, whether they changed or not.
    again: BTreeSet<Key>,
    wake: Option<Timestamp>,
    pass: LastPass,
    /// Whether there is no other node.
    is_alone: bool,
}

/// How long the agent's last look at all pods took.
#[derive(Debug, Clone, Default)]
pub struct LastPass(Arc<AtomicU64>);

impl LastPass {
    /// That.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, took: Duration) {
        self.0.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Agent {
    /// An agent that runs its work in `tasks`.
    pub fn new(config: Config, cluster: Cluster, runner: Arc<Runner>, records: Records, tasks: Tasks) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_MAX);
        Self {
            recorder: Recorder::new(cluster.clone(), config.node.clone()),
            clock: Arc::clone(cluster.clock()),
            config,
            cluster,
            own: Own::new(runner.apps.clone(), runner.consoles.clone(), runner.meters.clone()),
            runner,
            records,
            tasks,
            queue,
            events,
            write_slots: Arc::new(Semaphore::new(WRITES_MAX)),
            addresses: None,
            pods: BTreeMap::new(),
            seen: Part::default(),
            again: BTreeSet::new(),
            wake: None,
            pass: LastPass::default(),
            is_alone: true,
        }
    }

    /// How long looks take, for whoever asks for them.
    pub fn last_pass(&self) -> LastPass {
        self.pass.clone()
    }

    /// Where to send [`Event::Changed`].
    pub fn queue(&self) -> mpsc::Sender<Event> {
        self.queue.clone()
    }

    /// Runs until the tasks stop; then every container is stopped too.
    pub async fn run(mut self) {
        let stopping = self.tasks.stopping();
        self.assign();
        loop {
            let wake = sleep_until(self.wake, &*self.clock);
            tokio::select! {
                // First, so that runs that end with the process are not taken for crashes.
                biased;
                () = stopping.cancelled() => break,
                () = wake => self.tick(),
                event = self.events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
            }
        }
        for local in self.pods.values() {
            local.runs.iter().for_each(|(_, run)| run.stop.cancel());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Changed => {
                let begun = std::time::Instant::now();
                self.assign();
                self.pass.set(begun.elapsed());
            }
            Event::SourcesChanged => self.retry_starts(None),
            Event::Pod { uid, event } => self.pod_event(&uid, event),
            Event::Written { uid, outcome } => self.written(&uid, outcome),
        }
    }

    fn address(&mut self, before: Option<&str>) -> Result<IpAddr, String> {
        let Some(pool) = &mut self.addresses else { return Err("no address range yet".into()) };
        let kept = before.and_then(|ip| ip.parse().ok()).filter(|ip| pool.reserve(*ip).is_ok());
        match kept {
            Some(ip) => Ok(IpAddr::V4(ip)),
            None => pool.allocate().map(IpAddr::V4).map_err(|error| error.to_string()),
        }
    }

    fn release(&mut self, ip: IpAddr) {
        if let (Some(pool), IpAddr::V4(ip)) = (&mut self.addresses, ip) {
            pool.release(ip);
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(local) = self.pods.remove(uid) else { return };
        tracing::info!(pod = %local.pod.spec.name, namespace = %local.pod.spec.namespace, %uid, "pod is gone");
        local.runs.iter().for_each(|(_, run)| run.cut());
        if let Some(ip) = local.pod.ip {
            self.release(ip);
        }
        self.runner.meters.remove(uid);
        self.runner.volumes.remove(uid);
        self.runner.ledger.remove(uid);
        let (logs, uid) = (self.runner.logs.clone(), uid.to_owned());
        let named = format!("{}_{}", local.pod.spec.namespace, local.pod.spec.name);
        self.tasks.spawn_until_stop("logs", async move { logs.remove(uid, named).await });
    }

    fn pod_event(&mut self, uid: &str, event: pod::Event) {
        let now = self.clock.now();
        let Some(local) = self.pods.get_mut(uid) else { return };
        let told = event.clone();
        let is_stopping = |local: &Local, index: usize| {
            local.pod.containers.get(index).is_some_and(container::Container::is_stopping)
        };
        let expected = matches!(told, pod::Event::Container(index, _) if is_stopping(local, index));
        let lacks_sources = matches!(&event, pod::Event::Container(_, container::Event::Lacks { .. }));
        let orders = local.pod.handle(event, now);
        match told {
            pod::Event::Container(index, event) => {
                // A run that has begun counts also if the process is killed before the cluster has taken that.
                if matches!(event, container::Event::Started { .. } | container::Event::Ended { .. }) {
                    self.keep_status(uid);
                }
                if !expected {
                    self.record(uid, index, &event, &orders);
                }
            }
            pod::Event::Evict(message) if !orders.is_empty() => {
                self.recorder.warn(&local.object(), "Evicted", &message, &self.tasks);
            }
            _ => {}
        }
        self.carry_out(uid, orders);
        self.note_ends(uid);
        self.let_go(uid);
        if lacks_sources {
            // They may have come while this was on its way here.
            self.retry_starts(Some(uid));
        }
    }

    /// Tells people what happened to a container, as Kubernetes' events do.
    fn record(&self, uid: &str, index: usize, event: &container::Event, orders: &[Order]) {
        let Some(local) = self.pods.get(uid) else { return };
        let Some(container) = local.pod.containers.get(index) else { return };
        let name = &container.name;
        match event {
            container::Event::Started { .. } => {
                self.recorder.note(&local.object(), "Started", &format!("Started container {name}"), &self.tasks);
            }
            container::Event::Lacks { message } => {
                self.recorder.warn(&local.object(), "Failed", &format!("Error: {message}"), &self.tasks);
            }
            container::Event::StartFailed { reason, message } => {
                self.recorder.warn(&local.object(), reason, &format!("container {name}: {message}"), &self.tasks);
            }
            container::Event::Ended { code, reason, message } if *code != 0 => {
                self.recorder.warn(&local.object(), reason, &format!("container {name}: {message}"), &self.tasks);
                if let State::Waiting { reason: "CrashLoopBackOff", .. } = &container.state {
                    // In the kubelet's words, which tools look for.
                    let message = format!(
                        "Back-off restarting failed container {name} in pod {}",
                        status::named(&local.pod.spec)
                    );
                    self.recorder.warn(&local.object(), "BackOff", &message, &self.tasks);
                }
            }
            container::Event::RequestFailed { reason, message, .. } if orders.contains(&Order::Report) => {
                self.recorder.warn(&local.object(), reason, &format!("container {name}: {message}"), &self.tasks);
            }
            container::Event::Ended { .. }
            | container::Event::RequestFailed { .. }
            | container::Event::LimitReached { .. }
            | container::Event::StartTakesLong { .. }
            | container::Event::StartGoesOn
            | container::Event::HookEnded { .. }
            | container::Event::Probed { .. }
            | container::Event::ProbeFailed { .. }
            | container::Event::Retry
            | container::Event::Tick => {}
        }
    }

    /// Tells whoever follows a log of the pod that there will be no more of it.
    fn note_ends(&self, uid: &str) {
        let Some(local) = self.pods.get(uid) else { return };
        for container in &local.pod.containers {
            if matches!(container.state, State::Terminated(_)) {
                self.runner.logs.over(uid, &container.name);
            }
        }
    }

    /// Starts the containers, of one pod or of all, whose environment could not be made and can now.
    fn retry_starts(&mut self, of: Option<&str>) {
        let mut answered = Vec::new();
        for (uid, local) in self.pods.iter().filter(|(uid, _)| of.is_none_or(|of| *of == ***uid)) {
            let pod = &local.pod;
            let Some(ip) = pod.ip else { continue };
            for (index, (container, spec)) in pod.containers.iter().zip(&pod.spec.containers).enumerate() {
                let Some(lacked) = container.lacks() else { continue };
                let lacks =
                    self.runner.environment(spec, &local.object(), ip).err().map(|error| Chain(&error).to_string());
                // What else it lacks now is to be told as well.
                if lacks.is_none_or(|lacks| lacks != lacked) {
                    answered.push((uid.clone(), index));
                }
            }
        }
        for (uid, index) in answered {
            self.pod_event(&uid, pod::Event::Container(index, container::Event::Retry));
        }
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        self.wake = None;
        let uids: Vec<Arc<str>> = self.pods.keys().cloned().collect();
        for uid in uids {
            let Some(local) = self.pods.get_mut(&*uid) else { continue };
            if local.pod.wakes_at().is_some_and(|wake| wake <= now) {
                self.pod_event(&uid, pod::Event::Tick);
            }
            if let Some(local) = self.pods.get_mut(&*uid)
                && local.writes.retry_due(now)
            {
                self.write(&uid);
            }
            self.set_wake(&uid);
        }
    }

    fn set_wake(&mut self, uid: &str) {
        let Some(local) = self.pods.get(uid) else { return };
        let wakes = [self.wake, local.pod.wakes_at(), local.writes.retries_at()];
        self.wake = wakes.into_iter().flatten().min();
    }

    fn carry_out(&mut self, uid: &str, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Start { container, restart } => self.start(uid, container, restart),
                Order::Hook(container, hook) => self.hook(uid, container, hook),
                Order::Probe(container) => self.probe(uid, container),
                Order::Stop(container) => self.stop(uid, container),
                Order::Cut(container) => self.cut(uid, container),
                Order::Tell(notice) => self.tell(uid, &notice),
                Order::Report => {
                    if let Some(local) = self.pods.get_mut(uid) {
                        local.writes.want_status();
                    }
                    self.write(uid);
                }
                Order::Remove => {
                    if let Some(local) = self.pods.get_mut(uid) {
                        local.writes.want_removal();
                    }
                    self.write(uid);
                }
            }
        }
        self.set_wake(uid);
    }

    fn start(&mut self, uid: &str, container: usize, restart: u32) {
        let Some(local) = self.pods.get_mut(uid) else { return };
        let Some(spec) = local.pod.spec.containers.get(container) else { return };
        let Some(ip) = local.pod.ip else { return };
        let handles = Handles::new(&self.tasks.stopping());
        let (cancel, cut, moves) = (handles.stop.clone(), handles.cut.clone(), Arc::clone(&handles.moves));
        let (pod, spec, class) = (Arc::clone(&local.pod.spec.uid), Arc::clone(spec), local.pod.spec.class());
        let report = Arc::new(Reporter { agent: self.queue.clone(), pod: Arc::clone(&pod), container });
        let run = Box::new(Run { pod, ip, spec, restart, cancel, cut, moves, class });
        local.runs.retain(|(of, _)| *of != container);
        local.runs.reserve_exact(1);
        local.runs.push((container, handles));
        self.tasks.spawn("container", Arc::clone(&self.runner).run(run, local.object(), report));
    }

    /// Writes what is wanted of a pod's object, one write of it at a time.
    fn write(&mut self, uid: &str) {
        let now = self.clock.now();
        let ip = self.config.ip;
        let Some(local) = self.pods.get_mut(uid) else { return };
        let (pod, stored) = (&local.pod, Arc::clone(&local.stored));
        let wish = local.writes.begin(|| status::render(pod, ip, object(&stored).at("/status"), now));
        if let Some(wish) = wish {
            self.spawn_write(&object(&stored), wish);
        }
    }

    fn spawn_write(&self, object: &Arc<Object>, wish: Wish) {
        let (cluster, object, queue) = (self.cluster.clone(), Arc::clone(object), self.queue.clone());
        let slots = Arc::clone(&self.write_slots);
        self.tasks.spawn_until_stop("pod-status", async move {
            let _slot = slots.acquire().await;
            let outcome = write::write(&cluster, &object, wish).await;
            let _ = queue.send(Event::Written { uid: object.uid().to_owned(), outcome }).await;
        });
    }

    fn written(&mut self, uid: &str, outcome: write::Outcome) {
        let retry = self.clock.now() + WRITE_RETRY;
        let Some(local) = self.pods.get_mut(uid) else { return };
        local.writes.end(outcome, retry);
        if outcome == write::Outcome::Failed {
            self.keep_status(uid);
        }
        self.write(uid);
        self.set_wake(uid);
    }
}

async fn sleep_until(wake: Option<Timestamp>, clock: &dyn Clock) {
    match wake {
        Some(wake) => {
            let wait = Duration::try_from(wake.duration_since(clock.now())).unwrap_or(Duration::ZERO);
            tokio::time::sleep(wait).await;
        }
        None => std::future::pending().await,
    }
}

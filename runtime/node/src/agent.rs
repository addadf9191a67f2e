//! The node agent: one loop that owns every pod of this node and turns what happens into orders and carries them out.
//!
//! Not here: decisions. `converge`, `pod` and `container` make them; this file does what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use tokio::sync::{Semaphore, mpsc};
use wk_api::{Object, kinds};
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_base::time::{Clock, Timestamp};
use wk_cluster::Cluster;
use wk_network::{Cidr, Pool};

use crate::container::State;
use crate::converge::{Step, converge};
use crate::events::Recorder;
use crate::place::worker::Class;
use crate::pod::{Order, Pod};
use crate::probes::Own;
use crate::records::Records;
use crate::run::{Run, Runner};
use crate::spec::{Isolation, PodSpec, Standard};
use crate::write::{self, Wish, Writes};
use crate::{container, pod, spec, status};

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
    object: Arc<Object>,
    pod: Pod,
    runs: BTreeMap<usize, Handles>,
    writes: Writes,
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
    pods: BTreeMap<String, Local>,
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
            local.runs.values().for_each(|run| run.stop.cancel());
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

    /// Compares what is assigned to this node with what is here.
    fn assign(&mut self) {
        if !self.learn_addresses() {
            return;
        }
        self.is_alone = self.cluster.local(&kinds::NODE, None).items.len() < 2;
        let node = self.config.node.as_str();
        let mut assigned = self.cluster.local(&kinds::POD, None).items;
        assigned.retain(|pod| pod.text("/spec/nodeName") == node);
        let here: BTreeSet<String> = self.pods.keys().cloned().collect();
        for step in converge(&assigned, &here) {
            match step {
                Step::Begin(object) => self.begin(object),
                Step::End(uid, grace_ends) => self.pod_event(&uid, pod::Event::Delete(grace_ends)),
                Step::Forget(uid) => self.forget(&uid),
            }
        }
        for object in assigned {
            let uid = object.uid().to_owned();
            let Some(local) = self.pods.get_mut(&uid) else { continue };
            if local.object.resource_version() != object.resource_version() {
                self.runner.volumes.learn(&object);
            }
            let old = std::mem::replace(&mut local.object, object);
            if old.generation() != local.object.generation() {
                self.respec(&uid);
            }
            self.judge_gates(&uid);
            let Some(local) = self.pods.get_mut(&uid) else { continue };
            // Somebody else (the leader, of a node it could not hear) wrote what is not so: set it right.
            if local.writes.is_settled() && is_ready(&local.object) != local.pod.is_ready() {
                local.writes.want_status();
                self.write(&uid);
            }
        }
    }

    /// The pods' addresses come from `spec.podCIDR` of this node's object, which a controller sets.
    fn learn_addresses(&mut self) -> bool {
        if self.addresses.is_some() {
            return true;
        }
        let nodes = self.cluster.local(&kinds::NODE, None).items;
        let Some(node) = nodes.iter().find(|node| node.name() == self.config.node) else { return false };
        let Ok(cidr) = node.text("/spec/podCIDR").parse::<Cidr>() else { return false };
        tracing::info!(%cidr, "pod addresses assigned");
        self.addresses = Some(Pool::new(cidr));
        self.clean_up();
        true
    }

    fn begin(&mut self, object: Arc<Object>) {
        let now = self.clock.now();
        let typed: core::Pod = match object.read() {
            Ok(typed) => typed,
            Err(error) => return self.refuse(object, "spec", &error.to_string(), now),
        };
        let recorded = self.records.newer(object.uid(), typed.status.as_ref());
        let before = recorded.as_ref().or(typed.status.as_ref());
        let ip = match self.address(before.and_then(|status| status.pod_ip.as_deref())) {
            Ok(ip) => ip,
            // It is looked at again with the next change: addresses come free as pods go.
            Err(error) => return tracing::warn!(pod = object.name(), error, "pod waits for an address"),
        };
        let spec = match self.read_spec(&typed, ip) {
            Ok(spec) => spec,
            Err(error) => {
                self.release(ip);
                return self.refuse(object, &error.field, &error.why, now);
            }
        };
        let ignored = spec::ignored(&typed);
        if !ignored.is_empty() && before.is_none_or(|status| status.pod_ip.is_none()) {
            let message = format!("no effect for WebAssembly: {}", ignored.join(", "));
            self.recorder.warn(&object, "FieldIgnored", &message, &self.tasks);
        }
        let started = before.and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0);
        let containers = status::take_over(&spec, before, now);
        self.runner.volumes.adopt(&object, &spec);
        let mut pod = Pod::new(spec, containers, ip, started);
        let mut orders = Vec::new();
        if let Some((phase, failed)) = status::settled(before) {
            pod = pod.settled(phase, failed);
            orders.extend(recorded.is_some().then_some(Order::Report));
        } else if object.deletion_timestamp().is_none() {
            orders = pod.begin(now);
        }
        self.take_on(object, pod, orders);
    }

    fn take_on(&mut self, object: Arc<Object>, pod: Pod, orders: Vec<Order>) {
        let uid = object.uid().to_owned();
        tracing::info!(pod = %object.name(), namespace = %object.namespace(), %uid, "pod begins");
        self.pods.insert(uid.clone(), Local { object, pod, runs: BTreeMap::new(), writes: Writes::default() });
        self.carry_out(&uid, orders);
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

    /// A pod that this node cannot run fails at once, and says which field is the reason.
    fn refuse(&mut self, object: Arc<Object>, field: &str, why: &str, now: Timestamp) {
        self.recorder.warn(&object, "UnsupportedSpec", &format!("{field}: {why}"), &self.tasks);
        let mut pod = Pod::refused(spec::bare(&object), field, why, now);
        let orders = pod.begin(now);
        self.take_on(object, pod, orders);
    }

    fn forget(&mut self, uid: &str) {
        let Some(local) = self.pods.remove(uid) else { return };
        tracing::info!(pod = %local.pod.spec.name, namespace = %local.pod.spec.namespace, %uid, "pod is gone");
        local.runs.values().for_each(Handles::cut);
        if let Some(ip) = local.pod.ip {
            self.release(ip);
        }
        self.runner.meters.remove(uid);
        self.runner.volumes.remove(uid);
        self.runner.ledger.remove(uid);
        let (logs, uid) = (self.runner.logs.clone(), uid.to_owned());
        tokio::task::spawn_blocking(move || logs.remove(&uid));
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
                self.recorder.warn(&local.object, "Evicted", &message, &self.tasks);
            }
            _ => {}
        }
        self.carry_out(uid, orders);
        self.note_ends(uid);
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
                self.recorder.note(&local.object, "Started", &format!("Started container {name}"), &self.tasks);
            }
            container::Event::Lacks { message } => {
                self.recorder.warn(&local.object, "Failed", &format!("Error: {message}"), &self.tasks);
            }
            container::Event::StartFailed { reason, message } => {
                self.recorder.warn(&local.object, reason, &format!("container {name}: {message}"), &self.tasks);
            }
            container::Event::Ended { code, reason, message } if *code != 0 => {
                self.recorder.warn(&local.object, reason, &format!("container {name}: {message}"), &self.tasks);
                if let State::Waiting { reason: "CrashLoopBackOff", message, .. } = &container.state {
                    self.recorder.warn(&local.object, "BackOff", message, &self.tasks);
                }
            }
            container::Event::RequestFailed { reason, message } if orders.contains(&Order::Report) => {
                self.recorder.warn(&local.object, reason, &format!("container {name}: {message}"), &self.tasks);
            }
            container::Event::Ended { .. }
            | container::Event::RequestFailed { .. }
            | container::Event::LimitReached { .. }
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
        for (uid, Local { object, pod, .. }) in self.pods.iter().filter(|(uid, _)| of.is_none_or(|of| of == *uid)) {
            let Some(ip) = pod.ip else { continue };
            for (index, (container, spec)) in pod.containers.iter().zip(&pod.spec.containers).enumerate() {
                let Some(lacked) = container.lacks() else { continue };
                let lacks = self.runner.environment(spec, object, ip).err().map(|error| Chain(&error).to_string());
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
        let uids: Vec<String> = self.pods.keys().cloned().collect();
        for uid in uids {
            let Some(local) = self.pods.get_mut(&uid) else { continue };
            if local.pod.wakes_at().is_some_and(|wake| wake <= now) {
                self.pod_event(&uid, pod::Event::Tick);
            }
            if let Some(local) = self.pods.get_mut(&uid)
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
        let (cancel, cut, moves) = (handles.stop.clone(), handles.cut.clone(), handles.moves.clone());
        let object = Arc::clone(&local.object);
        let class = class(&local.pod.spec);
        let (pod, spec) = (uid.to_owned(), spec.clone());
        let run = Run { pod, object, ip, spec, restart, cancel, cut, moves, class };
        local.runs.insert(container, handles);
        let (runner, report) = (Arc::clone(&self.runner), self.reporter(uid, container));
        self.tasks.spawn("container", async move { runner.run(run, report).await });
    }

    /// Writes what is wanted of a pod's object, one write of it at a time.
    fn write(&mut self, uid: &str) {
        let now = self.clock.now();
        let ip = self.config.ip;
        let Some(local) = self.pods.get_mut(uid) else { return };
        let before = local.object.at("/status").cloned();
        let (pod, object) = (&local.pod, Arc::clone(&local.object));
        let wish = local.writes.begin(|| status::render(pod, ip, before.as_ref(), now));
        if let Some(wish) = wish {
            self.spawn_write(&object, wish);
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

/// Whose worker a pod runs in.
fn class(pod: &PodSpec) -> Option<Class> {
    match pod.isolation {
        Isolation::Shared => None,
        Isolation::Namespace => Some(Class::Namespace(pod.namespace.clone())),
        Isolation::Pod => Some(Class::Pod { uid: pod.uid.clone(), name: format!("{}/{}", pod.namespace, pod.name) }),
    }
}

fn is_ready(pod: &Object) -> bool {
    let ready = pod.items("/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    ready.is_some_and(|ready| ready["status"] == "True")
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

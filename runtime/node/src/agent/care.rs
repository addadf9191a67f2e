//! What the agent does for pods that run: hooks, probes, stopping, changes of their specs, and keeping their statuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1 as core;
use tokio_util::sync::CancellationToken;
use wk_api::kinds;
use wk_base::backoff::Backoff;
use wk_cluster::{Freshness, brief};

use super::{Agent, Event, Local};
use crate::container::{self, Notice};
use crate::pod;
use crate::probes::{self, Target};
use crate::run::Reporter;
use crate::spec::{self, Hook, PodSpec, SpecError};
use crate::status;

/// Between two tries to ask the cluster which pods there are, while it cannot be asked.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// How a run is made to end.
pub(super) struct Handles {
    /// Stops it.
    pub(super) stop: CancellationToken,
    /// Ends it, requests or not.
    pub(super) cut: CancellationToken,
    /// Its pod is to run elsewhere.
    pub(super) moves: Arc<AtomicBool>,
    /// Ends its probes, if it has any.
    pub(super) probes: Option<CancellationToken>,
}

impl Handles {
    /// For a run that stops when `stopping` fires.
    pub(super) fn new(stopping: &CancellationToken) -> Self {
        let (stop, cut) = (stopping.child_token(), CancellationToken::new());
        Self { stop, cut, moves: Arc::default(), probes: None }
    }

    pub(super) fn cut(&self) {
        self.cut.cancel();
        self.stop.cancel();
    }
}

impl Local {
    /// The last run of a container.
    fn run(&self, container: usize) -> Option<&Handles> {
        self.runs.iter().find(|(of, _)| *of == container).map(|(_, run)| run)
    }

    fn target(&self, container: usize) -> Option<Target> {
        let spec = self.pod.spec.containers.get(container)?;
        Some(Target { pod: self.pod.spec.uid.clone(), container: spec.name.clone(), ip: self.pod.ip? })
    }
}

impl Local {
    /// Whether it was evicted, as nodes are drained: whoever made it makes another one elsewhere.
    fn is_moved(&self) -> bool {
        let target = |it: &serde_json::Value| it["type"] == "DisruptionTarget" && it["status"] == "True";
        self.pod.ending.is_some_and(pod::Ending::is_deleted)
            && self.object().items("/status/conditions").iter().any(target)
    }
}

impl Agent {
    pub(super) fn stop(&self, uid: &str, container: usize) {
        let Some(local) = self.pods.get(uid) else { return };
        let Some(run) = local.run(container) else { return };
        if local.is_moved() {
            run.moves.store(true, Ordering::Release);
        }
        run.stop.cancel();
    }

    pub(super) fn cut(&self, uid: &str, container: usize) {
        if let Some(run) = self.pods.get(uid).and_then(|local| local.run(container)) {
            run.cut();
        }
    }

    pub(super) fn probe(&mut self, uid: &str, container: usize) {
        let Some(local) = self.pods.get_mut(uid) else { return };
        let Some(target) = local.target(container) else { return };
        let probes = local.pod.spec.containers[container].probes.clone();
        let Some((_, run)) = local.runs.iter_mut().find(|(of, _)| *of == container) else { return };
        let cancel = run.probes.get_or_insert_with(|| run.stop.child_token()).clone();
        let (own, report) = (self.own.clone(), self.reporter(uid, container));
        self.tasks.spawn("probes", async move {
            cancel.run_until_cancelled(Box::pin(probes::watch(&own, &target, &probes, &report))).await;
        });
    }

    pub(super) fn hook(&self, uid: &str, container: usize, hook: Hook) {
        let Some(local) = self.pods.get(uid) else { return };
        let (Some(run), Some(target)) = (local.run(container), local.target(container)) else { return };
        let hooks = &local.pod.spec.containers[container].hooks;
        let (action, until) = match hook {
            Hook::PostStart => (hooks.post_start.clone(), run.stop.clone()),
            Hook::PreStop => {
                run.probes.iter().for_each(CancellationToken::cancel);
                (hooks.pre_stop.clone(), run.stop.clone())
            }
        };
        let (own, queue, uid) = (self.own.clone(), self.queue.clone(), uid.to_owned());
        self.tasks.spawn("hook", async move {
            let acted = async {
                match &action {
                    Some(action) => own.act(&target, action).await,
                    None => None,
                }
            };
            let Some(failure) = until.run_until_cancelled(acted).await else { return };
            if let Some(failure) = &failure {
                tracing::info!(pod = uid, container = &*target.container, ?hook, why = failure.why, "hook failed");
            }
            let failure = failure.map(|failure| failure.told);
            let event = pod::Event::Container(container, container::Event::HookEnded { hook, failure });
            // The queue is closed only when the node stops.
            let _ = queue.send(Event::Pod { uid, event }).await;
        });
    }

    pub(super) fn reporter(&self, uid: &str, container: usize) -> Reporter {
        Reporter { agent: self.queue.clone(), pod: uid.into(), container }
    }

    /// What a pod means here, in its namespace as that is now.
    pub(super) fn read_spec(&self, pod: &core::Pod) -> Result<PodSpec, SpecError> {
        let mut spec = spec::read(pod)?;
        let namespace = self.cluster.local_object(&kinds::NAMESPACE, None, &spec.namespace);
        let standard = self.config.isolation.isolation(self.is_alone);
        spec.isolation = spec::isolation(pod, namespace.as_deref(), standard)?;
        Ok(spec)
    }

    /// The object's spec changed: images, the deadline, or containers for debugging.
    pub(super) fn respec(&mut self, uid: &str) {
        let Some(local) = self.pods.get(uid) else { return };
        if local.pod.ip.is_none() {
            return;
        }
        let read = local.object().read().map_err(|error| error.to_string());
        let read = read.and_then(|typed| self.read_spec(&typed).map_err(|error| error.to_string()));
        match read {
            Ok(spec) => {
                // Its volumes lie where the worker that it began in can open them.
                let spec = PodSpec { isolation: local.pod.spec.isolation, ..spec };
                self.pod_event(uid, pod::Event::Changed(Box::new(spec)));
            }
            Err(error) => self.recorder.warn(&local.object(), "UnsupportedSpec", &error, &self.tasks),
        }
    }

    pub(super) fn judge_gates(&mut self, uid: &str) {
        let Some(local) = self.pods.get(uid) else { return };
        if !local.pod.spec.gates.is_empty() {
            let unmet = pod::unmet_gates(&local.pod.spec.gates, local.object().items("/status/conditions"));
            self.pod_event(uid, pod::Event::Gates(unmet));
        }
    }

    pub(super) fn tell(&self, uid: &str, notice: &Notice) {
        if let Some(local) = self.pods.get(uid) {
            self.recorder.tell(&local.object(), notice.severity, notice.reason, &notice.message, &self.tasks);
        }
    }

    /// Removes the volumes of a pod that has come to its end, as the kubelet does: its object may stay for long, and a
    /// workload that makes it anew would fill the disk with what nobody can read any more.
    pub(super) fn let_go(&self, uid: &str) {
        if self.pods.get(uid).is_some_and(|local| local.pod.is_done()) {
            self.runner.volumes.remove(uid);
        }
    }

    /// Removes what pods have left that are gone: once the cluster has been asked, since the local copy may not know of all
    /// that this node was given before it stopped. What this process has made since is younger and stays.
    pub(super) fn clean_up(&self) {
        let (cluster, begun) = (self.cluster.clone(), SystemTime::now());
        let (logs, volumes) = (self.runner.logs.clone(), self.runner.volumes.clone());
        self.tasks.spawn_until_stop("clean-up", async move {
            let mut backoff = Backoff::new(ASK_AGAIN_FIRST, ASK_AGAIN_MAX);
            let view = loop {
                match cluster.view(Freshness::Linearizable).await {
                    Ok(view) => break view,
                    Err(_) => tokio::time::sleep(backoff.next_delay()).await,
                }
            };
            let pods = view.list(kinds::POD.collection(), "");
            let known: BTreeSet<String> = pods.map(|pod| brief(&pod).uid().to_owned()).collect();
            let cleaned = tokio::task::spawn_blocking(move || {
                volumes.keep_only(&known, begun);
                logs.keep_only(&|uid| known.contains(uid), begun);
            });
            let _ = cleaned.await;
        });
    }

    /// Keeps on this disk what the cluster may not have taken yet.
    pub(super) fn keep_status(&self, uid: &str) {
        let (now, ip) = (self.clock.now(), self.config.ip);
        let Some(local) = self.pods.get(uid) else { return };
        self.records.keep(uid, &status::render(&local.pod, ip, local.object().at("/status"), now));
    }
}

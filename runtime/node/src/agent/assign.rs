//! What is assigned to this node, compared with what is here: pods that begin, changed, or are gone.
//!
//! Pods are looked at that changed since the last look, and those with which this node was not done then.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{brief, object};
use wk_network::{Cidr, Pool};
use wk_store::{Difference, Stored};

use super::{Agent, Local};
use crate::converge::{Assigned, Step, converge};
use crate::pod::{self, Order, Pod};
use crate::write::Writes;
use crate::{spec, status};

impl Agent {
    /// Compares what is assigned to this node with what is here.
    pub(super) fn assign(&mut self) {
        if !self.learn_addresses() {
            return;
        }
        let view = self.cluster.store().view();
        self.is_alone = view.len(kinds::NODE.collection()) < 2;
        let now = view.part(kinds::POD.collection());
        let last = std::mem::replace(&mut self.seen, now.clone());
        let mut again = std::mem::take(&mut self.again);
        let (mut gone, mut pods) = (Vec::new(), Vec::new());
        for Difference { old, new } in last.differences(&now) {
            gone.extend(old.cloned());
            pods.extend(new.cloned());
            if let Some(either) = new.or(old) {
                again.remove(either.key());
            }
        }
        pods.extend(again.iter().filter_map(|key| view.get(key)));
        let here: BTreeSet<String> = gone.iter().chain(&pods).map(|pod| brief(pod).uid().to_owned()).collect();
        pods.retain(|pod| brief(pod).node() == Some(self.config.node.as_str()));
        let is_news = |pod: &Arc<Stored>| {
            let local = self.pods.get(brief(pod).uid());
            local.is_none_or(|local| local.compared != Some(pod.revision()))
        };
        let news: Vec<bool> = pods.iter().map(is_news).collect();
        let assigned = pods.iter().zip(&news).map(|(pod, is_news)| {
            let brief = brief(pod);
            let is_marked = *is_news && brief.is_deleting();
            Assigned { uid: brief.uid(), marked: is_marked.then(|| object(pod).deletion_timestamp()).flatten() }
        });
        let here = here.iter().map(String::as_str).filter(|uid| self.pods.contains_key(*uid));
        let steps = converge(&assigned.collect::<Vec<_>>(), here);
        for step in steps {
            match step {
                Step::Begin(index) => self.begin(Arc::clone(&pods[index])),
                Step::End(uid, grace_ends) => self.pod_event(&uid, pod::Event::Delete(grace_ends)),
                Step::Forget(uid) => self.forget(&uid),
            }
        }
        for (pod, _) in pods.into_iter().zip(news).filter(|(_, is_news)| *is_news) {
            let (key, revision) = (pod.key().clone(), pod.revision());
            let uid = brief(&pod).uid().to_owned();
            self.compare(pod);
            // One that waits for an address, or of which a write is under way.
            if self.pods.get(&*uid).is_none_or(|local| local.compared != Some(revision)) {
                self.again.insert(key);
            }
        }
    }

    /// Takes in an object that may have changed.
    fn compare(&mut self, stored: Arc<Stored>) {
        let object = object(&stored);
        let uid = object.uid();
        let Some(local) = self.pods.get_mut(uid) else { return };
        if local.stored.revision() != stored.revision() {
            self.runner.volumes.learn(&stored);
        }
        let revision = stored.revision();
        local.stored = stored;
        if std::mem::replace(&mut local.generation, object.generation()) != object.generation() {
            self.respec(uid);
        }
        self.judge_gates(uid);
        let Some(local) = self.pods.get_mut(uid) else { return };
        // What is under way may make a difference, so it is compared again after that.
        local.compared = Some(revision).filter(|_| local.writes.is_settled());
        // Somebody else (the leader, of a node it could not hear) wrote what is not so: set it right.
        if local.writes.is_settled() && is_ready(&object) != local.pod.is_ready() {
            local.writes.want_status();
            self.write(uid);
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

    fn begin(&mut self, stored: Arc<Stored>) {
        let (now, object) = (self.clock.now(), object(&stored));
        let typed: core::Pod = match object.read() {
            Ok(typed) => typed,
            Err(error) => return self.refuse(stored, "spec", &error.to_string(), now),
        };
        let recorded = self.records.newer(object.uid(), typed.status.as_ref());
        let before = recorded.as_ref().or(typed.status.as_ref());
        let ip = match self.address(before.and_then(|status| status.pod_ip.as_deref())) {
            Ok(ip) => ip,
            // It is looked at again with the next change: addresses come free as pods go.
            Err(error) => return tracing::warn!(pod = object.name(), error, "pod waits for an address"),
        };
        let spec = match self.read_spec(&typed) {
            Ok(spec) => spec,
            Err(error) => {
                self.release(ip);
                return self.refuse(stored, &error.field, &error.why, now);
            }
        };
        let ignored = spec::ignored(&typed);
        if !ignored.is_empty() && before.is_none_or(|status| status.pod_ip.is_none()) {
            let message = format!("no effect for WebAssembly: {}", ignored.join(", "));
            self.recorder.warn(&object, "FieldIgnored", &message, &self.tasks);
        }
        let started = before.and_then(|status| status.start_time.as_ref()).map_or(now, |time| time.0);
        let containers = status::take_over(&spec, before, now);
        let is_old = before.is_some_and(|status| status.pod_ip.is_some());
        self.runner.volumes.adopt(&stored, &spec, is_old);
        let mut pod = Pod::new(spec, containers, ip, started);
        let mut orders = Vec::new();
        if let Some((phase, failed)) = status::settled(before) {
            pod = pod.settled(phase, failed);
            orders.extend(recorded.is_some().then_some(Order::Report));
        } else if object.deletion_timestamp().is_none() {
            orders = pod.begin(now);
        }
        self.take_on(stored, &object, pod, orders);
    }

    fn take_on(&mut self, stored: Arc<Stored>, object: &Object, pod: Pod, orders: Vec<Order>) {
        let (uid, generation) = (Arc::clone(&pod.spec.uid), object.generation());
        tracing::info!(pod = %object.name(), namespace = %object.namespace(), %uid, "pod begins");
        let (runs, writes) = (Vec::new(), Writes::default());
        let local = Local { stored, generation, compared: None, pod, runs, writes };
        self.pods.insert(Arc::clone(&uid), Box::new(local));
        self.carry_out(&uid, orders);
        self.let_go(&uid);
    }

    /// A pod that this node cannot run fails at once, and says which field is the reason.
    fn refuse(&mut self, stored: Arc<Stored>, field: &str, why: &str, now: Timestamp) {
        let object = object(&stored);
        self.recorder.warn(&object, "UnsupportedSpec", &format!("{field}: {why}"), &self.tasks);
        let mut pod = Pod::refused(spec::bare(&object), field, why, now);
        let orders = pod.begin(now);
        self.take_on(stored, &object, pod, orders);
    }
}

fn is_ready(pod: &Object) -> bool {
    let ready = pod.items("/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    ready.is_some_and(|ready| ready["status"] == "True")
}

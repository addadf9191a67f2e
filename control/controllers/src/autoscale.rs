//! The autoscaler's facts: each HorizontalPodAutoscaler with what it scales, and the pods of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wk_api::selector::Labels;
use wk_api::{Kind, Object, kinds, strategy};
use wk_base::time::Timestamp;
use wk_cluster::{key, object, stored_kinds_in};
use wk_plan::{Plan, autoscaler};
use wk_store::View;

use crate::gather::{list, pods_in};
use crate::work::Desk;

/// The pass of the autoscaler's shell. It remembers what it recommended, for one leadership.
pub(crate) fn autoscale() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut memories: BTreeMap<String, autoscaler::Memory> = BTreeMap::new();
    move |desk, now| {
        let view = desk.cluster.store().view();
        let autoscalers = list(&view, &kinds::HORIZONTALPODAUTOSCALER);
        memories.retain(|uid, _| autoscalers.iter().any(|it| it.uid() == uid));
        if autoscalers.is_empty() {
            return Plan::default();
        }
        let usages = desk.measured.recent(now);
        let namespaces: BTreeSet<&str> = autoscalers.iter().map(|it| it.namespace()).collect();
        let pods = pods_in(&view, &namespaces);
        let mut plan = Plan::default();
        for autoscaler in autoscalers.iter().filter(|it| !it.is_deleting()) {
            let subject = subject(&view, autoscaler);
            let pods = subject.as_ref().map(|(kind, subject)| selected(kind, subject, &pods)).unwrap_or_default();
            let memory = memories.entry(autoscaler.uid().to_owned()).or_default();
            let input = autoscaler::Input {
                autoscaler,
                subject: subject.as_ref().map(|(kind, subject)| (*kind, &**subject)),
                pods: &pods,
                usages: usages.as_ref(),
                memory,
            };
            let (one, remembered) = autoscaler::plan(&input, now);
            *memory = remembered;
            plan.extend(one);
        }
        plan
    }
}

/// What is scaled. A custom kind keeps its replicas where its definition says, which an order cannot name yet.
fn subject(view: &View, autoscaler: &Object) -> Option<(&'static Kind, Arc<Object>)> {
    let (version, kind) =
        (autoscaler.text("/spec/scaleTargetRef/apiVersion"), autoscaler.text("/spec/scaleTargetRef/kind"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let fits = |it: &&Kind| it.kind == kind && it.group == group && it.has_scale && it.custom.is_none();
    let kind = stored_kinds_in(view).into_iter().find(fits)?;
    let stored = view.get(&key(kind, Some(autoscaler.namespace()), autoscaler.text("/spec/scaleTargetRef/name")))?;
    Some((kind, object(&stored)))
}

fn selected<'a>(kind: &Kind, subject: &Object, pods: &'a [Arc<Object>]) -> Vec<&'a Object> {
    let scale = strategy::scale_of(kind, subject).unwrap_or_default();
    let selector = scale.pointer("/status/selector").and_then(|text| text.as_str()).unwrap_or_default();
    let Ok(labels) = Labels::parse(selector) else { return Vec::new() };
    let own = pods.iter().filter(|pod| pod.namespace() == subject.namespace() && !labels.is_empty());
    own.filter(|pod| labels.matches(&pod.labels())).map(Arc::as_ref).collect()
}

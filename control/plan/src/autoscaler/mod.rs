//! HorizontalPodAutoscaler: as many replicas as keep the pods' use of CPU and memory near what is aimed at.
//!
//! The arithmetic is that of Kubernetes' *Horizontal Pod Autoscaling* page: the ratio of what is used to the aim, a tolerance of a
//! tenth, pods without metrics counted so that they slow a change down, a stabilization window, and policies for how fast.
//!
//! Not here: measuring. Metrics other than `Resource` and `ContainerResource` (custom, external) have no source in this cluster and
//! are reported as such.

mod metric;
mod pace;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::kinds::metrics::Amounts;
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::read;

pub use pace::Memory;

/// What containers use, by their pod's uid: name and amounts.
pub type Usages = BTreeMap<String, Vec<(String, Amounts)>>;

const COMPONENT: &str = "horizontal-pod-autoscaler";

/// What the decision is made from.
pub struct Input<'a> {
    /// The autoscaler.
    pub autoscaler: &'a Object,
    /// What it scales, if that is there.
    pub subject: Option<(&'static Kind, &'a Object)>,
    /// The pods that the subject selects.
    pub pods: &'a [&'a Object],
    /// What they use; `None` while nobody has measured.
    pub usages: Option<&'a Usages>,
    /// What was recommended before.
    pub memory: &'a Memory,
}

/// Sets the number of replicas, says why, and answers what to remember.
pub fn plan(input: &Input<'_>, now: Timestamp) -> (Plan, Memory) {
    let (mut plan, mut memory) = (Plan::default(), input.memory.clone());
    let Some((kind, subject)) = input.subject else {
        let reference = input.autoscaler.at("/spec/scaleTargetRef").cloned().unwrap_or_default();
        let name = format!("{} {:?}", read::text(&reference, "kind"), read::text(&reference, "name"));
        let message = format!("the HPA controller was unable to get the target's current scale: {name} not found");
        let able = condition("AbleToScale", "False", "FailedGetScale", &message);
        plan.extend(write(input.autoscaler, &[able], None, now));
        return (plan, memory);
    };
    let current = subject.int("/spec/replicas").unwrap_or(1);
    let bounds = Bounds::of(input.autoscaler);
    let seen = metric::all(input, current);
    let mut warning = None;
    let mut conditions = vec![condition(
        "AbleToScale",
        "True",
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    )];
    let desired = if current == 0 && bounds.min != 0 {
        let message = "scaling is disabled since the replica count of the target is zero";
        conditions.push(condition("ScalingActive", "False", "ScalingDisabled", message));
        current
    } else if let Some(wanted) = &seen.wanted {
        let message = format!("the HPA was able to successfully calculate a replica count from {}", wanted.because);
        conditions.push(condition("ScalingActive", "True", "ValidMetricFound", &message));
        let paced = memory.pace(input.autoscaler, current, wanted.replicas, &bounds, now);
        conditions.push(paced.limited);
        if let Some(able) = paced.able {
            conditions[0] = able;
        }
        paced.replicas
    } else {
        let (reason, message) = seen.failure.clone().unwrap_or(("FailedGetResourceMetric", "no metric".to_owned()));
        let told = format!("the HPA was unable to compute the replica count: {message}");
        let failed = condition("ScalingActive", "False", reason, &told);
        warning = news(input.autoscaler, &failed).then(|| Event {
            regarding: Target::incarnation(&kinds::HORIZONTALPODAUTOSCALER, input.autoscaler),
            kind: EventType::Warning,
            reason,
            message,
            component: COMPONENT,
        });
        conditions.push(failed);
        bounds.keep(current)
    };
    if desired != current {
        let because = seen.wanted.as_ref().map_or("current number of replicas out of bounds", |it| &it.because);
        let message = format!("New size: {desired}; reason: {because}");
        plan.say(format!("{}: {current} -> {desired}: {because}", input.autoscaler.name()));
        plan.orders.push(Order::Update {
            target: Target::version(kind, subject),
            change: json!({"spec": {"replicas": desired}}),
        });
        plan.orders.push(Order::Event(Event {
            regarding: Target::incarnation(&kinds::HORIZONTALPODAUTOSCALER, input.autoscaler),
            kind: EventType::Normal,
            reason: "SuccessfulRescale",
            message,
            component: COMPONENT,
        }));
        memory.scaled(current, desired, now);
    }
    let figures = json!({
        "currentReplicas": current, "desiredReplicas": desired, "currentMetrics": seen.current,
        "observedGeneration": input.autoscaler.generation(),
    });
    let scaled = (desired != current).then_some(now);
    plan.extend(write(input.autoscaler, &conditions, Some((figures, scaled)), now));
    // Told with the status that says it first, and not at each look.
    plan.orders.extend(warning.map(Order::Event));
    (plan, memory)
}

/// Whether a condition says something else than the one that is there.
fn news(autoscaler: &Object, condition: &Condition) -> bool {
    let known = conditions::find(autoscaler, condition.kind);
    known.is_none_or(|known| known["reason"] != condition.reason || known["message"] != condition.message.as_str())
}

/// `minReplicas` and `maxReplicas`.
pub(crate) struct Bounds {
    min: i64,
    max: i64,
}

impl Bounds {
    fn of(autoscaler: &Object) -> Self {
        let min = autoscaler.int("/spec/minReplicas").unwrap_or(1);
        Self { min, max: autoscaler.int("/spec/maxReplicas").unwrap_or(min).max(min) }
    }

    fn keep(&self, replicas: i64) -> i64 {
        replicas.clamp(self.min, self.max)
    }
}

fn condition(kind: &'static str, status: &'static str, reason: &'static str, message: &str) -> Condition {
    Condition { kind, status, reason, message: message.to_owned() }
}

/// The status, if it says something else than before.
fn write(
    autoscaler: &Object,
    wanted: &[Condition],
    figures: Option<(Value, Option<Timestamp>)>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let mut all = autoscaler.items("/status/conditions").to_vec();
    for condition in wanted {
        conditions::set(&mut all, condition, None, now);
    }
    let mut status = json!({"conditions": all});
    if let Some((figures, scaled)) = figures {
        for (name, value) in figures.as_object().into_iter().flatten() {
            status[name] = value.clone();
        }
        if let Some(scaled) = scaled {
            status["lastScaleTime"] = read::format_time(scaled);
        }
    }
    let same = status
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, value)| read::same(autoscaler.at(&format!("/status/{name}")).unwrap_or(&Value::Null), value));
    if !same {
        let target = Target::version(&kinds::HORIZONTALPODAUTOSCALER, autoscaler);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
    }
    plan
}

#[cfg(test)]
mod tests;

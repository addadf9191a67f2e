//! How many replicas each metric asks for.

use serde_json::{Value, json};
use wk_api::kinds::metrics::Amounts;
use wk_api::{Object, Quantity};

use super::Input;
use crate::{pod, read};

/// Nothing is changed for a ratio this near to one. Kubernetes' figure.
const TOLERANCE: f64 = 0.1;

/// What all metrics together say.
pub(super) struct Seen {
    /// The most that one of them asks for; none when none could be read, or when one could not and the rest ask for less
    /// than there is.
    pub(super) wanted: Option<Wanted>,
    /// Why the first that could not be read could not.
    pub(super) failure: Option<(&'static str, String)>,
    /// `status.currentMetrics`.
    pub(super) current: Vec<Value>,
}

pub(super) struct Wanted {
    pub(super) replicas: i64,
    /// In words for a condition: "cpu resource utilization (percentage of request)".
    pub(super) because: String,
}

type Failure = (&'static str, String);

pub(super) fn all(input: &Input<'_>, current: i64) -> Seen {
    let mut seen = Seen { wanted: None, failure: None, current: Vec::new() };
    for metric in input.autoscaler.items("/spec/metrics") {
        match one(metric, input, current) {
            Ok((wanted, figure)) => {
                seen.current.push(figure);
                if seen.wanted.as_ref().is_none_or(|best| wanted.replicas > best.replicas) {
                    seen.wanted = Some(wanted);
                }
            }
            Err(failure) => seen.failure = seen.failure.or(Some(failure)),
        }
    }
    if seen.failure.is_some() && seen.wanted.as_ref().is_some_and(|wanted| wanted.replicas < current) {
        // The one that is not known might need them.
        seen.wanted = None;
    }
    seen
}

/// What is aimed at.
enum Aim {
    /// Percent of what pods request.
    Utilization(i64),
    /// Thousandths of a unit for each pod.
    Average(i64),
}

fn one(metric: &Value, input: &Input<'_>, current: i64) -> Result<(Wanted, Value), Failure> {
    let kind = read::text(metric, "type");
    let (source, container) = match kind {
        "Resource" => (&metric["resource"], None),
        "ContainerResource" => {
            let source = &metric["containerResource"];
            (source, Some(read::text(source, "container")))
        }
        other => return Err(("InvalidMetricSourceType", format!("metrics of type {other} have no source here"))),
    };
    let name = read::text(source, "name");
    if !matches!(name, "cpu" | "memory") {
        return Err(("FailedGetResourceMetric", format!("{name} is not measured; cpu and memory are")));
    }
    let target = &source["target"];
    let aim = match (target["averageUtilization"].as_i64(), Quantity::from_value(&target["averageValue"])) {
        (Some(percent), _) if percent > 0 => Aim::Utilization(percent),
        (_, Ok(value)) if value.millis() > 0 => Aim::Average(value.millis()),
        _ => {
            return Err((
                "FailedGetResourceMetric",
                format!("the target of {name} is neither a percentage nor a value"),
            ));
        }
    };
    if matches!(aim, Aim::Utilization(_))
        && let Some(why) =
            input.pods.iter().filter(|pod| pod::is_active(pod)).find_map(|pod| lacks(pod, name, container))
    {
        return Err(("FailedGetResourceMetric", format!("failed to get {name} utilization: {why}")));
    }
    let groups = Groups::of(input, name, container)?;
    let (replicas, figure) = groups.replicas(&aim, name, current)?;
    let field = if container.is_some() { "containerResource" } else { "resource" };
    let mut shown = json!({"type": kind, field: {"name": name, "current": figure}});
    if let Some(container) = container {
        shown[field]["container"] = container.into();
    }
    let because = match aim {
        Aim::Utilization(_) => format!("{name} resource utilization (percentage of request)"),
        Aim::Average(_) => format!("{name} resource"),
    };
    Ok((Wanted { replicas, because }, shown))
}

/// The pods that count, as Kubernetes groups them.
struct Groups {
    /// Ready, and measured: used and requested, in thousandths.
    measured: Vec<(i64, Option<i64>)>,
    /// Not ready, so what they use says nothing yet.
    unready: Vec<Option<i64>>,
    /// Ready, and their node does not tell.
    missing: Vec<Option<i64>>,
}

impl Groups {
    fn of(input: &Input<'_>, name: &str, container: Option<&str>) -> Result<Self, Failure> {
        let failed = |why: String| ("FailedGetResourceMetric", format!("failed to get {name} utilization: {why}"));
        let Some(usages) = input.usages else { return Err(failed("nothing was measured yet".to_owned())) };
        let mut groups = Self { measured: Vec::new(), unready: Vec::new(), missing: Vec::new() };
        for pod in input.pods.iter().copied().filter(|pod| pod::is_active(pod)) {
            let request = request(pod, name, container);
            // Memory is held by a pod that is not ready as well.
            if pod::phase(pod) == "Pending" || (name == "cpu" && !pod::is_ready(pod)) {
                groups.unready.push(request);
                continue;
            }
            match usages.get(pod.uid()) {
                Some(containers) => groups.measured.push((used(containers, name, container), request)),
                None => groups.missing.push(request),
            }
        }
        if groups.measured.is_empty() {
            return Err(failed("no ready pod has metrics".to_owned()));
        }
        Ok(groups)
    }

    /// The number of replicas, and `current` of the metric's status.
    fn replicas(&self, aim: &Aim, name: &str, current: i64) -> Result<(i64, Value), Failure> {
        let used: i64 = self.measured.iter().map(|(used, _)| used).sum();
        let count = i64::try_from(self.measured.len()).unwrap_or(i64::MAX);
        let average = used / count.max(1);
        let mut figure = json!({"averageValue": quantity(name, average)});
        // What a pod would use at the aim, by its request where that counts.
        let at_aim = |request: Option<i64>| -> Result<f64, Failure> {
            match aim {
                Aim::Average(value) => Ok(as_float(*value)),
                Aim::Utilization(percent) => {
                    let request = request.filter(|request| *request > 0);
                    let missing = || ("FailedGetResourceMetric", format!("missing request for {name}"));
                    Ok(as_float(request.ok_or_else(missing)?) * as_float(*percent) / 100.0)
                }
            }
        };
        let sum = |requests: &[Option<i64>]| -> Result<f64, Failure> {
            requests.iter().try_fold(0.0, |sum, request| Ok(sum + at_aim(*request)?))
        };
        let measured: Vec<Option<i64>> = self.measured.iter().map(|(_, request)| *request).collect();
        let aimed = sum(&measured)?;
        if let Aim::Utilization(percent) = aim {
            figure["averageUtilization"] = whole(as_float(used) / aimed * as_float(*percent), f64::floor).into();
        }
        let ratio = as_float(used) / aimed;
        let others = self.unready.len() + self.missing.len();
        let near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        if near(ratio) {
            return Ok((current, figure));
        }
        if others == 0 || (self.missing.is_empty() && ratio < 1.0) {
            return Ok((whole(ratio * as_float(count), f64::ceil), figure));
        }
        // Those that nobody knows of are taken to use nothing when more are asked for, and what is aimed at when fewer
        // are: either way they slow the change down.
        let mut aimed = aimed + sum(&self.missing)?;
        let mut total = as_float(used);
        let mut pods = count + i64::try_from(self.missing.len()).unwrap_or(i64::MAX);
        if ratio < 1.0 {
            total += sum(&self.missing)?;
        } else {
            aimed += sum(&self.unready)?;
            pods += i64::try_from(self.unready.len()).unwrap_or(i64::MAX);
        }
        let damped = total / aimed;
        let turned = (ratio > 1.0) != (damped > 1.0);
        if near(damped) || turned {
            return Ok((current, figure));
        }
        let replicas = whole(damped * as_float(pods), f64::ceil);
        let overshoots = (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current);
        Ok((if overshoots { current } else { replicas }, figure))
    }
}

/// Thousandths of a core or of a byte that a pod, or one container of it, uses.
fn used(containers: &[(String, Amounts)], name: &str, container: Option<&str>) -> i64 {
    let of = |amounts: &Amounts| {
        let millis =
            if name == "cpu" { amounts.nanocores.div_ceil(1_000_000) } else { amounts.memory.saturating_mul(1000) };
        i64::try_from(millis).unwrap_or(i64::MAX)
    };
    let chosen = containers.iter().filter(|(name, _)| container.is_none_or(|wanted| wanted == name));
    chosen.fold(0, |sum: i64, (_, amounts)| sum.saturating_add(of(amounts)))
}

/// Which container requests nothing of what is to be a part of the request, in Kubernetes' words.
fn lacks(pod: &Object, name: &str, container: Option<&str>) -> Option<String> {
    let chosen = pod.items("/spec/containers").iter();
    let mut chosen = chosen.filter(|it| container.is_none_or(|wanted| read::text(it, "name") == wanted));
    let lacking = chosen.find(|it| it.pointer(&format!("/resources/requests/{name}")).is_none())?;
    Some(format!("missing request for {name} in container {} of Pod {}", read::text(lacking, "name"), pod.name()))
}

/// Thousandths that it requests; none if one of its containers requests nothing.
fn request(pod: &Object, name: &str, container: Option<&str>) -> Option<i64> {
    let containers = pod.items("/spec/containers").iter();
    let mut chosen = containers.filter(|it| container.is_none_or(|wanted| read::text(it, "name") == wanted)).peekable();
    chosen.peek()?;
    chosen.try_fold(0, |sum: i64, container| {
        let amount = container.pointer(&format!("/resources/requests/{name}"))?;
        Some(sum.saturating_add(Quantity::from_value(amount).ok()?.millis()))
    })
}

fn quantity(name: &str, millis: i64) -> String {
    if name == "cpu" {
        Quantity::from_millis(millis).to_string()
    } else {
        Quantity::from_bytes(millis / 1000).to_string()
    }
}

#[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^52, and a ratio is wanted")]
fn as_float(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a cast of a float stops at the bounds of the integer")]
fn whole(number: f64, round: fn(f64) -> f64) -> i64 {
    // 4.0000001 pods are four: what a division left over is no pod.
    round((number * 1e6).round() / 1e6) as i64
}

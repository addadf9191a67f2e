//! `wk autoscale`: makes a HorizontalPodAutoscaler for an object.

use serde_json::{Value, json};

use super::pick::pick;
use super::writing::Writing;
use crate::args::AutoscaleArgs;
use crate::client::{Client, Resource};
use crate::discovery::Kinds;
use crate::exit::{ExitError, usage};
use crate::render::Ui;

/// Percent of the request that is aimed at when nothing is said, as with kubectl.
const CPU_DEFAULT: &str = "80%";

/// Creates the autoscalers.
pub(super) async fn run(client: &Client, args: &AutoscaleArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if args.max < args.min || args.max == 0 {
        return Err(usage(format!("--max {} must be at least 1 and at least --min {}", args.max, args.min)).into());
    }
    let metrics = metrics(args)?;
    let kinds = Kinds::discover(client).await?;
    let resource = Resource {
        version: "v2".to_owned(),
        singular: "horizontalpodautoscaler".to_owned(),
        ..Resource::known("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
    };
    let writing = Writing { client, args: &args.write };
    for one in pick(client, &kinds, &args.pick).await? {
        let target = one.get(client).await?;
        let name = args.name.as_ref().unwrap_or(&one.name);
        let object = json!({
            "apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"name": name, "namespace": one.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": one.resource.api_version(), "kind": one.resource.kind, "name": one.name},
                "minReplicas": args.min, "maxReplicas": args.max, "metrics": metrics,
            },
        });
        let now = writing.create(&resource, &one.namespace, &object).await?;
        writing.report(&resource, now, "autoscaled", ui)?;
        for note in notes(&target, &metrics) {
            ui.note(&note);
        }
    }
    Ok(())
}

fn metrics(args: &AutoscaleArgs) -> Result<Vec<Value>, ExitError> {
    let nothing = args.cpu.is_none() && args.memory.is_none();
    let cpu = args.cpu.as_deref().or(nothing.then_some(CPU_DEFAULT));
    let named = [("cpu", cpu), ("memory", args.memory.as_deref())];
    named.into_iter().filter_map(|(name, aim)| Some(metric(name, aim?))).collect()
}

fn metric(name: &str, aim: &str) -> Result<Value, ExitError> {
    let percent = aim.strip_suffix('%').or(if name == "cpu" && aim.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(aim)
    } else {
        None
    });
    let target = if let Some(percent) = percent {
        let percent: u32 =
            percent.parse().map_err(|_| usage(format!("--{name} {aim:?} is no percentage such as 80%")))?;
        json!({"type": "Utilization", "averageUtilization": percent})
    } else {
        wk_api::Quantity::parse(aim).map_err(|error| usage(format!("--{name} {aim:?}: {error}")))?;
        json!({"type": "AverageValue", "averageValue": aim})
    };
    Ok(json!({"type": "Resource", "resource": {"name": name, "target": target}}))
}

/// What keeps an autoscaler from ever acting: an aim in percent of what a container does not request.
fn notes(target: &Value, metrics: &[Value]) -> Vec<String> {
    let containers = target.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    let wants = |metric: &&Value| metric["resource"]["target"]["type"] == "Utilization";
    let names = metrics.iter().filter(wants).filter_map(|metric| metric["resource"]["name"].as_str());
    let lacks = |name: &str| {
        let asks = |container: &&Value| {
            // A limit is the request of who says nothing else.
            ["requests", "limits"].iter().all(|list| container["resources"][*list][name].is_null())
        };
        let container = containers.iter().find(asks)?["name"].as_str()?.to_owned();
        let example = if name == "cpu" { "100m" } else { "64Mi" };
        Some(format!(
            "note: container {container} requests no {name}, and the aim is a percentage of that: nothing is scaled until it \
             does (wk deploy FILE.wasm --{name} {example}, or kubectl set resources … --requests={name}={example})"
        ))
    };
    names.filter_map(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_in_percent_of_nothing_is_told() {
        let target = |resources: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": resources}]}}}});
        let cpu = [metric("cpu", "50%").expect("percent")];
        let told = notes(&target(json!({})), &cpu);
        assert!(told.len() == 1 && told[0].contains("container web requests no cpu"), "{told:?}");
        assert!(notes(&target(json!({"requests": {"cpu": "1"}})), &cpu).is_empty());
        assert!(notes(&target(json!({"limits": {"cpu": "1"}})), &cpu).is_empty());
        assert!(notes(&target(json!({})), &[metric("cpu", "500m").expect("amount")]).is_empty());
        assert!(notes(&json!({}), &cpu).is_empty(), "what is not known is not told");
    }

    #[test]
    fn aims_are_percentages_or_amounts() {
        assert_eq!(metric("cpu", "70").expect("percent")["resource"]["target"]["averageUtilization"], 70);
        assert_eq!(metric("memory", "70%").expect("percent")["resource"]["target"]["type"], "Utilization");
        assert_eq!(metric("cpu", "500m").expect("amount")["resource"]["target"]["averageValue"], "500m");
        assert!(metric("cpu", "x%").is_err() && metric("memory", "lots").is_err());
    }
}

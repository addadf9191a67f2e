//! What makes pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs.

use serde_json::Value;

use super::page::{NONE, Page, list, number, selector, text};
use super::pod;
use crate::client::{Client, Query, Resource};

/// A workload of the given kind.
pub(super) async fn describe(page: &mut Page, client: &Client, object: &Value, kind: &str) -> anyhow::Result<()> {
    if let Some(of) = object.pointer("/spec/selector") {
        page.line("Selector", &selector(of));
    }
    match kind {
        "Deployment" => deployment(page, client, object).await?,
        "DaemonSet" => daemon_set(page, object),
        "Job" => job(page, object.get("spec").unwrap_or(&Value::Null), Some(object)),
        "CronJob" => cron_job(page, object),
        _ => replicas(page, client, object).await?,
    }
    if kind != "CronJob" {
        page.section("Pod Template", |page| pod::template(page, &object["spec"]["template"]));
    }
    page.conditions(object);
    Ok(())
}

async fn deployment(page: &mut Page, client: &Client, object: &Value) -> anyhow::Result<()> {
    let count = |key: &str| number(object, &format!("/status/{key}"));
    page.line(
        "Replicas",
        &format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1),
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
            count("unavailableReplicas")
        ),
    );
    page.line("Strategy", text(object, "/spec/strategy/type"));
    if let Some(rolling) = object.pointer("/spec/strategy/rollingUpdate") {
        let of = |key: &str| rolling.get(key).map(crate::render::jsonpath::shown).unwrap_or_default();
        page.line("Rolling Update", &format!("{} max unavailable, {} max surge", of("maxUnavailable"), of("maxSurge")));
    }
    page.line("Min Ready Seconds", &number(object, "/spec/minReadySeconds").to_string());
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        page.line("Paused", "true: changes wait for `wk rollout resume`");
    }
    let (mut new, mut old) = (Vec::new(), Vec::new());
    let revision = |object: &Value| {
        object.pointer("/metadata/annotations")?.get("deployment.kubernetes.io/revision")?.as_str().map(str::to_owned)
    };
    for set in owned(client, object, &Resource::known("apps", "ReplicaSet", "replicasets")).await? {
        let (wanted, made) = (number(&set, "/spec/replicas"), number(&set, "/status/replicas"));
        let told = format!("{} ({made}/{wanted} replicas created)", text(&set, "/metadata/name"));
        if revision(&set) == revision(object) {
            new.push(told);
        } else if wanted > 0 || made > 0 {
            old.push(told);
        }
    }
    page.line("Old ReplicaSets", &old.join("\n"));
    page.line("New ReplicaSet", &new.join("\n"));
    Ok(())
}

async fn replicas(page: &mut Page, client: &Client, object: &Value) -> anyhow::Result<()> {
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    page.line("Replicas", &format!("{} current / {wanted} desired", number(object, "/status/replicas")));
    page.field("Update Strategy", object, "/spec/updateStrategy/type");
    let pods = owned(client, object, &Resource::pods()).await?;
    page.line("Pods Status", &phases(&pods));
    Ok(())
}

fn daemon_set(page: &mut Page, object: &Value) {
    for (name, key) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        page.line(name, &number(object, &format!("/status/{key}")).to_string());
    }
}

fn job(page: &mut Page, spec: &Value, object: Option<&Value>) {
    page.field("Parallelism", spec, "/parallelism");
    let completions = spec.get("completions").map_or_else(|| NONE.to_owned(), ToString::to_string);
    page.line("Completions", &completions);
    page.field("Completion Mode", spec, "/completionMode");
    page.field("Suspend", spec, "/suspend");
    page.field("Backoff Limit", spec, "/backoffLimit");
    page.field("Active Deadline Seconds", spec, "/activeDeadlineSeconds");
    let Some(object) = object else { return };
    page.some("Start Time", text(object, "/status/startTime"));
    page.some("Completed At", text(object, "/status/completionTime"));
    let count = |key: &str| number(object, &format!("/status/{key}"));
    page.line(
        "Pods Statuses",
        &format!("{} Active / {} Succeeded / {} Failed", count("active"), count("succeeded"), count("failed")),
    );
}

fn cron_job(page: &mut Page, object: &Value) {
    page.line("Schedule", text(object, "/spec/schedule"));
    page.field("Time Zone", object, "/spec/timeZone");
    page.line("Concurrency Policy", text(object, "/spec/concurrencyPolicy"));
    page.field("Suspend", object, "/spec/suspend");
    page.field("Successful Job History Limit", object, "/spec/successfulJobsHistoryLimit");
    page.field("Failed Job History Limit", object, "/spec/failedJobsHistoryLimit");
    page.field("Starting Deadline Seconds", object, "/spec/startingDeadlineSeconds");
    let active: Vec<&str> = list(object, "/status/active").map(|job| text(job, "/name")).collect();
    page.line("Last Schedule Time", text(object, "/status/lastScheduleTime"));
    page.line("Active Jobs", &active.join(", "));
    let spec = object.pointer("/spec/jobTemplate/spec").unwrap_or(&Value::Null);
    page.section("Job Template", |page| {
        job(page, spec, None);
        page.section("Pod Template", |page| pod::template(page, &spec["template"]));
    });
}

/// The objects of a kind that this one controls.
async fn owned(client: &Client, object: &Value, resource: &Resource) -> anyhow::Result<Vec<Value>> {
    let uid = text(object, "/metadata/uid");
    let labels = object.pointer("/spec/selector").map(selector).filter(|labels| !labels.is_empty());
    let query = Query::default().maybe("labelSelector", labels);
    let mut found = client.list(&resource.collection(Some(text(object, "/metadata/namespace"))), query).await?;
    found.retain(|one| list(one, "/metadata/ownerReferences").any(|owner| text(owner, "/uid") == uid));
    Ok(found)
}

fn phases(pods: &[Value]) -> String {
    let count = |phase: &str| pods.iter().filter(|pod| text(pod, "/status/phase") == phase).count();
    format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        count("Running"),
        count("Pending"),
        count("Succeeded"),
        count("Failed")
    )
}

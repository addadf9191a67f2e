//! What runs an image: Deployments, Jobs, CronJobs.

use serde_json::{Value, json};

use super::Made;
use crate::args::{CronJobArgs, JobArgs, RunArgs};
use crate::client::{Client, JSON, Resource};
use crate::exit::{ExitError, usage};

/// A Deployment.
pub(super) fn deployment(args: &RunArgs) -> Made {
    let labels = json!({"app": args.named.name});
    let containers: Vec<Value> = args
        .image
        .iter()
        .map(|image| {
            let mut container = container(image, &args.command);
            if let Some(port) = args.port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        })
        .collect();
    let object = json!({"metadata": {"labels": labels}, "spec": {
        "replicas": args.replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    }});
    Made::of("apps", "Deployment", "deployments", object)
}

/// A Job.
pub(super) async fn job(client: &Client, args: &JobArgs) -> anyhow::Result<Made> {
    let jobs = |object| Made::of("batch", "Job", "jobs", object);
    if let Some(from) = &args.from {
        let name = from
            .strip_prefix("cronjob/")
            .or_else(|| from.strip_prefix("cj/"))
            .ok_or_else(|| usage(format!("--from {from:?} is not cronjob/NAME")))?;
        let resource = Resource::known("batch", "CronJob", "cronjobs");
        let of = client.get(&resource.object(client.namespace(), name), JSON).await?;
        return Ok(jobs(of_cron_job(&of)?));
    }
    let container = container(args.image.as_deref().unwrap_or_default(), &args.command);
    Ok(jobs(json!({"spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}})))
}

fn of_cron_job(of: &Value) -> Result<Value, ExitError> {
    let template = of.pointer("/spec/jobTemplate").ok_or_else(|| usage("the CronJob has no template"))?;
    let mut annotations = template.pointer("/metadata/annotations").cloned().unwrap_or_else(|| json!({}));
    annotations["cronjob.kubernetes.io/instantiate"] = "manual".into();
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": of.pointer("/metadata/name"),
        "uid": of.pointer("/metadata/uid"), "controller": true});
    Ok(json!({
        "metadata": {"annotations": annotations, "labels": template.pointer("/metadata/labels"), "ownerReferences": [owner]},
        "spec": template.get("spec"),
    }))
}

/// A CronJob.
pub(super) fn cron_job(args: &CronJobArgs) -> Made {
    let container = container(&args.image, &args.command);
    let pod = json!({"spec": {"containers": [container], "restartPolicy": args.restart}});
    let object = json!({"spec": {"schedule": args.schedule, "jobTemplate": {
        "metadata": {"name": args.named.name}, "spec": {"template": pod}}}});
    Made::of("batch", "CronJob", "cronjobs", object)
}

fn container(image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": container_name(image), "image": image});
    if !command.is_empty() {
        container["command"] = command.to_vec().into();
    }
    container
}

/// The last part of an image's name without tag and digest, as a DNS label.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let last = last.split(['@', ':']).next().unwrap_or(last);
    let name: String =
        last.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "main".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_their_image() {
        for (image, name) in
            [("nginx", "nginx"), ("registry.local:5000/a/My_App:1.2", "my-app"), ("x@sha256:00", "x"), ("", "main")]
        {
            assert_eq!(container_name(image), name);
        }
    }
}

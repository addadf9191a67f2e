//! GET of `pods/<name>/log`: which container is meant, and what of its output. The output itself comes from the node.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use wk_api::{Errors, FieldError, FieldReason, Object, Reason, Status};
use wk_base::body::{Body, empty};
use wk_base::time::Timestamp;
use wk_cluster::Freshness;

use crate::query::Query;
use crate::respond::{Content, Reply};
use crate::seams::{LOG_LEVELS, LogOptions};
use crate::server::ApiServer;
use crate::verbs::Call;

pub(super) async fn run(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let pod = server.cluster.get(call.kind(), call.namespace(), call.name(), Freshness::Linearizable).await?;
    stream(server, call, &pod, call.query.text("container")).await
}

/// The output of one of the pod's containers.
pub(super) async fn stream(server: &ApiServer, call: &Call, pod: &Object, asked: &str) -> Result<Reply, Status> {
    let options = options(&call.query, pod.name(), server.cluster.clock().now())?;
    let container = container(pod, asked)?;
    let node = pod.text("/spec/nodeName");
    let body: Body = if node.is_empty() {
        // Nothing has run yet: Kubernetes answers with nothing too.
        empty()
    } else {
        let body = server.pods.logs(node, pod.uid(), container, &options).await;
        let body = body.map_err(|status| match status.reason {
            Reason::BadRequest if options.previous => Status::bad_request(format!(
                "previous terminated container {container:?} in pod {:?} not found",
                pod.name()
            )),
            _ => status,
        })?;
        crate::body::until(body, server.shutdown.clone().cancelled_owned())
    };
    Ok(Reply::new(StatusCode::OK, Content::Stream { media_type: "text/plain", body }))
}

/// The container that is meant, or why it cannot be told.
pub(super) fn container<'a>(pod: &'a Object, asked: &str) -> Result<&'a str, Status> {
    let names = |pointer: &str| -> Vec<&'a str> {
        pod.items(pointer).iter().filter_map(|container| container.get("name").and_then(Value::as_str)).collect()
    };
    let (main, init) = (names("/spec/containers"), names("/spec/initContainers"));
    let others = names("/spec/ephemeralContainers");
    let refuse = |message: String| Err(Status::bad_request(message));
    match (asked, main.as_slice()) {
        ("", [only]) if init.is_empty() => Ok(only),
        ("", _) => {
            let init = match init.as_slice() {
                [] => String::new(),
                init => format!(" or one of the init containers: [{}]", init.join(" ")),
            };
            let (pod, main) = (pod.name(), main.join(" "));
            let message = format!("a container name must be specified for pod {pod}, choose one of: [{main}]{init}");
            refuse(message)
        }
        (asked, main) => match main.iter().chain(&init).chain(&others).find(|name| **name == asked) {
            Some(name) => Ok(name),
            None => refuse(format!("container {asked} is not valid for pod {}", pod.name())),
        },
    }
}

fn options(query: &Query, pod: &str, now: Timestamp) -> Result<LogOptions, Status> {
    let mut errors = Errors::new();
    let mut at_least = |name: &str, least: i64| -> Result<Option<u64>, Status> {
        let number = query.number(name)?;
        if let Some(number) = number.filter(|number| *number < least) {
            let detail = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.invalid(name, &number.into(), detail);
        }
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    };
    let tail_lines = at_least("tailLines", 0)?;
    let limit_bytes = at_least("limitBytes", 1)?;
    let since_seconds = at_least("sinceSeconds", 1)?;
    let mut since = since_seconds.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)).ok());
    if let Some(text) = query.get("sinceTime").filter(|text| !text.is_empty()) {
        match text.parse::<Timestamp>() {
            Ok(_) if since_seconds.is_some() => {
                errors.forbidden("sinceTime", "at most one of `sinceTime` or `sinceSeconds` may be specified");
            }
            Ok(time) => since = Some(time),
            Err(error) => errors.invalid_str("sinceTime", text, &error.to_string()),
        }
    }
    let stream = query.text("stream");
    if !matches!(stream, "" | "All") {
        let message = "Forbidden: may not be specified: standard output and error are kept together".to_owned();
        errors.push("stream", FieldReason::Forbidden, message);
    }
    let level = query.text("level");
    if !level.is_empty() && !LOG_LEVELS.contains(&level) {
        errors.not_supported("level", level, &LOG_LEVELS);
    }
    let errors: Vec<FieldError> = errors.into();
    if !errors.is_empty() {
        return Err(Status::invalid_named("", "PodLogOptions", pod, &errors));
    }
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines,
        since,
        limit_bytes,
        level: Some(level.to_owned()).filter(|level| !level.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str]) -> Object {
        let containers: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
        Object(json!({ "metadata": { "name": "p" }, "spec": { "containers": containers } }))
    }

    #[test]
    fn the_only_container_need_not_be_named() {
        assert_eq!(container(&pod(&["a"]), "").expect("the only one"), "a");
        assert_eq!(container(&pod(&["a", "b"]), "b").expect("named"), "b");
        let unclear = container(&pod(&["a", "b"]), "").expect_err("two of them");
        assert_eq!(unclear.message, "a container name must be specified for pod p, choose one of: [a b]");
        assert_eq!(container(&pod(&["a"]), "x").expect_err("unknown").message, "container x is not valid for pod p");
    }

    #[test]
    fn log_options_are_read_and_all_mistakes_told_at_once() {
        let now: Timestamp = "2025-01-01T00:01:00Z".parse().expect("a time");
        let query = Query::parse(Some("tailLines=5&sinceSeconds=60&follow=true"));
        let read = options(&query, "p", now).expect("valid");
        assert_eq!((read.tail_lines, read.follow), (Some(5), true));
        assert_eq!(read.since, Some("2025-01-01T00:00:00Z".parse().expect("a time")));
        let refused = options(&Query::parse(Some("tailLines=-1&limitBytes=0")), "p", now).expect_err("two mistakes");
        assert_eq!((refused.code, refused.details.map(|details| details.causes.len())), (422, Some(2)));
    }
}

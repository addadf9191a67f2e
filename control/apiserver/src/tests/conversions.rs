//! Kinds whose versions a webhook converts: watched and applied in a version that is not stored.

use http::Method;
use serde_json::{Value, json};
use wk_base::body::full;

use super::customs::{DEFINITIONS, WIDGETS, widget};
use super::kit::{Answer, Harness, JSON, names, pair};
use super::webhooks::{convert, start, two_versions};

const BETA: &str = "/apis/example.com/v1beta1/namespaces/default/widgets";

async fn apply(api: &Harness, path: &str, manager: &str, config: &Value) -> Answer {
    let path = format!("{path}/a?fieldManager={manager}");
    api.send(Method::PATCH, &path, &[("content-type", "application/apply-patch+yaml")], full(config.to_string())).await
}

fn config(version: &str, spec: &Value) -> Value {
    let mut config = widget("a", spec);
    config["apiVersion"] = format!("example.com/{version}").into();
    config
}

fn managers(object: &Value) -> Vec<(String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries.map(|entry| (text(&entry["manager"]), text(&entry["apiVersion"]))).collect()
}

#[tokio::test]
async fn a_watch_shows_each_change_in_the_version_that_is_watched() {
    let api = Harness::start().await;
    let hook = start(convert).await;
    api.post(DEFINITIONS, &two_versions(&hook)).await.expect(201);
    api.post(WIDGETS, &widget("a", &json!({ "size": "small" }))).await.expect(201);
    let mut events = api.watch(&format!("{BETA}?watch=true"), JSON).await;
    let first = events.next().await.expect("an event");
    assert_eq!((&first["type"], &first["object"]["apiVersion"]), (&json!("ADDED"), &json!("example.com/v1beta1")));
    assert_eq!(first["object"]["spec"], json!({ "extent": "small", "replicas": 1 }), "{first}");
    api.post(WIDGETS, &widget("b", &json!({ "size": "large" }))).await.expect(201);
    assert_eq!(events.short().await, pair("ADDED", "b"));
    api.patch(&format!("{WIDGETS}/a"), &json!({ "spec": { "size": "large" } })).await.expect(200);
    let changed = events.next().await.expect("an event");
    assert_eq!((&changed["type"], &changed["object"]["spec"]["extent"]), (&json!("MODIFIED"), &json!("large")));
    api.delete(&format!("{WIDGETS}/a"), &json!({})).await.expect(200);
    let gone = events.next().await.expect("an event");
    assert_eq!((&gone["type"], &gone["object"]["spec"]["extent"]), (&json!("DELETED"), &json!("large")));
    // Only what has to be converted is asked about.
    let asked = hook.requests().len();
    let mut stored = api.watch(&format!("{WIDGETS}?watch=true"), JSON).await;
    assert_eq!(stored.short().await, pair("ADDED", "b"));
    assert_eq!(hook.requests().len(), asked);
}

#[tokio::test]
async fn what_is_applied_in_one_version_is_owned_in_it_and_defended_in_the_other() {
    let api = Harness::start().await;
    let hook = start(convert).await;
    api.post(DEFINITIONS, &two_versions(&hook)).await.expect(201);
    let made = apply(&api, BETA, "one", &config("v1beta1", &json!({ "extent": "small" }))).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["extent"]), (&json!("example.com/v1beta1"), &json!("small")));
    let stored = api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(stored["spec"]["size"], "small");
    assert_eq!(managers(&stored), [("one".to_owned(), "example.com/v1beta1".to_owned())]);

    let same = config("v1", &json!({ "size": "small" }));
    let shared = apply(&api, WIDGETS, "two", &same).await.expect(200);
    assert_eq!(managers(&shared).len(), 2, "{shared}");
    let other = config("v1", &json!({ "size": "large" }));
    let refused = apply(&api, WIDGETS, "two", &other).await.expect(409);
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.extent", "{refused}");
    let forced = apply(&api, WIDGETS, "two&force=true", &other).await.expect(200);
    assert_eq!(managers(&forced), [("two".to_owned(), "example.com/v1".to_owned())]);
    assert_eq!(api.get(&format!("{BETA}/a")).await.expect(200)["spec"]["extent"], "large");
    // Twice is once.
    let again = apply(&api, WIDGETS, "two", &other).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], forced["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_webhook_that_answers_with_another_object_is_refused() {
    let api = Harness::start().await;
    let hook = start(|path, request| {
        let mut answer = convert(path, request);
        answer["convertedObjects"][0]["metadata"]["name"] = "other".into();
        answer
    })
    .await;
    api.post(DEFINITIONS, &two_versions(&hook)).await.expect(201);
    api.post(WIDGETS, &widget("a", &json!({ "size": "small" }))).await.expect(201);
    let refused = api.get(&format!("{BETA}/a")).await.expect(500);
    let expected = "Internal error occurred: conversion webhook for example.com/v1beta1, Kind=Widget returned invalid \
                    converted object at index 0: must have the same name: a != other";
    assert_eq!(refused["message"], expected);
}

#[tokio::test]
async fn selectors_look_at_the_fields_of_the_version_that_is_asked_for() {
    let api = Harness::start().await;
    let hook = start(convert).await;
    let mut definition = two_versions(&hook);
    let mut versions = definition["spec"]["versions"].as_array_mut().expect("versions").iter_mut();
    let beta = versions.find(|version| version["name"] == "v1beta1").expect("the other version");
    beta["selectableFields"] = json!([{ "jsonPath": ".spec.extent" }]);
    api.post(DEFINITIONS, &definition).await.expect(201);
    let small = format!("{BETA}?fieldSelector=spec.extent%3Dsmall");
    let mut events = api.watch(&format!("{small}&watch=true"), JSON).await;
    for (name, size) in [("a", "small"), ("b", "small"), ("c", "large"), ("d", "small")] {
        api.post(WIDGETS, &widget(name, &json!({ "size": size }))).await.expect(201);
    }
    assert_eq!(names(&api.get(&small).await.expect(200)), ["a", "b", "d"]);
    let first = api.get(&format!("{small}&limit=2")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    let second = api.get(&format!("{small}&limit=2&continue={token}")).await.expect(200);
    assert_eq!((names(&first), names(&second)), (vec!["a".to_owned(), "b".to_owned()], vec!["d".to_owned()]));
    for name in ["a", "b", "d"] {
        assert_eq!(events.short().await, pair("ADDED", name));
    }
    let mut present = api.watch(&format!("{small}&watch=true"), JSON).await;
    assert_eq!(present.short().await, pair("ADDED", "a"));

    api.patch(&format!("{WIDGETS}/a"), &json!({ "metadata": { "labels": { "one": "two" } } })).await.expect(200);
    assert_eq!(events.short().await, pair("MODIFIED", "a"));
    api.patch(&format!("{WIDGETS}/a"), &json!({ "spec": { "size": "large" } })).await.expect(200);
    let left = events.next().await.expect("an event");
    assert_eq!((&left["type"], &left["object"]["spec"]["extent"]), (&json!("DELETED"), &json!("small")));
    let now = api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(left["object"]["metadata"]["resourceVersion"], now["metadata"]["resourceVersion"]);
    let gone = api.send(Method::DELETE, &small, &[], full(String::new())).await.expect(200);
    let shown = |item: &Value| (item["apiVersion"].clone(), item["spec"]["extent"].clone());
    let beta = (json!("example.com/v1beta1"), json!("small"));
    assert_eq!(gone["items"].as_array().expect("a list").iter().map(shown).collect::<Vec<_>>(), [beta.clone(), beta]);
    assert_eq!(events.short().await, pair("DELETED", "b"));
    assert_eq!(events.short().await, pair("DELETED", "d"));
    assert_eq!(names(&api.get(WIDGETS).await.expect(200)), ["a", "c"]);
}

//! Watches: where they begin, what they show, how they end.

use serde_json::{Value, json};

use super::kit::{CONFIG_MAPS, Harness, JSON, TABLE, config_map, pair};

fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned()
}

#[tokio::test]
async fn without_a_revision_a_watch_begins_with_what_is_there() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b"]).await;
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true"), JSON).await;
    assert_eq!(events.short().await, pair("ADDED", "a"));
    assert_eq!(events.short().await, pair("ADDED", "b"));
    api.post(CONFIG_MAPS, &config_map("c", &[])).await.expect(201);
    assert_eq!(events.short().await, pair("ADDED", "c"));
    let patched = api.patch(&format!("{CONFIG_MAPS}/a"), &json!({ "data": { "x": "y" } })).await.expect(200);
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]), (&json!("MODIFIED"), &patched));
    api.delete(&format!("{CONFIG_MAPS}/a"), &json!({})).await.expect(200);
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("DELETED"), &json!("y")));
    let (before, after): (u64, u64) =
        (revision(&patched).parse().expect("a number"), revision(&event["object"]).parse().expect("a number"));
    assert!(after > before, "a deletion has a revision of its own");
}

#[tokio::test]
async fn after_a_list_a_watch_shows_what_came_later_and_nothing_else() {
    let api = Harness::start().await;
    api.config_maps(&["a"]).await;
    let list = api.get(CONFIG_MAPS).await.expect(200);
    api.post(CONFIG_MAPS, &config_map("b", &[])).await.expect(201);
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", revision(&list));
    let mut events = api.watch(&path, JSON).await;
    assert_eq!(events.short().await, pair("ADDED", "b"));
    let mut other = api
        .watch(&format!("/api/v1/namespaces/kube-system/configmaps?{}", path.split_once('?').expect("a query").1), JSON)
        .await;
    api.post("/api/v1/namespaces/kube-system/configmaps", &config_map("z", &[])).await.expect(201);
    assert_eq!(other.short().await, pair("ADDED", "z"), "another namespace's objects are not shown");
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let api = Harness::start().await;
    let labels = |value: &str| json!({ "metadata": { "labels": { "tier": value } } });
    api.post(CONFIG_MAPS, &config_map("a", &[("tier", "web")])).await.expect(201);
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true&labelSelector=tier%3Dweb"), JSON).await;
    assert_eq!(events.short().await, pair("ADDED", "a"));
    let left = api.patch(&format!("{CONFIG_MAPS}/a"), &labels("db")).await.expect(200);
    let event = events.next().await.expect("an event");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["tier"], "web", "the last state that matched");
    assert_eq!(revision(&event["object"]), revision(&left));
    api.post(CONFIG_MAPS, &config_map("unseen", &[])).await.expect(201);
    api.patch(&format!("{CONFIG_MAPS}/a"), &labels("web")).await.expect(200);
    assert_eq!(events.short().await, pair("ADDED", "a"));
}

#[tokio::test]
async fn a_selective_watch_outlives_changes_that_it_does_not_select() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b"]).await;
    let list = api.get(CONFIG_MAPS).await.expect(200);
    let watch = |selector: &str| format!("{CONFIG_MAPS}?watch=true&resourceVersion={}&{selector}", revision(&list));
    let labels = watch("labelSelector=index%3D0&allowWatchBookmarks=true&timeoutSeconds=2");
    let mut labels = api.watch(&labels, JSON).await;
    let mut name = api.watch(&watch("fieldSelector=metadata.name%3Da"), JSON).await;
    let mut all = api.watch(&watch("labelSelector=index"), JSON).await;
    api.overflow_history(&format!("{CONFIG_MAPS}/b")).await;
    let last = api.patch(&format!("{CONFIG_MAPS}/a"), &json!({ "data": { "x": "y" } })).await.expect(200);
    assert_eq!(labels.next().await.expect("an event")["object"], last);
    assert_eq!(name.next().await.expect("an event")["object"], last);
    assert_eq!(all.next().await.expect("an event")["object"]["code"], 410, "its own changes were lost");
    let other = api.post(CONFIG_MAPS, &config_map("c", &[])).await.expect(201);
    let bookmark = labels.next().await.expect("a bookmark");
    assert_eq!((&bookmark["type"], revision(&bookmark["object"])), (&json!("BOOKMARK"), revision(&other)));
}

#[tokio::test]
async fn a_watch_with_a_time_limit_ends_with_a_bookmark() {
    let api = Harness::start().await;
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0");
    let mut events = api.watch(&path, JSON).await;
    let event = events.next().await.expect("a bookmark");
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert!(!revision(&event["object"]).is_empty());
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn the_initial_events_end_with_a_mark() {
    let api = Harness::start().await;
    api.config_maps(&["a"]).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = api.watch(&format!("{CONFIG_MAPS}?{query}"), JSON).await;
    assert_eq!(events.short().await, pair("ADDED", "a"));
    let event = events.next().await.expect("a bookmark");
    assert_eq!(event["type"], "BOOKMARK");
    assert_eq!(event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let refused = api.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(refused.reason(), (422, "Invalid".to_owned()));
}

#[tokio::test]
async fn a_watch_from_before_the_history_is_told_so_in_its_first_event() {
    let api = Harness::start().await;
    // More changes than the store keeps events of one collection.
    let path = format!("{CONFIG_MAPS}/a");
    api.post(CONFIG_MAPS, &config_map("a", &[])).await.expect(201);
    api.overflow_history(&path).await;
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=1"), JSON).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_from_the_future_tells_what_comes_after_it_and_nothing_before() {
    let api = Harness::start().await;
    api.config_maps(&["a"]).await;
    let now: u64 = revision(&api.get(CONFIG_MAPS).await.expect(200)).parse().expect("a number");
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", now + 2), JSON).await;
    // Each create takes one revision at least, so that what comes first is not told, and what comes last is.
    api.config_maps(&["b", "c", "d", "e"]).await;
    let first = events.next().await.expect("an event");
    assert_ne!(first["object"]["metadata"]["name"], "b");
    assert!(revision(&first["object"]).parse::<u64>().expect("a number") > now + 2, "{first}");
}

#[tokio::test]
async fn a_watch_may_be_of_tables() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b"]).await;
    let mut events = api.watch(&format!("{CONFIG_MAPS}?watch=true"), TABLE).await;
    let first = events.next().await.expect("an event");
    assert_eq!((&first["type"], &first["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
    assert!(first["object"]["columnDefinitions"].as_array().is_some_and(|columns| !columns.is_empty()));
    let second = events.next().await.expect("an event");
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

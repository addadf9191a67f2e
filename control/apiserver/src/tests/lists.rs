//! Lists: selectors, pages, tables, bare metadata.

use std::time::{Duration, Instant};

use serde_json::json;

use super::kit::{CONFIG_MAPS, Harness, METADATA_LIST, TABLE, config_map, names};

#[tokio::test]
async fn a_list_is_sorted_and_tells_its_revision() {
    let api = Harness::start().await;
    api.config_maps(&["c", "a", "b"]).await;
    let list = api.get(CONFIG_MAPS).await.expect(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!(names(&list), ["a", "b", "c"]);
    let revision: u64 = list["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a number");
    let last: u64 = list["items"][1]["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a number");
    assert!(revision >= last);
    assert_eq!(names(&api.get("/api/v1/configmaps").await.expect(200)), ["a", "b", "c"], "over all namespaces");
    let empty = api.get("/api/v1/namespaces/kube-system/configmaps").await.expect(200);
    assert_eq!(empty["items"], json!([]));
}

#[tokio::test]
async fn selectors_select() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "ab"]).await;
    let list = async |query: &str| names(&api.get(&format!("{CONFIG_MAPS}?{query}")).await.expect(200));
    assert_eq!(list("labelSelector=index+in+(0,2)").await, ["a", "ab"]);
    assert_eq!(list("fieldSelector=metadata.name%3Da").await, ["a"]);
    assert_eq!(list("fieldSelector=metadata.name!%3Da").await, ["ab", "b"]);
    let refused = api.get(&format!("{CONFIG_MAPS}?fieldSelector=data.x%3D1")).await;
    assert_eq!(refused.reason(), (400, "BadRequest".to_owned()));
    assert_eq!(api.get(&format!("{CONFIG_MAPS}?labelSelector=%3D%3D")).await.reason(), (400, "BadRequest".to_owned()));
}

#[tokio::test]
async fn pages_together_are_the_list_as_it_was_at_the_first_one() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "c", "d", "e"]).await;
    let first = api.get(&format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens between the pages is not in them.
    api.delete(&format!("{CONFIG_MAPS}/c"), &json!({})).await.expect(200);
    api.post(CONFIG_MAPS, &config_map("bb", &[])).await.expect(201);
    let (mut found, mut remaining) = (Vec::new(), Vec::new());
    let mut token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    while !token.is_empty() {
        let page = api.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        found.extend(names(&page));
        remaining.push(page["metadata"]["remainingItemCount"].clone());
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((found, remaining), (["c", "d", "e"].map(str::to_owned).to_vec(), vec![json!(1), json!(null)]));
}

#[tokio::test]
async fn a_list_at_an_exact_revision_is_answered_as_far_as_the_history_reaches() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b"]).await;
    let then = api.get(CONFIG_MAPS).await.expect(200);
    let revision = then["metadata"]["resourceVersion"].as_str().expect("text").to_owned();
    api.delete(&format!("{CONFIG_MAPS}/a"), &json!({})).await.expect(200);
    api.patch(&format!("{CONFIG_MAPS}/b"), &json!({ "data": { "mode": "slow" } })).await.expect(200);
    api.config_maps(&["c", "a"]).await;
    let exact = format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(api.get(&exact).await.expect(200), then);
    let first = api.get(&format!("{exact}&limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    // Another peer would not have kept the view either.
    api.server.pages.forget_old(Instant::now() + crate::paging::VIEW_AGE_MAX + Duration::from_secs(1));
    let second = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!([&first["items"][0], &second["items"][0]], [&then["items"][0], &then["items"][1]]);
    api.overflow_history(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(api.get(&exact).await.reason(), (410, "Expired".to_owned()));
}

#[tokio::test]
async fn a_page_whose_time_has_passed_says_how_to_go_on() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "c"]).await;
    api.overflow_history(&format!("{CONFIG_MAPS}/c")).await;
    let old =
        crate::paging::Token::new(wk_store::Revision(1), "default/a", None, wk_base::time::Timestamp::now(), None)
            .encode();
    let refused = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={old}")).await;
    assert_eq!(refused.reason(), (410, "Expired".to_owned()));
    let token = refused.json()["metadata"]["continue"].as_str().expect("a token").to_owned();
    let page = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!(names(&page), ["b"]);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}?continue=nonsense")).await.reason(), (400, "BadRequest".to_owned()));
}

#[tokio::test]
async fn a_list_that_began_long_ago_is_gone_on_with_at_a_later_revision_also_where_nothing_changed() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "c"]).await;
    let first = api.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let revision = first["metadata"]["resourceVersion"].as_str().expect("text");
    let then = wk_base::time::Timestamp::from_second(1).expect("a time");
    let of_first = wk_store::Revision(revision.parse().expect("a number"));
    let old = crate::paging::Token::new(of_first, "default/a", Some(2), then, None).encode();
    let refused = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={old}")).await;
    assert_eq!(refused.reason(), (410, "Expired".to_owned()));
    let token = refused.json()["metadata"]["continue"].as_str().expect("a token").to_owned();
    let second = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!((names(&second), &second["metadata"]["remainingItemCount"]), (vec!["b".to_owned()], &json!(1)));
    assert_ne!(second["metadata"]["resourceVersion"], revision);
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let third = api.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await.expect(200);
    assert_eq!(names(&third), ["c"]);
    assert_eq!(third["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_revision_that_does_not_exist_yet_is_waited_for_and_then_refused() {
    let api = Harness::start().await;
    let refused = api.get(&format!("{CONFIG_MAPS}?resourceVersion=99999999")).await;
    assert_eq!(refused.reason(), (504, "Timeout".to_owned()));
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(refused.headers["retry-after"], "1");
    let exact = format!("{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion");
    assert_eq!(api.get(&format!("{exact}=99999999")).await.reason(), (504, "Timeout".to_owned()));
    api.config_maps(&["a"]).await;
    api.overflow_history(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(api.get(&format!("{exact}=1")).await.reason(), (410, "Expired".to_owned()));
    api.get(&format!("{CONFIG_MAPS}?resourceVersion=1")).await.expect(200);
    assert_eq!(api.get(&format!("{CONFIG_MAPS}?resourceVersion=x")).await.code, 400);
}

#[tokio::test]
async fn tables_have_columns_and_rows() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b"]).await;
    let table = api.get_as(CONFIG_MAPS, TABLE).await.expect(200);
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let columns = table["columnDefinitions"].as_array().expect("columns");
    assert_eq!(columns.iter().map(|column| &column["name"]).collect::<Vec<_>>(), ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][1]["cells"][0], "b");
    assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    let full = api.get_as(&format!("{CONFIG_MAPS}?includeObject=Object"), TABLE).await.expect(200);
    assert_eq!(full["rows"][0]["object"]["data"]["mode"], "fast");
    let one = api.get_as(&format!("{CONFIG_MAPS}/a"), TABLE).await.expect(200);
    assert_eq!(one["rows"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn bare_metadata_leaves_the_rest_away() {
    let api = Harness::start().await;
    api.config_maps(&["a"]).await;
    let list = api.get_as(CONFIG_MAPS, METADATA_LIST).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["labels"]["index"], "0");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn a_view_whose_time_has_passed_is_let_go_without_another_list() {
    let api = Harness::start().await;
    api.config_maps(&["a", "b", "c"]).await;
    let first = api.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let revision: u64 = first["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a number");
    let kept = || api.server.pages.at("core/configmaps", wk_store::Revision(revision)).is_some();
    api.server.pages.forget_old(Instant::now());
    assert!(kept());
    api.server.pages.forget_old(Instant::now() + crate::paging::VIEW_AGE_MAX + Duration::from_secs(1));
    assert!(!kept());
}

#[tokio::test]
async fn a_long_list_says_what_its_pages_say_in_every_form() {
    let api = Harness::start().await;
    let names: Vec<String> = (0..120).map(|number| format!("m-{number:03}")).collect();
    api.config_maps(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": "Yg==" } });
    for number in 0..60 {
        let mut secret = secret.clone();
        secret["metadata"]["name"] = format!("s-{number:02}").into();
        api.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    }
    for path in [CONFIG_MAPS, "/api/v1/namespaces/default/secrets"] {
        for (accept, member) in [("application/json", "items"), (TABLE, "rows"), (METADATA_LIST, "items")] {
            for query in ["", "includeObject=Object", "includeObject=None", "pretty=true", "labelSelector=!none"] {
                let whole = api.get_as(&format!("{path}?{query}"), accept).await.expect(200);
                let mut pages = Vec::new();
                let mut page = api.get_as(&format!("{path}?{query}&limit=40"), accept).await.expect(200);
                loop {
                    pages.extend(page[member].as_array().expect("items").clone());
                    let Some(token) = page["metadata"]["continue"].as_str() else { break };
                    page = api.get_as(&format!("{path}?{query}&limit=40&continue={token}"), accept).await.expect(200);
                }
                let told = format!("{path} {accept} {query}");
                assert_eq!(said(&whole[member]), said(&pages.into()), "{told}");
                for head in ["kind", "apiVersion", "columnDefinitions"] {
                    // Pages after the first are those of this list.
                    assert_eq!(whole[head], page[head], "{told}: {head}");
                }
                assert!(whole["metadata"]["resourceVersion"].is_string(), "{told}");
            }
        }
    }
}

/// Items or rows, but for how long ago they were made.
fn said(items: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut items = items.as_array().expect("items").clone();
    for cells in items.iter_mut().filter_map(|item| item.get_mut("cells")).filter_map(|cells| cells.as_array_mut()) {
        cells.pop();
    }
    items
}

#[tokio::test]
async fn a_list_keeps_its_seat_until_it_is_taken() {
    let api = Harness::start().await;
    for name in ["a", "b", "c"] {
        let mut large = config_map(name, &[]);
        large["data"]["text"] = "x".repeat(40_000).into();
        api.post(CONFIG_MAPS, &large).await.expect(201);
    }
    let reads = &api.server.flight.reads;
    let free = reads.free();
    let events = api.watch(CONFIG_MAPS, "application/json").await;
    assert_eq!(reads.free(), free - 1, "its text is made while it is taken");
    drop(events);
    assert_eq!(reads.free(), free);
}

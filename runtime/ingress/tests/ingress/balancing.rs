//! Who gets how many requests, and what happens to endpoints that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wk_base::body;
use wk_ingress::Limits;

use crate::support::{Door, THREE, broken, h1, ok, request, table, within};

#[tokio::test]
async fn two_hundred_requests_reach_three_replicas_evenly() {
    let door = Door::open(THREE, Limits::default(), |endpoint, _| async move { ok(endpoint.pod.to_string()) }).await;
    let mut client = h1(door.connect().await).await;
    for _ in 0..200 {
        client.ready().await.expect("ready");
        let response = within(client.send_request(request("GET", "/", body::empty()))).await.expect("a response");
        assert_eq!(response.status(), 200);
        crate::support::collect(response).await;
    }
    let calls = door.fake.calls();
    for pod in ["a", "b", "c"] {
        let share = calls.iter().filter(|&call| call == pod).count();
        assert!((66..=67).contains(&share), "{pod}: {share}");
    }
    assert_eq!(door.ingress.metrics().requests_by_class[1].get(), 200);
    assert_eq!(door.ingress.metrics().connections.get(), 1);
}

#[tokio::test]
async fn endpoint_that_fails_is_ejected_and_comes_back() {
    let down = Arc::new(AtomicBool::new(true));
    let limits = Limits { ejection: Duration::from_millis(20), ..Limits::default() };
    let door = Door::open(THREE, limits, {
        let down = Arc::clone(&down);
        move |endpoint, _| {
            let fails = &*endpoint.pod == "a" && down.load(Ordering::Relaxed);
            async move { if fails { Err(broken()) } else { ok(endpoint.pod.to_string()) } }
        }
    })
    .await;
    let metrics = door.ingress.metrics();
    while metrics.ejections.get() == 0 {
        assert_eq!(door.get("/").await.0, 200, "nobody notices");
    }
    assert_eq!(metrics.retries.get(), 2);
    down.store(false, Ordering::Relaxed);
    within(async { while door.get("/").await.1 != "a" {} }).await;
}

#[tokio::test]
async fn ejection_outlives_a_change_of_the_table() {
    let limits =
        Limits { ejection: Duration::from_hours(1), ejection_max: Duration::from_hours(1), ..Limits::default() };
    let door =
        Door::open(
            THREE,
            limits,
            |endpoint, _| async move { if &*endpoint.pod == "a" { Err(broken()) } else { ok("") } },
        )
        .await;
    while door.ingress.metrics().ejections.get() == 0 {
        door.get("/").await;
    }
    door.routes.store(Arc::new(table(&[("a", "n1"), ("b", "n2"), ("d", "n3")])));
    let before = door.fake.calls().len();
    for _ in 0..20 {
        assert_eq!(door.get("/").await.0, 200);
    }
    let calls = door.fake.calls().split_off(before);
    assert!(!calls.contains(&"a".to_owned()) && calls.contains(&"d".to_owned()), "{calls:?}");
}

//! Instance modes: what is shared between requests, what ends an instance, and that limits hold for each request.

use std::time::Duration;

use http::StatusCode;
use wk_engine::{Failure, HttpApp, Instances, Reuse, Sandbox};

use crate::kit::{Kit, failure, get, service, text, wstd};

const SHORT: Duration = Duration::from_millis(400);

async fn app(kit: &Kit, path: &std::path::Path, instances: Instances) -> HttpApp {
    kit.app(path, Sandbox { instances, request_deadline: SHORT, ..Sandbox::bare() }).await
}

fn pooled(requests: u32) -> Instances {
    Instances::Pooled(Reuse { requests, ..Reuse::default() })
}

/// What the guest has counted to: the requests its instance has seen.
async fn count(app: &HttpApp) -> u32 {
    let response = app.handle(get("/count")).await.expect("answers");
    text(response).await.trim().parse().expect("is a number")
}

async fn counts(app: &HttpApp, requests: usize) -> Vec<u32> {
    let mut seen = Vec::new();
    for _ in 0..requests {
        seen.push(count(app).await);
    }
    seen
}

#[tokio::test]
async fn each_request_has_an_instance_of_its_own_unless_the_pod_says_otherwise() {
    let kit = Kit::new();
    for path in [wstd(), service()] {
        let app = app(&kit, &path, Instances::PerRequest).await;
        assert_eq!(counts(&app, 3).await, [1, 1, 1]);
    }
    kit.quiet().await;
}

#[tokio::test]
async fn pooled_instance_serves_so_many_requests_and_no_more() {
    let kit = Kit::new();
    for path in [wstd(), service()] {
        let app = app(&kit, &path, pooled(3)).await;
        assert_eq!(counts(&app, 7).await, [1, 2, 3, 1, 2, 3, 1]);
    }
    // At rest they count for nothing.
    kit.quiet().await;
}

#[tokio::test]
async fn pooled_instance_that_is_too_old_is_not_used_again() {
    let kit = Kit::new();
    let reuse = Reuse { age: Duration::ZERO, ..Reuse::default() };
    let app = app(&kit, &wstd(), Instances::Pooled(reuse)).await;
    assert_eq!(counts(&app, 2).await, [1, 1]);
}

#[tokio::test]
async fn pods_never_share_instances() {
    let kit = Kit::new();
    for instances in [pooled(100), Instances::Single] {
        let one = app(&kit, &wstd(), instances).await;
        let other = app(&kit, &wstd(), instances).await;
        assert_eq!(counts(&one, 2).await, [1, 2]);
        assert_eq!(counts(&other, 2).await, [1, 2]);
    }
}

#[tokio::test]
async fn trap_and_deadline_retire_an_instance_in_every_mode() {
    let kit = Kit::new();
    for path in [wstd(), service()] {
        for instances in [pooled(100), Instances::Single] {
            let app = app(&kit, &path, instances).await;
            assert_eq!(counts(&app, 2).await, [1, 2]);
            assert_eq!(failure(&app, "/trap").await.reason(), "Trapped");
            assert_eq!(counts(&app, 2).await, [1, 2], "after a trap");
            for misbehaviour in ["/silent", "/loop"] {
                assert_eq!(failure(&app, misbehaviour).await, Failure::Deadline(SHORT), "{misbehaviour}");
                assert_eq!(count(&app).await, 1, "after {misbehaviour}");
            }
        }
    }
}

#[tokio::test]
async fn requests_at_once_each_have_a_pooled_instance() {
    let kit = Kit::new();
    let app = app(&kit, &wstd(), pooled(100)).await;
    let answers = futures::future::join_all((0..8).map(|_| app.handle(get("/count")))).await;
    assert!(answers.into_iter().all(|answer| answer.expect("answers").status() == StatusCode::OK));
}

#[tokio::test]
async fn single_instance_serves_one_after_another_in_0_2() {
    let kit = Kit::new();
    let app = app(&kit, &wstd(), Instances::Single).await;
    let answers = futures::future::join_all((0..8).map(|_| count(&app))).await;
    assert_eq!(answers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(kit.engine.instances(), 0, "an instance without a request counts");
}

#[tokio::test]
async fn single_instance_serves_side_by_side_in_0_3() {
    let kit = Kit::new();
    let app = app(&kit, &service(), Instances::Single).await;
    let (one, other) = tokio::join!(app.handle(get("/meet")), app.handle(get("/meet")));
    assert_eq!(text(one.expect("answers")).await, "met\n");
    assert_eq!(text(other.expect("answers")).await, "met\n");
}

#[tokio::test]
async fn client_that_goes_away_leaves_the_single_instance_alone() {
    let kit = Kit::new();
    let app = app(&kit, &service(), Instances::Single).await;
    assert_eq!(count(&app).await, 1);
    // Never answered, and not waited for.
    drop(tokio::time::timeout(Duration::from_millis(1), app.handle(get("/echo"))).await);
    assert!(count(&app).await > 1, "the instance went with the client");
}

#[tokio::test]
async fn full_queue_of_a_single_instance_is_told_at_once() {
    let kit = Kit::new();
    let app = app(&kit, &wstd(), Instances::Single).await;
    let answers = futures::future::join_all((0..200).map(|_| app.handle(get("/silent")))).await;
    let busy = answers.iter().filter(|answer| matches!(answer, Err(Failure::Busy { .. }))).count();
    assert!(busy > 0 && busy < 200, "{busy} of 200 were refused");
}

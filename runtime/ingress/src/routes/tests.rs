//! The examples of Kubernetes' Ingress documentation as facts, and the table against a naive reference.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Backend, HostRule, PathRule, Route, Routes};

fn route(host: HostRule, path: PathRule, name: &str) -> Route {
    Route { host, path, backend: Arc::new(Backend { name: name.to_owned(), endpoints: vec![], lacks: None }) }
}

fn prefix(path: &str) -> PathRule {
    PathRule::Prefix(path.to_owned())
}

fn exact(path: &str) -> PathRule {
    PathRule::Exact(path.to_owned())
}

/// What `path` leads to among these rules, each named by its own text.
fn found(rules: &[PathRule], path: &str) -> Option<String> {
    let named = |rule: &PathRule| match rule {
        PathRule::Prefix(path) => format!("prefix {path}"),
        PathRule::Exact(path) => format!("exact {path}"),
    };
    let routes = rules.iter().map(|rule| route(HostRule::Any, rule.clone(), &named(rule))).collect();
    Routes::new(routes).find("any.host", path).map(|backend| backend.name.clone())
}

#[test]
fn paths_match_as_in_the_examples_of_kubernetes() {
    let matches = [
        (prefix("/"), "/", true),
        (prefix("/"), "/anything/at/all", true),
        (exact("/foo"), "/foo", true),
        (exact("/foo"), "/bar", false),
        (exact("/foo"), "/foo/", false),
        (exact("/foo/"), "/foo", false),
        (prefix("/foo"), "/foo", true),
        (prefix("/foo"), "/foo/", true),
        (prefix("/foo/"), "/foo", true),
        (prefix("/foo/"), "/foo/", true),
        (prefix("/aaa/bb"), "/aaa/bbb", false),
        (prefix("/aaa/bbb"), "/aaa/bbb", true),
        (prefix("/aaa/bbb/"), "/aaa/bbb", true),
        (prefix("/aaa/bbb"), "/aaa/bbb/", true),
        (prefix("/aaa/bbb"), "/aaa/bbb/ccc", true),
        (prefix("/aaa/bbb"), "/aaa/bbbxyz", false),
        (prefix("/aaa"), "/ccc", false),
        (exact("/foo"), "/FOO", false),
    ];
    for (rule, path, expected) in matches {
        assert_eq!(found(std::slice::from_ref(&rule), path).is_some(), expected, "{rule:?} {path}");
    }
}

#[test]
fn longest_path_wins_and_exact_beats_prefix() {
    let cases = [
        (vec![prefix("/"), prefix("/aaa")], "/aaa/ccc", "prefix /aaa"),
        (vec![prefix("/"), prefix("/aaa"), prefix("/aaa/bbb")], "/aaa/bbb", "prefix /aaa/bbb"),
        (vec![prefix("/"), prefix("/aaa"), prefix("/aaa/bbb")], "/ccc", "prefix /"),
        (vec![prefix("/foo"), exact("/foo")], "/foo", "exact /foo"),
        (vec![prefix("/foo"), exact("/foo")], "/foo/bar", "prefix /foo"),
    ];
    for (rules, path, expected) in cases {
        assert_eq!(found(&rules, path).as_deref(), Some(expected), "{rules:?} {path}");
    }
}

#[test]
fn wildcard_stands_for_exactly_one_label() {
    let routes = Routes::new(vec![route(HostRule::Wildcard("*.foo.com".into()), prefix("/"), "wildcard")]);
    assert!(routes.find("bar.foo.com", "/").is_some());
    for host in ["baz.bar.foo.com", "foo.com", ".foo.com", "barfoo.com", "bar.foo.com.evil.org"] {
        assert!(routes.find(host, "/").is_none(), "{host}");
    }
}

#[test]
fn exact_host_beats_wildcard_beats_any() {
    let routes = Routes::new(vec![
        route(HostRule::Any, prefix("/"), "any"),
        route(HostRule::Wildcard("foo.com".into()), prefix("/"), "wildcard"),
        route(HostRule::Exact("BAR.foo.com.".into()), prefix("/"), "exact"),
    ]);
    let name = |host: &str| routes.find(host, "/x").expect("found").name.clone();
    assert_eq!(name("bar.foo.com"), "exact");
    assert_eq!(name("baz.foo.com"), "wildcard");
    assert_eq!(name("foo.com"), "any");
}

#[test]
fn host_without_a_matching_path_falls_through_to_the_default_backend() {
    let routes = Routes::new(vec![
        route(HostRule::Exact("foo.com".into()), prefix("/api"), "api"),
        route(HostRule::Any, prefix("/"), "default"),
    ]);
    assert_eq!(routes.find("foo.com", "/api/v1").expect("found").name, "api");
    assert_eq!(routes.find("foo.com", "/other").expect("found").name, "default");
}

#[test]
fn first_of_two_equal_routes_stays() {
    let rules = vec![route(HostRule::Any, prefix("/a"), "older"), route(HostRule::Any, prefix("/a/"), "newer")];
    assert_eq!(Routes::new(rules).find("x", "/a/b").expect("found").name, "older");
}

#[test]
fn empty_table_finds_nothing() {
    assert!(Routes::default().find("a", "/").is_none());
}

/// The rules, read one by one: the specification the table is checked against.
fn naive<'a>(routes: &'a [Route], host: &str, path: &str) -> Option<&'a str> {
    let host_rank = |rule: &HostRule| match rule {
        HostRule::Any => Some(0),
        HostRule::Exact(own) => (own == host).then_some(2),
        HostRule::Wildcard(own) => {
            let label = host.strip_suffix(own.strip_prefix('*')?)?;
            (!label.is_empty() && !label.contains('.')).then_some(1)
        }
    };
    let path_rank = |rule: &PathRule| match rule {
        PathRule::Exact(own) => (own == path).then_some((1, own.len())),
        PathRule::Prefix(own) => {
            let own = own.strip_suffix('/').unwrap_or(own);
            let below = path.split('/').zip(own.split('/')).filter(|(one, other)| one == other).count();
            let all = own.split('/').count();
            (below == all && path.split('/').count() >= all).then_some((0, own.len()))
        }
    };
    let ranked = routes.iter().filter_map(|route| Some((host_rank(&route.host)?, path_rank(&route.path)?, route)));
    // `max_by_key` keeps the last of equals, so the first is put last.
    let best = ranked.rev().max_by_key(|(host, path, _)| (*host, *path))?;
    Some(&best.2.backend.name)
}

fn some_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("")], 0..4)
        .prop_map(|elements| format!("/{}", elements.join("/")))
}

fn some_host() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab")], 1..4).prop_map(|labels| labels.join("."))
}

fn some_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        Just(HostRule::Any),
        some_host().prop_map(HostRule::Exact),
        some_host().prop_map(|host| HostRule::Wildcard(format!("*.{host}"))),
    ];
    let path = prop_oneof![some_path().prop_map(PathRule::Exact), some_path().prop_map(PathRule::Prefix)];
    (host, path).prop_map(|(host, path)| {
        let name = format!("{host:?} {path:?}");
        route(host, path, &name)
    })
}

proptest! {
    #[test]
    fn table_agrees_with_the_naive_reading(
        routes in proptest::collection::vec(some_route(), 0..12),
        host in some_host(),
        path in some_path(),
    ) {
        let expected = naive(&routes, &host, &path).map(str::to_owned);
        let table = Routes::new(routes);
        prop_assert_eq!(table.find(&host, &path).map(|backend| backend.name.clone()), expected);
    }

    #[test]
    fn no_host_path_or_rule_makes_the_table_panic(
        rules in proptest::collection::vec((any::<String>(), any::<String>()), 0..6),
        host in any::<String>(),
        path in any::<String>(),
    ) {
        let routes = rules.into_iter().flat_map(|(host, path)| [
            route(HostRule::Exact(host.clone()), PathRule::Prefix(path.clone()), ""),
            route(HostRule::Wildcard(host), PathRule::Exact(path.clone()), ""),
            route(HostRule::Any, PathRule::Prefix(path), ""),
        ]);
        let _ = Routes::new(routes.collect()).find(&host, &path);
    }
}

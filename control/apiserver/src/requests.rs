//! What is counted of requests, under the names and with the labels of Kubernetes' own server: dashboards and alerts made for
//! it find them here.
//!
//! Counted are requests for objects. Labels are of the table of kinds and of definitions, none is a caller's own text; and
//! whoever is nobody, or has no right to what is asked, chooses none of them.
//!
//! Names: `k8s.io/apiserver/pkg/endpoints/metrics`.

use std::time::Duration;

use http::request::Parts;
use http::{Method, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::query::Query;
use crate::route::{Route, Target};
use crate::verbs;

/// Upper bounds of durations in seconds, as Kubernetes'.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

const COMPONENT: &str = "apiserver";

/// What one peer's API server counts. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Requests {
    total: Family<Ended, Counter>,
    seconds: Family<What, Histogram, fn() -> Histogram>,
    under_way: Family<Sort, Gauge>,
}

impl Default for Requests {
    fn default() -> Self {
        let (total, under_way) = (Family::default(), Family::default());
        Self { total, seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)), under_way }
    }
}

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct What {
    verb: &'static str,
    dry_run: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    #[prometheus(flatten)]
    what: What,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sort {
    request_kind: &'static str,
}

impl What {
    /// What a request is about; None of what is no object.
    pub(crate) fn of(route: &Route, parts: &Parts, query: &Query) -> Option<Self> {
        let Route::Resource(target) = route else { return None };
        let applies = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
        let (verb, subresource) = verbs::counted_as(target, &parts.method, query, applies)?;
        Some(Self {
            verb,
            dry_run: if query.text("dryRun") == "All" && !reads(verb) { "All" } else { "" },
            group: target.kind.group,
            version: target.kind.version,
            resource: target.kind.plural,
            subresource,
            scope: scope(target, verb),
            component: COMPONENT,
        })
    }

    /// Goes on for as long as its client likes: its time says nothing.
    fn is_long(&self) -> bool {
        matches!(self.verb, "WATCH" | "CONNECT") || self.subresource == "log"
    }
}

fn reads(verb: &str) -> bool {
    matches!(verb, "GET" | "LIST" | "WATCH" | "CONNECT")
}

fn scope(target: &Target, verb: &str) -> &'static str {
    match (&target.name, &target.namespace) {
        (Some(_), _) => "resource",
        _ if verb == "POST" => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    }
}

impl Requests {
    /// Counts one that is worked on, until what is returned is dropped.
    pub(crate) fn begin(&self, method: &Method) -> UnderWay {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let sort = Sort { request_kind: if reads { "readOnly" } else { "mutating" } };
        let gauge = self.under_way.get_or_create_owned(&sort);
        gauge.inc();
        UnderWay(gauge)
    }

    /// Counts one that was answered.
    pub(crate) fn ended(&self, what: What, code: u16, took: Duration) {
        if !what.is_long() {
            self.seconds.get_or_create(&what).observe(took.as_secs_f64());
        }
        self.total.get_or_create(&Ended { what, code }).inc();
    }

    /// Counts one of a caller who is nobody, or who may not do what was asked, whatever that was: all of them are one series.
    pub(crate) fn refused(&self, code: u16) {
        let what = What { component: COMPONENT, ..What::default() };
        self.total.get_or_create(&Ended { what, code }).inc();
    }

    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests by verb, resource and code";
        registry.register("apiserver_request", help, self.total.clone());
        let help = "From a request to the head of its answer, but of those that go on for as long as one likes";
        registry.register_with_unit("apiserver_request_duration", help, Unit::Seconds, self.seconds.clone());
        let help = "Requests that are worked on now";
        registry.register("apiserver_current_inflight_requests", help, self.under_way.clone());
    }
}

/// One that is worked on.
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

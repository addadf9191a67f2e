//! What the ingress counts. All of it is here, with the unit in the name.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// One number that goes up, or up and down.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The ingress' counters (they only grow) and gauges (named `…_open`).
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered, by the first digit of the status: `[0]` is 1xx. Counted when the head is known.
    pub requests_by_class: [Number; 5],
    /// Of those, answers the ingress made itself: it refused, found no route or no replica, or the application failed.
    pub requests_answered_here: Number,
    /// Second attempts.
    pub retries: Number,
    /// Second attempts that would have been due but were over the budget.
    pub retries_over_budget: Number,
    /// Endpoints taken out of rotation.
    pub ejections: Number,
    /// Responses that broke off after their head was sent.
    pub responses_broken: Number,
    /// Requests whose head was read and whose response is not at its end.
    pub requests_open: Number,
    /// Connections accepted.
    pub connections: Number,
    /// Connections refused since as many as allowed were open.
    pub connections_over_limit: Number,
    /// Connections closed since the client sent no request, or read no response, for too long.
    pub connections_timed_out: Number,
    /// TLS handshakes that failed.
    pub handshakes_failed: Number,
    /// Connections open now.
    pub connections_open: Number,
}

impl Metrics {
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.requests_by_class[class - 1].up();
    }

    /// All of it in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
        out.push_str("# TYPE wk_ingress_requests_total counter\n");
        for (class, number) in (1..).zip(&self.requests_by_class) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "wk_ingress_requests_total{{code=\"{class}xx\"}} {}", number.get());
        }
        for (name, kind, number) in [
            ("requests_answered_here_total", "counter", &self.requests_answered_here),
            ("retries_total", "counter", &self.retries),
            ("retries_over_budget_total", "counter", &self.retries_over_budget),
            ("ejections_total", "counter", &self.ejections),
            ("responses_broken_total", "counter", &self.responses_broken),
            ("requests_open", "gauge", &self.requests_open),
            ("connections_total", "counter", &self.connections),
            ("connections_over_limit_total", "counter", &self.connections_over_limit),
            ("connections_timed_out_total", "counter", &self.connections_timed_out),
            ("handshakes_failed_total", "counter", &self.handshakes_failed),
            ("connections_open", "gauge", &self.connections_open),
        ] {
            let _ = writeln!(out, "# TYPE wk_ingress_{name} {kind}\nwk_ingress_{name} {}", number.get());
        }
        out
    }
}

//! What this crate counts. Names are Prometheus'; all only ever grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one accepting side counts.
#[derive(Debug, Default)]
pub struct ServeMetrics {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) requests: Counter,
}

/// What one calling side counts.
#[derive(Debug, Default)]
pub struct MeshMetrics {
    pub(crate) dials: Counter,
    pub(crate) dials_failed: Counter,
    pub(crate) requests: Counter,
    pub(crate) busy: Counter,
    pub(crate) not_sent: Counter,
    pub(crate) broken: Counter,
    pub(crate) deadlines: Counter,
}

impl ServeMetrics {
    /// Names and values.
    pub fn read(&self) -> [(&'static str, u64); 4] {
        [
            ("connections_accepted_total", self.accepted.get()),
            ("connections_refused_total", self.refused.get()),
            ("handshakes_failed_total", self.handshakes_failed.get()),
            ("requests_total", self.requests.get()),
        ]
    }
}

impl MeshMetrics {
    /// Names and values.
    pub fn read(&self) -> [(&'static str, u64); 7] {
        [
            ("wk_mesh_dials_total", self.dials.get()),
            ("wk_mesh_dials_failed_total", self.dials_failed.get()),
            ("wk_mesh_requests_total", self.requests.get()),
            ("wk_mesh_requests_busy_total", self.busy.get()),
            ("wk_mesh_requests_not_sent_total", self.not_sent.get()),
            ("wk_mesh_requests_broken_total", self.broken.get()),
            ("wk_mesh_requests_deadline_total", self.deadlines.get()),
        ]
    }
}

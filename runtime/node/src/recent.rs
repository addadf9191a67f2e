//! The last requests that a container answered, for whoever looks into a pod.
//!
//! Costs a request two looks at the clock and a short copy, and a pod that has served a few KiB. Not here: counts and
//! sums, which metrics are for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request};
use serde_json::{Value, json};
use wk_base::time::{Clock, Timestamp};

/// Requests remembered: a screenful.
const REQUESTS_MAX: usize = 32;
/// Of each path so many bytes are remembered, and nothing of its query: that may hold what is secret.
const PATH_BYTES_MAX: usize = 120;

/// The last requests of one container.
pub struct Recent {
    clock: Arc<dyn Clock>,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    /// Where the next one goes, once all places are taken.
    next: usize,
    seen: Vec<Seen>,
    /// Requests that were noted, ever.
    count: u64,
}

/// A request that was noted, for what becomes of it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted(u64);

#[derive(Clone)]
struct Seen {
    time: Timestamp,
    method: Method,
    path: [u8; PATH_BYTES_MAX],
    path_bytes: u8,
    outcome: Outcome,
    took: Duration,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a response of this status.
    Answered(u16),
    /// With a response of this status, whose body broke off for this reason.
    Broke(u16, &'static str),
    /// The guest failed, for this reason.
    Failed(&'static str),
}

/// A request that is under way.
pub struct Begun {
    seen: Seen,
    since: Instant,
}

impl Recent {
    /// None yet; `clock` dates them.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ring: Mutex::default() }
    }

    /// Notes that a request began.
    pub fn begin<B>(&self, request: &Request<B>) -> Begun {
        let text = request.uri().path();
        let end = text.floor_char_boundary(PATH_BYTES_MAX);
        let mut path = [0; PATH_BYTES_MAX];
        path[..end].copy_from_slice(&text.as_bytes()[..end]);
        let path_bytes = u8::try_from(end).unwrap_or(u8::MAX);
        let (time, method) = (self.clock.now(), request.method().clone());
        let (outcome, took) = (Outcome::Failed("Cancelled"), Duration::ZERO);
        Begun { seen: Seen { time, method, path, path_bytes, outcome, took }, since: Instant::now() }
    }

    /// Notes how it ended, as far as the head of its response.
    pub fn end(&self, begun: Begun, outcome: Outcome) -> Noted {
        let seen = Seen { outcome, took: begun.since.elapsed(), ..begun.seen };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ring.next;
        ring.count += 1;
        if ring.seen.len() < REQUESTS_MAX {
            // One at a time first: most pods of a node of thousands are asked now and then.
            if ring.seen.len() == ring.seen.capacity() {
                let more = ring.seen.len().max(1);
                ring.seen.reserve_exact(more);
            }
            ring.seen.push(seen);
        } else {
            ring.seen[next] = seen;
            ring.next = (next + 1) % REQUESTS_MAX;
        }
        Noted(ring.count)
    }

    /// The body of its response broke off. Nothing, if others have taken its place by now.
    pub fn broke(&self, request: Noted, reason: &'static str) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let age = ring.count.saturating_sub(request.0);
        let Some(back) = usize::try_from(age).ok().filter(|age| *age < ring.seen.len()) else { return };
        let newest = ring.next + ring.seen.len() - 1;
        let at = (newest - back) % ring.seen.len();
        if let Outcome::Answered(status) = ring.seen[at].outcome {
            ring.seen[at].outcome = Outcome::Broke(status, reason);
        }
    }

    /// The requests as JSON, the last one first.
    pub fn to_value(&self) -> Value {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (newer, older) = ring.seen.split_at(ring.next);
        older.iter().chain(newer).rev().map(Seen::to_value).collect()
    }
}

impl Seen {
    fn to_value(&self) -> Value {
        let path = String::from_utf8_lossy(&self.path[..usize::from(self.path_bytes)]);
        let milliseconds = (self.took.as_secs_f64() * 1e6).round() / 1e3;
        let mut value = json!({
            "time": self.time.to_string(), "method": self.method.as_str(), "path": path, "milliseconds": milliseconds,
        });
        match self.outcome {
            Outcome::Answered(status) => value["status"] = json!(status),
            Outcome::Broke(status, reason) => {
                value["status"] = json!(status);
                value["failure"] = json!(reason);
            }
            Outcome::Failed(reason) => value["failure"] = json!(reason),
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wk_base::time::ManualClock;

    #[test]
    fn last_requests_come_first_without_their_query_and_no_more_than_a_screenful() {
        let recent = Recent::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        for number in 0..100_u16 {
            let begun = recent.begin(&Request::get(format!("http://h/{number}?token=secret")).body(()).unwrap());
            recent.end(begun, if number == 98 { Outcome::Failed("Trapped") } else { Outcome::Answered(200 + number) });
        }
        let all = recent.to_value();
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), REQUESTS_MAX);
        assert_eq!((&all[0]["path"], &all[0]["status"]), (&json!("/99"), &json!(299)));
        assert_eq!((&all[1]["failure"], &all[31]["path"]), (&json!("Trapped"), &json!("/68")));
        assert!(!all.iter().any(|it| it.to_string().contains("secret")));
    }

    #[test]
    fn response_that_breaks_off_is_told_unless_its_place_is_taken() {
        let recent = Recent::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let note = |path: &str| {
            recent.end(recent.begin(&Request::get(format!("http://h{path}")).body(()).unwrap()), Outcome::Answered(200))
        };
        let first = note("/first");
        recent.broke(first, "Trapped");
        assert_eq!(
            (&recent.to_value()[0]["status"], &recent.to_value()[0]["failure"]),
            (&json!(200), &json!("Trapped"))
        );
        let all: Vec<_> = (0..REQUESTS_MAX + 5).map(|number| note(&format!("/{number}"))).collect();
        recent.broke(first, "Trapped");
        recent.broke(all[30], "Trapped");
        recent.broke(all[REQUESTS_MAX + 4], "DeadlineExceeded");
        let told = recent.to_value();
        let broke: Vec<_> = told.as_array().unwrap().iter().filter(|it| it["failure"].is_string()).collect();
        let words: Vec<_> = broke.iter().map(|it| (it["path"].as_str(), it["failure"].as_str())).collect();
        assert_eq!(words, [(Some("/36"), Some("DeadlineExceeded")), (Some("/30"), Some("Trapped"))]);
    }

    #[test]
    fn long_paths_are_cut() {
        let recent = Recent::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let begun = recent.begin(&Request::get(format!("http://h/{}", "x".repeat(5000))).body(()).unwrap());
        recent.end(begun, Outcome::Answered(200));
        assert_eq!(recent.to_value()[0]["path"].as_str().unwrap().len(), PATH_BYTES_MAX);
    }
}

//! Writing a pod's object: one write of a pod at a time, the newest wish wins, and a failed one is tried again.
//!
//! Not here: what the status says (`status`).

use std::sync::Arc;

use serde_json::Value;
use wk_api::strategy::DeleteOptions;
use wk_api::{Object, Status, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Subresource};

/// What shall be written.
#[derive(Debug)]
pub enum Wish {
    /// This status.
    Status(Value),
    /// The object's removal: nothing of the pod runs any more.
    Removal,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or there is nothing left to write to.
    Done,
    /// The cluster did not take it, for now.
    Failed,
}

/// What a write under way is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Status,
    Removal,
}

/// The writes of one pod.
#[derive(Debug, Default)]
pub struct Writes {
    status: bool,
    removal: bool,
    under_way: Option<Kind>,
    retry_at: Option<Timestamp>,
}

impl Writes {
    /// The status is newer than what was written.
    pub fn want_status(&mut self) {
        self.status = true;
    }

    /// The object shall go.
    pub fn want_removal(&mut self) {
        self.removal = true;
    }

    /// What to write now, if anything; `status` makes the newest one.
    pub fn begin(&mut self, status: impl FnOnce() -> Value) -> Option<Wish> {
        if self.under_way.is_some() || self.retry_at.is_some() || !(self.status || self.removal) {
            return None;
        }
        // Whoever watches, or holds the object by a finalizer, sees how it ended before it goes.
        if self.status {
            self.under_way = Some(Kind::Status);
            self.status = false;
            return Some(Wish::Status(status()));
        }
        self.under_way = Some(Kind::Removal);
        Some(Wish::Removal)
    }

    /// The write under way ended; a failed one is due again at `retry`.
    pub fn end(&mut self, outcome: Outcome, retry: Timestamp) {
        let was = self.under_way.take();
        match outcome {
            // A removal that was asked for while a status was written is still to be done.
            Outcome::Done => self.removal &= was != Some(Kind::Removal),
            Outcome::Failed => {
                self.status |= was == Some(Kind::Status);
                self.retry_at = Some(retry);
            }
        }
    }

    /// Whether nothing is wanted and nothing is under way: the object is as this node means it to be.
    pub fn is_settled(&self) -> bool {
        !self.status && !self.removal && self.under_way.is_none()
    }

    /// When a failed write is due again.
    pub fn retries_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Whether a failed write is due again; from then on [`Writes::begin`] offers it.
    pub fn retry_due(&mut self, now: Timestamp) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= now);
        if due {
            self.retry_at = None;
        }
        due
    }
}

/// Carries out `wish` for the pod `object`, and for no other pod of the same name.
pub async fn write(cluster: &Cluster, object: &Arc<Object>, wish: Wish) -> Outcome {
    let namespace = Some(object.namespace());
    let uid = object.uid().to_owned();
    let is_removal = matches!(wish, Wish::Removal);
    let result = match wish {
        Wish::Status(status) => {
            let change = |old: &Object| change_status(old, &uid, &status);
            cluster.modify(&kinds::POD, namespace, object.name(), Subresource::Status, change).await.map(|_| ())
        }
        Wish::Removal => {
            let options = DeleteOptions { grace_period_seconds: Some(0), uid: Some(uid), ..DeleteOptions::default() };
            cluster.delete(&kinds::POD, namespace, object.name(), &options).await.map(|_| ())
        }
    };
    match result {
        Ok(()) => Outcome::Done,
        // Gone, or (the uid did not fit) another pod of this name has taken its place.
        Err(status) if status.code == 404 || (is_removal && status.code == 409) => Outcome::Done,
        Err(status) => {
            tracing::debug!(pod = object.name(), error = %status, "pod status not written yet");
            Outcome::Failed
        }
    }
}

fn change_status(old: &Object, uid: &str, status: &Value) -> Result<Value, Status> {
    if old.uid() != uid {
        return Err(Status::not_found(&kinds::POD, old.name()));
    }
    let mut status = status.clone();
    // Conditions that others set, such as readiness gates, stay.
    let ours: Vec<Value> = status["conditions"].as_array().cloned().unwrap_or_default();
    let is_ours = |condition: &Value| ours.iter().any(|it| it["type"] == condition["type"]);
    let others = old.items("/status/conditions").iter().filter(|condition| !is_ours(condition)).cloned();
    status["conditions"] = ours.iter().cloned().chain(others).collect();
    let mut new = old.0.clone();
    new["status"] = status;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_write_at_a_time_and_the_newest_status_wins() {
        let mut writes = Writes::default();
        writes.want_status();
        assert!(matches!(writes.begin(|| json!(1)), Some(Wish::Status(status)) if status == 1));
        writes.want_status();
        writes.want_status();
        assert!(writes.begin(|| json!(2)).is_none(), "one is under way");
        writes.end(Outcome::Done, Timestamp::UNIX_EPOCH);
        assert!(matches!(writes.begin(|| json!(3)), Some(Wish::Status(status)) if status == 3));
        writes.end(Outcome::Done, Timestamp::UNIX_EPOCH);
        assert!(writes.begin(|| json!(4)).is_none());
    }

    #[test]
    fn removal_asked_for_during_a_status_write_is_not_lost() {
        let mut writes = Writes::default();
        writes.want_status();
        writes.begin(|| json!(1));
        writes.want_removal();
        writes.end(Outcome::Done, Timestamp::UNIX_EPOCH);
        assert!(matches!(writes.begin(|| json!(2)), Some(Wish::Removal)));
        writes.end(Outcome::Done, Timestamp::UNIX_EPOCH);
        assert!(writes.is_settled());
    }

    #[test]
    fn failed_write_waits_for_its_retry_and_the_last_status_goes_before_the_removal() {
        let mut writes = Writes::default();
        writes.want_removal();
        assert!(matches!(writes.begin(|| json!(1)), Some(Wish::Removal)));
        let later = Timestamp::from_second(5).unwrap();
        writes.end(Outcome::Failed, later);
        assert!(writes.begin(|| json!(1)).is_none());
        assert!(!writes.retry_due(Timestamp::UNIX_EPOCH));
        assert!(writes.retry_due(later));
        assert!(matches!(writes.begin(|| json!(1)), Some(Wish::Removal)));
    }
}

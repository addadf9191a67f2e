//! Connections of one pod to servers outside that are between two requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use tokio::sync::OwnedSemaphorePermit;
use wk_base::body::Body;

/// Connections kept for one pod, to all servers together: a few for each of the few servers that it talks to.
const KEPT_MAX: usize = 16;

/// Servers close an idle connection after a minute or more (nginx: 75 s); ours goes first, so that few requests meet
/// one that is closing.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A connection, and its place among the pod's sockets.
pub(super) struct Link {
    pub(super) sender: SendRequest<Body>,
    pub(super) _place: OwnedSemaphorePermit,
}

/// To whom: `https://api.example.com:443`.
type Key = String;

#[derive(Default)]
pub(super) struct Idle(Mutex<VecDeque<(Key, Instant, Link)>>);

impl Idle {
    /// The newest connection to `key` that is still open.
    pub(super) fn take(&self, key: &str) -> Option<Link> {
        let mut kept = self.kept();
        expire(&mut kept);
        let at = kept.iter().rposition(|(to, _, link)| to == key && link.sender.is_ready())?;
        kept.remove(at).map(|(_, _, link)| link)
    }

    /// Keeps a connection; the oldest goes when there are too many.
    pub(super) fn put(&self, key: Key, link: Link) {
        if link.sender.is_closed() {
            return;
        }
        let mut kept = self.kept();
        expire(&mut kept);
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((key, Instant::now(), link));
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Key, Instant, Link)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest are in front.
fn expire(kept: &mut VecDeque<(Key, Instant, Link)>) {
    while kept.front().is_some_and(|(_, since, link)| since.elapsed() >= KEPT_FOR || link.sender.is_closed()) {
        kept.pop_front();
    }
}

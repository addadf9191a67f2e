//! A node that starts says who it is, where it is and what it is there for: the others may have no other way to find it,
//! and it may have been removed while it was away.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use wk_base::backoff::Backoff;
use wk_base::body::{self, Body};
use wk_base::tasks::Tasks;
use wk_mesh::{Lane, Mesh, NodeName};
use wk_store::{Store, View};

use super::members::{self, Members, Notice};

/// Where it is said: `POST` with a [`Notice`], or from older nodes `IP:PORT`.
pub(crate) const PATH: &str = "/announce";
/// A notice is short.
const BODY_BYTES_MAX: usize = 4096;
/// One member's time to answer: it writes the record.
const DEADLINE: Duration = Duration::from_secs(6);

/// A node that has something to say.
#[derive(Clone)]
pub(crate) struct Announcer {
    /// Its name.
    pub(crate) name: NodeName,
    /// What it says.
    pub(crate) notice: Notice,
    /// Its own copy, which has its record. A witness' has none.
    pub(crate) store: Option<Store>,
    /// Whom it tells.
    pub(crate) members: Members,
    /// The way to them.
    pub(crate) mesh: Mesh,
    /// Set off when it turns out that it was removed.
    pub(crate) removed: CancellationToken,
}

/// What one member answered.
enum Answer {
    Written,
    Removed,
    /// Older nodes take the address alone.
    Misunderstood,
    NotNow,
}

impl Announcer {
    /// Tells until it is written, here or by any member that can.
    pub(crate) fn start(self, tasks: &Tasks) {
        tasks.spawn_until_stop("announce", async move {
            let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
            while !self.is_told().await {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        });
    }

    async fn is_told(&self) -> bool {
        // Nothing new to a store that is up to date: nobody is asked.
        if self.is_known().await {
            return true;
        }
        let this = Arc::new(self.clone());
        let others = self.members.all().into_iter().filter(|member| member.name != self.name);
        let answers = others.map(|member| {
            let this = Arc::clone(&this);
            async move { this.tell(&member.name).await }
        });
        let answers = futures::future::join_all(answers).await;
        if answers.iter().any(|answer| matches!(answer, Answer::Removed)) {
            self.removed.cancel();
            return true;
        }
        if answers.iter().any(|answer| matches!(answer, Answer::Written)) {
            tracing::info!(address = %self.notice.address, "announced");
            return true;
        }
        false
    }

    /// Whether the record is as it should be, by a read of the latest state; writes it if it is not.
    async fn is_known(&self) -> bool {
        let Some(store) = self.store.as_ref().filter(|store| store.status().borrow().leader.is_some()) else {
            return false;
        };
        let Ok(view) = store.read().await else { return false };
        let is_written = |view: &View| {
            let stored = view.get(&members::key(&self.name));
            let record = stored.and_then(|stored| members::read(&stored));
            record.is_some_and(|(_, record)| self.notice.on(&record) == record)
        };
        if is_written(&view) {
            return true;
        }
        if let Err(error) = Members::update(store, &self.name, &self.notice).await {
            tracing::debug!(%error, "own record not written yet");
        }
        is_written(&store.view())
    }

    async fn tell(&self, to: &NodeName) -> Answer {
        let text = serde_json::to_string(&self.notice).expect("plain fields");
        match self.post(to, text).await {
            Answer::Misunderstood => match self.post(to, self.notice.address.to_string()).await {
                // They can reach this node now. The rest it writes itself, as soon as its store is up to date.
                Answer::Written => Answer::NotNow,
                answer => answer,
            },
            answer => answer,
        }
    }

    async fn post(&self, to: &NodeName, text: String) -> Answer {
        let mut request = Request::post(PATH).body(body::full(text)).expect("a constant path");
        request.extensions_mut().insert(Lane::Control);
        match self.mesh.request(to, request, DEADLINE).await.map(|response| response.status()) {
            Ok(StatusCode::NO_CONTENT) => Answer::Written,
            Ok(StatusCode::GONE) => Answer::Removed,
            Ok(StatusCode::BAD_REQUEST) => Answer::Misunderstood,
            Ok(_) | Err(_) => Answer::NotNow,
        }
    }
}

/// Takes the notice of the node that asks.
pub(crate) async fn answer(
    from: &NodeName,
    body: Body,
    store: &Store,
    members: &Members,
    mesh: &Mesh,
) -> Response<Body> {
    let status = match body::collect(body, BODY_BYTES_MAX).await {
        Ok(text) => match str::from_utf8(&text).ok().and_then(parse) {
            Some(notice) => take(from, &notice, store, members, mesh).await,
            None => StatusCode::BAD_REQUEST,
        },
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

fn parse(text: &str) -> Option<Notice> {
    let address = text.parse().map(Notice::of_address);
    address.ok().or_else(|| serde_json::from_str(text).ok())
}

async fn take(from: &NodeName, notice: &Notice, store: &Store, members: &Members, mesh: &Mesh) -> StatusCode {
    if notice.member.is_some_and(|id| members.is_removed(&store.view(), from, id)) {
        return StatusCode::GONE;
    }
    // Reach it now: it may be the one whose vote the write needs.
    mesh.set_address(from, notice.address);
    match Members::update(store, from, notice).await {
        Ok(true) => StatusCode::NO_CONTENT,
        // Its record has not come here yet, or this is a witness.
        Ok(false) | Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_of_older_nodes_are_an_address() {
        let notice = parse("127.0.0.3:7443").expect("an address");
        assert_eq!((notice.member, notice.address.to_string()), (None, "127.0.0.3:7443".to_owned()));
        let text = serde_json::to_string(&Notice { member: Some(7), level: 2, ..notice.clone() }).expect("plain");
        assert_eq!(parse(&text).and_then(|notice| notice.member), Some(7));
        assert!(parse("nonsense").is_none());
    }
}

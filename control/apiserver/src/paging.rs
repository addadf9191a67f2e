//! Lists in pages: all pages of a list show the objects as they were when the first one was answered.
//!
//! A continue token names the revision, when the list began, and the last name served. The view it was served from is kept
//! for a while, and made again from the history after that, or at another peer; a page whose revision neither reaches, or
//! whose list began long ago, is answered with 410 and a token that goes on at the present, as in Kubernetes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use wk_api::Status;
use wk_base::time::Timestamp;
use wk_store::{Revision, View};

/// Views kept at most. A view holds on to the objects replaced since, so under steady writes each costs what was
/// written since; 32 clients in the middle of a list are many for one peer.
const VIEWS_MAX: usize = 32;

/// How long a list may take from first to last page: the compaction interval of a real API server.
pub(crate) const VIEW_AGE_MAX: Duration = Duration::from_mins(5);

/// The version in a token, so that a later form can tell the two apart.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// What a continue token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    v: String,
    /// The revision of the first page; 0 to go on at the present.
    rv: u64,
    /// When the first page was answered, in seconds; 0 if that does not matter.
    #[serde(default, skip_serializing_if = "is_zero")]
    at: i64,
    /// The last name in the store that was served.
    start: String,
    /// How many objects come after that one, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Token {
    /// The token of a page that is answered `now` and ends with the name `after`; `before` is that of the page before.
    pub(crate) fn new(
        revision: Revision,
        after: &str,
        left: Option<usize>,
        now: Timestamp,
        before: Option<&Self>,
    ) -> Self {
        let at = before.filter(|before| before.rv == revision.0).map_or(now.as_second(), |before| before.at);
        Self { v: TOKEN_VERSION.to_owned(), rv: revision.0, at, start: after.to_owned(), left }
    }

    /// Whether its list began so long ago that Kubernetes would have forgotten what was there then.
    pub(crate) fn is_too_old(&self, now: Timestamp) -> bool {
        self.at > 0 && now.as_second().saturating_sub(self.at) > VIEW_AGE_MAX.as_secs().cast_signed()
    }

    /// The token that goes on after the same name at the present, whatever has changed.
    pub(crate) fn inconsistent(&self) -> Self {
        Self { rv: 0, at: 0, left: None, ..self.clone() }
    }

    /// How many objects come after the last one served; None when it is to be counted.
    pub(crate) fn left(&self) -> Option<usize> {
        self.left
    }

    /// The revision of the first page; None to go on at the present.
    pub(crate) fn revision(&self) -> Option<Revision> {
        (self.rv > 0).then_some(Revision(self.rv))
    }

    pub(crate) fn after(&self) -> &str {
        &self.start
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("strings and a number are JSON"))
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Status> {
        let invalid = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(error.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if token.v != TOKEN_VERSION {
            return Err(invalid(format!("server does not recognize this encoded version {:?}", token.v)));
        }
        Ok(token)
    }
}

/// The 410 for a page whose view is gone.
pub(crate) fn expired(token: &Token) -> Status {
    let mut status = Status::expired_with(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Some(token.inconsistent().encode().into());
    status
}

/// The views of lists that are being paged.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<VecDeque<Kept>>);

/// A view that has at least the objects of one collection.
#[derive(Debug)]
struct Kept {
    since: Instant,
    collection: &'static str,
    view: View,
}

impl Pages {
    /// Keeps `view` for the pages of `collection` that follow.
    pub(crate) fn keep(&self, collection: &'static str, view: &View) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut views, Instant::now());
        // The same view again is as young as its last page.
        views.retain(|kept| !kept.is_of(collection, view.revision()));
        if views.len() == VIEWS_MAX {
            views.pop_front();
        }
        views.push_back(Kept { since: Instant::now(), collection, view: view.clone() });
    }

    /// Lets go of views whose time has passed. Every request calls this, so that views of lists that nobody goes on with
    /// do not pin old objects: a look at one element.
    pub(crate) fn forget_old(&self, now: Instant) {
        // Whoever holds the lock does the same.
        if let Ok(mut views) = self.0.try_lock() {
            forget_old(&mut views, now);
        }
    }

    /// `collection` at a revision, if that view is still kept.
    pub(crate) fn at(&self, collection: &str, revision: Revision) -> Option<View> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut views, Instant::now());
        views.iter().find(|kept| kept.is_of(collection, revision)).map(|kept| kept.view.clone())
    }
}

impl Kept {
    fn is_of(&self, collection: &str, revision: Revision) -> bool {
        self.collection == collection && self.view.revision() == revision
    }
}

fn forget_old(views: &mut VecDeque<Kept>, now: Instant) {
    while views.front().is_some_and(|kept| now.saturating_duration_since(kept.since) > VIEW_AGE_MAX) {
        views.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_the_same_after_a_round_trip_and_nonsense_is_refused() {
        let token = Token::new(Revision(17), "default/web", Some(3), Timestamp::UNIX_EPOCH, None);
        assert_eq!(Token::decode(&token.encode()).expect("our own"), token);
        assert_eq!((token.inconsistent().revision(), token.inconsistent().left()), (None, None));
        for text in ["x", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"v9","rv":1,"start":""}"#)] {
            assert_eq!(Token::decode(text).expect_err("nonsense").code, 400, "{text}");
        }
    }

    #[test]
    fn a_list_is_as_old_as_its_first_page() {
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let first = Token::new(Revision(17), "a", None, at(1_000), None);
        let second = Token::new(Revision(17), "b", None, at(1_290), Some(&first));
        assert!(!second.is_too_old(at(1_300)) && second.is_too_old(at(1_301)));
        // Gone on with at the present, it is another list.
        let third = Token::new(Revision(18), "c", None, at(1_310), Some(&second.inconsistent()));
        assert!(!third.is_too_old(at(1_610)));
    }
}

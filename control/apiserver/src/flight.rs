//! How many requests are answered at once. Past that a request is refused at once with 429, which costs next to nothing,
//! so that the ones under way keep their deadlines (law L6).
//!
//! A request counts until the head of its answer: watches and followed logs go on in their body and do not count then.

use http::Method;
use tokio::sync::{Semaphore, SemaphorePermit};
use wk_api::Status;

use crate::route::Route;

/// Reads at once: Kubernetes' `--max-requests-inflight`. A read of the largest list holds some tens of megabytes for
/// some milliseconds.
pub(crate) const READS_MAX: usize = 400;

/// Writes at once: Kubernetes' `--max-mutating-requests-inflight`. Each may hold a body of 3 MiB and its decoded form,
/// and all wait for the one log.
pub(crate) const WRITES_MAX: usize = 200;

/// Requests for modules at once, apart from the others because an upload may take minutes: each holds a file open.
pub(crate) const MODULES_MAX: usize = 64;

/// When to try again: most requests take milliseconds, and a second is the least that `Retry-After` can say.
const RETRY_SECONDS: u32 = 1;

/// The room for requests.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) reads: Semaphore,
    pub(crate) writes: Semaphore,
    pub(crate) modules: Semaphore,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
            modules: Semaphore::new(MODULES_MAX),
        }
    }
}

impl Flight {
    /// Room for a request, to be held until the head of its answer; None for one that needs none.
    pub(crate) fn admit(&self, route: &Route, method: &Method) -> Result<Option<SemaphorePermit<'_>>, Status> {
        let room = match route {
            // A busy server is alive, and whoever restarts it for being busy makes it worse.
            Route::Health(_) => return Ok(None),
            Route::Modules(_) => &self.modules,
            _ if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => &self.reads,
            _ => &self.writes,
        };
        room.try_acquire()
            .map(Some)
            .map_err(|_| Status::too_many_requests("Too many requests, please try again later.", RETRY_SECONDS))
    }
}

//! Places for what lasts: no line before them, since nobody knows when one becomes free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places, of which one user has a share at most.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl Places {
    pub(super) fn new(number: usize, each: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), each, taken: Arc::default() }
    }

    /// A place for `user`, if there is one.
    pub(super) fn take(&self, user: &str) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(user.to_owned()).or_default();
        if *own >= self.each {
            return None;
        }
        *own += 1;
        drop(taken);
        Some(Place { user: user.to_owned(), taken: Arc::clone(&self.taken), _permit: permit })
    }
}

/// Somebody's place, until it is dropped.
pub(crate) struct Place {
    user: String,
    taken: Arc<Mutex<HashMap<String, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.user)),
        }
    }
}

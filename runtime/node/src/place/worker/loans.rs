//! What one worker has borrowed of the memory that all containers may hold. With the worker it comes back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::usage::Account;
use crate::worker::asked::Pot;

/// The loans of one worker.
pub(super) struct Loans {
    account: Account,
    /// Of each pot.
    lent: Mutex<[u64; 2]>,
}

impl Loans {
    pub(super) fn new(account: Account) -> Self {
        Self { account, lent: Mutex::default() }
    }

    /// Lends so many bytes, if the worker then has no more than `most` of that pot and there is so much.
    pub(super) fn lend(&self, pot: Pot, bytes: u64, most: u64) -> bool {
        let mut lent = self.lock();
        let fits = lent[index(pot)].saturating_add(bytes) <= most;
        let taken = fits && self.account.of(pot).take(bytes);
        lent[index(pot)] += if taken { bytes } else { 0 };
        taken
    }

    /// Takes back what was lent: more than that is nobody's.
    pub(super) fn take_back(&self, pot: Pot, bytes: u64) {
        let mut lent = self.lock();
        let lent = &mut lent[index(pot)];
        let back = bytes.min(*lent);
        *lent -= back;
        self.account.of(pot).give(back);
    }

    fn lock(&self) -> MutexGuard<'_, [u64; 2]> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(pot: Pot) -> usize {
    match pot {
        Pot::All => 0,
        Pot::Unlimited => 1,
    }
}

impl Drop for Loans {
    fn drop(&mut self) {
        self.take_back(Pot::All, u64::MAX);
        self.take_back(Pot::Unlimited, u64::MAX);
    }
}

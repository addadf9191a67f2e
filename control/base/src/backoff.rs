//! Waiting longer after each failure, with jitter so that many waiters do not come back at once.

use std::time::Duration;

/// Exponential back-off: doubles from `first` up to `max`; each delay is drawn from its upper half.
///
/// The jitter follows "equal jitter" of the AWS architecture blog's *Exponential Backoff And Jitter*.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self { first, max, next: first }
    }

    /// The delay to wait now; the following one is twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (ceiling * 2).min(self.max);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Back to the first delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        for ceiling in [1, 2, 3, 3] {
            let ceiling = Duration::from_secs(ceiling);
            let delay = backoff.next_delay();
            assert!(delay <= ceiling && delay >= ceiling / 2, "{delay:?} of {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }
}

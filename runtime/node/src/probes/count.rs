//! How many answers in a row make a result: pure.

use crate::spec::{Probe, ProbeKind};

/// The answers of one probe of one run of a container.
#[derive(Debug)]
pub(super) struct Count {
    success: u32,
    failure: u32,
    last: Option<bool>,
    in_a_row: u32,
    result: Option<bool>,
}

impl Count {
    /// Before the first answer a container counts as alive and as not ready.
    pub(super) fn new(kind: ProbeKind, probe: &Probe) -> Self {
        let result = match kind {
            ProbeKind::Startup => None,
            ProbeKind::Readiness => Some(false),
            ProbeKind::Liveness => Some(true),
        };
        Self { success: probe.success, failure: probe.failure, last: None, in_a_row: 0, result }
    }

    /// Takes in an answer and tells the result, if it is another one now.
    pub(super) fn take(&mut self, healthy: bool) -> Option<bool> {
        self.in_a_row = if self.last == Some(healthy) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let threshold = if healthy { self.success } else { self.failure };
        if self.in_a_row < threshold || self.result == Some(healthy) {
            return None;
        }
        self.result = Some(healthy);
        self.result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spec::Check;

    fn results(kind: ProbeKind, success: u32, failure: u32, answers: &str) -> String {
        let second = Duration::from_secs(1);
        let (check, initial_delay, period, timeout) = (Check::Tcp { port: 1 }, second, second, second);
        let probe = Probe { check, initial_delay, period, timeout, success, failure, grace: None };
        let mut count = Count::new(kind, &probe);
        let told = answers.chars().map(|answer| match count.take(answer == '+') {
            None => '.',
            Some(true) => '+',
            Some(false) => '-',
        });
        told.collect()
    }

    #[test]
    fn results_change_after_as_many_answers_in_a_row_as_the_threshold_says() {
        use ProbeKind::{Liveness, Readiness, Startup};
        for (kind, success, failure, answers, told) in [
            (Readiness, 1, 3, "--+--+---+", "..+.....-+"),
            (Readiness, 2, 1, "+-++-", "...+-"),
            (Readiness, 1, 1, "---+", "...+"),
            (Liveness, 1, 3, "++--+---", ".......-"),
            (Startup, 1, 3, "--+", "..+"),
            (Startup, 1, 3, "---", "..-"),
        ] {
            assert_eq!(results(kind, success, failure, answers), told, "{kind} of {answers}");
        }
    }
}

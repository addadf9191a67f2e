//! Linearizable reads that wait for the leader's word.
//!
//! All that wait share one question to the leader; those that come while it is under way share the next one.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::codec::Reader;
use crate::command::ProposalId;
use crate::core::Core;
use crate::error::ReadError;
use crate::options::Timing;

/// Ticks until a question without an answer is asked again: a leader that has not committed in its term does not answer.
const AGAIN_TICKS: u32 = 2;

struct Waiting {
    since: Instant,
    answer: oneshot::Sender<Result<(), ReadError>>,
}

/// A question under way.
struct Question {
    /// The numbers under which it was asked. Each was asked after its readers came, so any answer serves them.
    numbers: std::ops::RangeInclusive<u64>,
    asked: Instant,
    readers: Vec<Waiting>,
}

/// The reads of this peer.
pub(super) struct Reads {
    member: u64,
    incarnation: u64,
    deadline: Duration,
    again: Duration,
    waiting: Vec<Waiting>,
    question: Option<Question>,
    /// Answered: to be served once the index is applied.
    confirmed: Vec<(u64, Vec<Waiting>)>,
    next: u64,
    is_due: bool,
}

impl Reads {
    pub(super) fn new(member: u64, incarnation: u64, timing: Timing) -> Self {
        Self {
            member,
            incarnation,
            deadline: timing.deadline,
            again: timing.tick * AGAIN_TICKS,
            waiting: Vec::new(),
            question: None,
            confirmed: Vec::new(),
            next: 0,
            is_due: false,
        }
    }

    pub(super) fn add(&mut self, answer: oneshot::Sender<Result<(), ReadError>>, now: Instant) {
        self.waiting.push(Waiting { since: now, answer });
    }

    /// Asks the leader for those who wait, unless a question is under way.
    pub(super) fn ask(&mut self, core: &mut Core, id: impl Fn(u64) -> ProposalId, now: Instant) {
        if self.question.is_none() && !self.waiting.is_empty() {
            let readers = std::mem::take(&mut self.waiting);
            self.next += 1;
            self.question = Some(Question { numbers: self.next..=self.next, asked: now, readers });
        } else if let Some(question) = &mut self.question
            && std::mem::take(&mut self.is_due)
        {
            self.next += 1;
            question.numbers = *question.numbers.start()..=self.next;
            question.asked = now;
        } else {
            return;
        }
        self.is_due = false;
        let mut context = Vec::new();
        id(self.next).put(&mut context);
        core.read(context);
    }

    /// There is a new leader: the old one may have lost the question.
    pub(super) fn ask_again(&mut self) {
        self.is_due = true;
    }

    /// The leader's answers: index and context. Contexts of other questions are old ones, also when they have our number:
    /// a late answer to this member as it was before a restart knows nothing of what was written since.
    pub(super) fn confirmed(&mut self, answers: Vec<(u64, Vec<u8>)>) {
        for (index, context) in answers {
            let Ok(id) = ProposalId::read(&mut Reader::new(context.into())) else { continue };
            if (id.member, id.incarnation) != (self.member, self.incarnation) {
                continue;
            }
            if let Some(question) = self.question.take_if(|question| question.numbers.contains(&id.sequence)) {
                self.confirmed.push((index, question.readers));
            }
        }
    }

    /// Serves those whose index is applied.
    pub(super) fn answer(&mut self, applied: u64) {
        for (_, readers) in self.confirmed.extract_if(.., |(index, _)| *index <= applied) {
            for reader in readers {
                let _ = reader.answer.send(Ok(()));
            }
        }
    }

    /// Gives up what is past the deadline, and has a question without an answer asked again.
    pub(super) fn tick(&mut self, now: Instant) {
        let deadline = self.deadline;
        let give_up = |readers: &mut Vec<Waiting>| {
            for reader in readers.extract_if(.., |reader| now.duration_since(reader.since) >= deadline) {
                let waited = now.duration_since(reader.since);
                let _ = reader.answer.send(Err(ReadError::NoLeader { waited }));
            }
        };
        give_up(&mut self.waiting);
        self.confirmed.iter_mut().for_each(|(_, readers)| give_up(readers));
        self.confirmed.retain(|(_, readers)| !readers.is_empty());
        if let Some(question) = &mut self.question {
            give_up(&mut question.readers);
            self.is_due |= now.duration_since(question.asked) >= self.again;
        }
        self.question.take_if(|question| question.readers.is_empty());
    }

    /// The store stops.
    pub(super) fn close(&mut self) {
        let confirmed = self.confirmed.drain(..).flat_map(|(_, readers)| readers);
        let asked = self.question.take().into_iter().flat_map(|question| question.readers);
        for reader in confirmed.chain(asked).chain(self.waiting.drain(..)) {
            let _ = reader.answer.send(Err(ReadError::Stopped));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_the_member_before_its_restart_serves_no_reader_after_it() {
        let mut reads = Reads::new(1, 7, Timing::default());
        let (answer, mut answered) = oneshot::channel();
        let now = Instant::now();
        let readers = vec![Waiting { since: now, answer }];
        reads.question = Some(Question { numbers: 1..=1, asked: now, readers });
        let mut hear = |member, incarnation| {
            let mut context = Vec::new();
            ProposalId { member, incarnation, sequence: 1 }.put(&mut context);
            reads.confirmed(vec![(5, context)]);
            reads.answer(5);
            answered.try_recv().is_ok()
        };
        assert!(!hear(1, 6), "the process before");
        assert!(!hear(2, 7), "another member");
        assert!(hear(1, 7));
    }
}

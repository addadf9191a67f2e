//! Linearizable reads: an index that is served once it is applied.
//!
//! A leader confirms such a read by hearing from a majority that it still leads; Raft asks them by a heartbeat (Ongaro's
//! thesis, section 6.4). Where the leader and the voter that asks are a majority by themselves, of one, two or three voters,
//! the question says as much as the answer to that heartbeat would: it names the term that the voter was in when it asked,
//! after its readers came. No leader of a later term can have been elected before that without one of the two, so nothing was
//! acknowledged by then that the leader has not committed. It answers at once: one round trip instead of two, two messages
//! instead of six. Members of earlier versions name no term, and are answered the long way.

use raft::eraftpb::{Message, MessageType};

use super::{Core, Orders};
use crate::codec::{Malformed, Reader};
use crate::command::ProposalId;

impl Core {
    /// Asks for an index that makes a read linearizable once it is applied; comes back in `reads` with `context`, or
    /// not at all when there is no leader. The context begins with a [`ProposalId`].
    pub(crate) fn read(&mut self, mut context: Vec<u8>) {
        context.extend_from_slice(&self.term().to_le_bytes());
        self.node.read_index(context);
    }

    /// Answers another member's read at once, if its asking is enough. It is left with what is to be answered otherwise.
    pub(super) fn answer_read(&mut self, question: &mut Message) -> bool {
        let is_enough = self.is_leader()
            // What is promised in this term is not on disk yet.
            && self.promised.is_none()
            && self.node.raft.commit_to_current_term()
            && asked_in(question).is_ok_and(|term| term == self.term())
            && self.node.raft.prs().has_quorum(&[self.member, question.from].into_iter().collect());
        if !is_enough {
            return false;
        }
        let mut answer = Message::default();
        answer.set_msg_type(MessageType::MsgReadIndexResp);
        (answer.from, answer.to, answer.term) = (self.member, question.from, self.term());
        answer.index = self.node.raft.raft_log.committed;
        answer.set_entries(question.take_entries());
        self.answers.push(answer);
        true
    }

    /// Lets the answers go.
    pub(super) fn send_answers(&mut self, orders: &mut Orders) {
        let answers = std::mem::take(&mut self.answers);
        // Lost otherwise: it is asked again.
        if self.promised.is_none() {
            orders.send.extend(answers);
        }
    }
}

/// The term that the member which asks was in.
fn asked_in(question: &Message) -> Result<u64, Malformed> {
    let context = question.get_entries().first().map(|entry| entry.data.clone()).unwrap_or_default();
    let mut context = Reader::new(context);
    ProposalId::read(&mut context)?;
    context.fixed64()
}

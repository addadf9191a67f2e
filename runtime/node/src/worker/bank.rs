//! Where a worker borrows the memory that its containers may hold: the node counts what all its processes have.

use hyper::client::conn::http2::SendRequest;
use tokio::runtime::Handle;
use wk_base::body::Body;
use wk_engine::Lender;

use crate::worker::asked::{Answered, Asked, Pot};
use crate::worker::network::Node;

/// The node, asked for memory in the name of all containers of the worker.
#[derive(Clone)]
pub(super) struct Bank {
    node: Node,
    pot: Pot,
    /// Guests that compute ask from threads of their own.
    runtime: Handle,
}

impl Bank {
    /// Made on a thread of the runtime.
    pub(super) fn new(node: SendRequest<Body>, pot: Pot) -> Self {
        Self { node: Node::new(node, 0, false), pot, runtime: Handle::current() }
    }

    /// Gives back what is not needed any more.
    pub(super) async fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let _ = self.node.told(Asked::GiveBack(self.pot, bytes)).await;
        }
    }
}

impl Lender for Bank {
    fn lend(&self, bytes: u64) -> bool {
        let asked = self.node.told(Asked::Borrow(self.pot, bytes));
        // Other guests of this thread go on meanwhile. The node answers from two counters.
        let answer = tokio::task::block_in_place(|| self.runtime.block_on(asked));
        matches!(answer, Some(Answered::Lent(true)))
    }
}

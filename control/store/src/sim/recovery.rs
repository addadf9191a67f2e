//! The end of all evil, and what has to be well soon after it.

use std::time::Duration;

use super::node::Node;
use super::probe::Probe;
use super::referee::Rule;
use super::weather::Blow;
use super::world::{Held, World};

/// How long a healed world has until all is well: some elections, a snapshot sent twice, and writes on top of them.
const RECOVERY: Duration = Duration::from_secs(40);

impl World {
    /// The end of all evil: every machine runs, every message arrives.
    pub(super) fn heal(&mut self) -> Held {
        self.say("the world is healed");
        self.is_healed = true;
        self.network.calm();
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.mend(Blow::DiskFull, id);
            self.mend(Blow::Freeze, id);
            self.start(id, None)?;
        }
        Ok(())
    }

    /// A healed cluster serves again, and all its members come to the same state.
    pub(super) fn recover(&mut self) -> Held {
        let limit = self.now + RECOVERY;
        let mut why = String::new();
        while self.now < limit {
            self.live(self.now + Duration::from_secs(1))?;
            match self.ails() {
                None => return Ok(()),
                Some(ails) => why = ails,
            }
        }
        Rule::Available.broken(format!("{RECOVERY:?} after the world was healed {why}"))
    }

    /// What is not well yet.
    fn ails(&mut self) -> Option<String> {
        if let Some(id) =
            self.nodes.values().find(|node| node.running.is_none() && !node.is_retired).map(|node| node.id)
        {
            return Some(format!("member {id} does not run"));
        }
        let Some(leader) = self.leader() else { return Some("nobody leads".to_owned()) };
        let members = self.nodes.get(&leader).and_then(Node::machine)?.members.clone();
        let all = [&members.voters, &members.voters_outgoing, &members.learners].into_iter().flatten().copied();
        for id in all {
            let is_witness = self.nodes.get(&id).is_some_and(|node| node.is_witness);
            if !is_witness && !self.people.was_served(id) {
                return Some(format!("no write and no read was served by member {id}"));
            }
        }
        None
    }

    /// Who leads in the newest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |node: &Node| node.probe().filter(Probe::leads).map(|probe| (probe.term(), node.id));
        self.nodes.values().filter_map(leads).max().map(|(_, id)| id)
    }
}

//! Those who use the cluster: clients that ask, watchers that look on, and what they have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::bug::Bug;
use super::checker::{self, Act, Operation, Step, Verdict};
use super::client::{self, Ask, Client, GROUPS, Heard, Knowledge, Pending};
use super::model::{COLLECTIONS, Happened, Outcome};
use super::referee::{Referee, Rule, Violation};
use super::world::{Event, Held, World};
use crate::command::ProposalId;
use crate::error::{Compacted, WatchError};
use crate::history::Histories;
use crate::model::Revision;
use crate::tags::Tag;
use crate::watch::Watch;

/// What the watchers of each collection want to see; the first of them look seldom.
const TAGS: [Option<Tag>; 5] = [None, Some(Tag::Key(0)), None, Some(Tag::Object(1)), None];

pub(super) struct People {
    bug: Option<Bug>,
    clients: Vec<Client>,
    knowledge: Knowledge,
    history: [Vec<Operation>; GROUPS],
    /// The operations whose outcome is unknown: group, place in its history, and the proposal.
    unheard: Vec<(usize, usize, ProposalId)>,
    moment: u64,
    watchers: Vec<Watcher>,
    /// Members that answered a write and a read in the healed world.
    served: BTreeMap<u64, BTreeSet<&'static str>>,
    pub(super) acknowledged: u64,
    pub(super) read: u64,
    pub(super) unknown: u64,
    pub(super) watched: u64,
    /// Watchers that were told to list again.
    pub(super) restored: u64,
}

/// One who watches a collection at some member, and elsewhere when that goes away.
struct Watcher {
    collection: &'static str,
    /// What it wants to see of it.
    tag: Option<Tag>,
    /// Where, if anywhere.
    at: Option<(u64, Watch)>,
    /// All up to here was seen.
    seen: Revision,
    /// It has seen what it wants of this many changes of the collection.
    next: usize,
}

impl Watcher {
    fn watch(&self, histories: &Arc<Histories>) -> Result<Watch, Compacted> {
        match self.tag {
            Some(tag) => histories.watch_tagged(self.collection, tag, self.seen),
            None => histories.watch(self.collection, self.seen),
        }
    }

    /// The place of the change that it has to see next.
    fn expected(&self, happened: &[Happened]) -> Option<usize> {
        let wants = |change: &Happened| self.tag.is_none_or(|tag| client::has(change, tag));
        (self.next..happened.len()).find(|&at| wants(&happened[at]))
    }
}

impl People {
    pub(super) fn new(clients: usize, bug: Option<Bug>) -> Self {
        let watcher = |collection, tag| Watcher { collection, tag, at: None, seen: Revision(0), next: 0 };
        let watchers = COLLECTIONS.into_iter().flat_map(|collection| TAGS.map(|tag| watcher(collection, tag)));
        Self {
            bug,
            clients: (0..clients).map(|_| Client::default()).collect(),
            knowledge: Knowledge::default(),
            history: Default::default(),
            unheard: Vec::new(),
            moment: 0,
            watchers: watchers.collect(),
            served: BTreeMap::new(),
            acknowledged: 0,
            read: 0,
            unknown: 0,
            watched: 0,
            restored: 0,
        }
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Notes an operation that has come to its end.
    fn note(&mut self, group: usize, called: u64, act: Act, revision: Option<u64>) {
        let returned = self.moment();
        self.history[group].push(Operation { called, returned, act, revision });
    }

    fn note_unknown(&mut self, group: usize, called: u64, proposal: ProposalId, steps: Vec<Step>) {
        self.unknown += 1;
        self.unheard.push((group, self.history[group].len(), proposal));
        self.note(group, called, Act::Unknown(steps), None);
    }

    /// A node is down: what was asked of it may have happened, and who watched there looks elsewhere.
    pub(super) fn lost(&mut self, node: u64) {
        for client in 0..self.clients.len() {
            let gone = self.clients[client].pending.take_if(|pending| pending.node == node);
            if let Some(pending) = gone {
                self.give_up(pending);
            }
        }
        for watcher in &mut self.watchers {
            watcher.at.take_if(|(at, _)| *at == node);
        }
    }

    fn give_up(&mut self, pending: Pending) {
        if let Heard::Unknown(proposal, steps) = pending.answer.give_up() {
            self.note_unknown(pending.group, pending.called, proposal, steps);
        }
    }

    /// Whether a member has served a write and a read since the world was healed.
    pub(super) fn was_served(&self, node: u64) -> bool {
        self.served.get(&node).is_some_and(|kinds| kinds.len() == 2)
    }

    /// Whether what clients saw is linearizable.
    pub(super) fn judge(&mut self, referee: &Referee) -> Held {
        for client in 0..self.clients.len() {
            if let Some(pending) = self.clients[client].pending.take() {
                self.give_up(pending);
            }
        }
        // What became of those is told to the checker as a hint where to look, which it need not believe.
        for &(group, at, proposal) in &self.unheard {
            if let Some(Outcome::Written(index)) = referee.model.outcome(proposal) {
                self.history[group][at].revision = Some(index);
            }
        }
        for (group, history) in self.history.iter().enumerate() {
            let (how, placed, stuck) = match checker::check(history) {
                Verdict::Linearizable => continue,
                Verdict::Not { placed, stuck } => ("no order explains", placed, stuck),
                Verdict::GaveUp { placed, stuck } => ("no order was found that explains", placed, stuck),
            };
            let stuck: Vec<_> = stuck.into_iter().map(|at| format!("{:?}", history[at])).collect();
            return Rule::Linearizable.broken(format!(
                "group {group}: {how} more than {placed} of {} operations, then none of these fits:\n  {}",
                history.len(),
                stuck.join("\n  ")
            ));
        }
        Ok(())
    }
}

impl World {
    /// A client asks something, or gives up what it asked before.
    pub(super) fn think(&mut self, client: usize) -> Held {
        let wait = self.dice.millis(self.weather.think.clone());
        self.after(wait, Event::Think { client });
        if let Some(pending) = &self.people.clients[client].pending {
            if pending.until <= self.now
                && let Some(pending) = self.people.clients[client].pending.take()
            {
                self.say(&format!("client {client} gives up"));
                self.people.give_up(pending);
            }
            return Ok(());
        }
        let up: Vec<u64> =
            self.nodes.values().filter(|node| node.running.is_some() && !node.is_witness).map(|node| node.id).collect();
        let Some(id) = self.dice.pick(&up) else { return Ok(()) };
        let group = self.dice.index(GROUPS);
        let ask = self.people.knowledge.ask(&mut self.dice, group);
        self.say(&format!("client {client} asks {id} of group {group}: {ask:?}"));
        self.ask(client, id, group, ask)
    }

    fn ask(&mut self, client: usize, id: u64, group: usize, ask: Ask) -> Held {
        let (base, now) = (self.base, self.now);
        let called = self.people.moment();
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let answer = match ask {
            Ask::Local => {
                let Some(running) = &node.running else { return Ok(()) };
                let view = running.shared.view.load();
                self.referee.viewed(id, &view)?;
                return self.people.knowledge.see(&view, group).map(drop);
            }
            Ask::Read => node.read(base, now).map(Some),
            Ask::Write(steps) => {
                let txn = self.people.knowledge.txn(group, &steps);
                node.write(steps, &txn, base, now)
            }
        };
        let patience = if self.dice.chance(400) { self.dice.millis(50..=1000) } else { Duration::from_secs(8) };
        let done = match answer {
            Ok(Some(answer)) => {
                let until = now + patience;
                self.people.clients[client].pending = Some(Pending { node: id, group, called, until, answer });
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(fatal) => Err(fatal),
        };
        self.then(id, done)
    }

    /// Who waits for an answer of this node hears what there is.
    pub(super) fn hear(&mut self, id: u64) -> Held {
        for client in 0..self.people.clients.len() {
            let pending = &mut self.people.clients[client].pending;
            let Some(heard) = pending.as_mut().filter(|pending| pending.node == id).and_then(|p| p.answer.hear())
            else {
                continue;
            };
            let Some(Pending { group, called, .. }) = pending.take() else { continue };
            self.say(&format!("client {client} hears from {id}: {heard:?}"));
            self.heard(id, group, called, heard)?;
        }
        Ok(())
    }

    fn heard(&mut self, id: u64, group: usize, called: u64, heard: Heard) -> Held {
        let people = &mut self.people;
        let kind = match &heard {
            Heard::Read => Some("read"),
            Heard::Written(..) | Heard::Refused(..) => Some("write"),
            Heard::Unknown(..) | Heard::Failed => None,
        };
        if self.is_healed {
            people.served.entry(id).or_default().extend(kind);
        }
        match heard {
            Heard::Read => {
                people.read += 1;
                let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else { return Ok(()) };
                let view = running.shared.view.load();
                self.referee.viewed(id, &view)?;
                let values = people.knowledge.see(&view, group)?;
                people.note(group, called, Act::Read(values), Some(view.revision().0));
            }
            Heard::Written(proposal, steps, revision) => {
                self.referee.acknowledged(proposal, revision)?;
                people.acknowledged += 1;
                people.knowledge.wrote(group, &steps, revision);
                people.note(group, called, Act::Written(steps), Some(revision));
            }
            Heard::Refused(proposal, steps, at) => {
                self.referee.refused(proposal)?;
                people.note(group, called, Act::Refused(steps, at), None);
            }
            Heard::Unknown(proposal, steps) => people.note_unknown(group, called, proposal, steps),
            // It did not happen: should its value turn up all the same, no order explains that.
            Heard::Failed => {}
        }
        Ok(())
    }

    /// Who watches at this node sees what is new there.
    pub(super) fn watch(&mut self, id: u64) -> Held {
        if self.nodes.get(&id).is_none_or(|node| node.is_witness) {
            return Ok(());
        }
        for at in 0..self.people.watchers.len() {
            // Some look seldom, so that they fall behind.
            let is_late = self.dice.chance(if at % TAGS.len() < 2 { 950 } else { 100 });
            let here = self.people.watchers[at].at.as_ref().map(|(node, _)| *node);
            match here {
                Some(node) if node == id && !is_late => self.look_on(at)?,
                None => self.settle_down(at, id)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A watcher that is nowhere goes on at `id` from what it has seen, or begins anew when that is too old there.
    fn settle_down(&mut self, at: usize, id: u64) -> Held {
        let watcher = &mut self.people.watchers[at];
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else { return Ok(()) };
        let histories = &running.shared.histories;
        let happened = self.referee.model.happened(watcher.collection);
        let watch = match watcher.watch(histories) {
            Ok(watch) => watch,
            Err(compacted) => {
                if compacted.requested != watcher.seen || compacted.oldest <= watcher.seen {
                    return Rule::Watched.broken(format!("a watch from {} was refused: {compacted}", watcher.seen));
                }
                self.people.restored += 1;
                watcher.seen = running.shared.view.load().revision();
                match watcher.watch(histories) {
                    Ok(watch) => watch,
                    Err(_) => return Rule::Watched.broken("a watch from the present view was refused"),
                }
            }
        };
        watcher.next = happened.partition_point(|change| change.revision <= watcher.seen.0);
        watcher.at = Some((id, watch));
        Ok(())
    }

    fn look_on(&mut self, at: usize) -> Held {
        loop {
            let happened = self.referee.model.happened(self.people.watchers[at].collection);
            let skips = self.people.bug == Some(Bug::SkipEvent) && self.dice.chance(10);
            let watcher = &mut self.people.watchers[at];
            let place = watcher.expected(happened);
            let expected = place.map(|place| &happened[place]);
            let Some((node, watch)) = &mut watcher.at else { return Ok(()) };
            match watch.try_next() {
                Ok(Some(event)) if skips => drop(event),
                Ok(Some(event)) => {
                    let found = Happened::of(&event);
                    if expected != Some(&found) {
                        return Rule::Watched.broken(format!(
                            "a watcher of {} at member {node} saw {found:?} and should have seen {expected:?}",
                            watcher.collection
                        ));
                    }
                    watcher.next = place.map_or(watcher.next, |place| place + 1);
                    self.people.watched += 1;
                }
                Ok(None) => return self.caught_up(at),
                Err(WatchError::Stopped) => {
                    watcher.at = None;
                    return Ok(());
                }
                Err(WatchError::Compacted(_)) => {
                    // What was delivered may have been the half of a transaction; the watcher lists again, from nothing.
                    watcher.at = None;
                    watcher.seen = Revision(0);
                    return Ok(());
                }
            }
        }
    }

    /// A watcher was told that there is no more: then there is no more. Now and then it goes elsewhere.
    fn caught_up(&mut self, at: usize) -> Result<(), Violation> {
        let moves = self.dice.chance(20);
        let watcher = &mut self.people.watchers[at];
        let Some((node, watch)) = &watcher.at else { return Ok(()) };
        let seen = watch.seen();
        if seen < watcher.seen {
            return Rule::Watched
                .broken(format!("a watcher at member {node} had seen {} and then {seen}", watcher.seen));
        }
        let happened = self.referee.model.happened(watcher.collection);
        let expected = watcher.expected(happened).map(|place| &happened[place]);
        if let Some(missed) = expected.filter(|change| change.revision <= seen.0) {
            return Rule::Watched.broken(format!("a watcher at member {node} saw all up to {seen} but for {missed:?}"));
        }
        watcher.seen = seen;
        if moves {
            watcher.at = None;
        }
        Ok(())
    }
}

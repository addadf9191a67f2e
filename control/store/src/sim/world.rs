//! The world: one thread, one source of chance, virtual time. Events happen in the order of their time, and of their
//! making when that is equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bug::Bug;
use super::dice::Dice;
use super::nemesis::Nemesis;
use super::network::Network;
use super::node::{End, Node};
use super::people::People;
use super::referee::{Referee, Rule, Violation};
use super::trace::Trace;
use super::weather::{Blow, Weather};
use crate::core::Fatal;

/// What every step returns.
pub(super) type Held = Result<(), Violation>;

/// How long a busy process takes for what it was given, at most: what comes in meanwhile is taken together.
const WORK_MICROS: u64 = 300;

pub(super) enum Event {
    Deliver {
        from: u64,
        to: u64,
        bytes: Bytes,
    },
    Tick {
        node: u64,
        start: u64,
    },
    /// The process does what came in.
    Work {
        node: u64,
        start: u64,
    },
    /// The disk has carried out what it was at.
    Written {
        node: u64,
        start: u64,
    },
    /// The same of the worker with the snapshots.
    Filed {
        node: u64,
        start: u64,
    },
    /// A client thinks of something to ask.
    Think {
        client: usize,
    },
    /// The next blow.
    Strike,
    /// The end of a blow.
    Mend {
        blow: Blow,
        node: u64,
    },
    /// A machine is started again.
    Start {
        node: u64,
        end: Option<End>,
    },
    /// The operator looks after the members.
    Operate,
    /// A removed machine is switched off.
    Retire {
        node: u64,
    },
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) bug: Option<Bug>,
    pub(super) base: Instant,
    pub(super) now: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    made: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) network: Network,
    pub(super) referee: Referee,
    pub(super) people: People,
    pub(super) nemesis: Nemesis,
    pub(super) trace: Trace,
    /// Nothing bad happens any more.
    pub(super) is_healed: bool,
}

/// What a world came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) trace: (u64, u32),
    pub(super) committed: u64,
    pub(super) acknowledged: u64,
    pub(super) read: u64,
    pub(super) unknown: u64,
    pub(super) watched: u64,
    /// Watchers that were told to list again.
    pub(super) restored: u64,
    pub(super) terms: u64,
    pub(super) starts: u64,
    /// Changes of members that were committed.
    pub(super) changes: u64,
    /// Peers that caught up by a snapshot.
    pub(super) installs: u64,
}

impl Summary {
    /// Adds what happened in another world.
    pub(super) fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.acknowledged += other.acknowledged;
        self.read += other.read;
        self.unknown += other.unknown;
        self.watched += other.watched;
        self.restored += other.restored;
        self.terms += other.terms;
        self.starts += other.starts;
        self.changes += other.changes;
        self.installs += other.installs;
    }
}

impl World {
    pub(super) fn new(seed: u64, weather: impl FnOnce(&mut Dice) -> Weather, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let weather = weather(&mut dice);
        let network = Network::new(weather.network.clone());
        let people = People::new(weather.clients, bug);
        let mut world = Self {
            dice,
            bug,
            base: Instant::now(),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            made: 0,
            nodes: BTreeMap::new(),
            network,
            referee: Referee::new(bug),
            people,
            nemesis: Nemesis::default(),
            trace: Trace::default(),
            is_healed: false,
            weather,
        };
        let words = format!("seed {seed}, {:?}", world.weather);
        world.say(&words);
        world
    }

    pub(super) fn say(&mut self, what: &str) {
        self.trace.add(self.now, what);
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.made += 1;
        self.queue.insert((self.now + wait, self.made), event);
    }

    /// Lives through the weather, heals, and is judged.
    pub(super) fn run(&mut self) -> Result<Summary, Violation> {
        for _ in 0..self.weather.peers {
            self.add_node(false);
        }
        for client in 0..self.weather.clients {
            let wait = self.dice.millis(0..=2000);
            self.after(wait, Event::Think { client });
        }
        self.after(Duration::ZERO, Event::Operate);
        self.after(Duration::from_secs(2), Event::Strike);
        self.live(self.weather.lasts)?;
        self.heal()?;
        self.recover()?;
        self.people.judge(&self.referee)?;
        let people = &self.people;
        Ok(Summary {
            trace: self.trace.checksum(),
            committed: self.referee.last(),
            acknowledged: people.acknowledged,
            read: people.read,
            unknown: people.unknown,
            watched: people.watched,
            restored: people.restored,
            terms: self.referee.leaders(),
            starts: self.nodes.values().map(|node| node.starts).sum(),
            changes: self.referee.changes,
            installs: self.referee.installs,
        })
    }

    pub(super) fn live(&mut self, until: Duration) -> Held {
        while let Some((&(at, _), _)) = self.queue.first_key_value()
            && at <= until
        {
            let Some((_, event)) = self.queue.pop_first() else { break };
            self.now = at;
            self.happen(event)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Held {
        match event {
            Event::Deliver { from, to, bytes } => self.deliver(from, to, &bytes),
            Event::Tick { node, start } => self.tick(node, start),
            Event::Work { node, start } => self.work(node, start),
            Event::Written { node, start } => self.written(node, start),
            Event::Filed { node, start } => self.filed(node, start),
            Event::Think { client } => self.think(client),
            Event::Strike => self.strike(),
            Event::Mend { blow, node } => {
                self.mend(blow, node);
                Ok(())
            }
            Event::Start { node, end } => self.start(node, end),
            Event::Operate => self.operate(),
            Event::Retire { node } => {
                self.retire(node);
                Ok(())
            }
        }
    }

    /// The node, if it runs and this is of its present start. One that is frozen gets the event when it thaws.
    fn awake(&mut self, id: u64, start: u64, event: impl FnOnce() -> Event) -> Option<&mut Node> {
        let now = self.now;
        let node = self.nodes.get(&id)?;
        if node.running.is_none() || node.starts != start {
            return None;
        }
        if node.frozen > now {
            let wait = node.frozen.saturating_sub(now);
            self.after(wait, event());
            return None;
        }
        self.nodes.get_mut(&id)
    }

    fn deliver(&mut self, from: u64, to: u64, bytes: &Bytes) -> Held {
        if !self.network.carries(from, to) {
            return Ok(());
        }
        let (base, now) = (self.base, self.now);
        let Some(start) = self.nodes.get(&to).map(|node| node.starts) else { return Ok(()) };
        let again = bytes.clone();
        let Some(node) = self.awake(to, start, || Event::Deliver { from, to, bytes: again }) else { return Ok(()) };
        let done = node.receive(from, bytes, base, now);
        self.then(to, done)
    }

    fn tick(&mut self, id: u64, start: u64) -> Held {
        let (base, now) = (self.base, self.now);
        let Some(node) = self.awake(id, start, || Event::Tick { node: id, start }) else { return Ok(()) };
        let (done, lasts) = (node.tick(base, now), node.tick_lasts());
        self.after(lasts, Event::Tick { node: id, start });
        self.then(id, done)
    }

    fn written(&mut self, id: u64, start: u64) -> Held {
        let (base, now) = (self.base, self.now);
        let Some(node) = self.awake(id, start, || Event::Written { node: id, start }) else { return Ok(()) };
        let is_vote = node.writes_vote();
        let done = node.end_write(base, now);
        if is_vote && done.is_ok() && !self.is_healed && self.dice.chance(self.weather.ambush) {
            // The vote leaves, and then the power fails.
            self.then(id, done)?;
            self.work(id, start)?;
            self.ambush(id);
            return Ok(());
        }
        self.then(id, done)
    }

    fn filed(&mut self, id: u64, start: u64) -> Held {
        let (base, now) = (self.base, self.now);
        let Some(node) = self.awake(id, start, || Event::Filed { node: id, start }) else { return Ok(()) };
        let done = node.end_file(base, now);
        self.then(id, done)
    }

    /// After an input: the process works soon, or has given up.
    pub(super) fn then(&mut self, id: u64, done: Result<(), Fatal>) -> Held {
        if let Err(Fatal(why)) = done {
            return self.gave_up(id, &why);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let start = node.starts;
        if let Some(running) = node.running.as_mut().filter(|running| !running.is_woken) {
            running.is_woken = true;
            let wait = self.dice.micros(1..=WORK_MICROS);
            self.after(wait, Event::Work { node: id, start });
        }
        Ok(())
    }

    fn work(&mut self, id: u64, start: u64) -> Held {
        let (base, now) = (self.base, self.now);
        let Some(node) = self.awake(id, start, || Event::Work { node: id, start }) else { return Ok(()) };
        if let Some(running) = &mut node.running {
            running.is_woken = false;
        }
        match node.flush(base, now) {
            Ok(send) => {
                self.send(id, send);
                self.employ(id);
                self.observe(id)
            }
            Err(Fatal(why)) => self.gave_up(id, &why),
        }
    }

    pub(super) fn send(&mut self, from: u64, messages: Vec<(u64, Bytes)>) {
        for (to, bytes) in messages {
            for wait in self.network.send(&mut self.dice) {
                self.after(wait, Event::Deliver { from, to, bytes: bytes.clone() });
            }
        }
    }

    /// Gives the workers of a node what waits for them.
    fn employ(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (start, slowness) = (node.starts, node.slowness);
        let (log, file) = (node.begin_write(), node.begin_file());
        if log {
            let wait = self.dice.micros(self.weather.disk.clone()) * slowness;
            self.after(wait, Event::Written { node: id, start });
        }
        if file {
            let wait = self.dice.micros(self.weather.disk.clone()) * slowness * 2;
            self.after(wait, Event::Filed { node: id, start });
        }
    }

    /// Everyone looks at a node that has worked: the referee, then whoever waits for an answer or watches.
    fn observe(&mut self, id: u64) -> Held {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(mut checked) = node.running.as_ref().map(|running| running.checked) else { return Ok(()) };
        let Some(probe) = node.probe() else { return Ok(()) };
        let is_new_leader = self.referee.look(id, &probe, &mut checked)?;
        let words = format!("{id} leads in term {} with a log up to {}", probe.term(), probe.last());
        let Some(machine) = node.machine() else { return Ok(()) };
        let applied = machine.applied;
        let known = node.running.as_ref().map_or(0, |running| running.applied);
        if applied < known {
            return Rule::Monotonic.broken(format!("member {id} was at {known} and is at {applied}"));
        }
        if applied != known && !node.is_witness {
            self.referee.applied(id, machine)?;
        }
        if let Some(running) = &mut node.running {
            (running.checked, running.applied) = (checked, applied);
        }
        if is_new_leader {
            self.say(&words);
        }
        if applied != known {
            self.say(&format!("{id} applied {known} -> {applied}"));
        }
        self.hear(id)?;
        self.watch(id)
    }
}

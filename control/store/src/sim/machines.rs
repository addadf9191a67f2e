//! Machines that start, give up and are switched off.

use std::time::Duration;

use super::client::INDEX;
use super::node::{End, Node};
use super::referee::Rule;
use super::world::{Event, Held, World};
use crate::error::OpenError;
use crate::model::MemberId;
use crate::options::{Options, Start};

impl World {
    /// A new machine with an empty disk: the first one of all begins the cluster, the others wait to be added.
    pub(super) fn add_node(&mut self, witness: bool) -> u64 {
        let id = self.nodes.len() as u64 + 1;
        let start = if id == 1 { Start::Bootstrap } else { Start::Join };
        let mut options = Options { witness, index: Some(INDEX), ..Options::new("", MemberId(id), start) };
        (options.timing, options.limits) = (self.weather.timing, self.weather.limits);
        let node = Node::new(id, options, &mut self.dice, &self.weather, self.bug);
        self.nodes.insert(id, node);
        self.after(Duration::ZERO, Event::Start { node: id, end: None });
        id
    }

    /// A peer cannot go on. That is for it to do when its disk failed, and never else.
    pub(super) fn gave_up(&mut self, id: u64, why: &str) -> Held {
        self.say(&format!("{id} gave up: {why}"));
        let (base, now) = (self.base, self.now);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if !node.is_hurt {
            return Rule::Alive.broken(format!("member {id} gave up: {why}"));
        }
        let last = node.give_up(why, base, now);
        self.send(id, last);
        self.hear(id)?;
        self.watch(id)?;
        self.stop(id, End::Killed);
        Ok(())
    }

    /// Ends a process, and whoever waited for it hears nothing.
    pub(super) fn stop(&mut self, id: u64, how: End) {
        self.say(&format!("{id} ends: {how:?}"));
        if let Some(node) = self.nodes.get_mut(&id) {
            node.end(how, &mut self.dice);
        }
        self.people.lost(id);
    }

    /// Starts a machine again, or its process, if it is down.
    pub(super) fn start(&mut self, id: u64, end: Option<End>) -> Held {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        if node.running.is_some() || node.is_retired {
            return Ok(());
        }
        if end == Some(End::Power) {
            node.end(End::Power, &mut self.dice);
        }
        match node.start(&mut self.dice) {
            Ok(()) => {
                let (start, lasts) = (node.starts, node.tick_lasts());
                let machine = node.machine().map_or(0, |machine| machine.applied);
                self.say(&format!("{id} starts at {machine}"));
                self.after(lasts, Event::Tick { node: id, start });
                self.then(id, Ok(()))
            }
            Err(error @ OpenError::Io { .. }) if node.is_hurt => {
                self.say(&format!("{id} does not start: {error}"));
                Ok(())
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                Rule::Alive.broken(format!("member {id} does not start: {error} {source}"))
            }
        }
    }

    pub(super) fn retire(&mut self, id: u64) {
        self.stop(id, End::Power);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_retired = true;
        }
    }
}

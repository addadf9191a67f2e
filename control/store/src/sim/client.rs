//! Clients: what they ask, and what they remember of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::checker::{Effect, GROUP_KEYS, Step, ValueNumber, Values, Wanted};
use super::dice::Dice;
use super::model::{COLLECTIONS, Happened};
use super::referee::{Rule, Violation};
use crate::command::ProposalId;
use crate::error::{ReadError, WriteError};
use crate::model::{Change, Expect, Key, Op, Revision, Txn, Value};
use crate::tags::{Index, Tag};
use crate::view::View;

/// Groups of keys. Few keys make many conflicts.
pub(super) const GROUPS: usize = 3;

/// What a client asks for.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// The values of a group, linearizably.
    Read,
    /// The values that a peer has.
    Local,
    Write(Vec<Step>),
}

/// An answer to come.
pub(super) enum Answer {
    Write(ProposalId, Vec<Step>, oneshot::Receiver<Result<Revision, WriteError>>),
    Read(oneshot::Receiver<Result<(), ReadError>>),
}

/// What became of a question.
#[derive(Debug)]
pub(super) enum Heard {
    Read,
    Written(ProposalId, Vec<Step>, u64),
    Refused(ProposalId, Vec<Step>, usize),
    /// It may have happened, or happen yet.
    Unknown(ProposalId, Vec<Step>),
    /// It did not happen.
    Failed,
}

impl Answer {
    /// What has been heard by now.
    pub(super) fn hear(&mut self) -> Option<Heard> {
        match self {
            Self::Read(answer) => match answer.try_recv() {
                Ok(Ok(())) => Some(Heard::Read),
                Err(TryRecvError::Empty) => None,
                Ok(Err(_)) | Err(TryRecvError::Closed) => Some(Heard::Failed),
            },
            Self::Write(id, steps, answer) => match answer.try_recv() {
                Ok(Ok(revision)) => Some(Heard::Written(*id, std::mem::take(steps), revision.0)),
                Ok(Err(WriteError::Conflict { op, .. })) => Some(Heard::Refused(*id, std::mem::take(steps), op)),
                Ok(Err(WriteError::Unknown { .. })) | Err(TryRecvError::Closed) => {
                    Some(Heard::Unknown(*id, std::mem::take(steps)))
                }
                Ok(Err(
                    WriteError::NoLeader { .. }
                    | WriteError::Stopped
                    | WriteError::Unavailable { .. }
                    | WriteError::TooLarge { .. }
                    | WriteError::Invalid { .. },
                )) => Some(Heard::Failed),
                Err(TryRecvError::Empty) => None,
            },
        }
    }

    /// The client waits no longer.
    pub(super) fn give_up(self) -> Heard {
        match self {
            Self::Read(_) => Heard::Failed,
            Self::Write(id, steps, _) => Heard::Unknown(id, steps),
        }
    }
}

/// A question under way.
pub(super) struct Pending {
    pub(super) node: u64,
    pub(super) group: usize,
    /// When it was asked, as a moment of the history.
    pub(super) called: u64,
    /// When the client loses patience.
    pub(super) until: Duration,
    pub(super) answer: Answer,
}

/// One client. It asks one thing at a time.
#[derive(Default)]
pub(super) struct Client {
    pub(super) pending: Option<Pending>,
}

/// What all clients know together: which versions there were.
#[derive(Default)]
pub(super) struct Knowledge {
    /// The newest version seen of each key, None when it was absent.
    newest: BTreeMap<(usize, usize), (u64, Option<ValueNumber>)>,
    /// The revision of each value ever seen.
    revisions: BTreeMap<ValueNumber, u64>,
    values: ValueNumber,
}

impl Knowledge {
    /// A question of a client about `group`.
    pub(super) fn ask(&mut self, dice: &mut Dice, group: usize) -> Ask {
        match dice.number(0..=99) {
            0..30 => Ask::Read,
            30..40 => Ask::Local,
            40..80 => {
                let key = dice.index(GROUP_KEYS);
                Ask::Write(vec![self.step(dice, group, key, false)])
            }
            _ => {
                let left_out = dice.index(GROUP_KEYS);
                let all = dice.chance(200);
                let keys = (0..GROUP_KEYS).filter(|key| all || *key != left_out).collect::<Vec<_>>();
                Ask::Write(keys.into_iter().map(|key| self.step(dice, group, key, true)).collect())
            }
        }
    }

    fn step(&mut self, dice: &mut Dice, group: usize, key: usize, is_one_of_many: bool) -> Step {
        let known = self.newest.get(&(group, key)).and_then(|(_, value)| *value);
        let wanted = match (dice.number(0..=9), known) {
            (0..6, Some(value)) => Wanted::Value(value),
            (0..6, None) | (6, _) => Wanted::Absent,
            (7, _) => Wanted::Present,
            _ => Wanted::Any,
        };
        let effect = match dice.number(0..=9) {
            0 if is_one_of_many => Effect::Check,
            0..=2 if wanted != Wanted::Absent => Effect::Delete,
            _ => {
                self.values += 1;
                Effect::Put(self.values)
            }
        };
        Step { key, wanted, effect }
    }

    /// The transaction of these steps.
    pub(super) fn txn(&self, group: usize, steps: &[Step]) -> Txn {
        let op = |step: &Step| {
            let expect = match step.wanted {
                Wanted::Any => Expect::Any,
                Wanted::Absent => Expect::Absent,
                Wanted::Present => Expect::Present,
                Wanted::Value(value) => Expect::Revision(Revision(self.revisions.get(&value).copied().unwrap_or(0))),
            };
            let change = match step.effect {
                Effect::Put(value) => {
                    let bytes = format!("v{value}:");
                    Change::Put(Value { stamp: Some(bytes.len() as u32), bytes: bytes.into() })
                }
                Effect::Delete => Change::Delete,
                Effect::Check => Change::Check,
            };
            Op { key: key(group, step.key), expect, change }
        };
        Txn { ops: steps.iter().map(op).collect() }
    }

    /// What `view` says of a group.
    pub(super) fn see(&mut self, view: &View, group: usize) -> Result<Values, Violation> {
        let mut values = Values::default();
        for (at, value) in values.iter_mut().enumerate() {
            let stored = view.get(&key(group, at));
            if let Some(stored) = &stored {
                let revision = stored.revision().0;
                let Some(number) = number_of(&stored.bytes(), revision) else {
                    return Rule::SameState
                        .broken(format!("{stored:?} is not what anyone wrote: {:?}", stored.bytes()));
                };
                let known = *self.revisions.entry(number).or_insert(revision);
                if known != revision {
                    let what =
                        format!("value {number} of {stored:?} was written at revision {known} and at {revision}");
                    return Rule::SameState.broken(what);
                }
                *value = Some(number);
            }
            let newest = self.newest.entry((group, at)).or_default();
            if newest.0 <= view.revision().0 {
                *newest = (view.revision().0, *value);
            }
        }
        Ok(values)
    }

    /// A write of ours was acknowledged.
    pub(super) fn wrote(&mut self, group: usize, steps: &[Step], revision: u64) {
        for step in steps {
            let value = match step.effect {
                Effect::Put(value) => {
                    self.revisions.entry(value).or_insert(revision);
                    Some(value)
                }
                Effect::Delete => None,
                Effect::Check => continue,
            };
            let newest = self.newest.entry((group, step.key)).or_default();
            if newest.0 <= revision {
                *newest = (revision, value);
            }
        }
    }
}

/// A key of a group. The keys of a group are in different collections, so that transactions go across them.
pub(super) fn key(group: usize, at: usize) -> Key {
    Key::new(COLLECTIONS[at % COLLECTIONS.len()], format!("group-{group}/key-{at}"))
}

/// Objects can be watched by their group, and by whether their value is odd.
pub(super) const INDEX: Index = Index {
    of_key: |key, each| group_of(key.name()).into_iter().for_each(each),
    of_object: |stored, each| parity_of(&stored.bytes()).into_iter().for_each(each),
};

/// Whether a watcher of `tag` has to see a change, by the index or not.
pub(super) fn has(change: &Happened, tag: Tag) -> bool {
    match tag {
        Tag::Key(group) => group_of(&change.name) == Some(group),
        Tag::Object(parity) => {
            let mut versions = [&change.bytes, &change.previous].into_iter().flatten();
            versions.any(|bytes| parity_of(bytes) == Some(parity))
        }
    }
}

fn group_of(name: &str) -> Option<u64> {
    name.strip_prefix("group-")?.split_once('/')?.0.parse().ok()
}

fn parity_of(bytes: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(bytes).ok()?.strip_prefix('v')?.split_once(':')?.0.parse().ok()?;
    Some(number % 2)
}

/// The number of a value, which the store stamped with its revision.
fn number_of(bytes: &[u8], revision: u64) -> Option<ValueNumber> {
    let (number, stamp) = std::str::from_utf8(bytes).ok()?.strip_prefix('v')?.split_once(':')?;
    if stamp.parse() != Ok(revision) {
        return None;
    }
    number.parse().ok()
}

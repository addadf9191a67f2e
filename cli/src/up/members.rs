//! Who the members are: one record each in the store, by name. A member's id is the revision that created its record,
//! so no id is ever given twice.
//!
//! The address in a record may change; the id and the name may not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wk_base::tasks::Tasks;
use wk_mesh::join::{FIRST_LEVEL, Member, Vote};
use wk_mesh::{Mesh, NodeName};
use wk_plan::voters;
use wk_store::{Change, Expect, Key, MemberId, Op, Store, Stored, Txn, Value, View, WriteError};

/// Where the records are. Not a kind: no API path leads there.
pub(crate) const COLLECTION: &str = "wk.dev/members";

/// A watch that ended is opened again after this.
const REOPEN: Duration = Duration::from_millis(100);

/// A member's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The first member's id; everybody else's is the revision that created the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    /// Where its mesh listens.
    pub(crate) address: SocketAddr,
    /// Its certificate request: a newcomer that asks again with the same key is the same one.
    pub(crate) csr: String,
    /// What it is there for.
    #[serde(default, skip_serializing_if = "Vote::is_voter")]
    pub(crate) vote: Vote,
    /// The level of the store's language that it understands. Members did not say before the second one.
    #[serde(default = "first_level")]
    pub(crate) level: u32,
    /// The zone it says it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
}

fn first_level() -> u32 {
    FIRST_LEVEL
}

/// The record's place in the store.
pub(crate) fn key(name: &NodeName) -> Key {
    Key::new(COLLECTION, name.as_str())
}

/// The write of a record.
pub(crate) fn put(name: &NodeName, record: &Record, expect: Expect) -> Txn {
    let bytes = serde_json::to_vec(record).expect("a record of plain fields");
    let change = Change::Put(Value { bytes: Bytes::from(bytes), stamp: None });
    Txn { ops: vec![Op { key: key(name), expect, change }] }
}

/// Reads a record.
pub(crate) fn read(stored: &Stored) -> Option<(Member, Record)> {
    let record: Record = serde_json::from_slice(&stored.bytes()).ok()?;
    let name = stored.key().name().parse().ok()?;
    let id = record.id.unwrap_or(stored.created().0);
    Some((Member { id, name, address: record.address }, record))
}

/// All records in a view.
pub(crate) fn records(view: &View) -> impl Iterator<Item = (Member, Record)> {
    view.list(COLLECTION, "").filter_map(|stored| read(&stored))
}

/// All members in a view.
pub(crate) fn all(view: &View) -> Vec<Member> {
    records(view).map(|(member, _)| member).collect()
}

/// The level of the store's language that all members understand.
pub(crate) fn level(view: &View) -> u32 {
    records(view).map(|(_, record)| record.level).min().unwrap_or(FIRST_LEVEL)
}

/// As the planner of voters takes them.
pub(crate) fn roll(view: &View) -> BTreeMap<u64, voters::Member> {
    let member = |(member, record): (Member, Record)| {
        let vote = match record.vote {
            Vote::Voter => voters::Vote::Voter,
            Vote::None => voters::Vote::None,
            Vote::Witness => voters::Vote::Witness,
        };
        let name = member.name.to_string();
        let (zone, level) = (record.zone, record.level);
        (member.id, voters::Member { name, zone, vote, level, ..voters::Member::default() })
    };
    records(view).map(member).collect()
}

/// The members as this node knows them, kept up to date. Clones share the table.
#[derive(Clone)]
pub(crate) struct Members {
    table: Arc<ArcSwap<BTreeMap<MemberId, Member>>>,
    mesh: Mesh,
    /// Whether the store here has all records. That of a witness need not.
    has_records: bool,
}

impl Members {
    /// Begins with `seeds`, until the store knows better.
    pub(crate) fn new(mesh: Mesh, seeds: &[Member], has_records: bool) -> Self {
        let members = Self { table: Arc::default(), mesh, has_records };
        members.set(seeds.to_vec());
        members
    }

    fn set(&self, members: Vec<Member>) {
        for member in &members {
            self.mesh.set_address(&member.name, member.address);
        }
        let table: BTreeMap<_, _> = members.into_iter().map(|member| (MemberId(member.id), member)).collect();
        for (id, gone) in self.table.load().iter() {
            if !table.contains_key(id) {
                self.mesh.forget(&gone.name);
            }
        }
        self.table.store(Arc::new(table));
    }

    /// Whether `view` shows that the member `id`, called `name`, was removed. Its record was written at the revision
    /// `id`: a view of that revision or a later one has it, unless it was deleted.
    pub(crate) fn is_removed(&self, view: &View, name: &NodeName, id: u64) -> bool {
        let known = view.get(&key(name)).and_then(|stored| read(&stored)).is_some_and(|(member, _)| member.id == id);
        self.has_records && view.revision().0 >= id && !known
    }

    /// Everybody, this node included.
    pub(crate) fn all(&self) -> Vec<Member> {
        self.table.load().values().cloned().collect()
    }

    /// One by id.
    pub(crate) fn get(&self, id: MemberId) -> Option<Member> {
        self.table.load().get(&id).cloned()
    }

    /// One by name.
    pub(crate) fn named(&self, name: &NodeName) -> Option<Member> {
        self.table.load().values().find(|member| member.name == *name).cloned()
    }

    /// Takes what another member says, when that is anything: for a witness, whose store has no records.
    pub(crate) fn learn(&self, members: Vec<Member>) -> bool {
        let known = self.all();
        let is_news =
            !members.is_empty() && (members.len() != known.len() || members.iter().any(|it| !known.contains(it)));
        if is_news {
            self.set(members);
        }
        is_news
    }

    /// Takes the records of the store when it has any.
    pub(crate) fn take(&self, view: &View) {
        let members = all(view);
        if !members.is_empty() {
            self.set(members);
        }
    }

    fn take_all(&self, store: &Store, view: &View) {
        self.take(view);
        if !all(view).is_empty() {
            store.speak(level(view).min(wk_store::LEVEL));
        }
    }

    /// Follows the records for as long as the tasks run.
    pub(crate) fn follow(&self, store: &Store, tasks: &Tasks) {
        let (members, store) = (self.clone(), store.clone());
        tasks.spawn_until_stop("members", async move {
            loop {
                let view = store.view();
                members.take_all(&store, &view);
                if let Ok(mut watch) = store.watch(COLLECTION, view.revision()) {
                    while watch.next().await.is_ok() {
                        members.take_all(&store, &store.view());
                    }
                }
                tokio::time::sleep(REOPEN).await;
            }
        });
    }

    /// Writes what a member says of itself; its record must be there. Whether it is.
    pub(crate) async fn update(store: &Store, name: &NodeName, notice: &Notice) -> Result<bool, WriteError> {
        let Some(stored) = store.view().get(&key(name)) else { return Ok(false) };
        let Some((member, old)) = read(&stored) else { return Ok(false) };
        if notice.member.is_some_and(|id| id != member.id) {
            return Ok(false);
        }
        let record = notice.on(&old);
        if record != old {
            store.write(put(name, &record, Expect::Revision(stored.revision()))).await?;
        }
        Ok(true)
    }
}

/// What a member says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// Its id; older members do not say.
    pub(crate) member: Option<u64>,
    /// Where its mesh listens now.
    pub(crate) address: SocketAddr,
    /// What it is there for; older members do not say, and vote.
    #[serde(default)]
    pub(crate) vote: Vote,
    /// The level that it understands now.
    #[serde(default = "first_level")]
    pub(crate) level: u32,
    /// The zone that it was given; none leaves the old one.
    #[serde(default)]
    pub(crate) zone: Option<String>,
}

impl Notice {
    /// A notice of a member that can say no more.
    pub(crate) fn of_address(address: SocketAddr) -> Self {
        Self { member: None, address, vote: Vote::Voter, level: FIRST_LEVEL, zone: None }
    }

    /// The record after it.
    pub(crate) fn on(&self, old: &Record) -> Record {
        Record {
            address: self.address,
            // What is a witness stays one.
            vote: if old.vote == Vote::Witness { old.vote } else { self.vote },
            level: self.level,
            zone: self.zone.clone().or_else(|| old.zone.clone()),
            ..old.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_the_first_release_is_a_voter_of_the_first_level() {
        let record: Record = serde_json::from_str(r#"{"id":1,"address":"127.0.0.1:7443","csr":"x"}"#).expect("reads");
        assert_eq!((record.vote, record.level, &record.zone), (Vote::Voter, FIRST_LEVEL, &None));
        let notice = Notice { vote: Vote::None, level: 2, ..Notice::of_address("127.0.0.2:7443".parse().expect("ip")) };
        let moved = notice.on(&record);
        assert_eq!((moved.address, moved.vote, moved.level, moved.id), (notice.address, Vote::None, 2, Some(1)));
    }
}

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
use wk_mesh::join::Member;
use wk_mesh::{Mesh, NodeName};
use wk_store::{
    Change, Expect, Key, MemberChange, MemberId, Op, Revision, Store, Stored, Txn, Value, View, WriteError,
};

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
    let record: Record = serde_json::from_slice(stored.bytes()).ok()?;
    let name = stored.key().name().parse().ok()?;
    let id = record.id.unwrap_or(stored.created().0);
    Some((Member { id, name, address: record.address }, record))
}

/// All members in a view.
pub(crate) fn all(view: &View) -> Vec<Member> {
    view.list(COLLECTION, "").filter_map(|stored| read(&stored)).map(|(member, _)| member).collect()
}

/// The members as this node knows them, kept up to date. Clones share the table.
#[derive(Clone)]
pub(crate) struct Members {
    table: Arc<ArcSwap<BTreeMap<MemberId, Member>>>,
    mesh: Mesh,
}

impl Members {
    /// Begins with `seeds`, until the store knows better.
    pub(crate) fn new(mesh: Mesh, seeds: &[Member]) -> Self {
        let members = Self { table: Arc::default(), mesh };
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

    /// Takes the records of the store when it has any.
    pub(crate) fn take(&self, view: &View) {
        let members = all(view);
        if !members.is_empty() {
            self.set(members);
        }
    }

    /// Follows the records for as long as the tasks run.
    pub(crate) fn follow(&self, store: &Store, tasks: &Tasks) {
        let (members, store) = (self.clone(), store.clone());
        tasks.spawn_until_stop("members", async move {
            loop {
                let view = store.view();
                members.take(&view);
                if let Ok(mut watch) = store.watch(COLLECTION, view.revision()) {
                    while watch.next().await.is_ok() {
                        members.take(&store.view());
                    }
                }
                tokio::time::sleep(REOPEN).await;
            }
        });
    }

    /// While this peer leads, makes every member with a record a learner of Raft's. Which learners vote is decided by
    /// the controller of voters.
    pub(crate) fn admit_to_raft(&self, store: &Store, tasks: &Tasks) {
        let (members, store) = (self.clone(), store.clone());
        tasks.spawn_until_stop("admit", async move {
            let mut status = store.status();
            loop {
                let missing = {
                    let now = status.borrow_and_update();
                    let known = |id: &MemberId| now.voters.contains(id) || now.learners.contains(id);
                    let table = members.table.load();
                    table.keys().copied().find(|id| now.is_leader() && !known(id))
                };
                if let Some(id) = missing
                    && let Err(error) = store.change_members(MemberChange::AddLearner(id)).await
                {
                    tracing::debug!(%error, %id, "member not added yet");
                }
                // The table changes without a change of status, so this looks by itself too.
                let _ = tokio::time::timeout(REOPEN, status.changed()).await;
            }
        });
    }

    /// Writes a member's new address; its record must be there.
    pub(crate) async fn move_to(store: &Store, name: &NodeName, address: SocketAddr) -> Result<(), WriteError> {
        let Some(stored) = store.view().get(&key(name)) else { return Ok(()) };
        let Some((member, mut record)) = read(&stored) else { return Ok(()) };
        if member.address == address {
            return Ok(());
        }
        record.address = address;
        store.write(put(name, &record, Expect::Revision(stored.revision()))).await.map(|_: Revision| ())
    }
}

//! Which key seals a cluster's Secrets: one for all members, so that what one of them writes every other can read.
//!
//! The cluster's key stands in the store, by its id (a digest of it, never the key). A member seals with that key or not
//! at all, and each such write relies on the record. Members tell which keys they were started with, the one they want
//! first; the leader moves the cluster to another key once it is the first of every member, and seals anew what others
//! sealed. So a key that a node alone was given never seals anything, and a rotation is: the new key before the old one
//! on node after node, wait until [`Sealing::needs`] no longer names the old one, then take it away. While there is no record,
//! as after the upgrade of a cluster that kept none, a member seals with a key that all have told, and the leader makes a
//! record of one that all have.
//!
//! Not here: where keys come from, and who is a member (the binary).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wk_api::{Object, Status, kinds, slices};
use wk_store::{Change, Expect, Key, Op, Revision, Stored, Txn, Value, View, WriteError};

use crate::vault::{SEALED_LEVEL, Vault};
use crate::{Cluster, Freshness, object, refusal, sealed_with, write};

/// Where the records are. Not a kind: no API path leads there.
pub const COLLECTION: &str = "wk.dev/secrets-keys";
/// The cluster's own record.
const CLUSTER: &str = "cluster";
/// Before a member's name. No member is called as the cluster's record is.
const MEMBER: &str = "member/";

/// What the cluster's record says.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The id of the key that seals.
    seals: String,
}

/// What a member's record says.
#[derive(Serialize, Deserialize, PartialEq)]
struct Told {
    /// The ids of the keys that it was started with; it would seal with the first.
    keys: Vec<String>,
}

/// How a cluster's Secrets are sealed, for people who turn keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// The id of the key that seals; None in a cluster that never said.
    pub seals: Option<String>,
    /// Secrets by the key they are sealed with.
    pub secrets: BTreeMap<String, usize>,
    /// Secrets in plain form.
    pub plain: usize,
    /// The key that this member would have seal instead.
    pub wants: Option<String>,
    /// Members that do not have that key first.
    pub waits_for: Vec<String>,
}

impl Sealing {
    /// Keys that have to stay: the one that seals, and those of Secrets that are not sealed anew yet.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let others = self.secrets.keys().filter(|id| Some(*id) != self.seals.as_ref());
        self.seals.iter().chain(others).map(String::as_str)
    }

    /// Secrets that another key than the one that seals has sealed, or none.
    pub fn left(&self) -> usize {
        let others = self.secrets.iter().filter(|(id, _)| Some(*id) != self.seals.as_ref());
        self.plain + others.map(|(_, number)| number).sum::<usize>()
    }
}

/// A key that is needed and not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKey {
    /// Its id.
    pub id: String,
    /// Secrets that it opens.
    pub secrets: usize,
    /// Whether new Secrets are sealed with it.
    pub seals: bool,
}

fn record(view: &View) -> Option<(String, Revision)> {
    let stored = view.get(&Key::new(COLLECTION, CLUSTER))?;
    let record: Record = serde_json::from_slice(&stored.bytes()).ok()?;
    Some((record.seals, stored.revision()))
}

fn told(view: &View, member: &str) -> Option<(Told, Revision)> {
    let stored = view.get(&Key::new(COLLECTION, format!("{MEMBER}{member}")))?;
    Some((serde_json::from_slice(&stored.bytes()).ok()?, stored.revision()))
}

/// What members have told, each with its record's name and revision.
fn told_by_all(view: &View) -> Vec<(String, Told, Revision)> {
    let records = view.list(COLLECTION, MEMBER);
    let read = |stored: std::sync::Arc<Stored>| {
        let told = serde_json::from_slice(&stored.bytes()).ok()?;
        Some((stored.key().name().to_owned(), told, stored.revision()))
    };
    records.filter_map(read).collect()
}

fn op(name: String, record: &impl Serialize, expect: Expect) -> Op {
    let bytes = serde_json::to_vec(record).expect("plain fields");
    let change = Change::Put(Value { bytes: Bytes::from(bytes), stamp: None });
    Op { key: Key::new(COLLECTION, name), expect, change }
}

fn check(name: String, revision: Option<Revision>) -> Op {
    let expect = revision.map_or(Expect::Absent, Expect::Revision);
    Op { key: Key::new(COLLECTION, name), expect, change: Change::Check }
}

/// Removes what a member told, if it did: nobody waits for the keys of one who is gone.
pub fn forget_keys(member: &str) -> Op {
    Op { key: Key::new(COLLECTION, format!("{MEMBER}{member}")), expect: Expect::Any, change: Change::Delete }
}

/// The key that a stored Secret is sealed with, without decoding more of it.
pub(crate) fn key_of(stored: &Stored) -> Option<String> {
    #[derive(Deserialize)]
    struct Sealed {
        key: String,
    }
    let sealed: Sealed = serde_json::from_slice(slices::member(&stored.bytes(), "sealed")?).ok()?;
    Some(sealed.key)
}

/// Secrets by the key they are sealed with, and how many are in plain form.
type Counts = (BTreeMap<String, usize>, usize);

/// The last counts, and of which Secrets they are: how many, and when the last of them was written. Whoever looks reads
/// every Secret, and metrics are looked at all the time.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Option<((usize, Revision), Counts)>>);

impl Counted {
    fn of(&self, view: &View) -> Counts {
        let all = || view.list(kinds::SECRET.collection(), "");
        let seen = all().fold((0, Revision(0)), |(number, last), stored| (number + 1, last.max(stored.revision())));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, counts)) = &*kept
            && *of == seen
        {
            return counts.clone();
        }
        let (mut sealed, mut plain) = (BTreeMap::<String, usize>::new(), 0);
        for stored in all() {
            match key_of(&stored) {
                Some(id) => *sealed.entry(id).or_default() += 1,
                None => plain += 1,
            }
        }
        *kept = Some((seen, (sealed.clone(), plain)));
        (sealed, plain)
    }
}

impl Cluster {
    fn sealing_vault(&self) -> Option<&Vault> {
        self.vault.as_deref().filter(|_| self.store.level() >= SEALED_LEVEL)
    }

    /// The encoded form of `object` as a change, sealed with the cluster's key if it is to be and every member can open it;
    /// and what the write relies on besides. 500 where this member does not have the cluster's key.
    pub(crate) fn put(&self, view: &View, object: &Object) -> Result<(Change, Vec<Op>), Status> {
        let Some(vault) = self.sealing_vault().filter(|_| Vault::seals(object)) else {
            return Ok((write::put(object), Vec::new()));
        };
        let Some((id, revision)) = record(view) else { return seal_unrecorded(view, vault, object) };
        let sealed = vault.seal_with(&id, object).ok_or_else(|| {
            Status::internal(format!(
                "the Secrets of this cluster are sealed with key {id}, which this node was not started with: give it \
                 among those of --secrets-key-file or --secrets-key-command"
            ))
        })?;
        Ok((write::put(&sealed), vec![check(CLUSTER.to_owned(), Some(revision))]))
    }

    /// The id of the key that this member would have seal.
    pub fn first_key(&self) -> Option<&str> {
        self.vault.as_deref().map(Vault::first)
    }

    /// The keys without which Secrets in `view` cannot be read or written here.
    pub fn keys_missing(&self, view: &View) -> Vec<MissingKey> {
        self.vault.as_ref().map_or_else(Vec::new, |vault| self.keys_beside(view, |id| vault.holds(id)))
    }

    /// The keys without which Secrets in `view` cannot be read or written by one who `holds` others.
    pub fn keys_beside(&self, view: &View, holds: impl Fn(&str) -> bool) -> Vec<MissingKey> {
        let (mut secrets, _) = self.counted.of(view);
        let seals = record(view).map(|(id, _)| id);
        if let Some(id) = &seals {
            secrets.entry(id.clone()).or_default();
        }
        let missing = secrets.into_iter().filter(|(id, _)| !holds(id));
        missing.map(|(id, secrets)| MissingKey { seals: seals.as_ref() == Some(&id), id, secrets }).collect()
    }

    /// Puts on record which keys this process, the member `name`, was started with.
    pub async fn tell_keys(&self, name: &str) -> Result<(), Status> {
        let Some(vault) = &self.vault else { return Ok(()) };
        let view = self.view(Freshness::Linearizable).await?;
        let (before, own) = (told(&view, name), Told { keys: vault.ids() });
        if before.as_ref().is_some_and(|(told, _)| *told == own) {
            return Ok(());
        }
        let expect = before.map_or(Expect::Any, |(_, revision)| Expect::Revision(revision));
        let written = self.store.write(op(format!("{MEMBER}{name}"), &own, expect).into()).await;
        written.map(|_| ()).map_err(|error| refusal::from_write(&error))
    }

    /// How Secrets are sealed, as this member knows it; `members` are all that read them.
    pub fn sealing(&self, members: &[String]) -> Sealing {
        let view = self.store.view();
        let (secrets, plain) = self.counted.of(&view);
        let seals = record(&view).map(|(id, _)| id);
        let wants = self.vault.as_ref().map(|vault| vault.first().to_owned()).filter(|id| seals.as_ref() != Some(id));
        let has_first =
            |member: &str, id: &String| told(&view, member).is_some_and(|(told, _)| told.keys.first() == Some(id));
        let waits_for = wants.as_ref().map(|id| members.iter().filter(|name| !has_first(name, id)).cloned().collect());
        Sealing { seals, secrets, plain, wants, waits_for: waits_for.unwrap_or_default() }
    }

    /// Moves the cluster to this member's first key, if that is the first of all `members` too; a cluster without a record to
    /// one that all have. The key that seals from then on, if that is another.
    ///
    /// Never while a key is missing here that Secrets are sealed with, unless it is `lost` for good.
    pub async fn turn_secrets_key(&self, members: &[String], lost: bool) -> Result<Option<String>, Status> {
        let Some(vault) = self.sealing_vault() else { return Ok(None) };
        let view = self.store.view();
        let before = record(&view);
        let first = vault.first();
        if before.as_ref().is_some_and(|(id, _)| id == first) || !lost && !self.keys_missing(&view).is_empty() {
            return Ok(None);
        }
        let (mut ops, mut all) = (Vec::new(), Vec::new());
        for member in members {
            let Some((told, revision)) = told(&view, member) else { return Ok(None) };
            ops.push(check(format!("{MEMBER}{member}"), Some(revision)));
            all.push(told);
        }
        let seals = if all.iter().all(|told| told.keys.first().is_some_and(|id| id == first)) {
            first.to_owned()
        } else {
            // Any key that all have is better than no record. The most is to be left as it is.
            let mut common = vault.ids();
            common.retain(|id| before.is_none() && all.iter().all(|told| told.keys.contains(id)));
            let (sealed, _) = self.counted.of(&view);
            let most = common.into_iter().rev().max_by_key(|id| sealed.get(id).copied().unwrap_or_default());
            let Some(most) = most else { return Ok(None) };
            most
        };
        let expect = before.map_or(Expect::Absent, |(_, revision)| Expect::Revision(revision));
        ops.push(op(CLUSTER.to_owned(), &Record { seals: seals.clone() }, expect));
        match self.store.write(Txn { ops }).await {
            Ok(_) => Ok(Some(seals)),
            Err(WriteError::Conflict { .. }) => Ok(None),
            Err(error) => Err(refusal::from_write(&error)),
        }
    }

    /// Seals anew each Secret that is in plain form or was sealed with another key than the cluster's. How many were.
    ///
    /// What somebody writes meanwhile is sealed by that. Does nothing while a member could not open what is sealed, or the
    /// cluster has not said what seals.
    pub async fn reseal(&self) -> Result<usize, Status> {
        let view = self.store.view();
        let Some((seals, _)) = record(&view).filter(|_| self.sealing_vault().is_some()) else { return Ok(0) };
        let mut done = 0;
        for stored in view.list(kinds::SECRET.collection(), "") {
            if key_of(&stored).as_ref() == Some(&seals) {
                continue;
            }
            let secret = object(&stored);
            if sealed_with(&secret).is_some() {
                continue;
            }
            let (change, relies_on) = self.put(&view, &secret)?;
            let own = Op { key: stored.key().clone(), expect: Expect::Revision(stored.revision()), change };
            match self.store.write(Txn { ops: relies_on.into_iter().chain([own]).collect() }).await {
                Ok(_) => done += 1,
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(refusal::from_write(&error)),
            }
        }
        Ok(done)
    }
}

/// As `put`, in a cluster that has not said what seals: with the first key that all have told.
fn seal_unrecorded(view: &View, vault: &Vault, object: &Object) -> Result<(Change, Vec<Op>), Status> {
    let told = told_by_all(view);
    let ids = vault.ids();
    let common = ids.iter().find(|id| told.iter().all(|(_, told, _)| told.keys.contains(id)));
    let sealed = common.and_then(|id| vault.seal_with(id, object)).ok_or_else(|| {
        Status::internal(
            "the nodes of this cluster were started with no key for Secrets in common: give all of them one among those of \
             --secrets-key-file or --secrets-key-command",
        )
    })?;
    let mut relies_on = vec![check(CLUSTER.to_owned(), None)];
    relies_on.extend(told.into_iter().map(|(name, _, revision)| check(name, Some(revision))));
    Ok((write::put(&sealed), relies_on))
}

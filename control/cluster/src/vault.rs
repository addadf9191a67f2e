//! Secrets at rest: what a Secret holds is sealed before it goes to the log, and with that to snapshots, backups and
//! other peers; it is opened when it is read.
//!
//! XChaCha20-Poly1305: its nonces are long enough to be drawn at random by peers that know nothing of each other. A
//! sealed object keeps in plain form what selectors, indexes and the garbage collector look at (names, labels, owners,
//! `type`), and moves the rest into `sealed`: data, annotations (`kubectl apply` keeps the whole object in one) and managed
//! fields. It is bound to its namespace, name and uid, so that nobody who writes the disk can pass one for another.
//!
//! Not here: where keys come from (the binary) and who may read a Secret (the API server).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wk_api::{Kind, Object, Status, kinds};
use wk_store::Stored;

use crate::sealing;

/// From this level of the store's language on every member can open what is sealed.
pub(crate) const SEALED_LEVEL: u32 = 3;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

const NONCE_BYTES: usize = 24;

/// Objects that cannot be opened and are named in one answer, besides the first.
const NAMED_MAX: usize = 20;

/// Said before what is hashed or sealed, so that no other use of the same key gives the same bytes.
const ID_CONTEXT: &[u8] = b"wk.dev secrets key id\0";
const DERIVE_CONTEXT: &[u8] = b"wk.dev secrets key of a cluster's authority\0";
const SEAL_CONTEXT: &str = "wk.dev sealed object 1";

/// Members of the object that are sealed, and of its metadata.
const SEALED: [&str; 2] = ["data", "stringData"];
const SEALED_METADATA: [&str; 2] = ["annotations", "managedFields"];

/// The ciphers that this process opens with, by key id. An id is a digest of its key, so it means the same to every
/// cluster in the process, and the one decoder of stored objects ([`crate::object`]) need not be told whose they are.
static OPENERS: RwLock<BTreeMap<String, XChaCha20Poly1305>> = RwLock::new(BTreeMap::new());

/// A key that seals Secrets. Shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsKey([u8; KEY_BYTES]);

impl SecretsKey {
    /// The key itself.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// One that every holder of `secret` can make, such as the members of a cluster of its authority's key. `secret` is
    /// as hard to guess as a key.
    pub fn derived(secret: &[u8]) -> Self {
        Self(Sha256::new().chain_update(DERIVE_CONTEXT).chain_update(secret).finalize().into())
    }

    /// What it is called where it was used: 16 hexadecimal digits of its digest.
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update(ID_CONTEXT).chain_update(self.0).finalize();
        hex::encode(&digest[..8])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(Key::from_slice(&self.0))
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretsKey({}…)", self.id())
    }
}

/// The keys that a member was started with: all open, and all seal if the cluster says so.
pub struct Vault {
    /// The one that it would seal with comes first.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

impl Vault {
    /// A vault of `first` and `others`. From now on this process opens what any of them sealed.
    pub fn new(first: &SecretsKey, others: &[SecretsKey]) -> Self {
        let keys: Vec<_> = std::iter::once(first).chain(others).map(|key| (key.id(), key.cipher())).collect();
        OPENERS.write().unwrap_or_else(PoisonError::into_inner).extend(keys.iter().cloned());
        Self { keys }
    }

    /// The id of the first key.
    pub(crate) fn first(&self) -> &str {
        &self.keys[0].0
    }

    /// The ids of all keys, in their order.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Whether the key `id` is one of them.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.keys.iter().any(|(own, _)| own == id)
    }

    /// Whether `object` is stored in sealed form and is not yet: not one that was never opened.
    pub(crate) fn seals(object: &Object) -> bool {
        let is_secret = object.0["kind"] == kinds::SECRET.kind && object.0["apiVersion"] == kinds::SECRET.api_version();
        is_secret && sealed_with(object).is_none()
    }

    /// `object` sealed with the first key; None when it is stored as it is: no Secret, or one that was never opened.
    pub fn seal(&self, object: &Object) -> Option<Object> {
        Self::seals(object).then(|| self.seal_with(self.first(), object))?
    }

    /// `object` sealed with the key `id`; None where that is not here.
    pub(crate) fn seal_with(&self, id: &str, object: &Object) -> Option<Object> {
        let (_, cipher) = self.keys.iter().find(|(own, _)| own == id)?;
        let mut plain = object.clone();
        let mut within = json!({"metadata": {}});
        take(&mut plain.0, &SEALED, &mut within);
        take(&mut plain.0["metadata"], &SEALED_METADATA, &mut within["metadata"]);
        let text = serde_json::to_vec(&within).expect("writing JSON values to memory cannot fail");
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let place = bound_to(&plain);
        let payload = Payload { msg: &text, aad: place.as_bytes() };
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("an object is far below 256 GiB");
        plain.0["sealed"] = json!({"key": id, "text": STANDARD.encode([&nonce[..], &sealed].concat())});
        Some(plain)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.first())
    }
}

/// The key that an object as it is stored is sealed with; None when it is in plain form.
pub fn sealed_with(object: &Object) -> Option<&str> {
    object.at("/sealed/key")?.as_str()
}

/// 500 for an object that cannot be opened here: showing it without what it holds would be a lie, and writing it a loss.
/// It begins as Kubernetes' words for a stored object that no configured key opens.
pub fn check_open(kind: &Kind, object: &Object) -> Result<(), Status> {
    let Some(key) = sealed_with(object).filter(|_| kind.sealed) else { return Ok(()) };
    Err(cannot_open(object.namespace(), object.name(), key))
}

/// As [`check_open`], of many objects as they are stored, without decoding them: one answer for all that cannot be opened. Those
/// that were tampered with pass.
pub fn check_keys<'a>(kind: &Kind, all: impl IntoIterator<Item = &'a Arc<Stored>>) -> Result<(), Status> {
    if !kind.sealed {
        return Ok(());
    }
    let openers = OPENERS.read().unwrap_or_else(PoisonError::into_inner);
    let lost = |stored: &'a Arc<Stored>| {
        let key = sealing::key_of(stored).filter(|key| !openers.contains_key(key))?;
        Some((stored.key().name(), key))
    };
    let mut lost = all.into_iter().filter_map(lost);
    let Some((first, key)) = lost.next() else { return Ok(()) };
    let (namespace, name) = first.split_once('/').unwrap_or_default();
    let mut status = cannot_open(namespace, name, &key);
    let others: Vec<&str> = lost.map(|(name, _)| name).collect();
    if !others.is_empty() {
        let more = if others.len() > NAMED_MAX { " and others" } else { "" };
        let named = others[..others.len().min(NAMED_MAX)].join(", ");
        let message = &mut status.message;
        *message = format!("{message}; nor can it open {} more: {named}{more}", others.len());
    }
    Err(status)
}

fn cannot_open(namespace: &str, name: &str, key: &str) -> Status {
    Status::internal(format!(
        "unable to transform key \"/registry/secrets/{namespace}/{name}\": Secret {namespace}/{name} is sealed with key \
         {key}, and this node cannot open it: start the node with that key among those of --secrets-key-file or \
         --secrets-key-command"
    ))
}

/// A stored object as it is read: opened if it is sealed and its key is known here. Else it keeps its member `sealed`,
/// by which [`sealed_with`] tells.
pub fn open(mut object: Object) -> Object {
    if let Some(within) = opened(&object) {
        if let Some(members) = object.0.as_object_mut() {
            members.remove("sealed");
        }
        let mut within = within;
        take(&mut within["metadata"], &SEALED_METADATA, &mut object.0["metadata"]);
        take(&mut within, &SEALED, &mut object.0);
    }
    object
}

fn opened(object: &Object) -> Option<Value> {
    let key = sealed_with(object)?;
    let sealed = STANDARD.decode(object.text("/sealed/text")).ok()?;
    let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
    let place = bound_to(object);
    let payload = Payload { msg: sealed, aad: place.as_bytes() };
    let openers = OPENERS.read().unwrap_or_else(PoisonError::into_inner);
    let text = openers.get(key)?.decrypt(XNonce::from_slice(nonce), payload).ok();
    if text.is_none() {
        tracing::error!(secret = object.name(), namespace = object.namespace(), "a sealed Secret was tampered with");
    }
    serde_json::from_slice(&text?).ok()
}

/// Moves members of one object to another.
fn take(from: &mut Value, names: &[&str], to: &mut Value) {
    for name in names {
        if let Some(value) = from.as_object_mut().and_then(|members| members.remove(*name)) {
            to[*name] = value;
        }
    }
}

/// What a sealed text belongs to. None of the parts can hold a line break.
fn bound_to(object: &Object) -> String {
    format!("{SEAL_CONTEXT}\n{}\n{}\n{}", object.namespace(), object.name(), object.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Object {
        Object(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": "s", "namespace": "n", "uid": "u", "labels": {"a": "b"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"},
            },
            "data": {"password": "aHVudGVyMg=="},
        }))
    }

    fn key(byte: u8) -> SecretsKey {
        SecretsKey::new([byte; KEY_BYTES])
    }

    #[test]
    fn a_sealed_secret_shows_its_names_and_none_of_its_data_and_opens_to_what_it_was() {
        let vault = Vault::new(&key(1), &[]);
        let sealed = vault.seal(&secret()).expect("a Secret");
        let text = sealed.0.to_string();
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{text}");
        assert_eq!((sealed.name(), &sealed.0["metadata"]["labels"]["a"]), ("s", &json!("b")));
        assert_eq!(sealed_with(&sealed), Some(key(1).id().as_str()));
        assert_eq!(open(sealed), secret());
        assert_eq!(open(secret()), secret(), "what is plain stays as it is");
        assert!(vault.seal(&Object(json!({"kind": "ConfigMap", "apiVersion": "v1"}))).is_none());
    }

    #[test]
    fn what_was_moved_or_changed_or_has_no_key_here_does_not_open() {
        let vault = Vault::new(&key(2), &[]);
        let sealed = vault.seal(&secret()).expect("a Secret");
        for (pointer, value) in [("/metadata/name", "other"), ("/metadata/namespace", "m"), ("/metadata/uid", "v")] {
            let mut moved = sealed.clone();
            *moved.0.pointer_mut(pointer).expect("there") = value.into();
            assert!(sealed_with(&open(moved)).is_some(), "{pointer}");
        }
        let mut unknown = sealed.clone();
        unknown.0["sealed"]["key"] = key(3).id().into();
        assert!(sealed_with(&open(unknown)).is_some());
        for text in ["", "AA==", "!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            let mut damaged = sealed.clone();
            damaged.0["sealed"]["text"] = text.into();
            assert!(sealed_with(&open(damaged)).is_some(), "{text}");
        }
    }

    #[test]
    fn the_same_secret_never_seals_to_the_same_text_and_a_second_key_opens_what_it_sealed() {
        let old = Vault::new(&key(4), &[]).seal(&secret()).expect("a Secret");
        let vault = Vault::new(&key(5), &[key(4)]);
        let new = vault.seal(&secret()).expect("a Secret");
        assert_ne!(new.0["sealed"]["text"], vault.seal(&secret()).expect("a Secret").0["sealed"]["text"]);
        assert_eq!(open(old.clone()), open(new.clone()));
        assert_eq!((sealed_with(&new), sealed_with(&old)), (Some(vault.first()), Some(key(4).id().as_str())));
        assert!(!format!("{:?} {vault:?}", key(5)).contains("0505"), "keys are not shown");
    }
}

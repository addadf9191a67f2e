//! Races and life cycles over a store of one peer. What clients see of the verbs is tested in `wk-apiserver`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, kinds};
use wk_base::time::SystemClock;
use wk_store::{MemberId, Options, Revision, Start, Store, Timing, Transport};

use crate::vault::SEALED_LEVEL;
use crate::{
    ChangeKind, Cluster, Deleted, Freshness, Note, SYSTEM_NAMESPACES, SecretsKey, Severity, Subresource, Vault,
};

/// A cluster of one peer has nobody to send to.
struct Nobody;

impl Transport for Nobody {
    fn send(&self, _to: MemberId, _message: Bytes) {}
}

pub(crate) async fn cluster() -> (Cluster, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(dir.path(), MemberId(1), Start::Bootstrap);
    options.timing = Timing { tick: Duration::from_millis(5), ..Timing::default() };
    options.index = Some(crate::INDEX);
    let store = Store::open(options, Arc::new(Nobody)).expect("an empty store");
    let cluster = Cluster::new(store, Arc::new(SystemClock));
    cluster.ensure_namespaces().await.expect("the namespaces of a new cluster");
    (cluster, dir)
}

const CONFIG_MAP: &Kind = &kinds::CONFIGMAP;
const NAMESPACE: Option<&str> = Some("default");

fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "count": "0" } })
}

fn count(object: &Object) -> u32 {
    object.text("/data/count").parse().expect("a number")
}

#[tokio::test]
async fn the_namespaces_of_a_cluster_are_made_once() {
    let (cluster, _dir) = cluster().await;
    let before = cluster.local(&kinds::NAMESPACE, None);
    cluster.ensure_namespaces().await.expect("they are there");
    let after = cluster.local(&kinds::NAMESPACE, None);
    assert_eq!(after.items.len(), SYSTEM_NAMESPACES.len());
    assert_eq!(before.revision, after.revision, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_object_lose_no_change() {
    let (cluster, _dir) = cluster().await;
    cluster.create(CONFIG_MAP, NAMESPACE, named("a")).await.expect("created");
    let writers = (0..4).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let add = |object: &Object| {
                let mut value = object.0.clone();
                value["data"]["count"] = (count(object) + 1).to_string().into();
                Ok(value)
            };
            let mut written = 0;
            for _ in 0..5 {
                written += u32::from(cluster.modify(CONFIG_MAP, NAMESPACE, "a", Subresource::None, add).await.is_ok());
            }
            written
        })
    });
    let mut written = 0;
    for writer in writers.collect::<Vec<_>>() {
        written += writer.await.expect("a writer that ends");
    }
    let object = cluster.get(CONFIG_MAP, NAMESPACE, "a", Freshness::Linearizable).await.expect("there");
    assert_eq!(count(&object), written);
    assert!(written > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_made_at_the_same_time_get_different_addresses() {
    let (cluster, _dir) = cluster().await;
    let makers = (0..16).map(|index| {
        let cluster = cluster.clone();
        let body = json!({ "metadata": { "name": format!("s{index}") }, "spec": { "ports": [{ "port": 80 }] } });
        tokio::spawn(async move { cluster.create(&kinds::SERVICE, NAMESPACE, body).await })
    });
    let mut addresses = BTreeSet::new();
    for maker in makers.collect::<Vec<_>>() {
        let service = maker.await.expect("a maker that ends").expect("created");
        addresses.insert(service.text("/spec/clusterIP").to_owned());
    }
    assert_eq!(addresses.len(), 16);
}

#[tokio::test]
async fn an_update_to_an_address_that_is_taken_writes_nothing() {
    let (cluster, _dir) = cluster().await;
    let service = |name: &str, spec: Value| json!({ "metadata": { "name": name }, "spec": spec });
    let ports = json!([{ "port": 80 }]);
    let body = service("a", json!({ "ports": ports, "clusterIP": "10.96.0.20" }));
    cluster.create(&kinds::SERVICE, NAMESPACE, body).await.expect("created");
    let body = service("b", json!({ "ports": ports, "type": "ExternalName", "externalName": "b.example" }));
    cluster.create(&kinds::SERVICE, NAMESPACE, body).await.expect("created");
    let body = service("b", json!({ "ports": ports, "clusterIP": "10.96.0.20" }));
    let refused = cluster.update(&kinds::SERVICE, NAMESPACE, "b", body).await.expect_err("taken");
    assert_eq!(refused.code, 422, "{refused}");
    let b = cluster.get(&kinds::SERVICE, NAMESPACE, "b", Freshness::Local).await.expect("there");
    assert_eq!(b.text("/spec/type"), "ExternalName");
}

#[tokio::test]
async fn a_watch_shows_one_namespace_in_order() {
    let (cluster, _dir) = cluster().await;
    let from = cluster.local(CONFIG_MAP, None).revision;
    let mut watch = cluster.watch(CONFIG_MAP, NAMESPACE, from).expect("a present revision");
    cluster.create(CONFIG_MAP, Some("kube-system"), named("other")).await.expect("created");
    let made = cluster.create(CONFIG_MAP, NAMESPACE, named("a")).await.expect("created");
    let changed = json!({ "metadata": { "name": "a" }, "data": { "count": "1" } });
    let changed = cluster.update(CONFIG_MAP, NAMESPACE, "a", changed).await.expect("updated");
    let gone = cluster.delete(CONFIG_MAP, NAMESPACE, "a", &DeleteOptions::default()).await.expect("deleted");
    let Deleted::Gone(gone) = gone else { panic!("{gone:?}") };

    let change = watch.next().await.expect("a change");
    assert_eq!((change.kind, change.object()), (ChangeKind::Added, Arc::clone(&made)));
    assert!(change.previous().is_none());
    let change = watch.next().await.expect("a change");
    assert_eq!((change.kind, change.object(), change.previous()), (ChangeKind::Modified, changed, Some(made)));
    let change = watch.next().await.expect("a change");
    assert_eq!((change.kind, change.object()), (ChangeKind::Deleted, Arc::clone(&gone)));
    assert_eq!(watch.seen(), Revision(gone.resource_version().parse().expect("a number")));
}

#[tokio::test]
async fn a_stopped_peer_says_that_another_one_is_to_be_asked() {
    let (cluster, _dir) = cluster().await;
    cluster.store().stop().await;
    let refused = cluster.create(CONFIG_MAP, NAMESPACE, named("a")).await.expect_err("stopped");
    assert_eq!(refused.code, 503, "{refused}");
    let refused = cluster.get(CONFIG_MAP, NAMESPACE, "a", Freshness::Linearizable).await.expect_err("stopped");
    assert_eq!(refused.code, 503, "{refused}");
    let local = cluster.get(&kinds::NAMESPACE, None, "default", Freshness::Local).await;
    assert!(local.is_ok(), "what it knew last it still tells");
}

#[tokio::test]
async fn an_address_freed_by_hand_and_given_to_another_stays_with_that_one() {
    let (cluster, _dir) = cluster().await;
    let options = DeleteOptions::default();
    let service = |name: &str| {
        let spec = json!({ "ports": [{ "port": 80 }], "clusterIP": "10.96.0.20" });
        json!({ "metadata": { "name": name }, "spec": spec })
    };
    let first = cluster.create(&kinds::SERVICE, NAMESPACE, service("first")).await.expect("created");
    let held = async || cluster.get(&kinds::IPADDRESS, None, "10.96.0.20", Freshness::Linearizable).await;
    assert_ne!(held().await.expect("held").uid(), first.uid(), "two objects have two uids");
    cluster.delete(&kinds::IPADDRESS, None, "10.96.0.20", &options).await.expect("freed by hand");
    cluster.create(&kinds::SERVICE, NAMESPACE, service("second")).await.expect("created");
    cluster.delete(&kinds::SERVICE, NAMESPACE, "first", &options).await.expect("deleted");
    assert_eq!(held().await.expect("still held").text("/spec/parentRef/name"), "second");
    cluster.delete(&kinds::SERVICE, NAMESPACE, "second", &options).await.expect("deleted");
    assert_eq!(held().await.expect_err("given back").code, 404);
}

#[tokio::test]
async fn the_count_of_an_event_stops_where_its_type_ends() {
    let (cluster, _dir) = cluster().await;
    let about = cluster.create(CONFIG_MAP, NAMESPACE, named(&"a".repeat(253))).await.expect("created");
    let note = Note {
        severity: Severity::Normal,
        reason: "Seen".to_owned(),
        message: "again".to_owned(),
        at: cluster.clock().now(),
    };
    cluster.record(&about, &note, "test", "").await.expect("recorded");
    let event = Arc::clone(&cluster.local(&kinds::EVENT, NAMESPACE).items[0]);
    let often = |event: &Object| {
        let mut event = event.0.clone();
        event["count"] = json!(i32::MAX);
        Ok(event)
    };
    cluster.modify(&kinds::EVENT, NAMESPACE, event.name(), Subresource::None, often).await.expect("written");
    cluster.record(&about, &note, "test", "").await.expect("recorded again");
    let event = cluster.get(&kinds::EVENT, NAMESPACE, event.name(), Freshness::Linearizable).await.expect("there");
    assert_eq!(event.at("/count"), Some(&json!(i32::MAX)));
}

/// Whether a file below `dir` holds `text`.
fn is_on_disk(dir: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(dir).expect("list").map(|entry| entry.expect("an entry").path()).any(|path| {
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        let bytes = std::fs::read(&path).expect("read");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn secrets_are_on_disk_in_sealed_form_only_and_every_verb_sees_them_open() {
    let (plain, dir) = cluster().await;
    let key = SecretsKey::derived(b"of this test");
    let sealed = plain.clone().with_vault(Vault::new(&key, &[]));
    let body = |name: &str| json!({"metadata": {"name": name}, "data": {"k": "aHVudGVyMg=="}, "type": "Opaque"});
    plain.store().speak(2);
    sealed.create(&kinds::SECRET, NAMESPACE, body("early")).await.expect("created");
    assert!(is_on_disk(dir.path(), "aHVudGVyMg=="), "not every member could open it");

    let (plain, dir) = cluster().await;
    let sealed = plain.clone().with_vault(Vault::new(&key, &[]));
    plain.store().speak(SEALED_LEVEL);
    let made = sealed.create(&kinds::SECRET, NAMESPACE, body("s")).await.expect("created");
    assert_eq!(made.text("/data/k"), "aHVudGVyMg==");
    let patched = sealed.modify(&kinds::SECRET, NAMESPACE, "s", Subresource::None, |old| {
        let mut new = old.0.clone();
        new["metadata"]["annotations"] = json!({"copy": "aHVudGVyMg=="});
        Ok(new)
    });
    patched.await.expect("patched");
    let read = sealed.get(&kinds::SECRET, NAMESPACE, "s", Freshness::Linearizable).await.expect("there");
    assert_eq!((read.text("/data/k"), read.annotation("copy")), ("aHVudGVyMg==", Some("aHVudGVyMg==")));
    assert!(read.at("/sealed").is_none());
    sealed.delete(&kinds::SECRET, NAMESPACE, "s", &DeleteOptions::default()).await.expect("deleted");
    assert!(!is_on_disk(dir.path(), "aHVudGVyMg=="));
}

#[tokio::test]
async fn a_new_first_key_seals_anew_what_an_older_one_or_none_had() {
    let (plain, _dir) = cluster().await;
    let (old, new) = (SecretsKey::derived(b"old"), SecretsKey::derived(b"new"));
    plain.store().speak(SEALED_LEVEL);
    let before = plain.clone().with_vault(Vault::new(&old, &[]));
    plain.create(&kinds::SECRET, NAMESPACE, named("plain")).await.expect("created");
    before.create(&kinds::SECRET, NAMESPACE, named("old")).await.expect("created");
    let after = plain.clone().with_vault(Vault::new(&new, &[old]));
    assert_eq!(after.reseal().await.expect("asked"), 0, "the cluster has not said what seals");
    after.tell_keys("n1").await.expect("told");
    assert_eq!(after.turn_secrets_key(&["n1".to_owned()], false).await.expect("turned"), Some(new.id()));
    assert_eq!(after.reseal().await.expect("sealed"), 2);
    assert_eq!(after.reseal().await.expect("nothing to do"), 0);
    for stored in plain.store().view().list(kinds::SECRET.collection(), "") {
        let bytes = String::from_utf8_lossy(&stored.bytes()).into_owned();
        assert!(bytes.contains(&new.id()) && !bytes.contains("count"), "{bytes}");
        assert_eq!(count(&crate::object(&stored)), 0);
    }
}

#[tokio::test]
async fn a_key_seals_when_every_member_has_it_first_and_not_before() {
    let (plain, _dir) = cluster().await;
    let (old, new) = (SecretsKey::derived(b"old of two"), SecretsKey::derived(b"new of two"));
    plain.store().speak(SEALED_LEVEL);
    let members = ["n1".to_owned(), "n2".to_owned()];
    let n1 = plain.clone().with_vault(Vault::new(&old, &[]));
    let n2 = plain.clone().with_vault(Vault::new(&old, &[]));
    assert_eq!(n1.turn_secrets_key(&members, false).await.expect("asked"), None, "n2 has not told yet");
    n1.tell_keys("n1").await.expect("told");
    n2.tell_keys("n2").await.expect("told");
    assert_eq!(n1.turn_secrets_key(&members, false).await.expect("turned"), Some(old.id()));
    n1.create(&kinds::SECRET, NAMESPACE, named("first")).await.expect("created");

    // A member with a key of its own alone: it neither reads nor writes.
    let stranger = plain.clone().with_vault(Vault::new(&new, &[]));
    let missing = stranger.keys_missing(&plain.store().view());
    assert_eq!(
        missing.iter().map(|key| (key.id.clone(), key.secrets, key.seals)).collect::<Vec<_>>(),
        [(old.id(), 1, true)]
    );
    let refused = stranger.create(&kinds::SECRET, NAMESPACE, named("lost")).await.expect_err("sealed for nobody else");
    assert!(refused.code == 500 && refused.message.contains(&old.id()), "{refused}");

    // The new key first on one of two: it waits, and the old one goes on to seal.
    let n1 = plain.clone().with_vault(Vault::new(&new, std::slice::from_ref(&old)));
    n1.tell_keys("n1").await.expect("told");
    assert_eq!(n1.turn_secrets_key(&members, false).await.expect("asked"), None);
    n1.create(&kinds::SECRET, NAMESPACE, named("second")).await.expect("created");
    let sealing = n1.sealing(&members);
    assert_eq!((sealing.wants, sealing.waits_for), (Some(new.id()), vec!["n2".to_owned()]));
    assert_eq!(n1.reseal().await.expect("asked"), 0, "nothing is sealed for one member alone");
    assert_eq!(sealing.secrets.get(&old.id()), Some(&2));

    let n2 = plain.clone().with_vault(Vault::new(&new, std::slice::from_ref(&old)));
    n2.tell_keys("n2").await.expect("told");
    assert_eq!(n1.turn_secrets_key(&members, false).await.expect("turned"), Some(new.id()));
    assert_eq!((n1.sealing(&members).left(), n1.reseal().await.expect("sealed")), (2, 2));
    let sealing = n1.sealing(&members);
    assert_eq!((sealing.left(), sealing.needs().collect::<Vec<_>>()), (0, vec![new.id().as_str()]));
}

#[tokio::test]
async fn without_a_record_only_a_key_seals_that_all_have_and_the_record_is_made_of_one() {
    let (plain, _dir) = cluster().await;
    let [a, b, c] = [b"a of these", b"b of these", b"c of these"].map(|secret| SecretsKey::derived(secret));
    plain.store().speak(SEALED_LEVEL);
    // In the middle of a rotation, in the version before: nobody kept a record.
    let n1 = plain.clone().with_vault(Vault::new(&a, &[]));
    let n2 = plain.clone().with_vault(Vault::new(&b, std::slice::from_ref(&a)));
    for (cluster, name) in [(&n1, "n1"), (&n2, "n2")] {
        cluster.tell_keys(name).await.expect("told");
        cluster.create(&kinds::SECRET, NAMESPACE, named(name)).await.expect("created");
    }
    let members = ["n1".to_owned(), "n2".to_owned()];
    assert_eq!(n1.sealing(&members).secrets, [(a.id(), 2)].into());
    // One with a key of its own alone joins: nobody seals what somebody cannot open.
    let stranger = plain.clone().with_vault(Vault::new(&c, &[]));
    stranger.tell_keys("n3").await.expect("told");
    for cluster in [&n1, &stranger] {
        let refused = cluster.create(&kinds::SECRET, NAMESPACE, named("lost")).await.expect_err("for some alone");
        assert!(refused.code == 500 && refused.message.contains("no key for Secrets in common"), "{refused}");
    }
    let three = ["n1".to_owned(), "n2".to_owned(), "n3".to_owned()];
    assert_eq!(n2.turn_secrets_key(&three, false).await.expect("asked"), None);
    // What it told goes with it.
    plain.store().write(crate::forget_keys("n3").into()).await.expect("forgotten");
    // Not its first, which n1 does not have.
    assert_eq!(n2.turn_secrets_key(&members, false).await.expect("turned"), Some(a.id()));
    let sealing = n2.sealing(&members);
    assert_eq!((sealing.seals, sealing.wants), (Some(a.id()), Some(b.id())));
    assert_eq!(n2.reseal().await.expect("nothing to do"), 0);
    n2.create(&kinds::SECRET, NAMESPACE, named("third")).await.expect("created");
    assert_eq!((n1.keys_missing(&plain.store().view()), n1.sealing(&members).left()), (Vec::new(), 0));
}

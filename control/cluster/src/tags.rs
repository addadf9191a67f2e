//! What Kubernetes' objects can be watched by in the store: name, namespace, each label, each field that field selectors
//! may name; and which of these a selector is watched by.
//!
//! Not here: whether an object is selected. A watch by one term delivers more than a selector of several wants.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use wk_api::Kind;
use wk_api::selector::{Fields, Labels};
use wk_store::{Index, Key, Stored, Tag};

use crate::object;

/// What the store of a cluster is opened with, so that [`Cluster::watch_selected`](crate::Cluster::watch_selected) costs
/// what it delivers.
pub const INDEX: Index = Index { of_key, of_object };

/// Fields that divide objects into few, large parts: any other term is a better one.
const COARSE: [&str; 13] = [
    "involvedObject.apiVersion",
    "involvedObject.kind",
    "involvedObject.namespace",
    "reason",
    "reportingComponent",
    "source",
    "spec.hostNetwork",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.type",
    "spec.unschedulable",
    "status.phase",
    "type",
];

/// What a tag says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Term<'a> {
    /// It has this name in the store.
    Key(&'a str),
    /// It has this name, in whichever namespace.
    Name(&'a str),
    Namespace(&'a str),
    Label(&'a str, &'a str),
    Field(&'a str, &'a str),
}

impl Term<'_> {
    fn hash(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(&self, &mut hasher);
        hasher.finish()
    }
}

/// The hash of a term within one namespace.
fn within(namespace: u64, term: u64) -> u64 {
    // An odd factor (the golden ratio of 2^64) keeps different terms of one namespace different.
    (term ^ namespace.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn namespace_of(key: &Key) -> Option<(&str, &str)> {
    key.name().split_once('/')
}

fn of_key(key: &Key, each: &mut dyn FnMut(u64)) {
    each(Term::Key(key.name()).hash());
    if let Some((namespace, name)) = namespace_of(key) {
        each(Term::Namespace(namespace).hash());
        each(Term::Name(name).hash());
    }
}

fn of_object(stored: &Stored, each: &mut dyn FnMut(u64)) {
    // Asked of every version of a pod, at every peer: decoding all of it is most of what applying a write costs.
    let few = || Kind::selected_of_text(stored.key().collection(), &stored.bytes()).map(Arc::new);
    let object = stored.decoded_here().or_else(few).unwrap_or_else(|| object(stored));
    let namespace = namespace_of(stored.key()).map(|(namespace, _)| Term::Namespace(namespace).hash());
    let mut both = |term: Term<'_>| {
        let hash = term.hash();
        each(hash);
        if let Some(namespace) = namespace {
            each(within(namespace, hash));
        }
    };
    for (key, value) in object.labels() {
        both(Term::Label(key, value));
    }
    for (label, value) in Kind::fields_of(stored.key().collection(), &object) {
        both(Term::Field(label, &value));
    }
}

/// The tag that every selected object of a kind has and as few others as can be told; None when there is none.
pub(crate) fn most_selective(kind: &Kind, namespace: Option<&str>, labels: &Labels, fields: &Fields) -> Option<Tag> {
    let namespace = if kind.is_namespaced() {
        let named = fields.equalities().find(|(label, value)| *label == "metadata.namespace" && !value.is_empty());
        namespace.or(named.map(|(_, value)| value))
    } else {
        None
    };
    if let Some(name) = fields.name() {
        return Some(Tag::Key(match namespace {
            None if kind.is_namespaced() => Term::Name(name).hash(),
            _ => Term::Key(&Kind::name_in_store(namespace, name)).hash(),
        }));
    }
    // Which fields a custom kind has may change: objects written before would not have the tag.
    let fields = fields.equalities().filter(|(label, _)| kind.custom.is_none() && !label.starts_with("metadata."));
    let fields = fields.map(|(label, value)| (!COARSE.contains(&label), Term::Field(label, value), value.len()));
    let labels = labels.equalities().map(|(key, value)| (true, Term::Label(key, value), value.len()));
    // Ids and whole names are longer than what many objects share.
    let best = fields.chain(labels).max_by_key(|(is_fine, _, length)| (*is_fine, *length));
    let namespace = namespace.map(|namespace| Term::Namespace(namespace).hash());
    match (namespace, best) {
        (None, None) => None,
        (Some(namespace), None) => Some(Tag::Key(namespace)),
        (None, Some((_, term, _))) => Some(Tag::Object(term.hash())),
        (Some(namespace), Some((_, term, _))) => Some(Tag::Object(within(namespace, term.hash()))),
    }
}

#[cfg(test)]
mod tests {
    use wk_api::kinds;

    use super::*;

    fn tag(kind: &Kind, namespace: Option<&str>, labels: &str, fields: &str) -> Option<Tag> {
        let labels = Labels::parse(labels).expect("a label selector");
        let fields = Fields::parse(kind, fields).expect("a field selector");
        most_selective(kind, namespace, &labels, &fields)
    }

    fn object(term: Term<'_>) -> Tag {
        Tag::Object(term.hash())
    }

    #[test]
    fn a_selector_is_watched_by_its_most_selective_term() {
        let pods = |labels, fields| tag(&kinds::POD, None, labels, fields);
        assert_eq!(pods("", "spec.nodeName=n1,status.phase=Running"), Some(object(Term::Field("spec.nodeName", "n1"))));
        assert_eq!(pods("app=web", "status.phase=Running"), Some(object(Term::Label("app", "web"))));
        assert_eq!(
            pods("app=web,pod-template-hash=5c9f8d", ""),
            Some(object(Term::Label("pod-template-hash", "5c9f8d")))
        );
        assert_eq!(pods("app in (web)", ""), Some(object(Term::Label("app", "web"))));
        assert_eq!(pods("app=web", "metadata.name=a"), Some(Tag::Key(Term::Name("a").hash())));
        let key = Some(Tag::Key(Term::Key("x/a").hash()));
        assert_eq!(tag(&kinds::POD, Some("x"), "app=web", "metadata.name=a"), key);
        assert_eq!(pods("", "metadata.name=a,metadata.namespace=x"), key);
        assert_eq!(tag(&kinds::NODE, None, "", "metadata.name=a"), Some(Tag::Key(Term::Key("a").hash())));
        let namespace = Term::Namespace("x").hash();
        assert_eq!(tag(&kinds::POD, Some("x"), "app", ""), Some(Tag::Key(namespace)));
        let within = within(namespace, Term::Label("app", "web").hash());
        assert_eq!(tag(&kinds::POD, Some("x"), "app=web", ""), Some(Tag::Object(within)));
        for labels in ["", "app", "!app", "app!=web", "app in (a,b)", "app notin (a)"] {
            assert_eq!(pods(labels, "status.phase!=Running"), None, "{labels}");
        }
        assert_eq!(tag(&kinds::NODE, None, "", ""), None);
    }
}

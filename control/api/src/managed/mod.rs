//! Who owns which field of an object, and server-side apply.
//!
//! [`track`] records a write of any other form; [`apply`] merges what somebody wants an object to be into what it is, and
//! tells them whose fields they would change. Sources: KEP-555,
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>, and the order of things in
//! `k8s.io/apimachinery/pkg/util/managedfields`. Not here: defaults and validation of the result ([`crate::strategy`]).

mod apply;
mod conflict;
mod entries;
mod scale;
mod set;
#[cfg(test)]
mod tests;
mod typed;

use std::sync::LazyLock;

use serde_json::Value;
use wk_base::time::Timestamp;

use self::entries::{Id, Managers, Operation, Owned};
use self::set::Set;
use crate::json;
use crate::kind::Kind;
use crate::kinds;
use crate::object::{Object, time_text};
use crate::schema::{Schema, scale_schema, schema_of};

pub use apply::{Applied, Apply, Elsewhere, apply, versions};
pub use scale::{from_scale, to_scale};

/// Metadata that only the server writes, or that is the object's identity.
const UNOWNED_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// What no set of an owner ever has.
static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    let metadata = UNOWNED_METADATA.iter().map(|name| Set::of(&["f:metadata", &set::field(name)]));
    let top = ["f:apiVersion", "f:kind", "f:metadata"].map(|step| Set::of(&[step]));
    metadata.chain(top).fold(Set::default(), Set::union)
});

/// What somebody writes: an object or one of its faces.
#[derive(Debug)]
pub struct Target {
    schema: &'static Schema,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    subresource: &'static str,
    /// Fields that a write through this face does not touch.
    reset: Set,
}

impl Target {
    /// An object itself.
    pub fn object(kind: &Kind) -> Self {
        let reset = if kind.has_status { Set::of(&["f:status"]) } else { Set::default() };
        Self::new(kind, "", reset)
    }

    /// An object that is made. Only a Node brings its status along.
    pub fn made(kind: &Kind) -> Self {
        if *kind == kinds::NODE { Self::new(kind, "", Set::default()) } else { Self::object(kind) }
    }

    /// The status of an object.
    pub fn status(kind: &Kind) -> Self {
        let fields = schema_of(kind).root().fields.keys();
        let others = fields.filter(|name| !["status", "metadata"].contains(&name.as_str()));
        let mut reset = others.fold(Set::default(), |set, name| set.union(Set::of(&[&set::field(name)])));
        if kind.rules.status_keeps_labels {
            reset = reset.union(Set::of(&["f:metadata", "f:labels"]));
        }
        Self::new(kind, "status", reset)
    }

    /// Another face of an object, through which any of its fields may change.
    pub fn subresource(kind: &Kind, name: &'static str) -> Self {
        Self::new(kind, name, Set::default())
    }

    /// The Scale of an object.
    pub fn scale() -> Self {
        Self {
            schema: scale_schema(),
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            subresource: "scale",
            reset: Set::of(&["f:status"]),
        }
    }

    fn new(kind: &Kind, subresource: &'static str, reset: Set) -> Self {
        let (group, version, name) = (kind.group, kind.version, kind.kind);
        Self { schema: schema_of(kind), group, version, kind: name, subresource, reset }
    }

    fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// Whether entries of this version are about objects that are still served.
    fn knows(&self, api_version: &str) -> bool {
        api_version.rsplit_once('/').map_or("", |(group, _)| group) == self.group
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Takes what a client says about owners out of its object. To be handed to [`track`].
pub fn take_given(value: &Value) -> Option<Value> {
    json::dig(value, &["metadata"]).get("managedFields").filter(|given| !given.is_null()).cloned()
}

/// Records that `manager` made `new` of `old` (None: created it).
///
/// `given` is what the client said about owners: it may rewrite them. An object whose owners nobody recorded stays that
/// way until somebody applies.
pub fn track(
    target: &Target,
    old: Option<&Object>,
    new: &mut Object,
    given: Option<&Value>,
    manager: &str,
    now: Timestamp,
) {
    let recorded = old.and_then(|old| old.metadata().get("managedFields")).filter(|list| !json::is_empty(list));
    let reset = target.subresource.is_empty() && given.is_some_and(entries::is_reset);
    let given = given.filter(|list| target.subresource.is_empty() && !json::is_empty(list));
    let before = if reset { None } else { given.and_then(usable).or_else(|| usable(recorded?)) };
    json::remove(json::object_at(&mut new.0, "metadata"), "managedFields");
    let managers = match (before, old) {
        // Not tracked, and this is no reason to begin.
        (None, Some(_)) => return,
        (before, _) => before.unwrap_or_default(),
    };
    let nothing = Value::Object(serde_json::Map::new());
    let shape = target.schema.root_shape();
    let node = target.schema.node(&shape);
    let found = typed::compare(node, old.map_or(&nothing, |old| &old.0), &new.0).without(&target.reset);
    let managers = record(target, managers, &found, manager, now);
    put(new, entries::write(&managers));
}

/// The entries that can be read, if there are any.
fn usable(entries: &Value) -> Option<Managers> {
    entries::read(entries).filter(|managers| !managers.is_empty())
}

/// Gives what changed to `manager` and takes it, and what is gone, from everybody else.
fn record(
    target: &Target,
    mut managers: Managers,
    found: &typed::Comparison,
    manager: &str,
    now: Timestamp,
) -> Managers {
    let changed = found.changed();
    managers.retain(|_, owned| {
        owned.fields.subtract(&changed);
        owned.fields.subtract(&found.removed);
        !owned.fields.is_empty() && target.knows(&owned.version)
    });
    let mut own = changed;
    own.subtract(&UNOWNED);
    if !own.is_empty() {
        let version = target.api_version();
        let id = Id::new(manager_name(manager), Operation::Update, &version, target.subresource);
        let before = managers.remove(&id).map(|owned| owned.fields).unwrap_or_default();
        managers.insert(id, Owned { version, fields: own.union(before), time: Some(time_text(now)) });
    }
    entries::cap(&mut managers);
    managers
}

fn manager_name(manager: &str) -> &str {
    if manager.is_empty() { "unknown" } else { manager }
}

/// Sets the entries of an object; none when the list is empty.
pub fn put(object: &mut Object, entries: Value) {
    let metadata = json::object_at(&mut object.0, "metadata");
    if json::is_empty(&entries) {
        json::remove(metadata, "managedFields");
    } else {
        json::set(metadata, "managedFields", entries);
    }
}

/// Whether `new` differs from `old` only in when somebody wrote what was there already.
pub fn is_same_but_for_times(old: &Object, new: &Object) -> bool {
    let entries = |object: &Object| json::items(&object.0, &["metadata", "managedFields"]).to_vec();
    let (before, after) = (entries(old), entries(new));
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        json::remove(&mut entry, "time");
        entry
    };
    if before.len() != after.len() || !before.iter().zip(&after).all(|(a, b)| timeless(a) == timeless(b)) {
        return false;
    }
    let mut candidate = new.clone();
    put(&mut candidate, before.into());
    candidate == *old
}

//! What a kind is: its names and the small functions in which it differs from others. The rows are in [`crate::kinds`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::custom::Custom;
use crate::field::Errors;
use crate::object::Object;
use crate::pick::{Pick, pick};

/// Whether objects of a kind live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// One per cluster.
    Cluster,
}

/// Where the objects of a kind come from, which decides its verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// From the store: all verbs.
    Stored,
    /// A question that is answered when it is asked (`SubjectAccessReview`): only `create`, nothing is stored.
    Asked,
    /// Made when it is read (`PodMetrics`): only `get` and `list`.
    Computed,
}

/// A subresource besides `/status` and `/scale`: `pods/log`, `pods/eviction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    /// The last segment of its path.
    pub name: &'static str,
    /// Group of what is sent or answered; empty when it is that of the kind.
    pub group: &'static str,
    /// Version of what is sent or answered; empty when it is that of the kind.
    pub version: &'static str,
    /// Kind of what is sent or answered.
    pub kind: &'static str,
    /// As in discovery and roles.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// One that takes over the connection: a GET for WebSockets, a POST for SPDY.
    pub(crate) const fn connect(name: &'static str, options: &'static str) -> Self {
        Self { name, group: "", version: "", kind: options, verbs: &["create", "get"] }
    }

    /// A `/proxy`: what is sent goes on to what is behind the object. Each method is a verb.
    pub(crate) const fn proxy(options: &'static str) -> Self {
        const VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
        Self { name: "proxy", group: "", version: "", kind: options, verbs: VERBS }
    }
}

/// One row of the table of kinds.
pub struct Kind {
    /// API group; "" for core.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// `Deployment`.
    pub kind: &'static str,
    /// `deployments`: the path segment, and the resource in messages.
    pub plural: &'static str,
    /// `deployment`.
    pub singular: &'static str,
    /// `deploy`.
    pub short_names: &'static [&'static str],
    /// `all` for what `kubectl get all` shows.
    pub categories: &'static [&'static str],
    /// Namespaced or not.
    pub scope: Scope,
    /// Whether there is a `/status` subresource.
    pub has_status: bool,
    /// Whether there is a `/scale` subresource.
    pub has_scale: bool,
    /// Subresources besides those two.
    pub subresources: &'static [Subresource],
    /// Where answers come from.
    pub serving: Serving,
    /// Whether a controller, the scheduler or a node does something about it today; others are stored and shown only.
    pub acts: bool,
    /// Whether what its objects hold is sealed in the store.
    pub sealed: bool,
    /// Name of the collection in the store; the same for all versions of a kind.
    pub(crate) collection: &'static str,
    /// The version that objects are stored in, if it is another one; [`crate::version`].
    pub(crate) storage: Option<&'static Kind>,
    /// The functions in which kinds differ.
    pub(crate) rules: Rules,
    /// What a kind has that a CustomResourceDefinition defines.
    pub custom: Option<&'static Custom>,
}

/// When `metadata.generation` moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The kind has none.
    Never,
    /// When `spec` changes.
    Spec,
    /// When `spec` or the annotations change.
    SpecAndAnnotations,
    /// When anything outside the metadata, or a label, changes.
    Anything,
    /// When anything outside the metadata changes.
    Content,
}

/// A printer column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) format: &'static str,
    /// 1 for columns of `-o wide` only.
    pub(crate) priority: u8,
    pub(crate) description: &'static str,
}

/// A field that field selectors may name: its label and how it is read.
pub(crate) struct FieldLabel {
    pub(crate) label: &'static str,
    pub(crate) read: fn(&Object) -> String,
}

/// A subresource that writes one part of the object and is read as the whole of it, like `pods/ephemeralcontainers`.
/// It has the verbs get, patch and update, and the kind of the object.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// The last segment of its path.
    pub(crate) name: &'static str,
    /// Takes into a copy of the old object what a write may change of the new one.
    pub(crate) take: fn(&mut Value, &Value),
    /// `(new, old)`: what is wrong with the change; runs beside the kind's `validate`, not its `validate_update`.
    pub(crate) validate: fn(&Value, &Value, &mut Errors),
}

/// How a kind differs from the others. [`Rules::PLAIN`] is a kind that differs in nothing.
pub(crate) struct Rules {
    /// The schema its bodies are decoded against.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of a custom kind, which is known only when its definition is.
    pub(crate) custom_schema: Option<&'static crate::schema::Schema>,
    /// The `openAPIV3Schema` of a custom kind, for the OpenAPI documents.
    pub(crate) published: Option<&'static Value>,
    /// What is wrong with a name; `prefix` is true for `generateName`.
    pub(crate) name: fn(&str, bool) -> Vec<String>,
    pub(crate) generation: Generation,
    /// Fills in what the client left out.
    pub(crate) default: fn(&mut Value),
    /// Before a create: resets what clients may not set. Runs before validation.
    pub(crate) prepare_create: fn(&mut Value),
    /// Before an update: `(new, old)`.
    pub(crate) prepare_update: fn(&mut Value, &Value),
    /// Everything but the metadata.
    pub(crate) validate: fn(&Value, &mut Errors),
    /// What only a create may not do; runs beside `validate`.
    pub(crate) validate_create: fn(&Value, &mut Errors),
    /// `(new, old)`; runs beside `validate`.
    pub(crate) validate_update: fn(&Value, &Value, &mut Errors),
    /// `(new, old)` of a write to `/status`.
    pub(crate) validate_status: fn(&Value, &Value, &mut Errors),
    /// Subresources that write a part of the object.
    pub(crate) parts: &'static [Part],
    /// Fields for selectors besides name and namespace. They are read from the object as it is stored.
    pub(crate) fields: &'static [FieldLabel],
    /// What `fields` read, and the labels. Said for kinds that are followed by them wherever there are nodes.
    pub(crate) selected: Option<Pick>,
    /// Columns besides the age functions: one cell each.
    pub(crate) columns: &'static [Column],
    pub(crate) cells: fn(&Object, Timestamp) -> Vec<Value>,
    /// What `cells` reads of an object. Said for kinds of which there are thousands.
    pub(crate) shown: Pick,
    /// Grace period of a deletion, given the client's; `None` when the kind goes at once.
    pub(crate) grace: fn(&Object, Option<i64>) -> Option<i64>,
    /// Whether something besides `metadata.finalizers` and the grace period keeps a deleted object.
    pub(crate) held: fn(&Object) -> bool,
    /// What else a deletion writes into an object that stays for a while.
    pub(crate) mark: fn(&mut Value),
    /// Why this object may never be deleted.
    pub(crate) undeletable: fn(&Object) -> Option<&'static str>,
    /// Whether a delete without a policy leaves what the object owns, as Kubernetes has it for its oldest kinds.
    pub(crate) orphans: bool,
    /// Whether a write of `/status` leaves labels as they are.
    pub(crate) status_keeps_labels: bool,
    /// From what is stored to this version, besides `apiVersion` and `kind`; none when nothing else differs.
    pub(crate) from_stored: Option<fn(&Kind, &mut Value)>,
    /// From this version to what is stored, besides `apiVersion` and `kind`; none when nothing else differs.
    pub(crate) to_stored: Option<fn(&Kind, &mut Value)>,
}

/// Half of many an object are its `managedFields`, and no column shows them.
const SHOWN: Pick = Pick::But(&[("metadata", Pick::But(&[("managedFields", Pick::Nothing)]))]);

impl Rules {
    /// The rules of a kind that differs in nothing.
    pub(crate) const PLAIN: Self = Self {
        schema: |_| Schema::default(),
        custom_schema: None,
        published: None,
        name: crate::names::object_name,
        generation: Generation::Never,
        default: |_| (),
        prepare_create: |_| (),
        prepare_update: |_, _| (),
        validate: |_, _| (),
        validate_create: |_, _| (),
        validate_update: |_, _, _| (),
        validate_status: |_, _, _| (),
        parts: &[],
        fields: &[],
        selected: None,
        columns: &[crate::table::NAME, crate::table::AGE],
        cells: |object, now| vec![object.name().into(), crate::table::age(object, now).into()],
        shown: SHOWN,
        grace: |_, _| None,
        held: |_| false,
        mark: |_| (),
        undeletable: |_| None,
        orphans: false,
        status_keeps_labels: false,
        from_stored: None,
        to_stored: None,
    };
}

impl Kind {
    /// What most rows have in common.
    pub(crate) const PLAIN: Self = Self {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        has_status: false,
        has_scale: false,
        subresources: &[],
        serving: Serving::Stored,
        acts: false,
        sealed: false,
        collection: "",
        storage: None,
        rules: Rules::PLAIN,
        custom: None,
    };

    /// The verbs of the resource itself, in order.
    pub fn verbs(&self) -> &'static [&'static str] {
        const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        const ONE_BY_ONE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
        match self.serving {
            Serving::Stored if self.deletes_collections() => ALL,
            Serving::Stored => ONE_BY_ONE,
            Serving::Asked => &["create"],
            Serving::Computed => &["get", "list"],
        }
    }

    /// The kind served at `/apis/<group>/<version>/…/<plural>`.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        crate::kinds::kinds()
            .iter()
            .copied()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// The kind an object says it is of.
    pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        crate::kinds::kinds().iter().copied().find(|row| row.kind == kind && row.api_version() == api_version)
    }

    /// The kind a person means by `pod`, `pods`, `po` or `deployments.apps`.
    pub fn by_word(word: &str) -> Option<&'static Self> {
        let word = word.to_lowercase();
        crate::kinds::kinds().iter().copied().find(|row| {
            row.plural == word
                || row.singular == word
                || row.short_names.contains(&word.as_str())
                || row.resource() == word
        })
    }

    /// Drops what says nothing and fills in what is missing.
    pub(crate) fn fill(&self, value: &mut Value) {
        if let Some(custom) = self.custom {
            custom.default(value);
        } else {
            crate::schema::schema_of(self).tidy(value);
            (self.rules.default)(value);
        }
    }

    /// Checks everything but the metadata; `old` is what an update replaces.
    pub(crate) fn check(&self, value: &Value, old: Option<&Value>, errors: &mut Errors) {
        if let Some(custom) = self.custom {
            return custom.validate(value, old, errors);
        }
        (self.rules.validate)(value, errors);
        if let Some(old) = old {
            (self.rules.validate_update)(value, old, errors);
        }
    }

    /// Whether an update must name the version that it replaces, as in Kubernetes for custom kinds and what defines them.
    pub fn updates_by_version(&self) -> bool {
        self.custom.is_some() || *self == crate::kinds::CRD
    }

    /// Name of the collection in the store: `core/pods`, `apps/deployments`.
    pub fn collection(&self) -> &'static str {
        self.collection
    }

    /// The fields of the stored `object`, one of the collection `collection`, that field selectors may name: label and value.
    pub fn fields_of(collection: &str, object: &Object) -> impl Iterator<Item = (&'static str, String)> {
        let kinds = crate::kinds::kinds().iter().filter(move |kind| kind.collection == collection);
        kinds.flat_map(|kind| kind.rules.fields).map(|field| (field.label, (field.read)(object)))
    }

    /// What selectors look at in an object that is stored as `text`, without what they do not; None for kinds that do not say
    /// what that is.
    pub fn selected_of_text(collection: &str, text: &[u8]) -> Option<Object> {
        let kind = crate::kinds::kinds().iter().find(|kind| kind.collection == collection)?;
        let (object, _) = pick(text, kind.rules.selected.as_ref()?, "metadata")?;
        Some(Object(object))
    }

    /// Key of an object within its collection: `default/web-1`, or `n1` without a namespace.
    pub fn name_in_store(namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    }

    /// Whether a CustomResourceDefinition made this kind.
    pub fn is_custom(&self) -> bool {
        self.rules.published.is_some()
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As in messages: `pods`, `deployments.apps`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether strategic merge patches are served: they need merge keys, which definitions of custom kinds lack.
    pub fn merges_strategically(&self) -> bool {
        self.rules.custom_schema.is_none()
    }

    /// The name of the subresource `name`, if it is one that writes a part of the object.
    pub fn part(&self, name: &str) -> Option<&'static str> {
        self.rules.parts.iter().find(|part| part.name == name).map(|part| part.name)
    }

    /// Whether a whole collection can be deleted at once. Not namespaces, as in Kubernetes: that would be everything.
    pub fn deletes_collections(&self) -> bool {
        self.collection != crate::kinds::NAMESPACE.collection
    }

    /// Whether objects live in namespaces.
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.resource())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource())
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.collection, self.group, self.version).cmp(&(other.collection, other.group, other.version))
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.collection.hash(state);
    }
}

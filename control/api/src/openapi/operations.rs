//! The paths of a kind and what can be done there, before they are written in one version of OpenAPI or the other.

use serde_json::Value;

use super::{META, definition_name, group_version_kind, root};
use crate::discovery;
use crate::kind::Kind;
use crate::patch::PatchType;

/// A path and its operations.
pub(super) struct Path {
    pub(super) address: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) operations: Vec<Operation>,
}

/// What one method does on a path.
pub(super) struct Operation {
    /// As in OpenAPI: `get`.
    pub(super) method: &'static str,
    /// As in Kubernetes: `list`.
    pub(super) action: &'static str,
    /// `listAppsV1NamespacedDeployment`.
    pub(super) id: String,
    pub(super) description: String,
    pub(super) tag: String,
    pub(super) group_version_kind: Value,
    pub(super) parameters: Vec<Parameter>,
    /// Name of the schema that is sent.
    pub(super) body: Option<Body>,
    /// Name of the schema that is answered; none for text and streams.
    pub(super) answer: Option<String>,
}

/// What an operation takes.
pub(super) struct Body {
    pub(super) schema: String,
    pub(super) types: Vec<&'static str>,
    pub(super) required: bool,
}

/// A parameter of a path or a query.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// `query` or `path`.
    pub(super) place: &'static str,
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "query", kind, description }
}

const fn path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "path", kind: "string", description }
}

const NAME: Parameter = path("name", "name of the object");
const NAMESPACE: Parameter = path("namespace", "object name and auth scope, such as for teams and projects");
const PRETTY: Parameter = query("pretty", "string", "If 'true', then the output is pretty printed.");
const DRY_RUN: Parameter =
    query("dryRun", "string", "When present, modifications are not persisted. The one valid value is All.");
const FIELD_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "The name of the actor that is making these changes, up to 128 printable characters.",
);
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What to do with unknown or duplicate fields: Ignore drops them, Warn drops them and warns, Strict refuses the request.",
);
const FORCE: Parameter = query("force", "boolean", "Take over fields that other managers own. Only for apply patches.");

const WRITES: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCHES: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETES: &[Parameter] = &[
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "Seconds before the object is deleted. Zero deletes at once."),
    query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    query("propagationPolicy", "string", "Whether dependents are deleted: Orphan, Background or Foreground."),
];
const SELECTS: &[Parameter] = &[
    query("continue", "string", "Where the page before ended, as its metadata says."),
    query("fieldSelector", "string", "Restricts the objects by their fields."),
    query("labelSelector", "string", "Restricts the objects by their labels."),
    query("limit", "integer", "The most objects of one answer."),
    query("resourceVersion", "string", "How old an answer may be."),
    query("resourceVersionMatch", "string", "How resourceVersion is applied: Exact or NotOlderThan."),
    query("sendInitialEvents", "boolean", "Begin a watch with the objects that are there."),
    query("timeoutSeconds", "integer", "Ends the call after this many seconds."),
];
const WATCHES: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean", "Send events of type BOOKMARK."),
    query("watch", "boolean", "Answer changes instead of a list."),
];

/// The paths of a kind.
pub(super) fn of(kind: &'static Kind) -> Vec<Path> {
    let base = root(kind);
    let mut paths = Vec::new();
    let (scope, mut around) =
        if kind.is_namespaced() { ("/namespaces/{namespace}", vec![NAMESPACE]) } else { ("", Vec::new()) };
    around.push(PRETTY);
    let collection = format!("{base}{scope}/{}", kind.plural);
    let verbs = |wanted: &[&str]| kind.verbs().iter().copied().filter(|verb| wanted.contains(verb)).collect::<Vec<_>>();
    let face = Face::of(kind);
    if kind.is_namespaced() && kind.verbs().contains(&"list") {
        let mut everywhere = face.operation("list");
        everywhere.id = format!("list{}{}ForAllNamespaces", group_version(kind), kind.kind);
        paths.push(Path {
            address: format!("{base}/{}", kind.plural),
            parameters: vec![PRETTY],
            operations: vec![everywhere],
        });
    }
    let operations = verbs(&["create", "deletecollection", "list"]).into_iter().map(|verb| face.operation(verb));
    paths.push(Path { address: collection.clone(), parameters: around.clone(), operations: operations.collect() });
    around.insert(0, NAME);
    let one = format!("{collection}/{{name}}");
    let operations: Vec<_> =
        verbs(&["delete", "get", "patch", "update"]).into_iter().map(|verb| face.operation(verb)).collect();
    if !operations.is_empty() {
        paths.push(Path { address: one.clone(), parameters: around.clone(), operations });
    }
    for sub in discovery::subresources(kind) {
        let mut face = Face::of(kind);
        face.subresource = sub.name;
        face.what = sub.kind;
        if !sub.version.is_empty() {
            (face.group, face.version) = (sub.group, sub.version);
        }
        let operations = sub.verbs.iter().map(|verb| face.operation(verb)).collect();
        paths.push(Path { address: format!("{one}/{}", sub.name), parameters: around.clone(), operations });
    }
    paths
}

/// What is sent to and answered by a path.
struct Face {
    kind: &'static Kind,
    group: &'static str,
    version: &'static str,
    what: &'static str,
    subresource: &'static str,
}

impl Face {
    fn of(kind: &'static Kind) -> Self {
        Self { kind, group: kind.group, version: kind.version, what: kind.kind, subresource: "" }
    }

    fn operation(&self, verb: &str) -> Operation {
        let own = definition_name(self.group, self.version, self.what);
        let meta = |name: &str| format!("{META}.{name}");
        let whole = |schema: String, required| Some(Body { schema, types: vec!["*/*"], required });
        let (method, action, word, parameters, body, answer) = match verb {
            "create" => ("post", "post", "create", WRITES.to_vec(), whole(own.clone(), true), own),
            "update" => ("put", "put", "replace", WRITES.to_vec(), whole(own.clone(), true), own),
            "patch" => ("patch", "patch", "patch", PATCHES.to_vec(), Some(patch_body(self.kind, meta("Patch"))), own),
            "delete" => {
                ("delete", "delete", "delete", DELETES.to_vec(), whole(meta("DeleteOptions"), false), meta("Status"))
            }
            "deletecollection" => (
                "delete",
                "deletecollection",
                "deleteCollection",
                [DELETES, SELECTS].concat(),
                whole(meta("DeleteOptions"), false),
                meta("Status"),
            ),
            "list" => ("get", "list", "list", [SELECTS, WATCHES].concat(), None, format!("{own}List")),
            _ => ("get", "get", "read", Vec::new(), None, own),
        };
        let scope = if self.kind.is_namespaced() { "Namespaced" } else { "" };
        let group_version = group_version(self.kind);
        let name = format!("{scope}{}{}", self.kind.kind, capital(self.subresource));
        let id = match word {
            "deleteCollection" => format!("delete{group_version}Collection{name}"),
            word => format!("{word}{group_version}{name}"),
        };
        let of = if self.subresource.is_empty() { String::new() } else { format!("{} of ", self.subresource) };
        Operation {
            method,
            action,
            id,
            description: format!("{word} {of}{}", self.kind.kind),
            tag: format!("{}_{}", lower(&group_words(self.kind.group)), self.kind.version),
            group_version_kind: group_version_kind(self.group, self.version, self.what),
            parameters,
            body,
            answer: Some(answer),
        }
    }
}

fn patch_body(kind: &Kind, schema: String) -> Body {
    let mut types = vec![PatchType::Apply, PatchType::Json, PatchType::Merge];
    // Custom kinds have no merge strategies: kubectl sends them merge patches when this is missing.
    if !kind.is_custom() {
        types.push(PatchType::StrategicMerge);
    }
    Body { schema, types: types.into_iter().map(PatchType::content_type).collect(), required: true }
}

/// `AppsV1`, `CoreV1`, `RbacAuthorizationV1`.
fn group_version(kind: &Kind) -> String {
    group_words(kind.group) + &capital(kind.version)
}

fn group_words(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split(['.', '-']).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

fn lower(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

//! Custom kinds: what CustomResourceDefinitions define, as rows like those of the table of kinds.
//!
//! A row is made once for each distinct version of a definition and kept for the life of the process, so that a kind is a
//! `&'static Kind` wherever it comes from. Past [`BYTES_MAX`] no more are made.
//!
//! Not here: which definitions there are (the cluster crate looks them up), and who may have which name.

pub mod convert;
pub mod definition;

pub(crate) mod check;
pub(crate) mod clean;
mod columns;
mod formats;
mod path;
pub(crate) mod rules;
mod scale;
pub(crate) mod schema;
mod strategy;
mod structural;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use serde_json::{Value, json};

use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope, Serving};
use crate::object::Object;

use path::Path;
use schema::Schema;

pub(crate) use scale::ScalePaths;

/// Text of definitions that a process makes kinds of, which are never freed: a hundred definitions of
/// 20 kB that all change once a week are not there in a year. Past it a changed definition is served by no kind until
/// the process starts again.
const BYTES_MAX: usize = 128 << 20;

/// What a custom kind has besides its row.
#[derive(Debug)]
pub struct Custom {
    /// What it was made from.
    essence: Value,
    /// Whether requests for this version are answered.
    served: bool,
    /// Whether objects are stored in this version.
    storage: bool,
    /// Version in which objects are stored.
    storage_version: &'static str,
    conversion: Conversion,
    /// What requests for this version are warned of.
    deprecation: Option<String>,
    pub(crate) schema: Schema,
    /// The columns' paths, beside the row's columns.
    cells: Vec<Path>,
    /// Fields for selectors.
    pub(crate) fields: Vec<Selectable>,
    pub(crate) scale: Option<ScalePaths>,
}

/// A field that field selectors may name.
#[derive(Debug)]
pub(crate) struct Selectable {
    pub(crate) label: &'static str,
    path: Path,
}

/// How an object of one version becomes one of another.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// Somebody else does it: `spec.conversion.webhook` of the definition.
    Webhook(Value),
}

#[derive(Default)]
struct Interned {
    by_essence: BTreeMap<u64, Vec<&'static Kind>>,
    bytes: usize,
    /// By the definition's name: its uid and revision, and what it defines.
    by_definition: BTreeMap<String, (String, Arc<[&'static Kind]>)>,
}

static INTERNED: LazyLock<RwLock<Interned>> = LazyLock::new(RwLock::default);

/// The kinds that `definition`, a CustomResourceDefinition, defines: one for each version, also those not served. None
/// before its names were accepted.
pub fn kinds(definition: &Object) -> Arc<[&'static Kind]> {
    if !definition::is_condition_true(&definition.0, "Established") {
        return Arc::new([]);
    }
    let incarnation = format!("{}/{}", definition.uid(), definition.resource_version());
    let read = INTERNED.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, kinds)) = read.by_definition.get(definition.name())
        && *known == incarnation
    {
        return Arc::clone(kinds);
    }
    drop(read);
    let mut interned = INTERNED.write().unwrap_or_else(PoisonError::into_inner);
    let versions = definition.items("/spec/versions");
    let kinds: Arc<[&'static Kind]> =
        versions.iter().filter_map(|version| interned.kind(essence(definition, version))).collect();
    interned.by_definition.insert(definition.name().to_owned(), (incarnation, Arc::clone(&kinds)));
    kinds
}

impl Interned {
    fn kind(&mut self, essence: Value) -> Option<&'static Kind> {
        let text = essence.to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let same = self.by_essence.entry(hasher.finish()).or_default();
        let known = same.iter().find(|kind| kind.custom.is_some_and(|custom| custom.essence == essence));
        if let Some(kind) = known {
            return Some(kind);
        }
        if self.bytes + text.len() > BYTES_MAX {
            return None;
        }
        self.bytes += text.len();
        let kind: &'static Kind = Box::leak(Box::new(row(essence)));
        same.push(kind);
        Some(kind)
    }
}

/// What a version of a definition says.
fn essence(definition: &Object, version: &Value) -> Value {
    let spec = json::get(&definition.0, "spec");
    let storage = json::items(spec, &["versions"]).iter().find(|version| json::flag(version, &["storage"]));
    json!({
        "group": json::get(spec, "group"),
        "scope": json::get(spec, "scope"),
        "names": json::dig(&definition.0, &["status", "acceptedNames"]),
        "conversion": json::get(spec, "conversion"),
        "storage": storage.map(|version| json::get(version, "name")),
        "version": version,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "what is made of it lives as long as the process")]
fn row(essence: Value) -> Kind {
    let text = |path: &[&str]| leak(json::text(&essence, path));
    let words = |key: &str| -> &'static [&'static str] {
        json::items(&essence, &["names", key]).iter().filter_map(Value::as_str).map(leak).collect::<Vec<_>>().leak()
    };
    let (group, plural) = (text(&["group"]), text(&["names", "plural"]));
    let sub = |name: &str| json::dig(&essence, &["version", "subresources", name]).is_object();
    let schema = json::dig(&essence, &["version", "schema", "openAPIV3Schema"]);
    let (columns, cells) = columns::read(json::items(&essence, &["version", "additionalPrinterColumns"]));
    Kind {
        group,
        version: text(&["version", "name"]),
        kind: text(&["names", "kind"]),
        plural,
        singular: text(&["names", "singular"]),
        short_names: words("shortNames"),
        categories: words("categories"),
        scope: if json::text(&essence, &["scope"]) == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        has_status: sub("status"),
        has_scale: sub("scale"),
        serving: Serving::Stored,
        collection: leak(&format!("{group}/{plural}")),
        rules: Rules {
            generation: Generation::Content,
            columns,
            from_stored: Some(convert::from_stored),
            custom_schema: Some(Box::leak(Box::new(crate::schema::Schema::from_crd(schema)))),
            published: Some(Box::leak(Box::new(schema.clone()))),
            ..Rules::PLAIN
        },
        custom: Some(Box::leak(Box::new(Custom {
            served: json::flag(&essence, &["version", "served"]),
            storage: json::flag(&essence, &["version", "storage"]),
            storage_version: text(&["storage"]),
            conversion: match json::text(&essence, &["conversion", "strategy"]) {
                "Webhook" => Conversion::Webhook(json::dig(&essence, &["conversion", "webhook"]).clone()),
                _ => Conversion::None,
            },
            deprecation: deprecation(&essence),
            schema: Schema::of_object(schema),
            cells,
            fields: json::items(&essence, &["version", "selectableFields"])
                .iter()
                .filter_map(Selectable::read)
                .collect(),
            scale: ScalePaths::read(json::dig(&essence, &["version", "subresources", "scale"])),
            essence: essence.clone(),
        }))),
        ..Kind::PLAIN
    }
}

fn deprecation(essence: &Value) -> Option<String> {
    let version = json::get(essence, "version");
    json::flag(version, &["deprecated"]).then(|| {
        let own = json::text(version, &["deprecationWarning"]);
        if !own.is_empty() {
            return own.to_owned();
        }
        let part = |path: &[&str]| json::text(essence, path).to_owned();
        format!("{}/{} {} is deprecated", part(&["group"]), part(&["version", "name"]), part(&["names", "kind"]))
    })
}

fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

impl Selectable {
    fn read(value: &Value) -> Option<Self> {
        let text = json::text(value, &["jsonPath"]);
        Some(Self { label: leak(text.trim_start_matches('.')), path: Path::parse(text).ok()? })
    }

    /// What a selector compares with.
    pub(crate) fn of(&self, object: &Object) -> String {
        match self.path.first(&object.0) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

impl Custom {
    /// Whether requests for this version are answered.
    pub fn is_served(&self) -> bool {
        self.served
    }

    /// The fields that the version lets selectors name, besides those that all kinds have.
    pub(crate) fn selectable(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.label).collect()
    }

    /// Whether objects are stored in this version.
    pub fn is_storage(&self) -> bool {
        self.storage
    }

    /// Version in which objects are stored.
    pub fn storage_version(&self) -> &'static str {
        self.storage_version
    }

    /// How objects of other versions become ones of this one.
    pub fn conversion(&self) -> &Conversion {
        &self.conversion
    }

    /// What requests for this version are warned of.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }
}

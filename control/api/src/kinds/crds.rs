//! CustomResourceDefinitions: what they must be like is in [`crate::custom`]; which names are taken is decided where
//! other definitions are seen, in the cluster crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::custom::definition;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::names;
use crate::table::NAME;

/// Keeps a deleted definition until its objects are gone.
pub const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// `CustomResourceDefinition`.
pub static CRD: Kind = Kind {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    has_status: true,
    acts: true,
    collection: "apiextensions.k8s.io/customresourcedefinitions",
    rules: Rules {
        schema: CustomResourceDefinition::json_schema,
        name: names::object_name,
        generation: Generation::Spec,
        default,
        prepare_create,
        prepare_update,
        validate: definition::validate,
        validate_update: definition::validate_update,
        columns: &[
            NAME,
            Column {
                name: "Created At",
                kind: "date",
                format: "",
                priority: 0,
                description: "When the definition was created.",
            },
        ],
        cells: |object, _| vec![object.name().into(), object.text("/metadata/creationTimestamp").into()],
        // Until it is marked; from then on its finalizer keeps it.
        held: |object| !object.is_deleting(),
        mark,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let names = json::object_at(spec, "names");
    let kind = json::text(names, &["kind"]).to_owned();
    if !kind.is_empty() {
        json::default(names, "singular", kind.to_lowercase());
        json::default(names, "listKind", format!("{kind}List"));
    }
    let conversion = json::object_at(spec, "conversion");
    json::default(conversion, "strategy", "None");
    if json::dig(conversion, &["webhook", "clientConfig", "service"]).is_object() {
        let config = json::object_at(json::object_at(conversion, "webhook"), "clientConfig");
        json::default(json::object_at(config, "service"), "port", 443);
    }
}

fn prepare_create(value: &mut Value) {
    json::set(value, "status", json!({}));
    note_storage(value);
}

fn prepare_update(new: &mut Value, _: &Value) {
    note_storage(new);
}

/// The version that objects are stored in from now on is among those in which some may be stored.
fn note_storage(value: &mut Value) {
    let versions = json::items(value, &["spec", "versions"]);
    let storage = versions.iter().find(|version| json::flag(version, &["storage"]));
    let Some(name) = storage.map(|version| json::text(version, &["name"]).to_owned()) else { return };
    let mut stored = json::items(value, &["status", "storedVersions"]).to_vec();
    if !stored.iter().any(|version| *version == name) {
        stored.push(name.into());
    }
    json::set(json::object_at(value, "status"), "storedVersions", stored);
}

fn mark(value: &mut Value) {
    let metadata = json::object_at(value, "metadata");
    json::remove(metadata, "deletionGracePeriodSeconds");
    let since = json::text(metadata, &["deletionTimestamp"]).to_owned();
    let mut finalizers = json::items(metadata, &["finalizers"]).to_vec();
    if !finalizers.iter().any(|name| name == CRD_FINALIZER) {
        finalizers.push(CRD_FINALIZER.into());
    }
    json::set(metadata, "finalizers", finalizers);
    definition::set_condition(
        value,
        "Terminating",
        true,
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        &since,
    );
}

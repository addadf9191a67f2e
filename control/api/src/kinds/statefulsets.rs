//! StatefulSets.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/apps/{v1,validation}` and the API reference. As there, the pod spec of the
//! template is not checked: its mounts may name volumes that the claim templates will make.

use k8s_openapi::api::apps::v1::StatefulSet;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::workload::{self, CONTAINERS, IMAGES, count};
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, labels, meta, not_negative};

/// `StatefulSet`.
pub static STATEFULSET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    has_status: true,
    has_scale: true,
    acts: true,
    collection: "apps/statefulsets",
    rules: Rules {
        schema: StatefulSet::json_schema,
        // Its pods' host names are made of it.
        name: names::label_name,
        generation: Generation::Spec,
        default,
        prepare_create: |value| json::set(value, "status", json!({"replicas": 0, "availableReplicas": 0})),
        validate,
        validate_update,
        validate_status: |new, _, errors| {
            let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
            workload::status(errors, json::get(new, "status"), "replicas", &parts, &["observedGeneration"]);
        },
        status_keeps_labels: true,
        columns: &[NAME, text("Ready", "Ready pods of those wanted."), AGE, CONTAINERS, IMAGES],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "podManagementPolicy", "OrderedReady");
    let strategy = json::object_at(spec, "updateStrategy");
    json::default(strategy, "type", "RollingUpdate");
    if json::text(strategy, &["type"]) == "RollingUpdate" {
        json::default(json::object_at(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = json::object_at(spec, "persistentVolumeClaimRetentionPolicy");
    json::default(retention, "whenDeleted", "Retain");
    json::default(retention, "whenScaled", "Retain");
    json::default(spec, "replicas", 1);
    json::default(spec, "revisionHistoryLimit", 10);
    workload::default_template(spec);
    for claim in json::items_mut(spec, "volumeClaimTemplates") {
        json::set(claim, "apiVersion", "v1");
        json::set(claim, "kind", "PersistentVolumeClaim");
        json::default(json::object_at(claim, "spec"), "volumeMode", "Filesystem");
        json::default(json::object_at(claim, "status"), "phase", "Pending");
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let policy = json::text(spec, &["podManagementPolicy"]);
    if !["OrderedReady", "Parallel"].contains(&policy) {
        errors.invalid_str("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'");
    }
    strategy(errors, json::get(spec, "updateStrategy"));
    for key in ["whenDeleted", "whenScaled"] {
        let path = "spec.persistentVolumeClaimRetentionPolicy";
        validate::one_of(
            errors,
            json::get(spec, "persistentVolumeClaimRetentionPolicy"),
            key,
            path,
            &["Retain", "Delete"],
        );
    }
    for key in ["replicas", "minReadySeconds"] {
        not_negative(errors, spec, key, "spec");
    }
    not_negative(errors, json::get(spec, "ordinals"), "start", "spec.ordinals");
    let service = json::text(spec, &["serviceName"]);
    if !service.is_empty() {
        validate::text(errors, "spec.serviceName", service, names::dns_label);
    }
    labels::workload(errors, spec, "statefulset");
    let metadata = json::dig(spec, &["template", "metadata"]);
    labels::map(errors, json::get(metadata, "labels"), "spec.template.labels");
    meta::annotations(errors, json::get(metadata, "annotations"), "spec.template.annotations");
    workload::restarts_always(errors, json::dig(spec, &["template", "spec"]), "StatefulSet");
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let rolling = json::get(strategy, "rollingUpdate");
    match json::text(strategy, &["type"]) {
        "RollingUpdate" => {
            not_negative(errors, rolling, "partition", "spec.updateStrategy.rollingUpdate");
        }
        "OnDelete" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid("spec.updateStrategy.rollingUpdate", rolling, detail);
        }
        "OnDelete" => {}
        _ => errors.invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    const MUTABLE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let old = json::get(old, "spec");
    let mut rest = json::get(new, "spec").clone();
    for key in MUTABLE {
        json::copy(&mut rest, old, key);
    }
    if !json::same(&rest, old) {
        errors.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas"));
    let [names, images] = workload::container_cells(object, "/spec/template/spec");
    vec![object.name().into(), ready.into(), table::age(object, now).into(), names, images]
}

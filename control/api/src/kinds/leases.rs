//! Leases: who leads, and until when. Clients elect their leaders with them; nothing here acts on those. Each node has one
//! in [`NODES`], which goes with it.

use k8s_openapi::api::coordination::v1::Lease;
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules};
use crate::table::{self, AGE, NAME, text};
use crate::validate::not_negative;

/// The namespace of nodes' Leases.
pub const NODES: &str = "kube-node-lease";

/// As Kubernetes writes `metav1.MicroTime`.
pub fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// `Lease`.
pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    acts: true,
    collection: "coordination.k8s.io/leases",
    rules: Rules {
        schema: Lease::json_schema,
        validate,
        columns: &[NAME, text("Holder", "Who holds it."), AGE],
        cells: |object, now| {
            vec![object.name().into(), object.text("/spec/holderIdentity").into(), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    const POSITIVE: &str = "must be greater than 0";
    let spec = json::get(value, "spec");
    if json::int(spec, &["leaseDurationSeconds"]).is_some_and(|seconds| seconds <= 0) {
        errors.invalid("spec.leaseDurationSeconds", json::get(spec, "leaseDurationSeconds"), POSITIVE);
    }
    not_negative(errors, spec, "leaseTransitions", "spec");
    if !json::text(spec, &["preferredHolder"]).is_empty() && json::text(spec, &["strategy"]).is_empty() {
        errors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined");
    }
}

//! IPAddresses: one object per cluster IP in use, so that two services cannot be given the same one.

use k8s_openapi::api::networking::v1::IPAddress;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules, Scope};
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable};

/// `IPAddress`.
pub static IPADDRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    scope: Scope::Cluster,
    acts: true,
    collection: "networking.k8s.io/ipaddresses",
    rules: Rules {
        schema: IPAddress::json_schema,
        name: |name, _| match validate::ip(name) {
            Some(address) if address.to_string() == name => Vec::new(),
            Some(address) => vec![format!("must be in canonical form ({:?})", address.to_string())],
            None => vec![validate::BAD_IP.to_owned()],
        },
        generation: Generation::Spec,
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "parentRef"]),
        fields: &[
            FieldLabel { label: "metadata.name", read: |object| object.name().to_owned() },
            FieldLabel { label: "spec.parentRef.name", read: |object| object.text("/spec/parentRef/name").to_owned() },
        ],
        columns: &[NAME, text("ParentRef", "What the address belongs to."), AGE],
        cells: |object, now| vec![object.name().into(), parent(&object.0).into(), table::age(object, now).into()],
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn parent(value: &Value) -> String {
    let part = |key| json::text(value, &["spec", "parentRef", key]);
    if part("name").is_empty() {
        return table::NONE.to_owned();
    }
    let resource = match (part("resource"), part("group")) {
        (resource, "") => resource.to_lowercase(),
        (resource, group) => format!("{resource}.{group}").to_lowercase(),
    };
    let owner: Vec<&str> = [part("namespace"), part("name")].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{resource}/{}", owner.join("/"))
}

fn validate(value: &Value, errors: &mut Errors) {
    let parent = json::dig(value, &["spec", "parentRef"]);
    if parent.is_null() {
        errors.required("spec.parentRef", "");
        return;
    }
    for key in ["resource", "name"] {
        if json::text(parent, &[key]).is_empty() {
            errors.required(format!("spec.parentRef.{key}"), "");
        }
    }
}

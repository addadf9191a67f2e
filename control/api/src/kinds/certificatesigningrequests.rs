//! CertificateSigningRequests. Whoever asks is written into the spec by the API server; approval has a face of its own.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/certificates/validation`.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Kind, Part, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, NONE, duration, text};
use crate::validate;

/// Shortest life of a certificate that may be asked for: Kubernetes' limit.
const SECONDS_MIN: i64 = 600;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// `CertificateSigningRequest`.
pub static CERTIFICATESIGNINGREQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    scope: Scope::Cluster,
    has_status: true,
    acts: true,
    collection: "certificates.k8s.io/certificatesigningrequests",
    rules: Rules {
        schema: CertificateSigningRequest::json_schema,
        default: |value| {
            let spec = json::object_at(value, "spec");
            if json::items(spec, &["usages"]).is_empty() {
                json::set(spec, "usages", vec!["digital signature", "key encipherment"]);
            }
        },
        prepare_create: |value| json::set(value, "status", json!({})),
        // The spec never changes.
        prepare_update: |new, old| json::copy(new, old, "spec"),
        validate,
        validate_status: |new, old, errors| {
            // Who signs does not decide: that is `/approval`'s, and another right.
            for kind in ["Approved", "Denied"] {
                let change = match (has(old, kind), has(new, kind)) {
                    (false, true) => "add",
                    (true, false) => "remove",
                    _ => continue,
                };
                errors.forbidden(CONDITIONS, &format!("updates may not {change} a condition of type {kind:?}"));
            }
        },
        parts: &[Part { name: "approval", take: take_approval, validate: approval }],
        fields: &[FieldLabel { label: "spec.signerName", read: |object| object.text("/spec/signerName").to_owned() }],
        columns: &[
            NAME,
            AGE,
            text("SignerName", "Who is to sign it."),
            text("Requestor", "Who asks."),
            text("RequestedDuration", "How long it shall hold."),
            text("Condition", "Whether it is approved, denied or issued."),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if json::text(spec, &["request"]).is_empty() {
        errors.required("spec.request", "");
    } else if !is_request(json::text(spec, &["request"])) {
        errors.invalid("spec.request", json::get(spec, "request"), "PEM block type must be CERTIFICATE REQUEST");
    }
    let mut seen = Vec::new();
    for (index, usage) in json::items(spec, &["usages"]).iter().filter_map(Value::as_str).enumerate() {
        if !USAGES.contains(&usage) {
            errors.not_supported(format!("spec.usages[{index}]"), usage, &USAGES);
        }
        if seen.contains(&usage) {
            errors.duplicate(format!("spec.usages[{index}]"), &Value::from(usage));
        }
        seen.push(usage);
    }
    let signer = json::text(spec, &["signerName"]);
    if signer.is_empty() {
        errors.required("spec.signerName", "");
    } else {
        validate::text(errors, "spec.signerName", signer, signer_name);
    }
    let seconds = json::get(spec, "expirationSeconds");
    if seconds.as_i64().is_some_and(|seconds| seconds < SECONDS_MIN) {
        let why = format!("may not specify a duration less than {SECONDS_MIN} seconds (10 minutes)");
        errors.invalid("spec.expirationSeconds", seconds, &why);
    }
}

/// A PEM block of the right type, in base64.
fn is_request(text: &str) -> bool {
    use base64::Engine as _;
    let pem = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE REQUEST-----")
}

fn signer_name(name: &str) -> Vec<String> {
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.is_empty()) else {
        return vec!["must be a fully qualified domain and path of the form 'example.com/signer-name'".to_owned()];
    };
    if !domain.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    let mut problems = names::dns_subdomain(domain);
    path.split('.').for_each(|part| problems.extend(names::dns_label(part)));
    problems
}

/// `/approval` writes the conditions and nothing else.
fn take_approval(old: &mut Value, new: &Value) {
    let mut conditions = json::items(new, &["status", "conditions"]).to_vec();
    for condition in &mut conditions {
        json::default(condition, "status", "True");
        let updated = json::text(condition, &["lastUpdateTime"]).to_owned();
        if !updated.is_empty() {
            json::default(condition, "lastTransitionTime", updated);
        }
    }
    json::set(json::object_at(old, "status"), "conditions", conditions);
}

const CONDITIONS: &str = "status.conditions";

fn has(value: &Value, kind: &str) -> bool {
    json::items(value, &["status", "conditions"]).iter().any(|condition| json::text(condition, &["type"]) == kind)
}

/// Who was approved or denied stays so, and nobody is both.
fn approval(new: &Value, old: &Value, errors: &mut Errors) {
    let path = CONDITIONS;
    if has(new, "Approved") && has(new, "Denied") {
        let shown = json::dig(new, &["status", "conditions"]);
        errors.invalid(path, shown, "Approved and Denied conditions are mutually exclusive");
    }
    for kind in ["Approved", "Denied", "Failed"] {
        if has(old, kind) && !has(new, kind) {
            errors.forbidden(path, &format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    for (index, condition) in json::items(new, &["status", "conditions"]).iter().enumerate() {
        validate::required(errors, condition, "type", &format!("{path}[{index}]"));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let conditions = object.items("/status/conditions");
    let has = |kind: &str| conditions.iter().any(|condition| json::text(condition, &["type"]) == kind);
    let mut state = vec![if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }];
    if has("Failed") {
        state.push("Failed");
    }
    if !object.text("/status/certificate").is_empty() {
        state.push("Issued");
    }
    let seconds = object.int("/spec/expirationSeconds").map_or_else(|| NONE.to_owned(), duration::human);
    vec![
        object.name().into(),
        table::age(object, now).into(),
        object.text("/spec/signerName").into(),
        object.text("/spec/username").into(),
        seconds.into(),
        state.join(",").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_does_not_decide() {
        let told = |before: &[&str], after: &[&str]| {
            let status = |kinds: &[&str]| {
                let conditions: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
                json!({"status": {"conditions": conditions}})
            };
            let mut errors = Errors::new();
            (CERTIFICATESIGNINGREQUEST.rules.validate_status)(&status(after), &status(before), &mut errors);
            errors.into_vec().into_iter().map(|error| error.message).collect::<Vec<_>>()
        };
        assert_eq!(told(&[], &["Approved"]), ["Forbidden: updates may not add a condition of type \"Approved\""]);
        assert_eq!(told(&["Denied"], &[]), ["Forbidden: updates may not remove a condition of type \"Denied\""]);
        assert_eq!(told(&["Approved"], &["Failed", "Approved"]).len(), 0);
    }
}

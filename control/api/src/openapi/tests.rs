//! What clients look for in the documents.

use serde_json::json;

use super::*;

fn of(group: &str) -> Vec<&'static Kind> {
    crate::kinds().iter().copied().filter(|kind| kind.group == group && kind.version == "v1").collect()
}

/// Every reference in a document.
fn references(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if key == "$ref" => found.push(text.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for group in ["", "apps"] {
        let document = v3(&of(group));
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some_and(serde_json::Value::is_object), "{reference}");
        }
    }
    let document = v2(crate::kinds());
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[test]
fn kubectl_finds_what_it_decides_by() {
    let document = v3(&of("apps"));
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|parameter| &parameter["name"]).collect();
    assert!(names.contains(&&json!("fieldValidation")), "{names:?}");
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let deployment = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    assert_eq!(
        deployment["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"
    );
    let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(deployment["description"].as_str().unwrap().len() > 20);
}

#[test]
fn strings_of_which_all_values_are_known_tell_them() {
    let document = v3(&of("apps"));
    let kind = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentStrategy"]["properties"]["type"];
    assert_eq!(kind["enum"], json!(["Recreate", "RollingUpdate"]));
    let told = kind["description"].as_str().unwrap();
    assert!(told.ends_with("\n\nPossible enum values:\n - `\"Recreate\"`\n - `\"RollingUpdate\"`"), "{told}");
    let document = v2(crate::kinds());
    for (owner, field) in enums::fields() {
        let schema = &document["definitions"][owner]["properties"];
        let schema = match field.strip_prefix("[]") {
            Some(field) => &schema[field]["items"],
            None => &schema[field],
        };
        assert_eq!(schema["type"], "string", "{owner} {field}: {schema}");
        assert!(
            schema["enum"].as_array().is_some_and(|values| values.is_sorted_by_key(|value| value.as_str())),
            "{owner} {field}"
        );
    }
    let http = &document["definitions"]["io.k8s.networking.gateway.v1.PathMatch"]["properties"];
    assert_eq!(http["type"]["enum"], json!(["Exact", "PathPrefix", "RegularExpression"]));
}

#[test]
fn both_forms_of_version_two_name_the_same() {
    let text = String::from_utf8_lossy(&v2_protobuf(crate::kinds())).into_owned();
    for name in v2(crate::kinds())["definitions"].as_object().unwrap().keys() {
        assert!(text.contains(name), "{name}");
    }
    assert!(text.contains("x-kubernetes-group-version-kind"));
}

#[test]
fn types_are_called_as_in_kubernetes() {
    for (group, version, kind, name) in [
        ("", "v1", "Pod", "io.k8s.api.core.v1.Pod"),
        ("rbac.authorization.k8s.io", "v1", "Role", "io.k8s.api.rbac.v1.Role"),
        ("gateway.networking.k8s.io", "v1", "Gateway", "io.k8s.networking.gateway.v1.Gateway"),
        ("example.com", "v1", "Gizmo", "com.example.v1.Gizmo"),
    ] {
        assert_eq!(definition_name(group, version, kind), name);
    }
}

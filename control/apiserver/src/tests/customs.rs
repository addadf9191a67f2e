//! Kinds that people define: from the definition to the objects and back.

use serde_json::{Value, json};

use super::kit::{Harness, TABLE, names};

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A definition of widgets with everything that a version may have.
pub(super) fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                } },
                "additionalPrinterColumns": [
                    { "name": "Size", "type": "string", "jsonPath": ".spec.size" },
                    { "name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1 },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "selectableFields": [{ "jsonPath": ".spec.size" }],
                "schema": { "openAPIV3Schema": schema() },
            }],
        },
    })
}

fn schema() -> Value {
    let parts = json!({
        "type": "array", "maxItems": 3,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": { "type": "object", "required": ["name"], "properties": {
            "name": { "type": "string" }, "count": { "type": "integer", "default": 2 },
        } },
    });
    let spec = json!({ "type": "object", "required": ["size"], "properties": {
        "size": { "type": "string", "enum": ["small", "large"] },
        "replicas": { "type": "integer", "minimum": 0, "maximum": 10, "default": 1 },
        "port": { "x-kubernetes-int-or-string": true },
        "note": { "type": "string", "nullable": true, "pattern": "^[a-z]*$", "maxLength": 5 },
        "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "parts": parts,
    } });
    let status = json!({ "type": "object", "properties": {
        "replicas": { "type": "integer" }, "selector": { "type": "string" },
    } });
    json!({ "type": "object", "required": ["spec"], "properties": { "spec": spec, "status": status } })
}

pub(super) fn widget(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": name }, "spec": spec })
}

fn condition(definition: &Value, kind: &str) -> (String, String) {
    let all = definition["status"]["conditions"].as_array().expect("conditions");
    let found = all.iter().find(|condition| condition["type"] == kind).expect("the condition");
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

#[tokio::test]
async fn a_kind_is_served_as_soon_as_its_definition_is_written() {
    let api = Harness::start().await;
    api.get(WIDGETS).await.not_found();
    let made = api.post(DEFINITIONS, &widgets()).await.expect(201);
    assert_eq!(condition(&made, "Established"), ("True".to_owned(), "InitialNamesAccepted".to_owned()));
    assert_eq!(condition(&made, "NamesAccepted"), ("True".to_owned(), "NoConflicts".to_owned()));
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let widget =
        api.post(WIDGETS, &widget("a", &json!({ "size": "small", "parts": [{ "name": "x" }] }))).await.expect(201);
    assert_eq!(widget["spec"], json!({ "size": "small", "replicas": 1, "parts": [{ "name": "x", "count": 2 }] }));
    assert_eq!(widget["metadata"]["generation"], 1);
    assert_eq!(api.get(&format!("{WIDGETS}/a")).await.expect(200), widget);
    let list = api.get("/apis/example.com/v1/widgets").await.expect(200);
    assert_eq!((&list["kind"], names(&list)), (&json!("WidgetList"), vec!["a".to_owned()]));
    let resources = api.get("/apis/example.com/v1").await.expect(200).to_string();
    for name in ["\"widgets\"", "\"widgets/status\"", "\"widgets/scale\"", "\"wd\"", "\"all\""] {
        assert!(resources.contains(name), "{name} in {resources}");
    }
    let group = api.get("/apis/example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert!(api.get("/apis").await.expect(200).to_string().contains("example.com/v1"));
}

#[tokio::test]
async fn objects_are_what_their_schema_asks_for() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    for (spec, text) in [
        (json!({}), "spec.size: Required value"),
        (
            json!({ "size": 3 }),
            "spec.size: Invalid value: \"integer\": spec.size in body must be of type string: \"integer\"",
        ),
        (json!({ "size": "huge" }), "spec.size: Unsupported value: \"huge\": supported values: \"small\", \"large\""),
        (
            json!({ "size": "small", "replicas": 11 }),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            json!({ "size": "small", "note": "UP" }),
            "spec.note: Invalid value: \"UP\": spec.note in body should match '^[a-z]*$'",
        ),
        (json!({ "size": "small", "note": "abcdef" }), "spec.note: Too long: may not be more than 5 bytes"),
        (json!({ "size": "small", "port": true }), "spec.port in body must be of type integer,string: \"boolean\""),
        (json!({ "size": "small", "parts": [{}] }), "spec.parts[0].name: Required value"),
        (
            json!({ "size": "small", "parts": [{ "name": "a" }, { "name": "a" }] }),
            "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (
            json!({ "size": "small", "parts": [{ "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d" }] }),
            "spec.parts: Too many: 4: must have at most 3 items",
        ),
    ] {
        let refused = api.post(WIDGETS, &widget("a", &spec)).await;
        let message = refused.json()["message"].as_str().expect("a message").to_owned();
        assert_eq!(refused.code, 422, "{message}");
        assert!(message.starts_with("Widget.example.com \"a\" is invalid: ") && message.contains(text), "{message}");
    }
    let sound = json!({ "size": "small", "port": "80%", "note": null, "free": { "a": [{ "b": 1 }] }, "gone": 1 });
    let made = api.post(WIDGETS, &widget("a", &sound)).await;
    assert_eq!(made.headers["warning"], "299 - \"unknown field \\\"spec.gone\\\"\"");
    let expected =
        json!({ "size": "small", "replicas": 1, "port": "80%", "note": null, "free": { "a": [{ "b": 1 }] } });
    assert_eq!(made.expect(201)["spec"], expected);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = api
        .post(&strict, &widget("b", &json!({ "size": "small", "gone": 1, "parts": [{ "name": "x", "y": 1 }] })))
        .await;
    assert_eq!(
        refused.expect(400)["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.gone\", unknown field \"spec.parts[0].y\""
    );
}

#[tokio::test]
async fn metadata_of_embedded_objects_has_the_fields_that_all_objects_have() {
    let api = Harness::start().await;
    let mut definition = widgets();
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["inner"] = json!({
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    });
    api.post(DEFINITIONS, &definition).await.expect(201);
    let metadata = json!({ "name": "n", "labels": { "a": "b" }, "foo": 1 });
    let inner = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "any": { "thing": 1 } });
    let spec = json!({ "size": "small", "inner": inner });
    let made = api.post(WIDGETS, &widget("a", &spec)).await;
    assert_eq!(made.headers["warning"], "299 - \"unknown field \\\"spec.inner.metadata.foo\\\"\"");
    let kept = made.expect(201)["spec"]["inner"].clone();
    assert_eq!(kept["metadata"], json!({ "name": "n", "labels": { "a": "b" } }));
    assert_eq!(kept["any"]["thing"], 1);
}

#[tokio::test]
async fn status_scale_and_generation_are_kept_apart() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    let mut body = widget("a", &json!({ "size": "small" }));
    body["status"] = json!({ "replicas": 9 });
    assert_eq!(api.post(WIDGETS, &body).await.expect(201).get("status"), None);
    let path = format!("{WIDGETS}/a");
    let status = json!({ "spec": { "size": "large" }, "status": { "replicas": 1, "selector": "app=a" }, "metadata": { "labels": { "x": "y" } } });
    let read = api.patch(&format!("{path}/status"), &status).await.expect(200);
    assert_eq!(
        (&read["spec"]["size"], &read["status"]["replicas"], read["metadata"].get("labels")),
        (&json!("small"), &json!(1), None)
    );
    assert_eq!(read["metadata"]["generation"], 1);
    let read = api.patch(&path, &json!({ "metadata": { "labels": { "x": "y" } } })).await.expect(200);
    assert_eq!(read["metadata"]["generation"], 1);
    let scale = api.patch(&format!("{path}/scale"), &json!({ "spec": { "replicas": 4 } })).await.expect(200);
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(4), &json!({ "replicas": 1, "selector": "app=a" }))
    );
    let read = api.get(&path).await.expect(200);
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(4), &json!(2)));
    assert_eq!(api.patch(&format!("{path}/scale"), &json!({ "spec": { "replicas": 11 } })).await.code, 422);
    let mut without = read.clone();
    without["metadata"]["resourceVersion"] = "".into();
    let refused = api.put(&path, &without).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .expect("text")
            .ends_with("metadata.resourceVersion: Invalid value: 0x0: must be specified for an update")
    );
    api.put(&path, &read).await.expect(200);
}

#[tokio::test]
async fn columns_and_selectors_are_those_of_the_definition() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    for (name, size) in [("a", "small"), ("b", "large")] {
        api.post(WIDGETS, &widget(name, &json!({ "size": size }))).await.expect(201);
    }
    let table = api.get_as(WIDGETS, TABLE).await.expect(200);
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Name", "Size", "Replicas", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().expect("cells");
    assert_eq!(cells[..3], [json!("a"), json!("small"), json!(1)]);
    let large = api.get(&format!("{WIDGETS}?fieldSelector=spec.size%3Dlarge")).await.expect(200);
    assert_eq!(names(&large), ["b"]);
    assert_eq!(api.get(&format!("{WIDGETS}?fieldSelector=spec.replicas%3D1")).await.code, 400);
}

#[tokio::test]
async fn two_definitions_never_share_a_name_and_the_second_waits_for_it() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    let mut second = widgets();
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"] = json!({ "plural": "gadgets", "kind": "Widget", "shortNames": ["wd", "gd"] });
    let made = api.post(DEFINITIONS, &second).await.expect(201);
    assert_eq!(condition(&made, "Established"), ("False".to_owned(), "NotAccepted".to_owned()));
    assert_eq!(condition(&made, "NamesAccepted"), ("False".to_owned(), "ListKindConflict".to_owned()));
    api.get("/apis/example.com/v1/gadgets").await.expect(404);
    let first = format!("{DEFINITIONS}/widgets.example.com");
    let marked = api.delete(&first, &json!({})).await.expect(200);
    assert_eq!(condition(&marked, "Terminating"), ("True".to_owned(), "InstanceDeletionPending".to_owned()));
    assert_eq!(marked["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let refused = api.post(WIDGETS, &widget("late", &json!({ "size": "small" }))).await.expect(405);
    assert_eq!(refused["message"], "create not allowed while custom resource definition is terminating");
    // Nobody runs controllers here: this is what theirs does when no object is left.
    api.patch(&first, &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    api.get(&first).await.expect(404);
    let read = api.get(&format!("{DEFINITIONS}/gadgets.example.com")).await.expect(200);
    assert_eq!(condition(&read, "Established").0, "True");
    api.get("/apis/example.com/v1/gadgets").await.expect(200);
}

#[tokio::test]
async fn versions_are_different_views_of_one_object() {
    let api = Harness::start().await;
    let mut definition = widgets();
    let mut old = definition["spec"]["versions"][0].clone();
    old["name"] = "v1beta1".into();
    old["storage"] = false.into();
    old["deprecated"] = true.into();
    old["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]["default"] = 7.into();
    definition["spec"]["versions"].as_array_mut().expect("versions").push(old);
    api.post(DEFINITIONS, &definition).await.expect(201);
    let group = api.get("/apis/example.com").await.expect(200);
    assert_eq!(
        (&group["preferredVersion"]["version"], group["versions"].as_array().map(Vec::len)),
        (&json!("v1"), Some(2))
    );
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let mut body = widget("a", &json!({ "size": "small" }));
    body["apiVersion"] = "example.com/v1beta1".into();
    let made = api.post(&beta, &body).await;
    assert_eq!(made.headers["warning"], "299 - \"example.com/v1beta1 Widget is deprecated\"");
    let made = made.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["replicas"]), (&json!("example.com/v1beta1"), &json!(7)));
    let read = api.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!((&read["apiVersion"], &read["spec"]["replicas"]), (&json!("example.com/v1"), &json!(7)));
    let patched = api.patch(&format!("{beta}/a"), &json!({ "spec": { "size": "large" } })).await.expect(200);
    assert_eq!(
        (&patched["apiVersion"], &patched["metadata"]["generation"]),
        (&json!("example.com/v1beta1"), &json!(2))
    );
    let list = api.get(&beta).await.expect(200);
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["apiVersion"]),
        (&json!("example.com/v1beta1"), &json!("example.com/v1beta1"))
    );
    let mut events = api.watch(&format!("{beta}?watch=true&resourceVersion=0"), "application/json").await;
    assert_eq!(events.next().await.expect("an event")["object"]["apiVersion"], "example.com/v1beta1");
}

#[tokio::test]
async fn broken_definitions_are_refused_with_all_that_is_wrong() {
    let api = Harness::start().await;
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    for (pointer, value, text) in [
        (
            "/metadata/name",
            json!("x.example.com"),
            "metadata.name: Invalid value: \"x.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        ("/spec/versions/0/storage", json!(false), "must have exactly one version marked as storage version"),
        ("/spec/scope", json!("Galaxy"), "spec.scope: Unsupported value: \"Galaxy\""),
        (
            "/spec/names/kind",
            json!("wid get"),
            "spec.names.kind: Invalid value: \"wid get\": may have mixed case, but should otherwise match",
        ),
        (
            &format!("{schema}/type"),
            json!("array"),
            "openAPIV3Schema.type: Invalid value: \"array\": must be object at the root",
        ),
        (
            &format!("{schema}/properties/spec"),
            json!({ "properties": {} }),
            "properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            &format!("{schema}/properties/spec/properties/note/pattern"),
            json!("("),
            "must be a valid regular expression",
        ),
        (
            &format!("{schema}/properties/spec/properties/replicas/default"),
            json!("x"),
            "properties[replicas].default: Invalid value: \"string\"",
        ),
        (
            &format!("{schema}/properties/spec/properties/parts/x-kubernetes-list-map-keys"),
            json!(["nope"]),
            "entries must all be names of item properties",
        ),
        (
            "/spec/versions/0/additionalPrinterColumns/0/type",
            json!("text"),
            "additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of",
        ),
        (
            "/spec/versions/0/selectableFields/0/jsonPath",
            json!(".spec.none"),
            "selectableFields[0].jsonPath: Invalid value",
        ),
    ] {
        let mut definition = widgets();
        *definition.pointer_mut(pointer).expect("a place") = value;
        let refused = api.post(DEFINITIONS, &definition).await;
        let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(refused.code, 422, "{pointer}: {message}");
        assert!(message.contains(text), "{pointer}: {message}");
    }
}

#[tokio::test]
async fn a_stricter_schema_lets_be_what_does_not_change() {
    let api = Harness::start().await;
    api.post(DEFINITIONS, &widgets()).await.expect(201);
    api.post(WIDGETS, &widget("a", &json!({ "size": "large" }))).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = api.get(&path).await.expect(200);
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["enum"] =
        json!(["small"]);
    api.put(&path, &definition).await.expect(200);
    let object = format!("{WIDGETS}/a");
    api.patch(&object, &json!({ "spec": { "replicas": 3 } })).await.expect(200);
    assert_eq!(api.post(WIDGETS, &widget("b", &json!({ "size": "large" }))).await.code, 422);
}

#[tokio::test]
async fn rules_of_a_definition_are_judged_with_each_write() {
    let api = Harness::start().await;
    let mut definition = widgets();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let rule = |rule: &str| json!([{ "rule": rule }]);
    let mut broken = definition.clone();
    broken.pointer_mut(spec).expect("spec")["x-kubernetes-validations"] = rule("self.nothing > 1");
    let refused = api.post(DEFINITIONS, &broken).await.expect(422);
    let message = refused["message"].as_str().expect("text");
    let field = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule";
    assert!(
        message.contains(field) && message.contains("compilation failed: ERROR: <input>: undefined field 'nothing'"),
        "{message}"
    );

    definition.pointer_mut(spec).expect("spec")["x-kubernetes-validations"] = json!([
        { "rule": "!has(self.parts) || self.parts.all(p, p.count < self.replicas)", "messageExpression": "'at most ' + string(self.replicas)" },
        { "rule": "self.size == oldSelf.size", "message": "size is immutable", "fieldPath": ".size", "reason": "FieldValueForbidden" },
    ]);
    api.post(DEFINITIONS, &definition).await.expect(201);
    let refused =
        api.post(WIDGETS, &widget("a", &json!({ "size": "small", "parts": [{ "name": "x" }] }))).await.expect(422);
    assert_eq!(refused["message"], "Widget.example.com \"a\" is invalid: spec: Invalid value: \"object\": at most 1");
    let wrong = widget("a", &json!({ "size": "huge", "parts": [{ "name": "x" }] }));
    let message = api.post(WIDGETS, &wrong).await.expect(422)["message"].take();
    let unjudged =
        "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid";
    assert!(message.as_str().is_some_and(|text| text.contains(unjudged) && !text.contains("at most")), "{message}");
    let wrong = widget("a", &json!({ "size": "small", "replicas": -1, "parts": [{ "name": "x" }] }));
    let message = api.post(WIDGETS, &wrong).await.expect(422)["message"].take();
    assert!(message.as_str().is_some_and(|text| text.contains("at most -1") && !text.contains("<nil>")), "{message}");
    api.post(WIDGETS, &widget("a", &json!({ "size": "small" }))).await.expect(201);
    let refused = api.patch(&format!("{WIDGETS}/a"), &json!({ "spec": { "size": "large" } })).await.expect(422);
    assert_eq!(refused["message"], "Widget.example.com \"a\" is invalid: spec.size: Forbidden: size is immutable");
}

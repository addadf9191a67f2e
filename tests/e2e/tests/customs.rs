//! A kind of one's own with a controller of one's own, written with the `kube` crate: definition, finalizer, status, scale.

use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use wk_kit::{Cluster, SOON};

const FINALIZER: &str = "example.com/settings";

fn definition() -> CustomResourceDefinition {
    let spec = json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "string"}, "replicas": {"type": "integer", "default": 1, "minimum": 0},
    }, "x-kubernetes-validations": [{"rule": "self.size != 'none'", "message": "a widget has a size"}]});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let subresources = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}});
    let value = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": subresources,
            }],
        },
    });
    serde_json::from_value(value).expect("a definition")
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"))
}

/// Keeps a ConfigMap for each widget, and takes it away before the widget goes.
async fn control(client: Client) -> kube::Result<()> {
    let widgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource());
    let found = widgets.list(&ListParams::default()).await?;
    for widget in &found.items {
        reconcile(&client, widget).await?;
    }
    let version = found.metadata.resource_version.unwrap_or_default();
    let changes = widgets.watch(&WatchParams::default(), &version).await?;
    let mut changes = std::pin::pin!(changes);
    while let Some(event) = changes.try_next().await? {
        if let WatchEvent::Added(widget) | WatchEvent::Modified(widget) = event {
            reconcile(&client, &widget).await?;
        }
    }
    Ok(())
}

async fn reconcile(client: &Client, widget: &DynamicObject) -> kube::Result<()> {
    let widgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (name, params) = (widget.name_any(), PatchParams::default());
    if widget.metadata.deletion_timestamp.is_some() {
        let _gone_already = maps.delete(&name, &DeleteParams::default()).await;
        let without = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        return widgets.patch(&name, &params, &without).await.map(|_| ());
    }
    if widget.finalizers().is_empty() {
        let with = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
        widgets.patch(&name, &params, &with).await?;
        return Ok(());
    }
    if maps.get_opt(&name).await?.is_none() {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.clone());
        map.data =
            Some([("size".to_owned(), widget.data["spec"]["size"].as_str().unwrap_or_default().to_owned())].into());
        maps.create(&PostParams::default(), &map).await?;
    }
    let wanted = &widget.data["spec"]["replicas"];
    if widget.data["status"]["replicas"] != *wanted {
        let status = Patch::Merge(json!({"status": {"replicas": wanted}}));
        widgets.patch_status(&name, &params, &status).await?;
    }
    Ok(())
}

/// Waits until `done` says so.
async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{what} took too long"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_a_custom_kind_keeps_what_it_promises() {
    let cluster = Cluster::start(1).await;
    let client = cluster.nodes[0].api().await.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let made = definitions.create(&PostParams::default(), &definition()).await.expect("it is created");
    let conditions = made.status.and_then(|status| status.conditions).unwrap_or_default();
    assert!(conditions.iter().any(|it| it.type_ == "Established" && it.status == "True"), "{conditions:?}");
    let controller = tokio::spawn(control(client.clone()));

    let widgets: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let widget = |size: &str| DynamicObject::new("a", &resource()).data(json!({"spec": {"size": size}}));
    let refused = widgets.create(&PostParams::default(), &widget("none")).await.expect_err("a rule forbids it");
    assert!(refused.to_string().contains("a widget has a size"), "{refused}");
    widgets.create(&PostParams::default(), &widget("small")).await.expect("it is created");
    let replicas = |widget: DynamicObject| widget.data["status"]["replicas"].clone();
    until("the status", || async { replicas(widgets.get("a").await.expect("it is there")) == 1 }).await;
    assert_eq!(maps.get("a").await.expect("it was made").data.expect("data")["size"], "small");
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scaled = widgets.patch_scale("a", &PatchParams::default(), &scale).await.expect("it scales");
    assert_eq!(scaled.spec.and_then(|spec| spec.replicas), Some(3));
    until("the new status", || async { replicas(widgets.get("a").await.expect("it is there")) == 3 }).await;

    definitions.delete("widgets.example.com", &DeleteParams::default()).await.expect("it goes");
    until("the end of the definition", || async {
        definitions.get_opt("widgets.example.com").await.expect("an answer").is_none()
    })
    .await;
    assert!(maps.get_opt("a").await.expect("an answer").is_none(), "the controller took it away before");
    controller.abort();
}
